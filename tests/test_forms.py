"""Chapters 05e and 05f: what is asked of a sentence,
what a prompt with passages holds, and what stays out"""

import json
from collections import Counter
import pytest
from climate_ft import dataset as D
from climate_ft import forms as F
from climate_ft import passages as P
from climate_ft.contamination import both_styles, squeeze
from climate_ft.facts import clean_topic
from climate_ft.corpus import document_chunks, load_corpus
from climate_ft.loading import fit_prompt
from climate_ft.models import TINY_KINDS, _tiny_tokenizer
from climate_ft.prompts import encode_rows
from climate_ft.workspace import REPO, QA, Chunk, CourseError, Workspace
from climate_ft.workspace import read_jsonl, write_jsonl


def chunk(text, id='c0', section=('5 雪氷圏', '5.2 海氷の変化')):
    return Chunk(id, 'd', list(section), text, [3], 0, len(text))


def asked(s, **kw):
    return {f.question: f.answer for f in F.sentence_forms(s, **kw)}


@pytest.mark.parametrize(
    's,parts',
    [
        (
            '日本初の静止気象衛星「ひまわり」は1977年7月に打ち上げられ、'
            '台風の監視を大きく前進させた。',
            [
                '日本初の静止気象衛星「ひまわり」は1977年7月に打ち上げられた',
                '日本初の静止気象衛星「ひまわり」は、台風の監視を大きく前進させた',
            ],
        ),
        ('面積は4haであり、今も増えている。', ['面積は4haである', '面積は、今も増えている']),
        ('海は青いが、空も青い。', []),  # too short to stand alone
        (
            '水が凍り、海面を覆った氷を海氷という。',
            ['水が凍り、海面を覆った氷を海氷という'],
        ),  # the verb belongs to a relative clause
        ('図表1に示すように、海氷は毎年減っている。', ['海氷は毎年減っている']),
        ('- 監視：濃度を毎日測る。', ['監視では、濃度を毎日測る']),
    ],
)
def test_clauses(s, parts):
    assert F.clauses(s) == parts


@pytest.mark.parametrize(
    's,values',
    [
        ('だいち2号は1m²当たり約3Wを使い、Sentinel-5Pは第3回に加わった', ['約3W']),
        ('気温は2.5℃から4℃の間で、50%以上は海にある', ['2.5℃から4℃', '50%以上']),
        ('約マイナス19℃になる', ['約マイナス19℃']),
        ('5,000億トンに抑え、8兆円を使う', ['5,000億トン', '8兆円']),
        ('五つのシナリオで予測した', ['五つ']),
        ('2,000年代と1m×3mと第五つの', []),
    ],
)
def test_amounts(s, values):
    assert [a.value for a in F.amounts(s)] == values


@pytest.mark.parametrize(
    's,values',
    [
        ('1988年に設立された', [('いつ', '1988年')]),
        (
            '2003年10月1日に発足し、2030年までに増やす',
            [('いつ', '2003年10月1日'), ('いつ', '2030年')],
        ),
        ('1991年から2020年の平均を上回った', []),
        ('2015年から2019年まで続いた', [('いつからいつまで', '2015年から2019年まで')]),
        ('2024年の気温が高い', []),
    ],
)
def test_dates(s, values):
    assert [(a.word, a.value) for a in F.dates(s)] == values


@pytest.mark.parametrize(
    'p,what',
    [
        ('物理学者ジョン・ティンダル', 'person'),
        ('米国のゴア副大統領', 'person'),
        ('気象庁', 'organisation'),
        ('米国', 'country'),
        ('種子島', 'place'),
        ('種子島宇宙センター', 'place'),
        ('海面水位', 'thing'),
        ('国際研究計画グローバル・カーボン・プロジェクト', 'thing'),
    ],
)
def test_what_a_phrase_names(p, what):
    assert F.what_is(p) == what


def test_an_abbreviation_is_what_it_stands_for():
    assert (
        F.what_is('NASA') == 'thing'
        and F.what_is('NASA', {'NASA': '航空宇宙機関'}) == 'organisation'
    )


def test_a_name_of_one_word_keeps_its_clause():
    s = '締約国は、国が決定する貢献（NDC: Nationally Determined Contribution）を提出する。'
    forms = F.abbreviation_forms(s)
    assert ('definition', 'NDCとは何', '国が決定する貢献') in forms
    assert ('reverse', '国が決定する貢献は何と略される', 'NDC') in forms
    s = '海を測る重力衛星（GRACE: Gravity Recovery and Climate Experiment）は古い。'
    assert ('definition', 'GRACEとは何', '重力衛星') in F.abbreviation_forms(s)


