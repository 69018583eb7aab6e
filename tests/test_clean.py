import json
from pathlib import Path
import pytest
from climate_ft.workspace import (
    Block,
    CourseError,
    Page,
    Workspace,
    read_json,
    read_text,
    write_json,
)
from climate_ft import clean as K
from climate_ft import headings, paragraphs
from climate_ft.compare import load_gold
from climate_ft.extract import extract

REPO = Path(__file__).resolve().parent.parent
BED = REPO / 'documents/testbed'


def page(number, *rows):
    "A page of (role, text, bbox) or (role, text, bbox, size)"
    return Page(
        number,
        600,
        800,
        '',
        [Block(number, r[2], r[1], r[0], size=(r + (10.0,))[3], doc='a') for r in rows],
        'a',
    )


@pytest.mark.parametrize(
    'name', ['scrambled', 'wide', 'chromium', 'one_column', 'mixed', 'vertical']
)
def test_cleaned_text_of_every_rendering(name):
    s = K.score_cleaned(
        K.clean_pages(extract(BED / f'{name}.pdf')), load_gold(BED / f'{name}.json')
    )
    assert s['cer'] <= 1 and s['boundary_f1'] >= 0.98 and s['heads'] == 0


@pytest.fixture(scope='module')
def report():
    return K.clean_pages(extract(REPO / 'documents/document_01.pdf'))


def test_cleaned_report(report):
    s = K.score_cleaned(report, load_gold(REPO / 'documents/gold/document_01.json'))
    assert s['cer'] <= 1 and s['boundary_f1'] >= 0.98 and s['heads'] == 0


def test_every_figure_of_the_report_is_a_record_with_its_page(report):
    gold = load_gold(REPO / 'documents/gold/document_01.json')
    want = {
        (n, int(b['figure'])) for n, bs in gold.items() for b in bs if b['role'] == 'caption'
    }
    numbered = [c for c in report.captions if c.number]
    assert {(c.page, int(c.number)) for c in numbered} == want and len(numbered) == len(
        want
    ) == len(report.captions)
    assert all(
        c.kind == '図表' and c.text and c.source.startswith('出所') and c.content
        for c in numbered
    )


def test_heading_levels_of_the_report(report):
    want = [
        (b['level'], b['text'].replace('　', ''))
        for _, bs in sorted(load_gold(REPO / 'documents/gold/document_01.json').items())
        for b in bs
        if b['role'] == 'heading'
    ]
    have = [(b.level, b.text.replace('　', '')) for b in report.blocks if b.role == 'heading']
    assert [t for _, t in have] == [t for _, t in want]
    numbered = [(h, w) for h, w in zip(have, want) if w[1][0].isdigit()]
    assert len(numbered) > 100 and all(h[0] == w[0] for h, w in numbered)


def test_width_and_symbols():
    for a, b in (
        ('ＣＯ２ は ４２１ ppm', 'CO2は421 ppm'),
        ('ｱﾙﾍﾞﾄﾞ', 'アルベド'),
        ('① ℃ 10² ㎢', '① ℃ 10² ㎢'),
        ('−19℃', '-19℃'),
        ('2010〜2020', '2010～2020'),
        ('⼈⼯衛星', '人工衛星'),
        ('海 氷 の', '海氷の'),
        ('Sea  Ice', 'Sea Ice'),
        ('1　気候', '1　気候'),
        ('UNDRR, 仙台', 'UNDRR, 仙台'),
        ('（約7割）、', '（約7割）、'),
    ):
        assert K.normalise_width(a) == b, a


def test_lines_are_joined_by_language():
    assert K.join_lines('気温は\n上昇した') == '気温は上昇した'
    assert K.join_lines('Sea Ice\nIndex') == 'Sea Ice Index'
    assert K.join_lines('the radia-\ntive forcing') == 'the radiative forcing'
    assert K.join_lines('衛星GEO-\nKOMPSAT') == '衛星GEO-KOMPSAT'


def test_furniture_by_place_and_repetition():
    pages = [
        page(
            n,
            ('running_head', ('第1章 海', '第2章 陸')[n > 2], (50, 30, 500, 40)),
            ('body', '本文は続く。', (50, 100, 290, 200)),
            ('page_number', str(n + 10), (290, 780, 310, 790)),
        )
        for n in (1, 2, 3, 4)
    ]
    assert K.find_furniture(pages) == {(n, i) for n in (1, 2, 3, 4) for i in (0, 2)}


