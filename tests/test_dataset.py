"""Chapter 06: the split, the augmentations, the funnel, and that nothing leaks"""

import hashlib
import json
import subprocess
import sys
from collections import Counter
import pytest
from climate_ft import dataset as D
from climate_ft.contamination import contamination, squeeze
from climate_ft.corpus import document_chunks, load_corpus, run_corpus
from climate_ft.facts import Fact, figure_refs
from climate_ft.style import style_of
from climate_ft.workspace import (
    REPO,
    QA,
    Chunk,
    CourseError,
    Workspace,
    read_json,
    read_jsonl,
    read_text,
    write_json,
    write_jsonl,
    write_text,
)

PLACES = '東京 大阪 京都 札幌 仙台 広島 福岡 那覇 金沢 長野'.split()
THINGS = '気温 降水量 日照時間 積雪深 湿度 風速'.split()


def report(doc='d', sections=20, extra=''):
    """A document with numbered sections of three sentences each;
    `extra` makes its places and sentences other ones"""
    blocks = []
    for i in range(sections):
        a, b = extra + PLACES[i % 10], extra + THINGS[i % 6]
        blocks.append(
            dict(doc=doc, page=i + 1, role='heading', level=1, text=f'{i + 1} {a}の{b}')
        )
        blocks.append(
            dict(
                doc=doc,
                page=i + 1,
                role='body',
                text=f'{a}の{b}の観測は、{1900 + i}年に始まった。'
                f'{a}の{b}の年平均値は、この百年で約{i + 1}割増加した。'
                f'{a}の{b}の記録は、図書{i + 3}冊にまとめて保存されている。',
            )
        )
    return blocks


def workspace(tmp_path, blocks, **questions):
    ws = Workspace(tmp_path)
    write_json(
        ws.path('cleaned_blocks'),
        dict(blocks=blocks, captions=[dict(doc='d', number='3', text='気温の推移')]),
    )
    for name in ('gold', 'general'):
        write_jsonl(ws.documents / f'{name}_questions.jsonl', questions.get(name, []))
    run_corpus(ws)
    return ws