@pytest.mark.parametrize(
    's,q,a',
    [
        ('海氷域面積は、2012年に最小となった。', '海氷域面積が最小となったのはいつ', '2012年'),
        ('海氷域面積は、2012年に最小となった。', '海氷域面積は、いつ最小となった', '2012年'),
        ('加盟国の数は、全部で23か国である。', '加盟国の数は、全部で何か国である', '23か国'),
        (
            '米国は1960年4月に、世界初の気象衛星タイロス1号を打ち上げた。',
            '米国が1960年4月に打ち上げた世界初の気象衛星は何',
            'タイロス1号',
        ),
        (
            'スウェーデンの化学者スヴァンテ・アレニウスは1896年に、気温の上昇を計算で示した。',
            '1896年に、気温の上昇を計算で示したスウェーデンの化学者は誰',
            'スヴァンテ・アレニウス',
        ),
        (
            'データ同化とは、観測値とモデルの計算結果を組み合わせる手法である。',
            'データ同化とは何',
            '観測値とモデルの計算結果を組み合わせる手法',
        ),
        (
            'データ同化とは、観測値とモデルの計算結果を組み合わせる手法である。',
            '観測値とモデルの計算結果を組み合わせる手法を何という',
            'データ同化',
        ),
        (
            '国連環境計画（UNEP: United Nations Environment Programme）は、毎年報告書を出す。',
            'UNEPとは何',
            '国連環境計画',
        ),
        (
            '国連環境計画（UNEP: United Nations Environment Programme）は、毎年報告書を出す。',
            '国連環境計画は何と略される',
            'UNEP',
        ),
        (
            '- ALOS（Advanced Land Observing Satellite）：陸域観測技術衛星（だいち）',
            'ALOSは何の略',
            'Advanced Land Observing Satellite',
        ),
        (
            '合成開口レーダが夜間でも地表を観測できるのは、'
            '自ら電波を出して反射を受けるためである。',
            '合成開口レーダが夜間でも地表を観測できるのはなぜ',
            '自ら電波を出して反射を受けるため',
        ),
    ],
)
def test_questions(s, q, a):
    assert asked(s).get(q) == a


@pytest.mark.parametrize(
    's',
    [
        'これは1988年に設立された機関である。',
        'この衛星は、2014年5月に打ち上げられた。',
        '同じ期間の経済損失の合計は3.64兆ドルに達した。',
        '図表40は、その増加の様子を示している。',
        'はい。',
        '、。',
    ],
)
def test_nothing_is_asked_that_leans_on_another_sentence(s):
    assert asked(s) == {}


def test_no_question_gives_its_answer_away_and_every_short_answer_is_in_the_text():
    _, chunks = load_corpus(Workspace(REPO))
    text = {c.id: clean_topic(c.text) for c in chunks}
    rows, held = F.question_rows(chunks)
    assert len(rows) > 4000 and len(held) > 80
    for r in rows + held:
        assert squeeze(r.output) not in squeeze(r.instruction)
        assert r.output in text[r.extra['chunk']] or r.extra['shape'] in ('what', 'why'), (
            r.instruction,
            r.output,
        )
        assert not F.leans(r.instruction)


def test_sections_name_what_a_clause_leaves_open():
    s = '面積は、2012年に最小となった。'
    assert '海氷の変化について、面積は、いつ最小となった' in asked(
        s, title='海氷の変化'
    ) and '面積は、いつ最小となった' in asked(s)
    assert not any(
        q.startswith('海氷の変化')
        for q in asked('海氷域面積は、2012年に最小となった。', title='海氷の変化')
    )


@pytest.mark.parametrize(
    'q,register,text',
    [
        ('加盟国は何か国である', 'polite', '加盟国は何か国ですか。'),
        ('海面は何m上昇した', 'polite', '海面は何m上昇しましたか。'),
        ('海面は何m上昇した', 'casual', '海面は何m上昇したの？'),
        ('それを何という', 'tell', 'それを何というか教えて。'),
        ('発足したのはいつ', 'casual', '発足したのはいつ？'),
        ('値は何mであった', 'polite', '値は何mでしたか。'),
        ('2019年に何を引き継いだ', 'casual', '2019年に何を引き継いだの？'),
        ('Xは何の略', 'order', 'Xは何の略か答えよ。'),
        ('アルベドとは何', 'casual', 'アルベドって何？'),
    ],
)
def test_registers(q, register, text):
    assert F.askings(q)[register] == text


def test_the_held_out_wording_is_never_trained():
    text = ''.join(
        f'{p}の観測所は、{1950 + i}年に開設された。{p}の標高は約{i + 3}mである。'
        for i, p in enumerate('札幌 仙台 大阪 広島 福岡 那覇'.split())
    )
    rows, held = F.question_rows([chunk(text)], hold=1.0)
    assert held and all(r.instruction.endswith('か分かりますか。') for r in held)
    assert not any(r.instruction.endswith('か分かりますか。') for r in rows) and not {
        r.instruction for r in rows
    } & {r.instruction for r in held}
    assert F.question_rows([chunk(text)], hold=0.0)[1] == []
    assert {r.output for r in held} <= {
        r.output for r in rows
    }  # what is examined is trained, in another form


def test_gaps_text_and_coverage():
    c = chunk(
        '海氷域面積は、2012年に最小となった。しかし、それは続かなかった。'
        '\n図表3は、その様子を示す。\n- 参考文献, 2020'
    )
    rows, _ = F.question_rows([c], hold=0.0)
    gaps, text = F.gap_rows(rows, [c]), F.text_rows([c])
    assert [r.instruction.split('\n')[1].replace('〔　〕', r.output) for r in gaps] == [
        '海氷域面積は、2012年に最小となった。'
    ]
    assert [(r.instruction.split('\n')[-1], r.output) for r in text][:1] == [
        ('海氷域面積は、2012年に最小となった。', 'それは続かなかった。')
    ]
    got = F.coverage([c], rows + text)
    assert (got['sentences'], got['short'], got['covered']) == (4, 1, 2)
    assert got['left'] == {
        'speaks of a figure': ['図表3は、その様子を示す。'],
        'no whole sentence (a reference, a label)': ['- 参考文献, 2020'],
    }


