"""Chapter 05: sections, chunks, ids,
and what happens to a document that is not as it should be"""

import pytest
from climate_ft.corpus import (
    build_corpus,
    chunk_id,
    count_tokens,
    cut_long,
    document_chunks,
    document_sections,
    load_corpus,
    pack,
    run_corpus,
    sentence_spans,
    sentences,
    tidy,
)
from climate_ft.workspace import (
    REPO,
    Block,
    CourseError,
    Workspace,
    read_json,
    read_text,
    write_json,
    write_text,
)


def block(role, text, level=0, page=1, doc='d'):
    return Block(page, (0, 0, 0, 0), text, role, level, doc)


def body(*texts, doc='d'):
    return [block('body', t, doc=doc) for t in texts]


REPORT = [
    block('heading', '1 海', 1),
    *body('海は広い。海は青い。'),
    block('heading', '1.1 潮', 2),
    *body('潮は満ちる。'),
    block('heading', '2 氷', 1),
    *body('氷は白い。'),
]


@pytest.mark.parametrize(
    'text,expected',
    [
        ('海は広い。氷は白い。', ['海は広い。', '氷は白い。']),
        ('「海だ。」と言った。次。', ['「海だ。」と言った。', '次。']),
        ('増えた（図の線。）。次。', ['増えた（図の線。）。', '次。']),
        ('「閉じない。次の文。', ['「閉じない。', '次の文。']),
        ('閉じすぎ）。次。', ['閉じすぎ）。', '次。']),
        ('本当か！？はい。', ['本当か！？', 'はい。']),
        ('約1.1℃上がった。', ['約1.1℃上がった。']),
        (
            'J. Smith rose by 1.1 K. Then it fell. 海。',
            ['J. Smith rose by 1.1 K. Then it fell.', '海。'],
        ),
        ('終わりのない文', ['終わりのない文']),
        ('', []),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


@pytest.mark.parametrize(
    'text', ['', '。', '「」', '（（（', '。。。', 'あ\u3000い。う', '「海。」（氷。）。a. B']
)
def test_spans_cover_the_text(text):
    assert ''.join(text[a:b] for a, b in sentence_spans(text)) == text


def test_tidy_removes_what_is_no_text():
    assert tidy('雪\x00氷\u200b面\ufeff\x07。\r\n次\ud83d') == '雪氷面。 次'
    assert tidy('中間ベンダ\uf09eベンダは\uf0b7') == '中間ベンダ ベンダは'  # two cells
    assert tidy('①　㎢ ＣＯ２ −1℃') == '①　㎢ ＣＯ２ −1℃'
    tidy('\ud800海').encode('utf-8')


def test_sections_follow_headings():
    secs = document_sections(REPORT, 'd')
    assert [s.path for s in secs] == [['1 海'], ['1 海', '1.1 潮'], ['2 氷']]
    deep = document_sections(
        [
            block('heading', 'c', 3),
            *body('x'),
            block('heading', 'b', 2),
            *body('y'),
            block('heading', 'c2', 3),
            *body('z'),
        ]
    )
    assert [s.path for s in deep] == [['c'], ['b'], ['b', 'c2']]


def test_boxes_and_footnotes_do_not_cut_a_section():
    secs = document_sections(
        [
            block('heading', '1 海', 1),
            *body('前半。'),
            block('column', 'コラム　波'),
            block('column', '波は揺れる。'),
            block('footnote', '注1 海水。'),
            *body('後半。'),
        ]
    )
    assert [s.path for s in secs] == [['1 海'], ['コラム　波']]
    assert [t for t, _ in secs[0].paras] == ['前半。', '後半。', '注1 海水。']
    long = document_sections([block('column', 'コラム　波は揺れる。' + '波は寄せる。' * 20)])
    assert long[0].path == ['コラム'] and len(long[0].paras) == 1


def test_lists_keep_a_mark():
    assert [
        t
        for t, _ in document_sections(
            [block('list', '一つ目。'), block('list', 'A) 二つ目。')]
        )[0].paras
    ] == ['- 一つ目。', 'A) 二つ目。']


def test_chunks_are_slices_and_end_with_sentences():
    blocks = [
        block('heading', '1 海', 1),
        *body(*(f'海の水は{i}番目に冷たい。' * 7 for i in range(30))),
    ]
    for budget in (20, 64, 512):
        text, chunks = document_chunks('d', blocks, budget)
        assert all(
            text[c.start : c.end] == c.text and c.tokens <= budget and c.text[-1] == '。'
            for c in chunks
        )
        assert ''.join(c.text for c in chunks).count('番目') == 210


def test_a_sentence_longer_than_the_budget_is_cut_not_lost():
    t = 'あ' * 100 + '、' + 'い' * 400
    parts = [t[a:b] for a, b in cut_long(t, 0, len(t), 100)]
    assert ''.join(parts) == t and max(map(count_tokens, parts)) <= 100
    assert any(p.endswith('、') for p in parts)
    assert ['海。'[a:b] for a, b, _ in pack('海。', [(0, 2)], 1)] == ['海', '。']


def test_ids_do_not_move():
    other = [block('heading', '0 空', 1, doc='a'), *body('空は青い。', doc='a')]
    assert build_corpus(other + REPORT)[1:] == build_corpus(REPORT)
    changed = [b if b.text != '氷は白い。' else block('body', '氷は青い。') for b in REPORT]
    assert [c.id for c in build_corpus(changed)][:2] == [c.id for c in build_corpus(REPORT)][
        :2
    ]
    assert chunk_id('d', ['a', 'b'], 'x') != chunk_id('d', ['ab'], 'x')


def test_repeated_sections_are_kept_apart():
    chunks = build_corpus(REPORT + REPORT)
    assert len({c.id for c in chunks}) == len(chunks) == 6
    assert [c.text for c in chunks[:3]] == [c.text for c in chunks[3:]]


def test_pages_of_a_chunk():
    text, chunks = document_chunks(
        'd',
        [block('body', '一。', page=3), dict(doc='d', role='body', text='二。', pages=[3, 4])],
    )
    assert chunks[0].pages == [3, 4]


def run(tmp_path, obj):
    ws = Workspace(tmp_path)
    write_json(ws.path('cleaned_blocks'), obj)
    return ws, run_corpus(ws)


def test_files_round_trip(tmp_path):
    ws, n = run(
        tmp_path,
        dict(
            blocks=REPORT + body('別の文書。', doc='e') + [block('table', '1 2')], captions=[]
        ),
    )
    assert n['documents'] == 2 and n['chunks'] == 4 and n['left_out'] == {'table': 1}
    texts, chunks = load_corpus(ws)
    assert list(texts) == ['d', 'e'] and chunks == build_corpus(
        REPORT + body('別の文書。', doc='e')
    )
    before = {p: p.read_bytes() for p in ws.data.iterdir()}
    run_corpus(ws)
    assert before == {p: p.read_bytes() for p in ws.data.iterdir()}


@pytest.mark.parametrize(
    'obj,said',
    [
        (dict(blocks=[]), 'no text'),
        ([], 'it is a list .* where an object'),
        (dict(blocks=[block('heading', '見出しだけ', 1)]), 'no text'),
        (dict(blocks=REPORT + [block('body', '\x00\u200b', doc='e')]), 'document e'),
    ],
)
def test_nothing_to_read(tmp_path, obj, said):
    with pytest.raises(CourseError, match=said):
        run(tmp_path, obj)
    assert not (tmp_path / 'data').exists()


def test_a_document_without_headings_and_one_sentence_sections(tmp_path):
    ws, n = run(
        tmp_path,
        dict(
            blocks=body('見出しがない。')
            + [block('heading', '1 海', 1, doc='e'), *body('一文だけ。', doc='e')]
        ),
    )
    assert [c.section for c in load_corpus(ws)[1]] == [[], ['1 海']]


@pytest.mark.parametrize('name', ['corpus', 'corpus_chunks'])
def test_a_file_cut_in_half_is_noticed(tmp_path, name):
    ws, _ = run(tmp_path, dict(blocks=REPORT))
    s = read_text(ws.path(name))
    write_text(ws.path(name), s[: len(s) // 2])
    with pytest.raises(CourseError, match=f'{ws.path(name).name}.*climate-ft corpus'):
        load_corpus(ws)


def test_missing_files(tmp_path):
    with pytest.raises(CourseError, match='climate-ft corpus'):
        load_corpus(Workspace(tmp_path))
    with pytest.raises(CourseError, match='climate-ft clean'):
        run_corpus(Workspace(tmp_path))


def test_the_committed_corpus_is_what_the_code_makes(tmp_path):
    ws = Workspace(tmp_path)
    write_text(ws.path('cleaned_blocks'), read_text(Workspace(REPO).path('cleaned_blocks')))
    run_corpus(ws)
    for name in ('corpus', 'corpus_chunks'):
        assert ws.path(name).read_bytes() == Workspace(REPO).path(name).read_bytes(), (
            f'{name}: run `make dataset`'
        )