def test_a_head_that_holds_the_words_of_a_side_tab_is_furniture_where_it_stands_once():
    pages = [
        page(
            n,
            ('running_head', 'Report 2025' if n == 3 else '年次報告の序章', (50, 30, 500, 40)),
            ('body', '本文は続く。', (50, 100, 290, 200)),
        )
        for n in (1, 2, 3, 4)
    ]
    pages[2].blocks[0].text = '第1章　年次報告の序章'
    pages[2].blocks[0].bbox = (50, 52, 500, 62)  # at another place
    assert K.find_furniture(pages) == {(n, 0) for n in (1, 2, 3, 4)}
    pages[2].blocks[0].text = '第1章　別の題'
    assert K.find_furniture(pages) == {(n, 0) for n in (1, 2, 4)}


def test_a_head_with_the_number_of_its_page_is_furniture_even_if_it_looks_like_a_heading():
    pages = [
        page(
            n,
            ('heading', f'調査のレポート（第22号）p. {n}', (50, 30, 500, 40)),
            ('body', '本文は続く。', (50, 100, 290, 200)),
        )
        for n in (1, 2, 3, 4)
    ]
    assert K.find_furniture(pages) == {(n, 0) for n in (1, 2, 3, 4)}
    for n in (1, 2, 3, 4):
        pages[n - 1].blocks[0].text = '春夏秋冬'[n - 1] + 'の調査の結果 5'
    assert K.find_furniture(pages) == set()


def test_a_line_near_the_edge_that_does_not_repeat_is_text():
    pages = [
        page(
            n,
            (
                'running_head',
                '要旨' if n == 2 else '',
                (50, 30 if n == 2 else 60 + n * 8, 500, 40 if n == 2 else 70 + n * 8),
            ),
            ('body', '本文は続く。', (50, 150, 290, 200)),
        )
        for n in (1, 2, 3, 4)
    ]
    c = K.clean_pages(pages)
    assert '要旨' in [b.text for b in c.blocks]


def test_paragraph_over_a_caption_and_a_page():
    c = K.clean_pages(
        [
            page(1, ('body', '海氷は日射の多くを反射し、その割合を', (50, 700, 290, 750))),
            page(
                2,
                ('caption', '図 3　海氷の推移', (50, 60, 290, 70), 8.0),
                ('chart', '1979\t2024', (50, 75, 290, 180), 6.0),
                ('caption', '出所：NSIDC', (50, 185, 290, 192), 7.0),
                ('body', 'アルベドと呼ぶ。値は雪で大きい。', (50, 210, 290, 250)),
            ),
        ]
    )
    assert [(b.text, b.pages) for b in c.blocks] == [
        ('海氷は日射の多くを反射し、その割合をアルベドと呼ぶ。値は雪で大きい。', [1, 2])
    ]
    assert [(x.kind, x.number, x.page, x.text, x.source, x.content) for x in c.captions] == [
        ('図', '3', 2, '海氷の推移', '出所：NSIDC', '1979\t2024')
    ]


def test_a_list_item_without_a_full_stop_stays_alone():
    c = K.clean_pages(
        [
            page(
                1,
                ('list', '◼ 現状の把握', (50, 100, 150, 110)),
                ('body', '次の段落は別である。', (50, 120, 290, 130)),
            )
        ]
    )
    assert [(b.role, b.text) for b in c.blocks] == [
        ('list', '現状の把握'),
        ('body', '次の段落は別である。'),
    ]


def test_marks_of_footnotes_leave_the_sentence():
    c = K.clean_pages(
        [
            page(
                1,
                ('body', '平均注1より高く、注12ではない。', (50, 100, 290, 110)),
                ('footnote', '注1　基準期間による。', (50, 700, 290, 710), 7.0),
            )
        ]
    )
    assert [b.text for b in c.blocks] == [
        '平均より高く、注12ではない。',
        '注1　基準期間による。',
    ]


def test_table_of_contents_is_furniture():
    c = K.clean_pages(
        [
            page(
                1,
                ('body', '1 気候変動 …………… 3\n2 海洋 ………… 12', (50, 100, 290, 130)),
                ('body', '本文である。', (50, 200, 290, 210)),
            )
        ]
    )
    assert [b.text for b in c.blocks] == ['本文である。'] and c.furniture[0].role == 'toc'


def test_the_original_way_glues_headings_and_captions():
    assert (
        K.combine_sentences('5.1 アルベド\n反射率で\nある。\n図表 1　推移\n次の文。')
        == '5.1 アルベド反射率である。\n図表 1　推移次の文。'
    )