def test_questions_of_the_examination_stay_out():
    rows = [
        QA(str(i), 's', q, '', 'x')
        for i, q in enumerate(
            (
                '海氷が最小となったのはいつですか。',
                '海氷が最小となったのはいつか。',
                '氷床が失った質量はどのくらいですか。',
            )
        )
    ]
    kept, report = F.apart(rows, ['海氷が最小になったのはいつか。'])
    assert (
        [r.id for r in kept] == ['2']
        and report['removed'] == 2
        and report['nearest']['ratio'] < 85
        and report['nearest']['trained'] == rows[2].instruction
    )
    assert F.apart(rows, []) == (rows, dict(removed=0, nearest=None))


# ---- passages -------------------------------------------------------------------------------
TOWNS = '札幌 仙台 東京 大阪 広島 福岡 那覇 金沢'.split()


def towns():
    return [
        chunk(
            f'{p}の観測所は、{1950 + 7 * i}年に開設された。'
            f'{p}の標高は約{11 * i + 3}mである。{p}では雪も測る。',
            f'c{i}',
            ('1 観測所', f'1.{i} {p}'),
        )
        for i, p in enumerate(TOWNS)
    ]


def test_passages_hold_the_answer_among_others_and_refusals_do_not():
    chunks = towns()
    rows, _ = F.question_rows(chunks, hold=0.0)
    got = P.passage_rows(rows, chunks, refusals=0.3, counts=(1, 2, 3))
    n = Counter(r.kind for r in got)
    assert n['passage'] > 2 * n['refusal'] > 10
    for r in got:
        passages = r.input.split('\n\n')
        assert (
            all(any(p in c.text for c in chunks) for p in passages) and 1 <= len(passages) <= 3
        )
        if r.kind == 'passage':
            assert r.output in r.input
        else:
            assert (
                r.output == P.REFUSAL and r.extra['answer'].removeprefix('約') not in r.input
            )
    places = Counter(
        r.input.split('\n\n').index(next(p for p in r.input.split('\n\n') if r.output in p))
        for r in got
        if r.kind == 'passage' and r.input.count('\n\n') == 2
    )
    assert min(places[k] for k in range(3)) > 0.15 * sum(
        places.values()
    )  # the right one stands anywhere
    assert [r.id for r in got] == [
        r.id for r in P.passage_rows(rows, chunks, refusals=0.3, counts=(1, 2, 3))
    ]


def asked_twice(**how):
    chunks = towns()
    rows, _ = F.question_rows(chunks, hold=0.0)
    return rows, P.passage_rows(rows, chunks, refusals=0.3, **how)


def test_in_contrast_a_question_is_refused_and_answered():
    rows, got = asked_twice(contrast=True)
    n = Counter((r.source_id, r.instruction, r.kind) for r in got)
    assert {k[:2] for k in n if k[2] == 'passage'} == {
        (r.source_id, r.instruction) for r in rows
    }
    refused = [r for r in got if r.kind == 'refusal']
    assert 0.2 * len(rows) < len(refused) < 0.4 * len(rows)
    assert len({r.id for r in got}) == len(got)


def test_a_question_is_drawn_among_other_passages_each_time():
    rows, got = asked_twice(draws=3, contrast=True, counts=(3,))
    inputs = {}
    for r in got:
        if r.kind == 'passage':
            assert r.output in r.input
            inputs.setdefault(r.instruction, []).append(r.input)
    assert {len(v) for v in inputs.values()} == {3}
    assert sum(len(set(v)) == 3 for v in inputs.values()) > 0.9 * len(inputs)
    assert len({r.id for r in got}) == len(got)


def test_a_near_miss_shows_the_text_around_the_answer_without_it():
    rows, got = asked_twice(near=1.0)
    own = {c.id: c.text for c in towns()}
    refused = [r for r in got if r.kind == 'refusal']
    assert len(refused) > 5
    for r in refused:
        parts = r.input.split('\n\n')
        assert all(r.extra['answer'].removeprefix('約') not in p for p in parts)
        kept = own[r.extra['chunk']].split('。')[-2] + '。'  # …では雪も測る。
        asked = r.extra['answer'] in kept
        assert asked or any(kept in p for p in parts), (r.instruction, r.input)


def test_a_quotation_holds_the_answer_and_stands_in_the_passages():
    rows, got = asked_twice(quote=True)
    for r in got:
        quote, _, said = r.output.removeprefix('文章に「').partition(P.QUOTED)
        assert quote in r.input
        assert said == P.REFUSAL or said in quote
    assert {r.kind for r in got} == {'passage', 'refusal'}
    texts, q = (
        ['観測所の開設は古い。\nそれは1950年である。', '雪も測る。'],
        '観測所の開設は何年か。',
    )
    assert P.quoted('1950年', texts, q) == '文章に「それは1950年である」とあります。1950年'
    assert P.quoted(P.REFUSAL, texts, q).startswith('文章に「観測所の開設は古い」')


def test_training_and_asking_show_the_same_tokens():
    tok, q = _tiny_tokenizer(next(iter(TINY_KINDS))), '那覇の観測所はいつ開設されましたか。'
    text = P.context([t for _, t in P.found(q, P.Retriever(towns()))])
    assert text.count('\n\n') == 1
    row = dict(id='a', instruction=q, input=text, output='1999年')
    (trained,), _ = encode_rows(tok, [row])
    asked, whole = fit_prompt(tok, q, text, 4096)
    n = len(asked)
    assert whole and list(trained['input_ids'][:n]) == list(asked)
    assert set(trained['labels'][:n]) == {-100} and trained['labels'][n] != -100