def digests(ws):
    return {
        str(p.relative_to(ws.root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(ws.data.rglob('*'))
        if p.is_file()
    }


def chunk(text, *section, doc='d'):
    return document_chunks(
        doc,
        [dict(role='heading', level=i + 1, text=h) for i, h in enumerate(section)]
        + [dict(role='body', text=text, page=1)],
    )[1][0]


def fact(id, answer, subject='海氷域面積', how='topic'):
    return Fact(id, subject, answer, how, chunk(answer, '1 海', '1.1 氷'), 0, subject)


def qa(out, q='問い？', id='x', source='new', **extra):
    return QA(id, source, q, '', out, extra=extra)


# ---- the course's dataset -------------------------------------------------------------------
@pytest.fixture(scope='module')
def course():
    ws = Workspace(REPO)
    return {
        s: D.load_rows(ws, s) for s in ('train', 'dev', 'recall', 'unseen', 'gold', 'general')
    }


def test_the_committed_dataset_is_what_the_code_makes(tmp_path):
    ws, repo = Workspace(tmp_path), Workspace(REPO)
    for name in ('corpus', 'corpus_chunks', 'cleaned_blocks'):
        write_text(ws.path(name), read_text(repo.path(name)))
    D.run_dataset(ws)
    for name in (
        'dataset',
        'alpaca',
        'dataset_report',
        *(
            f'splits/{s}.jsonl'
            for s in ('train', 'dev', 'recall', 'unseen', 'short', 'gold', 'general')
        ),
    ):
        p = repo.path('splits') / name[7:] if name.startswith('splits/') else repo.path(name)
        assert (ws.root / p.relative_to(repo.root)).read_bytes() == p.read_bytes(), (
            f'{name} is out of date: run `make dataset`'
        )


def test_size_and_provenance(course):
    train = course['train']
    texts, chunks = load_corpus(Workspace(REPO))
    ids = {c.id for c in chunks}
    assert len(train) >= 2000 and len({s for r in train for s in D.sources(r)}) >= 400
    assert all(s.rsplit('.', 1)[0] in ids for r in train for s in D.sources(r)) and all(
        r.section and r.pages for r in train
    )
    assert all(
        r.output in texts[r.extra['doc']]
        for r in train
        if r.kind in ('base', 'template') and not r.source_id.endswith('.h')
    )
    assert read_json(Workspace(REPO).path('alpaca'))[0] == {
        k: getattr(train[0], k) for k in ('instruction', 'input', 'output')
    }


def test_no_source_and_no_section_on_two_sides(course):
    used = {s for r in course['train'] for s in D.sources(r)}
    units = {tuple(r.section[:2]) for r in course['train']}
    for name in ('dev', 'unseen'):
        assert course[name] and not used & {s for r in course[name] for s in D.sources(r)}
        assert not units & {tuple(r.section[:2]) for r in course[name]}
    assert {s for r in course['recall'] for s in D.sources(r)} <= used


def test_nothing_is_contaminated(course):
    train, gold = course['train'], course['gold']
    for rows, facts in (
        (course['dev'], True),
        (course['unseen'], True),
        ([r for r in gold if not r.extra['seen']], True),
        (course['recall'], False),
        (gold, False),
        (course['general'], False),
    ):
        assert contamination(train, rows, facts_too=facts)['flagged'] == {}


def test_one_answer_for_each_question(course):
    asked = Counter(squeeze(r.instruction) for r in course['train'])
    assert max(asked.values()) == 1
    assert not any(figure_refs(r.instruction + r.output) for r in course['train'])


def test_style_of_answers(course):
    wanted = [
        (r.output, style_of(r.output))
        for r in course['train']
        if r.extra.get('style') == 'polite'
    ]
    assert len(wanted) > 500 and [w for w in wanted if w[1] != 'polite'] == []


def test_every_gold_support_is_in_the_report():
    questions = read_jsonl(REPO / 'documents' / 'gold_questions.jsonl')
    _, chunks = load_corpus(Workspace(REPO))
    rows, missing = D.gold_rows(questions, chunks, D.split_sections(chunks))
    assert len(questions) >= 200 and missing == []
    for q in questions:
        assert any(
            squeeze(a) in squeeze(q['support']) for a in (q['answer'], *q['variants'])
        ), q
    assert {q['kind'] for q in questions} == {'number', 'year', 'name', 'definition', 'cause'}
    assert len(
        {squeeze(q[k]) for q in questions for k in ('question', 'question2')}
    ) == 2 * len(questions)
    body = {tuple(c.section[:1]) for c in chunks if c.section[0][0].isdigit()}
    assert {tuple(r.section[:1]) for r in rows} >= body  # every chapter is asked about
    assert sum(not r.extra['seen'] for r in rows) >= 20


# ---- split ----------------------------------------------------------------------------------
def test_the_split_does_not_depend_on_other_documents(tmp_path):
    a = workspace(tmp_path / 'a', report())
    b = workspace(tmp_path / 'b', report('c', extra='深海第二') + report())
    one, two = (D.split_sections(load_corpus(w)[1]) for w in (a, b))
    assert one == {u: s for u, s in two.items() if u[0] == 'd'} and set(one.values()) == {
        'train',
        'test',
        'dev',
    }


def test_repeated_sections_stay_on_one_side():
    blocks = report(sections=30)
    chunks = document_chunks('d', blocks)[1]
    again = document_chunks(
        'e', [dict(b, doc='e') for b in blocks[::-1] if b['role'] == 'body']
    )[1]
    for seed in range(30):
        sides = D.split_sections(chunks + again, seed)
        for c in again:
            for d in chunks:
                if d.text in c.text:
                    assert sides[D.unit_of(c)] == sides[D.unit_of(d)]


def test_pinned_sections_are_trained():
    chunks = document_chunks('d', report())[1]
    for seed in range(10):
        assert D.split_sections(chunks, seed, pinned=('東京',))['d', '1 東京の気温'] == 'train'


def test_another_seed_is_another_split():
    chunks = document_chunks('d', report())[1]
    assert (
        len(
            {
                tuple(
                    sorted(u for u, s in D.split_sections(chunks, seed).items() if s == 'test')
                )
                for seed in range(5)
            }
        )
        > 1
    )


# ---- pairs ----------------------------------------------------------------------------------
def test_wordings():
    f = fact('s', '海氷域面積は、2012年に最小となった。')
    qs = [r.instruction for r in D.base_pairs(f) + D.template_pairs(f)]
    assert len(set(qs)) == 4 and qs[1] == '海氷域面積は、いつ最小となりましたか。'
    assert D.template_pairs(
        fact('s', '海氷域面積とは、海氷の広がりである。', how='definition')
    )[0].instruction in ('海氷域面積とは何ですか。', '海氷域面積の定義を教えてください。')
    held_out = {t.split('{s}')[1] for t in D.RECALL}
    assert not any(
        t.split('{s}')[-1] in held_out
        for t in (D.BASE, *D.TEMPLATES, *D.DEFINITIONS, *D.POLITE, *D.STYLED)
    )


def test_style_follows_the_question():
    f = fact('s', '海氷は薄い。', '海氷')
    plain, polite = D.style_pairs(f)
    assert (
        plain.instruction in ('海氷について説明せよ。', '海氷について簡潔に述べよ。')
        and plain.output == '海氷は薄い。'
    )
    assert (
        polite.output == '海氷は薄いです。'
        and D.polite_pairs(f)[0].output == '海氷は薄いです。'
    )
    assert [
        r.extra['style'] for r in D.style_pairs(fact('s', '観測の項目は次のとおり。'))
    ] == ['plain'] and D.polite_pairs(fact('s', '体言止めの文。')) == []


def test_combined_pairs_name_both_sources():
    fs = [fact(str(i), f'海氷は{i}番目に薄い。', f'海氷{i}') for i in range(5)]
    rows = D.combined_pairs(fs)
    assert [D.sources(r) for r in rows] == [['0', '1'], ['2', '3']] and rows[
        0
    ].output == '海氷は0番目に薄い。海氷は1番目に薄い。'
    assert D.combined_pairs([fact('h', 'x', how='heading'), fact('i', 'y')]) == []


def test_figure_filter():
    rows = lambda: [
        qa('図表 3に示すように、気温は上がった。', doc='d'),
        qa('図書3冊を発表 1 件で示した。', doc='d'),
        qa('表 9を見よ。', doc='d'),
    ]
    caps = dict(d={'3': '気温の推移'})
    kept, n = D.filter_figures(rows())
    assert (len(kept), n['removed'], n['resolvable']) == (1, 2, 0)
    kept, n = D.filter_figures(rows(), 'resolve', caps)
    assert (
        [r.output for r in kept]
        == ['図表「気温の推移」に示すように、気温は上がった。', '図書3冊を発表 1 件で示した。']
        and n['removed'] == 1
        and n['referring'] == 2
    )
    assert len(D.filter_figures(rows(), 'keep')[0]) == 3


def test_near_duplicates_need_the_same_digits_and_topic():
    a = '2019年の氷床の損失は532Gtに達し、重力観測による記録を更新した。'
    rows = [
        fact('a', a),
        fact('b', a.replace('2019', '2020')),
        fact('c', a.replace('532', '531')),
        fact('n', a.replace('氷床', '氷河'), '氷河'),
        fact('d', a.replace('更新した', '更新しました')),
        fact('e', a.translate({ord('2'): '２'}).replace('、', '')),
    ]
    assert D.near_duplicates(rows) == {'d': 'a', 'e': 'a'}


def test_exact_duplicates_keep_the_first_answer():
    rows = [qa('a', 'X？'), qa('a', 'Ｘ?'), qa('b', 'X？'), qa('b', 'Y？')]
    assert D.drop_exact(rows) == [rows[0], rows[3]]


# ---- contamination --------------------------------------------------------------------------
SRC = '北極域の気温は、1979年以降、世界平均の約4倍の速さで上昇してきた。'
WIDE = str.maketrans({chr(c): chr(c + 0xFEE0) for c in range(33, 127)})
LEAKS = dict(
    verbatim=SRC,
    ending=SRC.replace('上昇してきた', '上がっている'),
    style='北極域の気温は、1979年以降、世界平均の約4倍の速さで上昇してきました。',
    width=SRC.translate(WIDE),
    spaced=SRC.replace('、', ' 、 '),
    inside='なお、' + SRC + 'この傾向は今後も続く。',
    start='報告書によれば、' + SRC,
    punctuation=SRC.replace('、', '').replace('。', ''),
    cut=SRC[:24],
    both=SRC.translate(WIDE).replace('上昇してきた', '上昇してきました'),
)


@pytest.mark.parametrize('name', LEAKS)
def test_planted_answers_are_caught(name):
    train = [
        qa('別の事実である。', '別？', 'b', 's0'),
        qa(SRC, '北極域の気温について教えてください。', 't', 's1'),
    ]
    assert set(
        contamination(
            train,
            [qa(LEAKS[name]), qa('海は地球の表面のおよそ七割を占めている。', id='clean')],
        )['flagged']
    ) == {'x'}
    polite = [qa(LEAKS['style'], '？', 't', 's1')]
    assert set(contamination(polite, [qa(LEAKS[name])])['flagged']) == {'x'}


@pytest.mark.parametrize(
    'q',
    [
        '北極域の気温について説明してください。',
        '北極域の気温について説明せよ。',
        '北極域の気温について、説明してください',
        '北極域の気温について説明して ください。',
    ],
)
def test_planted_questions_are_caught(q):
    train = [
        qa('答え。', '北極域の気温について説明してください。', source='a'),
        qa('答え。', '南極域の気温について説明せよ。', source='b'),
    ]
    for facts in (True, False):
        assert contamination(train, [qa('関係のない文である。', q)], facts_too=facts)[
            'flagged'
        ] == {'x': 'question'}
    assert contamination(train, [qa('関係のない文である。', '新しい問い', question2=q)])[
        'flagged'
    ] == {'x': 'question'}
    assert contamination(
        train, [qa('関係のない文である。', '南極域の気温について説明してください。')]
    )['flagged'] == {'x': 'question'}


def test_planted_sources_are_caught():
    combined = [QA('c', 'a+b', 'q', '', 'o')]
    assert (
        contamination(combined, [qa('無関係である。', source='b')])['flagged']
        == {'x': 'source'}
        and contamination(combined, [qa('無関係である。', source='c')])['flagged'] == {}
    )


def test_gold_support_is_what_is_compared():
    train = [qa(SRC, '？', 't', 's')]
    assert (
        contamination(train, [qa('約4倍', support=SRC)])['copies'] == 1
        and contamination(train, [qa('約4倍', support='海は広く、そして深い。')])['copies']
        == 0
    )


def test_the_same_fact_in_other_words_is_a_near_copy():
    train = [
        qa(
            '線状降水帯とは、発達した積乱雲が列をなし、'
            '数時間にわたってほぼ同じ場所に強い雨を降らせる雨域である。',
            '？',
            't',
            's',
        )
    ]
    row = qa(
        '線状降水帯は、次々と発生する発達した積乱雲が列をなし、'
        '数時間にわたって同じ場所に大雨を降らせる現象である。'
    )
    found = contamination(train, [row])
    assert (
        found['flagged'] == {'x': 'copy'}
        and contamination(train, [row], near=0.9)['flagged'] == {}
    )
    assert (
        0.1 < contamination(train, [row], near=0.9)['most_13grams'] < 0.4
        and 0.8 < contamination(train, [row], near=0.9)['nearest'] < 0.9
    )


def test_names_are_no_leak():
    train = [
        qa(
            '気候変動に関する政府間パネル（IPCC）は、1988年に設立された国際組織である。',
            '？',
            't',
            's',
        )
    ]
    assert (
        contamination(
            train,
            [
                qa(
                    '気候変動に関する政府間パネル（IPCC）は、'
                    '第6次評価報告書の統合報告書を2023年3月に公表し、'
                    '人間の影響に疑う余地がないと結論した。'
                )
            ],
        )['flagged']
        == {}
    )


def test_leaks_between_sections_are_taken_out(tmp_path):
    "A sentence of a trained section repeated in held-out ones does not stay in the evaluation"
    same = '南極の氷床には、地球の淡水のおよそ七割が氷として蓄えられている。'
    blocks = report()
    for b in blocks:
        if b['role'] == 'body':
            b['text'] += same
    gold = [
        dict(
            question='南極の氷床には地球の淡水のどれほどがあるか。',
            question2='地球の淡水のうち南極の氷床にあるのはどれほどか。',
            answer='およそ七割',
            support=same,
        )
    ]
    ws = workspace(tmp_path, blocks, gold=gold)
    rep = D.run_dataset(ws)
    assert rep['contamination']['unseen']['copies'] > 0 and not any(
        same in r.output for s in ('dev', 'unseen') for r in D.load_rows(ws, s)
    )
    assert [r.extra['seen'] for r in D.load_rows(ws, 'gold')] == [True]


def test_hand_written_questions_outrank_generated_ones(tmp_path):
    q = '東京の気温の観測は、いつ始まりましたか。'
    ws = workspace(
        tmp_path,
        report(),
        gold=[
            dict(
                question=q.replace('いつ始まりましたか', 'いつ始まったか'),
                question2='？',
                answer='1900年',
                support='東京の気温の観測は、1900年に始まった。',
            )
        ],
    )
    D.run_dataset(ws)
    assert D.load_rows(ws, 'gold') and q not in {
        r.instruction for r in D.load_rows(ws, 'train')
    }


# ---- files ----------------------------------------------------------------------------------
def test_same_seed_same_bytes(tmp_path):
    ws = workspace(tmp_path, report())
    told = []
    D.run_dataset(ws, progress=lambda f, m: told.append(f))
    first = digests(ws)
    assert told == sorted(told) and told[-1] == 1.0
    code = (
        "from climate_ft.dataset import *; from climate_ft.workspace "
        f"import Workspace; run_dataset(Workspace({str(tmp_path)!r}))"
    )
    for seed in ('0', '123'):
        subprocess.run(
            [sys.executable, '-c', code],
            check=True,
            env=dict(PYTHONPATH=str(REPO), PYTHONHASHSEED=seed, PATH='/usr/bin:/bin'),
        )
        assert digests(ws) == first
    D.run_dataset(ws, seed=7)
    assert digests(ws) != first


def test_another_document_adds_and_moves_nothing(tmp_path):
    a, b = (
        workspace(tmp_path / 'a', report()),
        workspace(tmp_path / 'b', report('c', extra='深海第二') + report()),
    )
    for ws in (a, b):
        D.run_dataset(ws)
    one, two = (
        {r.id: r.asdict() for r in D.load_rows(ws, 'train') if r.extra['doc'] == 'd'}
        for ws in (a, b)
    )
    assert {k: one[k] for k in two} == two and len(two) > 0.9 * len(one)


@pytest.mark.parametrize(
    'text,said',
    [
        ('English text only, without any Japanese sentence.', 'no question can be made'),
        ('目次', 'no question can be made'),
    ],
)
def test_a_corpus_without_sentences(tmp_path, text, said):
    ws = workspace(tmp_path, [dict(role='body', text=text, page=1)])
    with pytest.raises(CourseError, match=said):
        D.run_dataset(ws)
    assert not ws.path('dataset').exists()


def test_odd_documents_still_give_a_dataset(tmp_path):
    odd = [
        dict(
            role='body',
            doc='plain',
            page=1,
            text='見出しのない文書の本文は、\x00一つの段落だけから\u200bできている。',
        ),
        dict(role='heading', level=1, doc='one', page=1, text='1 海'),
        dict(
            role='body',
            doc='one',
            page=1,
            text='太平洋の面積は、地球の表面のおよそ三分の一を占めている。',
        ),
        dict(role='heading', level=1, doc='mix', page=1, text='１．混在'),
        dict(
            role='body',
            doc='mix',
            page=1,
            text='GOSAT（이부키、いぶき）の観測は２００９年に始まった。'
            'The satellite works. Спутник работает。ﾊﾝｶｸの文字の列も、ここにある。',
        ),
    ]
    ws = workspace(tmp_path, odd)
    rep = D.run_dataset(ws)
    assert rep['rows']['train'] > 0 and {r.extra['doc'] for r in D.load_rows(ws, 'train')} >= {
        'plain',
        'one',
    }
    assert not any(c in r.output for r in D.load_rows(ws, 'train') for c in '\x00\u200b')


@pytest.mark.parametrize(
    'name,row,said',
    [
        ('gold', dict(question='q', answer='a'), "line 1 has no 'support'"),
        ('general', dict(question='q'), "line 1 has no 'answer'"),
    ],
)
def test_incomplete_questions(tmp_path, name, row, said):
    ws = workspace(tmp_path, report(), **{name: [row]})
    with pytest.raises(CourseError, match=said):
        D.run_dataset(ws)


def test_questions_of_another_document_are_set_aside(tmp_path):
    ws = workspace(
        tmp_path, report(), gold=[dict(question='q', answer='a', support='この本にない文。')]
    )
    assert D.run_dataset(ws)['gold'] == dict(seen=0, unseen=0, support_not_found=1)


def test_damaged_files(tmp_path):
    ws = workspace(tmp_path, report())
    with pytest.raises(CourseError, match='climate-ft dataset'):
        D.load_rows(ws, 'train')
    D.run_dataset(ws)
    before = digests(ws)
    with pytest.raises(CourseError, match='figures'):
        D.run_dataset(ws, figures='blur')
    p = ws.path('corpus_chunks')
    whole = p.read_text()
    p.write_text(whole[: len(whole) // 2])
    with pytest.raises(CourseError, match='corpus_chunks.json is damaged'):
        D.run_dataset(ws)
    p.write_text(whole)
    assert digests(ws) == before
    p = ws.path('splits') / 'train.jsonl'
    s = p.read_text()
    p.write_text(s[: len(s) // 2])
    with pytest.raises(
        CourseError, match=r'train.jsonl is damaged at line \d+.*climate-ft dataset'
    ):
        D.load_rows(ws, 'train')


def test_resolving_keeps_more(tmp_path):
    blocks = report()
    for b in blocks[1::6]:
        b['text'] += '図表 3に示すように、全国の気温は上がり続けている。'
    ws = workspace(tmp_path, blocks)
    drop, resolve = (
        D.run_dataset(ws)['figures'],
        D.run_dataset(ws, figures='resolve')['figures'],
    )
    assert drop['removed'] == resolve['referring'] > 0 == resolve['removed']
    assert any('図表「気温の推移」' in r.output for r in D.load_rows(ws, 'train'))


# ---- subset, formats, preview ---------------------------------------------------------------
def test_subset(course):
    train = course['train']
    small = D.subset(train, 48)
    n = Counter(r.source_id for r in small)
    assert (
        len(n) == 48
        and set(n.values()) <= {2, 3}
        and all(len(r.output) <= 60 for r in small)
        and {r.kind for r in small} == {'base', 'template'}
    )
    assert (
        D.subset([r.asdict() for r in train], 48) == [r.asdict() for r in small]
        and D.subset(train, 48, seed=1) != small
    )
    assert {r.source_id for r in D.subset(train, 32)} < set(n) and len(
        D.subset(train, 10**6)
    ) > 1000
    recall = D.limit(course['recall'], small)
    assert {r.source_id for r in recall} == set(n) and not {r.instruction for r in recall} & {
        r.instruction for r in train
    }
    assert len({tuple(r.section) for r in small}) > 30  # from all over the report
    assert sum('アルベド' in r.output for r in D.subset(train, 4, topics=('アルベド',))) >= 4


def test_chat_and_hub_formats(tmp_path):
    ws = workspace(tmp_path, report())
    D.run_dataset(ws)
    D.write_chat(ws)
    rows = read_jsonl(ws.data / 'chat_train.jsonl')
    assert rows[0]['messages'] == [
        dict(role='user', content=(t := D.load_rows(ws, 'train'))[0].instruction),
        dict(role='assistant', content=t[0].output),
    ]
    from datasets import load_from_disk

    D.save_hf(ws)
    d = load_from_disk(str(ws.data / 'hf_dataset'))
    assert d['train'].num_rows == len(t) and d['train'][0]['source_id'] == t[0].source_id
    assert f'| train | {len(t)} |' in (ws.data / 'hf_dataset' / 'README.md').read_text()


def test_preview_escapes():
    c = chunk('<script>は危ない記号の列である。海は広い。', '<b>見出し</b>')
    r = QA(
        'i',
        's',
        '<script>とは何か。',
        '',
        '<script>は危ない記号の列である。',
        section=c.section,
        pages=[1],
        extra=dict(doc='d', start=c.start),
    )
    html = D.preview([r], dict(d='x' * c.start + c.text))
    assert (
        '<script>' not in html
        and '<b>' not in html
        and '<mark>&lt;script&gt;は危ない記号の列である。</mark>' in html
    )


def test_a_hundred_pages_in_half_a_minute():
    r = subprocess.run(
        [sys.executable, str(REPO / 'scripts' / 'bench_dataset.py'), '--one', '100'],
        capture_output=True,
        text=True,
        check=True,
        env=dict(PYTHONPATH=str(REPO), OMP_NUM_THREADS='1', PATH='/usr/bin:/bin'),
    )
    r = json.loads(r.stdout)
    assert r['total_s'] <= 30 and r['train_pairs'] > 5000