def test_levels_of_unnumbered_headings():
    c = K.clean_pages(
        [
            page(
                1,
                ('heading', '白書', (50, 50, 300, 80), 24.0),
                ('body', '文。', (50, 90, 300, 100)),
                ('heading', '概要', (50, 110, 300, 120), 14.0),
                ('body', '文。', (50, 130, 300, 140)),
                ('heading', '背景', (50, 150, 300, 160), 14.0),
            )
        ]
    )
    assert [b.level for b in c.blocks if b.role == 'heading'] == [1, 2, 2]


def test_records_survive_json(tmp_path, report):
    write_json(tmp_path / 'a.json', report)
    assert K.Cleaned.fromdict(read_json(tmp_path / 'a.json')).blocks == report.blocks


@pytest.mark.parametrize(
    'text,words',
    [
        (None, 'is missing'),
        ('[{"number": 1', 'damaged at line 1'),
        ('{"a": 1}', 'a list […] is needed'),
        ('[{"number": 1}]', 'incomplete'),
        ('[]', 'no running text'),
    ],
)
def test_bad_input_leaves_earlier_files(tmp_path, cft, text, words):
    ws = Workspace(tmp_path)
    old = ws.path('extracted_cleaned')
    old.parent.mkdir()
    old.write_text('earlier')
    if text:
        ws.path('extracted_pages').write_text(text)
    r = cft('clean', '--out', tmp_path)
    assert (
        r.returncode == 2
        and words in r.stderr
        and old.read_text() == 'earlier'
        and 'Traceback' not in r.stderr
    )


def test_committed_text_is_reproduced(report):
    assert read_text(REPO / 'documents/extracted_cleaned.txt') == K.to_text(report)
    assert read_json(REPO / 'documents/cleaned_blocks.json') == json.loads(
        json.dumps(report.asdict())
    )
    assert read_text(REPO / 'documents/extracted_blocks.txt') == '\f'.join(
        p.text for p in extract(REPO / 'documents/document_01.pdf')
    )


def test_no_paragraph_goes_on_across_a_missing_page():
    "A paragraph that page 1 cuts goes on on page 2; on page 3 it is another one"
    first = (
        'body',
        '海面水位は観測が始まった頃から\n上がり続けており、その速さは',
        (50, 100, 290, 700),
    )
    second = (
        'body',
        '近年さらに増していることが衛星\nの観測からわかる。',
        (50, 100, 290, 130),
    )

    def texts(*numbers):
        return [
            b.text
            for b in K.clean_pages(
                [page(n, r) for n, r in zip(numbers, (first, second))]
            ).blocks
        ]

    whole = (
        '海面水位は観測が始まった頃から上がり続けており、'
        'その速さは近年さらに増していることが衛星の観測からわかる。'
    )
    assert texts(1, 2) == texts(7, 8) == [whole]
    for numbers in ((1, 3), (2, 9)):
        assert texts(*numbers) == [whole[:29], whole[29:]]


def test_tables_become_markdown(report):
    table = K.Caption('町', 3, '表', '1', '貸出', '出所：町', 'a\tb|c\n観測\t')
    chart = K.Caption('町', 4, '図表', '2', '気温', content='（℃）\n1\n0\n1990\t2000')
    assert K.to_tables(K.Cleaned(captions=[table, chart])) == (
        '町 · page 3 · 表 1　貸出\n\n| a | b\\|c |\n| --- | --- |\n| 観測 |  |\n\n出所：町\n'
    )
    assert read_text(REPO / 'documents/extracted_tables.md') == K.to_tables(report)


PROSE = '計測は、施工の安全と経済性を確かめるために行うものである。'


def plain(*texts):
    "The headings among paragraphs in one type, with their levels"
    where = [('body', t, (50, 100 + 40 * i, 400, 120 + 40 * i)) for i, t in enumerate(texts)]
    blocks = K.clean_pages([page(1, *where)]).blocks
    return [(b.text, b.level) for b in blocks if b.role == 'heading']


def test_the_rules_of_headings_are_found_where_they_stood_and_can_be_replaced_there(
    monkeypatch,
):
    assert len(headings.__all__) == 5
    for name in headings.__all__:
        assert getattr(paragraphs, name) is getattr(headings, name) is getattr(K, name)
    assert set(headings.__all__) < set(paragraphs.__all__)
    assert plain('(1)計測の目的', PROSE) == [('(1)計測の目的', 1)]
    monkeypatch.setattr(paragraphs, 'plain_headings', lambda blocks: set())
    assert plain('(1)計測の目的', PROSE) == []