def test_one_chunk_has_nothing_to_refuse_with():
    c = towns()[:1]
    rows, _ = F.question_rows(c, hold=0.0)
    assert {r.kind for r in P.passage_rows(rows, c, refusals=1.0)} == set() and {
        r.kind for r in P.passage_rows(rows, c, refusals=0.0)
    } == {'passage'}


def test_the_page_that_is_cited_holds_the_answer():
    find = P.Retriever(towns())
    got = P.found('那覇の観測所はいつ開設されましたか。', find, 3)
    assert (
        P.cited('1992年です。', got).id == 'c6'
        and P.cited('仙台の標高は約14mである。', P.found('仙台の標高は？', find, 3)).id == 'c1'
    )


def test_passages_begin_with_a_sentence():
    c = chunk('雪は白い。' * 20 + '氷床は厚さが3,000mに達する。' + '海は青い。' * 20)
    assert P.passage(c, '氷床の厚さは何mか。', 40).startswith(
        ('氷床', '雪は白い。')
    ) and '3,000m' in P.passage(c, '氷床の厚さは何mか。', 40)
    assert (
        P.passage(c, '氷床', 10**4) == c.text
        and len(P.passage(chunk('文のない長い表' * 50), '表', 100)) <= 100
    )


def test_general_pairs_stay_apart_from_the_general_questions():
    asked = [q['question'] for q in read_jsonl(REPO / 'documents' / 'general_questions.jsonl')]
    pairs = P.general_pairs()
    assert len(pairs) >= 900 and len({squeeze(r.instruction) for r in pairs}) == len(pairs)
    kept, report = F.apart(pairs, asked)
    reserved = {w for q in asked for w in both_styles(q)}
    assert (
        len(kept) > 0.9 * len(pairs)
        and not any(squeeze(r.instruction) in reserved for r in kept)
        and report['nearest']['ratio'] < 85
    )


# ---- the course's data, and a document of one's own -----------------------------------------
@pytest.fixture(scope='module')
def built():
    ws = Workspace(REPO)
    _, chunks = load_corpus(ws)
    sides = D.split_sections(chunks)
    sets = {s: D.load_rows(ws, s) for s in ('train', 'gold', 'general')}
    asked = [
        q
        for s in ('gold', 'general')
        for r in sets[s]
        for q in (r.instruction, r.extra.get('question2'))
        if q
    ]
    known = [c for c in chunks if sides[D.unit_of(c)] == 'train']
    return known, asked, *P.build_forms(known, sets['train'], asked)


def test_the_report_in_proportion(built):
    known, asked, rows, held, report = built
    n = Counter(r.kind for r in rows)
    assert set(n) == {
        'short',
        'reverse',
        'definition',
        'cloze',
        'text',
        'casual',
        'passage',
        'refusal',
        'general',
    }
    assert (
        n['passage'] > 4000
        and 0.08 < n['refusal'] / (n['passage'] + n['refusal']) < 0.16
        and 0.05 <= n['general'] / (len(rows) + 4444) <= 0.1
    )
    assert len({r.id for r in rows}) == len(rows) and len(
        {(r.instruction, r.input, r.output) for r in rows}
    ) > 0.97 * len(rows)
    assert set(report['coverage']['left']) <= {
        'no whole sentence (a reference, a label)',
        'speaks of a figure',
    }
    assert report['coverage']['short'] > 0.65 * report['coverage']['sentences']
    ids = {c.id for c in known}
    assert all(
        r.extra['chunk'] in ids for r in rows if r.extra.get('chunk')
    )  # nothing of a held-out section


def test_no_trained_question_is_one_of_the_examination(built):
    known, asked, rows, held, report = built
    reserved = {w for q in asked for w in both_styles(q)} | {
        squeeze(r.instruction) for r in held
    }
    assert not any(squeeze(r.instruction) in reserved for r in rows if r.kind != 'text')
    assert (
        report['examination']['removed'] > 0
        and report['examination']['nearest']['ratio'] <= 85
    )
    assert not {squeeze(r.instruction) for r in held} & {
        w for q in asked for w in both_styles(q)
    }


def test_of_ones_own_document_everything_is_trained_and_wordings_are_held_out(tmp_path):
    from climate_ft.corpus import run_corpus
    from climate_ft.workspace import CourseError, read_json, write_json, write_jsonl

    blocks = []
    for i, p in enumerate(TOWNS):
        blocks += [
            dict(doc='own', page=i + 1, role='heading', level=1, text=f'{i + 1} {p}'),
            dict(
                doc='own',
                page=i + 1,
                role='body',
                text=f'{p}の観測所は、{1950 + 7 * i}年に開設された。{p}の観測所の標高は、'
                f'約{11 * i + 3}mである。{p}の観測所では、雪の深さも測っている。',
            ),
        ]
    ws = Workspace(tmp_path)
    write_json(ws.path('cleaned_blocks'), dict(blocks=blocks, captions=[]))
    for n in ('gold', 'general'):
        write_jsonl(ws.documents / f'{n}_questions.jsonl', [])
    run_corpus(ws)
    report = D.run_dataset(ws, hold_out='wordings', mix=P.Mix(hold=1.0))
    sets = {
        s: D.load_rows(ws, s) for s in ('train', 'forms', 'dev', 'recall', 'unseen', 'short')
    }
    assert (
        report['facts'] == dict(train=report['facts']['train'], dev=0, test=0)
        and sets['unseen'] == []
    )
    assert {
        p
        for p in TOWNS
        for r in sets['train'] + sets['forms']
        if p in r.output + r.instruction
    } == set(TOWNS)
    asked = sets['short'] + sets['dev']
    assert (
        sets['dev']
        and len(sets['short']) >= 8
        and any(r.instruction.endswith('か分かりますか。') for r in asked)
    )
    assert {r.output for r in asked} <= {r.output for r in sets['forms']}
    assert not {r.instruction for r in asked} & {r.instruction for r in sets['forms']}
    first, *rest = D.told(report)
    assert (
        first.startswith(f"{report['facts']['train']} facts")
        and f"{len(sets['short'])} short questions are held out" in first
        and rest == []
    )
    assert read_json(ws.path('dataset_report'))['hold_out'] == 'wordings'
    held = D.run_dataset(ws, hold_out='sections')
    assert held['facts']['test'] > 0 and D.load_rows(ws, 'unseen')
    with pytest.raises(CourseError, match='hold_out'):
        D.run_dataset(ws, hold_out='pages')


def test_a_small_training_reads_and_refuses_too():
    chunks = towns()
    rows, _ = F.question_rows(chunks, hold=0.0)
    every = [vars(r) for r in rows + P.passage_rows(rows, chunks, refusals=0.3)]
    known = {r['source_id'] for r in every if r['extra']['chunk'] in ('c0', 'c1', 'c2')}
    few = P.select_forms(every, known, 20)
    n = Counter(r['kind'] for r in few)
    assert (
        len(few) == 20
        and n['refusal'] == 1
        and n['passage'] == 12
        and few == P.select_forms(every, known, 20)
    )
    assert {r['extra']['chunk'] for r in few if r['kind'] != 'refusal'} <= {'c0', 'c1', 'c2'}
    assert P.select_forms(every, known) == every


def test_the_demo_trains_questions_with_passages_of_trained_sections_only(built, tmp_path):
    from climate_ft.pipeline import resolve_config
    from climate_ft.profiles import training_data
    from climate_ft.prompts import family
    from climate_ft.models import tiny_base, load_tokenizer

    known, _, forms, *_ = built
    ws, tok = Workspace(tmp_path), load_tokenizer(tiny_base())
    for name in ('train', 'dev'):
        rows = [vars(r) for r in D.load_rows(Workspace(REPO), name)]
        write_jsonl(ws.path('splits') / f'{name}.jsonl', rows)
    write_jsonl(ws.path('splits') / 'forms.jsonl', [vars(r) for r in forms])
    data = training_data(resolve_config('cpu'), ws, tok)
    n = Counter(r['kind'] for r in data['rows'])
    assert (n['base'], n['template'], n['passage'], n['refusal']) == (40, 40, 90, 10)
    assert sum(n[k] for k in ('short', 'definition', 'reverse')) == 50
    assert all(r['output'] == P.REFUSAL for r in data['rows'] if r['kind'] == 'refusal')
    end = tok.convert_tokens_to_ids(family(tok)[1])
    assert {e['labels'][-1] for e in data['examples']} == {end}  # an answer ends
    trained = {c.id for c in known}
    about = {r['source_id'].rpartition('.')[0] for r in data['rows'] if r['kind'] != 'refusal'}
    assert about and about <= trained
    alone = training_data(resolve_config('cpu', sets=['forms=false']), ws, tok)
    assert {r['kind'] for r in alone['rows']} == {'base', 'template'}


def test_one_wording_of_each_short_question_is_kept_for_asking():
    chunks = towns()
    rows, _ = F.question_rows(chunks, hold=0.0)
    every = rows + P.passage_rows(rows, chunks, refusals=0.3)
    left, kept = P.keep_wordings(every)
    asked = {r.instruction for r in kept}
    assert kept and not asked & {r.instruction for r in left}
    assert {(r.source_id, r.output) for r in kept} <= {(r.source_id, r.output) for r in left}
    assert all(r.input == '' and r.kind == 'asked' for r in kept)
    assert len(left) + sum(r.instruction in asked for r in every) == len(every)
    assert len(P.keep_wordings(every, most=3)[1]) == 3
    once = [r for r in every if r.id.endswith('short0pol')]
    assert P.keep_wordings(once) == (once, [])


def test_all_forms_of_a_short_document_may_be_drawn():
    rows, _ = F.question_rows(towns(), hold=0.0)
    every = [vars(r) for r in rows]
    assert len(P.select_forms(every, set(), 30)) == 0
    assert len(P.select_forms(every, None, 30)) == 30


@pytest.mark.parametrize(
    's,question,answer',
    [
        ('町の計画は、令和3年3月に定められた。', '町の計画は、いつ定められた', '令和3年3月'),
        (
            '海面高度計は、海面全体の高さの変化を測る。',
            '海面高度計は、何を測る',
            '海面全体の高さの変化',
        ),
        ('温室効果ガス観測衛星「しずく」（GCOM-W）は動く。', 'しずくの別名は何', 'GCOM-W'),
    ],
)
def test_what_a_person_would_ask(s, question, answer):
    assert asked(s)[question] == answer