@pytest.mark.parametrize(
    'number, kind',
    [
        ('（1）', '（2）'),
        ('(ア)', '(イ)'),
        ('1.2', '1.3'),
        ('2－1', '2－2'),
        ('1．', '2．'),
        ('1)', '2)'),
        ('①', '②'),
        ('第一 ', '第二 '),
        ('1', '2'),
    ],
)
def test_a_numbered_line_in_the_type_of_the_body_is_a_heading_over_prose(number, kind):
    found = plain(f'{number}計測の目的', PROSE, f'{kind}計測の間隔', PROSE)
    titles = [t for t, _ in found]
    assert len(titles) == 2 and titles[0].endswith('計測の目的')
    assert len({level for _, level in found}) == 1


def test_items_of_a_list_are_no_headings_nor_is_a_number_that_counts():
    assert plain('①非常用の食料', '②水', '③毛布と寝袋', PROSE) == []
    assert plain(f'(1){PROSE}', '(2)計測の間隔', PROSE) == []  # an item among sentences
    assert plain('3回目の調査', PROSE, '7施設の概要', PROSE) == []  # 7 without 6
    assert plain('(1)計測の目的', '計測の目的') == []  # nothing is said below
    assert plain('(1)計測の目的。', PROSE) == [] == plain('36,265百万円の内数', PROSE)
    assert plain('(1)' + '長い' * 25, PROSE) == []


def test_kinds_of_numbers_are_nested_as_they_appear():
    rows = '1適用範囲', PROSE, '2抑制対策', '(1)骨材の試験', PROSE, '①試験の方法', PROSE
    assert plain(*rows, '(2)骨材の選び方', PROSE, '3監督のしかた', PROSE) == [
        ('1　適用範囲', 1),
        ('2　抑制対策', 1),
        ('(1)骨材の試験', 2),
        ('①試験の方法', 3),
        ('(2)骨材の選び方', 2),
        ('3　監督のしかた', 1),
    ]
    # 2. is no heading, since a list follows: (3) does not stand below 1.
    listed = '(1)砂の試験', '(2)石の試験', PROSE
    rows = '1. 締固めの工法', PROSE, '2. 砂の工法', *listed, '(3)その他の試験', PROSE
    assert plain(*rows) == [('1. 締固めの工法', 1), ('(3)その他の試験', 1)]


def test_a_number_with_dashes_stays_whole():
    where = ('heading', '1－5 土留めの板', (50, 100, 400, 120), 14.0)
    (b,) = K.clean_pages([page(1, where)]).blocks
    assert b.text == '1－5　土留めの板'
    assert K.heading_level('3－1 予測地域') == 2 == K.heading_level('3.1 予測地域')


def test_short_lines_between_paragraphs_are_headings_where_there_are_three():
    rows = PROSE, '策定の趣旨', PROSE, '計画の期間', PROSE, '評価の仕組み', PROSE
    assert plain(*rows) == [('策定の趣旨', 1), ('計画の期間', 1), ('評価の仕組み', 1)]
    assert plain(*rows[:5]) == []
    other = PROSE, '市長は、', PROSE, '令和7年4月', PROSE, 'それは困る！', PROSE
    assert plain(*rows[:5], *other) == []
    torn = '計測は、施工の安全と', '経済性の向上', PROSE  # half of a sentence before it
    assert [t for t, _ in plain(*rows, *torn)] == ['策定の趣旨', '計画の期間', '評価の仕組み']


def test_the_first_line_of_an_article_of_law_is_no_heading():
    assert plain(PROSE, '第百三条 倉荷証券の所持人は、倉庫', PROSE) == []
    assert plain(PROSE, '第三　倉荷証券の所持人は、倉庫', PROSE) == []
    assert plain(PROSE, '第三　倉荷証券の所持人', PROSE) == [('第三　倉荷証券の所持人', 1)]


def test_plain_headings_stand_below_those_of_larger_type():
    rows = [('heading', '第2章 海の観測', (50, 60, 300, 80), 14.0)]
    for i, t in enumerate(('(1)計測の目的', PROSE, '(2)計測の間隔', PROSE)):
        rows.append(('body', t, (50, 100 + 40 * i, 400, 120 + 40 * i)))
    found = [(b.text, b.level) for b in K.clean_pages([page(1, *rows)]).blocks if b.level]
    assert found == [('第2章　海の観測', 1), ('(1)計測の目的', 2), ('(2)計測の間隔', 2)]


def levels(*rows):
    "Headings and their levels, of (role, text, size)"
    where = [
        (r, t, (50, 60 + 40 * i, 400, 80 + 40 * i), s) for i, (r, t, s) in enumerate(rows)
    ]
    return [
        (b.text, b.level)
        for b in K.clean_pages([page(1, *where)]).blocks
        if b.role == 'heading'
    ]