@pytest.mark.parametrize(
    's,bad',
    [
        ('応急給水の目標は1人1日3リットルとされている。', '何人1日'),
        ('酸素の要求量は令和4年に1.2mg/Lまで下がった。', '何mg/L'),
        ('貸出の数は、感染症の影響を受けた2020年に大きく落ち込んだ。', '受けたいつ'),
        ('広域化には、費用の節減と人材の確保という二つの効果が期待される。', 'という何'),
        ('応急給水の車両は、県と市町村を合わせて86台ある。', 'どこを合わせて'),
        ('会を支えるのは、町に住む46人のボランティアである。', 'ボランティアは何'),
        (
            '法定の耐用年数である40年を超えた管路の割合は、平成30年に24.1％となった。',
            '耐用年数は何',
        ),
        ('国際観測の仕組みは、気候の監視に必要な観測を調整する。', '監視に何を'),
    ],
)
def test_what_nobody_would_ask(s, bad):
    assert not [q for q in asked(s) if bad in q]


def test_what_is_not_covered_is_listed_with_place_and_reason():
    text = (
        '海氷域面積は、2012年に最小となった。\n図表3に、海氷の面積を示す。\n- JAXA, 海氷, 2024'
    )
    c = Chunk('d-1', 'd', ['1 海', '1.1 海氷'], text, [4, 5], 0, len(text))
    rows, _ = F.question_rows([c])
    left, n, short = F.uncovered([c], rows)
    assert (n, short) == (3, 1)
    assert [(o['why'], o['sentence'], o['pages'], o['section'][-1]) for o in left] == [
        ('speaks of a figure', '図表3に、海氷の面積を示す。', [4, 5], '1.1 海氷'),
        ('no whole sentence (a reference, a label)', '- JAXA, 海氷, 2024', [4, 5], '1.1 海氷'),
    ]
    assert F.coverage([c], rows)['covered'] == 1


def test_the_nearest_trained_question_may_be_near_the_second_wording():
    def row(id, question, **extra):
        return QA(id, id, question, '', '', 'short', extra=extra)

    trained = [row('t1', '海氷とは何ですか。'), row('t2', '氷床とは何ですか。')]
    asked = [
        row('g1', '雪とは？', question2='氷床とは何か。'),
        row('g2', '海氷とは何ですか？'),
    ]
    got = F.distances(asked, trained)
    assert [(o['id'], o['trained']) for o in got] == [
        ('g2', '海氷とは何ですか。'),
        ('g1', '氷床とは何ですか。'),
    ]
    assert got[0]['ratio'] == 100 > got[1]['ratio'] > 60
    assert F.distances(asked, []) == F.distances([], trained) == []


@pytest.mark.parametrize(
    's,question,answer',
    [
        (
            '深い湖の底に住む魚は、岸辺の水草を食べます。',
            '深い湖の底に住む魚は、何を食べる',
            '岸辺の水草',
        ),
        (
            '町立図書館は、2015年に新しい検索システムを導入しました。',
            '町立図書館が新しい検索システムを導入したのはいつ',
            '2015年',
        ),
        (
            '町立図書館は、2015年に新しい検索システムを導入しました。',
            '2015年に新しい検索システムを導入したのは何',
            '町立図書館',
        ),
    ],
)
def test_a_polite_sentence_is_asked_about_in_the_plain_style(s, question, answer):
    forms = asked(s)
    assert forms[question] == answer
    for q in forms:
        assert not any(w in q for w in ('ます', 'ました', 'でしょう')), q
        assert 'ますの' not in F.askings(q)['casual']


@pytest.mark.parametrize(
    's',
    [
        '町立図書館の新館は、2030年に完成する最大の施設だといえるでしょう。',
        '町立図書館の新館で、2030年に地域の歴史を学びましょう。',
        '早朝に新聞社の記者が港の倉庫を調べていたところ、白い煙が上がった。',
    ],
)
def test_what_supposes_invites_or_tells_a_story_is_not_asked_about(s):
    assert asked(s) == {}


@pytest.mark.parametrize(
    's,bad',
    [
        ('町では、農家への補助金を、県の名簿を使う方法で支払う例が多い。', '補助金を、何'),
        ('非常に多くの来館者が館内の展示を見た。', '非常に何'),
        ('町立博物館が、住民の声を生かす展示を作った。', '博物館が、何を'),
        ('町の北小学校は1920年に開校したが、1950年に両校が合併した。', '両校が合併したのは'),
        ('町の公式な記念日とはならないことに注意が必要な特別開館日である。', '記念日とは何'),
        ('町の広場には35~36機の風車がある。', '35~何機'),
        ('町の博物館は、さまざまな課題を抱えている。', '何を抱えて'),
        ('町の健診では40歳から5年毎の検査が続く。', '何年から何年'),
        ('向こう10年は、川沿いで続く橋の工事を見守る。', '見守るのは何'),
    ],
)
def test_no_question_is_torn_out_of_its_clause(s, bad):
    assert not [q for q in asked(s) if bad in q]


def test_under_a_heading_that_names_nothing_a_question_is_specific():
    for s in (
        '学校は、新しい校舎で分散教育を始めた。',
        '卒業生は、新しい校舎で写真を撮った。',
    ):
        assert asked(s)
        assert asked(s, bare_title=True) == {}
    assert asked('折尾中央学校は、新しい校舎で分散教育を始めた。', bare_title=True)


@pytest.mark.parametrize(
    's,questions',
    [
        # a phrase is not begun behind または, nor does it hold the subject of the sentence
        ('収集の日は水曜日で、透明または半透明の45リットル以下の袋を使用します。', '半透明の'),
        (
            '前処理部では、活性炭フィルターが水道水に含まれる残留塩素を除去します。',
            '活性炭フィルターが',
        ),
    ],
)
def test_an_answer_is_a_whole_phrase(s, questions):
    assert not [a for a in asked(s).values() if a.startswith(questions)]


@pytest.mark.parametrize(
    's,no',
    [
        ('次期の業績は、売上高720億円、営業利益78億円を見込んでいます。', '営業利益見込'),
        (
            '鉄道は架線を維持する必要が生じたわけだが、これが正しい選択かはわからない。',
            'わけだの',
        ),
        ('次期の設備投資額は55億円を計画しており、増設に充てます。', 'しておる'),
        ('今後は新しい技術で産業の変革を目指してまいります。', 'まいる'),
        ('AIは、より効果的なモデリングを毎年サポートしています。', 'より何'),
        ('利用者は、事業者に対して次の情報を求めることが望ましい。', '次の'),
        ('つまり、組織は自らの事業を間接的に運営している。', 'つまり'),
        (
            'AIが研究に与える影響は大きく、論文の投稿の規則にも変化をもたらしている。',
            '大きく、論文',
        ),
        (
            'AIにより文書を執筆することはできますが、雑誌の出版社は認めていません。',
            'ことはできる',
        ),
        (
            '知事は設立を考えていたが、非沿線自治体の不参加は残念と答弁、決着を示唆している。',
            '残念と答弁',
        ),
        ('令和8年度の予算額は450万円で、予算額に達した時点で受付を終了します。', '450万円で'),
        ('市は答申を受け、9月の市議会で関係条例の改正が可決されました。', '市は、9月'),
        (
            'ごみの約22パーセントを紙類が占めており、活用できるものが多く捨てられています。',
            '何パーセントを',
        ),
        (
            '医療の領域で支援技術が導入されると予想される中、本県の病院も準備を始めた。',
            '何が導入',
        ),
    ],
)
def test_no_question_of_half_a_statement(s, no):
    assert not [q for q in asked(s) if no in q]


def test_humble_forms_and_what_is_done_are_put_plainly():
    said = F.clauses('次期の投資額は55億円を計画しており、工場の増設に充てます。')
    assert said[0] == '次期の投資額は55億円を計画している'
    said = F.clauses('市は答申を受け、9月の市議会で条例の改正が可決されました。')
    assert said[1] == '9月の市議会で条例の改正が可決された'


@pytest.mark.parametrize(
    'phrase,what',
    [
        ('投資活動によるキャッシュ・フロー', 'thing'),
        ('コーポレート・ガバナンス', 'thing'),
        ('ジョン・ティンダル', 'person'),
        ('トヨタ・リサーチ・インスティテュート', 'thing'),
        ('米国科学工学医学アカデミー', 'organisation'),
    ],
)
def test_what_a_name_names(phrase, what):
    assert F.what_is(phrase) == what


def test_a_centre_that_is_a_plant_is_a_place():
    s = '市内で唯一の焼却施設である北原クリーンセンターは、平成9年に稼働を始めました。'
    assert (
        asked(s)['平成9年に稼働を始めた市内で唯一の焼却施設はどこ'] == '北原クリーンセンター'
    )


@pytest.mark.parametrize('p', ['本装置', '当該基盤保有事業者', '主電源が入っている間'])
def test_what_points_elsewhere_is_no_answer(p):
    assert not F.is_answer(p)


def test_the_number_of_a_footnote_is_no_part_of_a_question():
    s = '米国のアカデミーは、2023年に国際ワークショップを開催し4、方策を議論しました5。'
    assert F.clauses(s)[0] == '米国のアカデミーは、2023年に国際ワークショップを開催した'
    assert not F.abbreviations('モデルは、多重の配列の情報（MSA5）を読む。')
    assert not F.abbreviations('機械ベース（machine-based）の方法を使う。')
    s = '放射計3（AMSR3）は衛星に載る。'
    assert F.abbreviations(s) == [('AMSR3', '放射計3', '')]


def test_the_name_of_a_long_section_is_no_prefix():
    text = 'お盆などの休暇の際は、7日以内に返事をするのが難しい。'
    c, far = (
        chunk(text, 'c0', ('攻撃の容易さ',)),
        chunk('別の文である。', 'c1', ('攻撃の容易さ',)),
    )
    near = F.question_rows([c], hold=0)[0]
    assert near and all(r.instruction.startswith('攻撃の容易さについて、') for r in near)
    far.pages = [9]
    rows = F.question_rows([c, far], hold=0)[0]
    assert rows and not [r for r in rows if '攻撃の容易さ' in r.instruction]


def test_a_piece_of_a_sentence_gives_no_question():
    said = '第2回の協議の場で、JR九州は第三セクター化の試算を公表した。'
    assert F.question_rows([chunk(said)], hold=0)[0]
    assert not F.question_rows([chunk('の、' + said)], hold=0)[0]


# ---- questions that people wrote about other texts ------------------------------------------

GLACIER = '氷河は雪が押し固まった氷の流れである。その氷は1年に数mから数百m動く。'


def squad(folder, paragraphs, name='a.json'):
    p = folder / name
    shown = [dict(context=c, qas=qas) for c, qas in paragraphs]
    p.write_text(json.dumps(dict(data=[dict(title='t', paragraphs=shown)])), encoding='utf-8')
    return p


def wrote(question, *answers, **more):
    return dict(question=question, answers=[dict(text=a) for a in answers], **more)