def test_two_headings_in_one_block_are_two():
    rows = ('heading', '第1 節 基本事項\n1．定 義', 9.1), ('body', PROSE, 9.1)
    assert [t for t, _ in levels(*rows)] == ['第1節　基本事項', '1．定義']
    rows = ('list', '(1) 取付擁壁\na. 設置範囲', 9.1), ('body', PROSE, 9.1)
    assert levels(*rows) == [('(1)取付擁壁', 1), ('a. 設置範囲', 2)]
    long = ('heading', '海面水位の上昇の\n速さと要因', 12.0), ('body', PROSE, 9.1)
    assert [t for t, _ in levels(*long)] == ['海面水位の上昇の速さと要因']
    act = ('heading', '６ 各号の解説\n第１号の土地', 10.6), ('body', PROSE, 10.6)
    assert [t for t, _ in levels(*act)] == ['6　各号の解説', '第1号の土地']
    item = ('list', '(1) 取付擁壁は、次の\n2. の構造とする。', 9.1), ('body', PROSE, 9.1)
    assert levels(*item) == []


def test_a_number_that_counts_on_from_a_heading_stands_beside_it():
    heads = ('第4節 盛土', 12.0), ('2. 構造', 11.0), ('2－1 舗装', 10.0)
    rows = [('heading', t, s) for t, s in heads]
    rows += [('body', PROSE, 9.1), ('body', '2－2 路床', 9.1), ('body', PROSE, 9.1)]
    found = levels(*rows, ('list', '(1) 調査', 9.1), ('body', PROSE, 9.1))
    assert found[2:] == [('2－1　舗装', 4), ('2－2　路床', 4), ('(1)調査', 5)]


def test_items_that_count_anew_below_a_deep_heading_stand_below_it():
    texts = '第10節 排水工', '10-1-10-5 側溝', '1. 蓋の設置', '2. 目地', '10-1-10-6 地下排水工'
    rows = [(t, 12.0) for t in (*texts, '1. 一般事項', '2. 埋戻し', '10-1-10-7 水路')]
    found = levels(*[r for t, s in rows for r in (('heading', t, s), ('body', PROSE, 9.1))])
    assert [n for _, n in found] == [2, 6, 7, 7, 6, 7, 7, 6]
    skipped = '7-1-6-2 目地', '8. 種類', '7-1-6-5 被覆工', '1. 施工'
    found = levels(*[r for t in skipped for r in (('heading', t, 12.0), ('body', PROSE, 9.1))])
    assert [n for _, n in found] == [4, 5, 4, 5]
    chapters = '1. 総論', '1-1 目的', '2. 各論', '2-1 構造', '3. 管理'
    found = levels(
        *[r for t in chapters for r in (('heading', t, 12.0), ('body', PROSE, 9.1))]
    )
    assert [n for _, n in found] == [1, 2, 1, 2, 1]


def test_a_heading_may_stand_over_a_numbered_sentence():
    item = '(1)受注者は、施工にあたり、設計図書による規格を確かめなければならない。'
    rows = ('heading', '1. 設置位置', 12.0), ('body', PROSE, 9.1)
    found = levels(*rows, ('body', '12. 防食被覆', 9.1), ('list', item, 9.1))
    assert found == [('1. 設置位置', 1), ('12. 防食被覆', 1)]
    assert levels(*rows, ('body', '(3)防食被覆', 9.1), ('list', item, 9.1)) == found[:1]
    boxed = levels(*rows, ('body', '12. 防食被覆', 9.1), ('column', PROSE, 9.1))
    assert boxed == found  # and over a frame with prose


def test_numbers_without_a_level_stand_below_the_heading_before_them():
    rows = [('1-1 設置位置', 12), ('(1)天端高', 12), ('a. 標準', 12), ('(2)落差', 12)]
    rows = [('heading', t, s) for t, s in rows] + [('heading', '1-2 構造', 12)]
    assert [n for _, n in levels(*rows)] == [2, 3, 4, 3, 2]


def test_numbers_that_count_anew_in_each_section_stand_below_it():
    rows = '第4章 床止め', '第1節 基本事項', '1．定義', '1-1 位置', '第2節 落差工', '1．設置'
    assert [n for _, n in levels(*[('heading', t, 12) for t in rows])] == [1, 2, 3, 4, 2, 3]
    rows = '第3章 海洋', '3.1 海面水位', '3.1.2 高度計'
    assert [n for _, n in levels(*[('heading', t, 12) for t in rows])] == [1, 2, 3]