def test_other_peoples_questions_are_read_with_their_paragraph(tmp_path):
    ice = wrote('氷の流れのことを何と呼ぶ?', '氷河', '氷の流れ', id='x1')
    none = wrote('氷河は何色?', is_impossible=True)  # SQuAD 2.0
    squad(tmp_path, [(f'氷河 [SEP] {GLACIER}', [ice, none])])
    squad(
        tmp_path,
        [(TEXT := '海氷は海水が凍ったもの。', [wrote('何が凍る?', '海水')])],
        'b.json',
    )
    (tmp_path / 'readme.txt').write_text('no set')
    rows = P.practice_rows(P.practice_files(tmp_path), [], refusals=0)
    assert {(r.instruction, r.output, r.kind) for r in rows} == {
        (ice['question'], '氷河', 'passage'),
        ('何が凍る?', '海水', 'passage'),
    }
    assert {'practice/x1+', 'practice/1/0/0+'} == {r.id for r in rows}
    by = {r.output: r for r in rows}
    assert GLACIER in by['氷河'].input and '[SEP]' not in by['氷河'].input
    assert TEXT in by['海水'].input


def test_a_refusal_of_the_practice_sees_the_paragraph_without_the_sentence(tmp_path):
    p = squad(tmp_path, [(GLACIER, [wrote('氷は1年にどれだけ動く?', '数mから数百m')])])
    (r,) = P.practice_rows([p], [], refusals=1.0, near=1.0)
    assert (r.kind, r.output) == ('refusal', P.REFUSAL)
    assert r.input == '氷河は雪が押し固まった氷の流れである。'


def test_the_practice_keeps_apart_from_the_examination_and_draws_evenly(tmp_path):
    many = [
        (f'第{i}号機は{i}年に飛んだ。', [wrote(f'第{i}号機が飛んだのは?', f'{i}年')])
        for i in range(60)
    ]
    p = squad(tmp_path, [*many, (GLACIER, [wrote('氷河は何の流れですか。', '氷の流れ')])])
    asked = ['氷河は何の流れですか。']
    rows = P.practice_rows([p], asked, most=61, refusals=0)
    assert len(rows) == 60 and not [r for r in rows if r.instruction in asked]
    some = P.practice_rows([p], asked, most=20, refusals=0)
    assert len(some) in (19, 20) and some == P.practice_rows([p], asked, most=20, refusals=0)
    assert max(int(r.output[:-1]) for r in some) > 30  # not the first ones


@pytest.mark.parametrize(
    'content,words',
    [
        (
            '{"data": [{"paragraphs": [{"qas": []}]}]}',
            'data.1.paragraphs.1.context is missing',
        ),
        ('[1]', 'is not in the format of SQuAD'),
        ('{"data": []}', 'no question has its answer'),
        ('{"data": [{"paragraphs": [{"context": "😀", "qas": []}]}]}', 'no question has'),
        ('{', 'a.json'),
    ],
)
def test_files_that_are_no_set_are_named(tmp_path, content, words):
    p = tmp_path / 'a.json'
    p.write_text(content)
    with pytest.raises(CourseError) as e:
        P.practice_rows(P.practice_files(p), [])
    assert words in str(e.value) and '\n' not in str(e.value)


def test_an_answer_that_is_not_in_its_paragraph_is_left_out(tmp_path):
    p = squad(
        tmp_path,
        [(GLACIER, [wrote('何?', '海'), wrote('誰?', ''), wrote('流れ?', '氷の流れ')])],
    )
    assert [r.output for r in P.practice_rows([p], [], refusals=0)] == ['氷の流れ']


def test_odd_entries_of_a_set_are_left_out(tmp_path):
    good = wrote('氷の流れは?', ' 氷河\n', id=7)
    odd = [wrote(' ', '氷河'), wrote('？？', '氷河'), wrote('何?', ' '), wrote('何?', '、')]
    odd.append(wrote('氷河の色は?', '雪', is_impossible=True))
    squad(tmp_path, [(GLACIER, [good, *odd]), ('？！', [])], 'B.JSON')
    (tmp_path / '._B.json').write_bytes(b'\0\5')
    (tmp_path / 'c.json').mkdir()
    (tmp_path / 'd.json').symlink_to(tmp_path / 'nowhere')
    (r,) = P.practice_rows(P.practice_files(tmp_path), [], refusals=0)
    assert (r.id, r.output, r.input) == ('practice/7+', '氷河', GLACIER)


def test_the_practice_quotes_where_the_document_does(tmp_path):
    p = squad(tmp_path, [(GLACIER, [wrote('流れ?', '氷の流れ')])])
    (r,) = P.practice_rows([p], [], refusals=0, quote=True)
    assert r.output == '文章に「氷河は雪が押し固まった氷の流れである」とあります。氷の流れ'


def test_a_small_training_leaves_the_practice_out(tmp_path):
    p = squad(tmp_path, [(GLACIER, [wrote('流れ?', '氷の流れ')])])
    own = QA('d.1/short0', 'd.1', 'いつか。', '', '1年', 'short')
    read = QA('d.1/short0+', 'd.1', 'いつか。', '1年である。', '1年', 'passage')
    rows = [vars(r) for r in (own, read, *P.practice_rows([p], [], refusals=0))]
    few = P.select_forms(rows, None, 3, refusals=0.0)
    assert {r['id'] for r in few} == {own.id, read.id}
    assert len(P.select_forms(rows, None)) == 3  # all rows, on a GPU
