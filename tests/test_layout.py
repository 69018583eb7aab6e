"""Kinds of pages that real documents have,
each drawn here in several layouts: what is text stays text, and whole."""

import sys
import pymupdf
import pytest
from climate_ft import layout
from climate_ft.workspace import REPO
from climate_ft.clean import clean_pages, to_text
from climate_ft.extract import iter_pages

sys.path.insert(0, str(REPO / 'scripts'))
import page_kinds
import scoreboard_kinds

SAID = (
    '町の図書館は平日の夜も開いており、仕事の帰りに立ち寄る人が多い。'
    '予約した本は駅の前の棚で受け取ることが'
    'できるほか、学校にも届けられる。貸出の期間は二週間で、'
    '次の予約がなければ一度だけ延ばせる。'
)


class Sheet:
    "A page that is written on line by line"

    def __init__(self, page):
        self.page, self.rect = page, page.draw_rect

    def write(self, x, y, text, size=10.5, font='japan', **how):
        self.page.insert_text((x, y), text, fontname=font, fontsize=size, **how)

    def prose(self, x, y, text=SAID, width=40, size=10.5, lead=18, first=0):
        "Text in rows of `width` characters; the baseline of the next row"
        rows = [
            text[: width - first],
            *(text[i : i + width] for i in range(width - first, len(text), width)),
        ]
        for i, r in enumerate(rows):
            self.write(x + (first * size if i == 0 else 0), y + i * lead, r, size)
        return y + len(rows) * lead


def read(tmp_path, *draws, w=595, h=842, rotate=0):
    """Pages drawn by functions of a `Sheet`,
    extracted and cleaned: pages, cleaned document, its text"""
    d = pymupdf.open()
    for f in draws:
        f(Sheet(d.new_page(width=w, height=h)))
        d[-1].set_rotation(rotate)
    d.save(tmp_path / 'a.pdf')
    d.close()
    pages = list(iter_pages(tmp_path / 'a.pdf'))
    c = clean_pages(pages)
    return pages, c, to_text(c)


# ---- frames


def rect(s, r):
    s.rect(r, width=0.7)


def filled(s, r):
    s.rect(r, color=None, fill=(0.9, 0.95, 1))


def round_(s, r):
    s.rect(r, width=1, radius=0.1)


def pieces(s, r):  # as Word draws a frame
    for q in (
        (r[0], r[1], r[2], r[1] + 0.6),
        (r[0], r[3], r[2], r[3] + 0.6),
        (r[0], r[1], r[0] + 0.6, r[3]),
        (r[2], r[1], r[2] + 0.6, r[3]),
    ):
        s.rect(q, color=None, fill=(0, 0, 0))


def dashes(s, r):
    for x in range(int(r[0]), int(r[2]), 6):
        for y in (r[1], r[3]):
            s.rect((x, y, x + 3, y + 0.5), color=None, fill=(0, 0, 0))
    for y in range(int(r[1]), int(r[3]), 6):
        for x in (r[0], r[2]):
            s.rect((x, y, x + 0.5, y + 3), color=None, fill=(0, 0, 0))


FRAMES = (rect, filled, round_, pieces, dashes)
BOXED = dict(
    question=['問３　閉館の後に本を返すときは、どこに置けばよいですか。'],
    wrapped=[
        '質問１　夏休みの間に町の外から来た親戚の子どもが、家族のカードで絵本を借りる',
        'ことはできますか。',
    ],
    example=[
        '例２：館内の掲示で、実際には予約が必要な席であるのに、そのことを書かずに、また',
        'は目立たない場所にしか書かないで、誰でもすぐに座れると知らせる場合',
    ],
    points=[
        '● 電子書籍の貸出が始まった町では、来館する人の数がわずかに増える傾向',
        '● 端末の操作に慣れない人への手助けが、これからの課題の一つ',
    ],
)


@pytest.mark.parametrize('frame', FRAMES)
@pytest.mark.parametrize('name', BOXED)
def test_text_in_a_frame_stays_text(tmp_path, frame, name):
    rows = BOXED[name]

    def draw(s):
        y = s.prose(80, 90) + 20
        frame(s, (78, y - 16, 520, y + 18 * len(rows) - 8))
        for i, r in enumerate(rows):
            s.write(86, y + 18 * i, r)
        s.prose(80, y + 18 * len(rows) + 24)

    pages, c, text = read(tmp_path, draw)
    whole = (
        ''.join(rows)
        .replace('　', '')
        .replace('３', '3')
        .replace('１', '1')
        .replace('２', '2')
        .replace(' ', '')
    )
    assert whole.replace('●', '') in text.replace('　', '').replace('\n', '').replace(
        '- ', ''
    ).replace('●', '')
    assert c.captions == [] and text.count(SAID) == 2


@pytest.mark.parametrize('frame', (rect, pieces))
def test_question_and_answer_in_one_frame_with_a_rule_between(tmp_path, frame):
    def draw(s):
        s.prose(80, 90)
        frame(s, (78, 184, 520, 270))
        s.rect((78, 206, 520, 206.6), color=None, fill=(0, 0, 0))
        s.write(86, 200, 'Ｑ　団体で見学するときの手続を教えてください。')
        s.prose(
            86,
            224,
            'Ａ　見学の二週間前までに、'
            '人数と希望の時刻を窓口に知らせる。館内では係が案内する。',
            39,
        )

    _, c, text = read(tmp_path, draw)
    assert (
        '人数と希望の時刻を窓口に知らせる。館内では係が案内する。' in text
        and '手続を教えてください。' in text
    )
    assert c.captions == []


def test_a_frame_in_one_of_two_columns(tmp_path):
    def draw(s):
        s.prose(60, 90, SAID * 2, 20)
        s.prose(320, 90, SAID, 20)
        rect(s, (316, 200, 540, 262))
        s.prose(
            324,
            218,
            '休館日の前の日は、返却の箱が午後九時まで開いており、係が中身を確かめる',
            18,
        )
        s.prose(320, 290, SAID, 20)

    _, c, text = read(tmp_path, draw)
    assert '休館日の前の日は、返却の箱が午後九時まで開いており、係が中身を確かめる' in text
    assert c.captions == [] and text.count(SAID) >= 3


@pytest.mark.parametrize('lead', (30.4, 40))
def test_lines_set_far_apart_are_joined_and_short_ones_are_not(tmp_path, lead):
    told = '総務費関係では、国土調査の事業費を増額計上し、電子自治体の経費を減額いたしました。'

    def speech(s):
        y = 100
        for first in ('　', '　'):
            text = first + told
            for i in range(0, len(text), 20):
                s.write(85, y, text[i : i + 20], 12)
                y += lead

    _, c, _ = read(tmp_path, speech)
    assert [b.text for b in c.blocks] == [told, told]

    def names(s):
        for i, t in enumerate(('図書館', '公民館', '体育館', '博物館', '資料館', '美術館')):
            s.write(85, 100 + lead * i, t, 12)

    pages, _, _ = read(tmp_path, names)
    assert len(pages[0].blocks) == 6


TOLD = '残留沈下量の許容値の目安は、表3-2-1に示すとおりである。'


@pytest.mark.parametrize('frame', (rect, pieces))
@pytest.mark.parametrize(
    'said', ([TOLD], ['橋台と樋門の間の不同沈下を避けるために許される', TOLD])
)
def test_a_sentence_above_the_table_in_its_frame_stays_text(tmp_path, frame, said):
    def draw(s):
        y = s.prose(80, 90) + 20
        for i, r in enumerate(said):
            s.write(104, y + 18 * i, r)
        top = y + 18 * len(said) + 24
        frame(s, (90, y - 16, 480, top + 84))
        for i, row in enumerate(
            (('構造', '沈下量'), ('直接基礎', '5cm'), ('柔支持基礎', '30cm'))
        ):
            for k, t in enumerate(row):
                s.rect(
                    (136 + 135 * k, top + 24 * i, 271 + 135 * k, top + 24 * i + 24), width=0.5
                )
                s.write(142 + 135 * k, top + 24 * i + 16, t)
        s.prose(80, top + 120)

    _, c, text = read(tmp_path, draw)
    assert ''.join(said) in text.replace('\n', '') and text.count(SAID) == 2
    assert '柔支持基礎' not in text


def test_charts_and_diagrams_stay_out_of_the_text(tmp_path):
    def draw(s):
        s.prose(80, 90)
        for i, t in enumerate(
            ('予約の受付の担当者', '書庫と配送の担当の係', '駅の前の受取の窓口の係')
        ):  # a chain of boxes
            filled(s, (80, 200 + 40 * i, 250, 226 + 40 * i))
            s.write(90, 217 + 40 * i, t)
            if i:
                s.rect((163, 186 + 40 * i, 167, 200 + 40 * i), fill=(0.4, 0.4, 0.4))
        for k in range(6):
            s.rect((320 + k * 30, 300 - k * 12, 340 + k * 30, 320), fill=(0.4, 0.6, 0.8))
            s.write(322 + k * 30, 332, f'{k + 1}月', 7)
        for k in range(4):
            s.write(300, 320 - k * 25, str(k * 100), 7)
        s.prose(80, 400)

    _, c, text = read(tmp_path, draw)
    assert text.replace('\n', '') == SAID * 2 and len(c.captions) == 2


@pytest.mark.parametrize(
    'rule', ((69, 744, 558, 744), (69, 560, 558, 560), (300, 110, 300, 700))
)
def test_a_stray_rule_draws_no_text_into_a_chart(tmp_path, rule):
    "A rule that touches the chart runs along the other column"

    def draw(s):
        s.prose(69, 100, SAID * 5, 22, 10, 17)
        s.prose(327, 100, SAID * 3, 22, 10, 17)
        s.rect((370, 560, 540, 690), width=0.5)
        for k in range(6):
            s.rect((380 + k * 25, 600 + k * 8, 395 + k * 25, 690), fill=(0.9, 0.6, 0.2))
            s.write(380 + k * 25, 700, f'{k + 1}月', 6)
        s.page.draw_line((540, 660), (552, 660))
        s.page.draw_line((552, 555), (552, 750))
        s.page.draw_line((300, 620), (370, 620))
        s.page.draw_line(rule[:2], rule[2:])

    _, c, text = read(tmp_path, draw)
    assert (
        text.replace('\n', '') == SAID * 8
        and len(c.captions) == 1
        and '6月' in c.captions[0].content
    )


# ---- items

MARKS = (
    '〇',
    '◯',
    '➡',
    '→',
    '※',
    '⚫',
    '●',
    '・',
    'i.',
    'ii)',
    'iv.',
    'a.',
    '(a)',
    'b)',
    'ア',
    'イ．',
    '(ｱ)',
    '（ウ）',
    'ⅰ',
    '一',
    '二',
    '１',
    '２．',
    '1.',
    '12)',
    '(1)',
    '①',
    '㋐',
    '◎',
    '【例】',
    '〔注〕',
    '注１',
    '問２',
    '†',
    '＊',
)
ITEM = (
    '使われなくなった倉庫を借りて、月に一度の古本の市を開くことにした。'
    '売り上げは絵本を買い足すために使い、その内訳は毎年の春に掲示板で知らせる。'
)


def items(s, mark, text, at, size, lead, width, y=150, n=3):
    for k in range(n):
        s.write(at[0], y, mark, size)
        y = s.prose(at[1], y, text, width, size, lead) + (8 if k % 2 else 0)
    return y


@pytest.mark.parametrize('mark', MARKS)
@pytest.mark.parametrize(
    'at,size,lead,width',
    (((106, 124), 10.5, 18, 34), ((80, 116), 12, 20, 30), ((71, 98), 9, 14, 45)),
)
def test_an_item_stays_whole_whatever_its_mark(tmp_path, mark, at, size, lead, width):
    def draw(s):
        s.prose(at[0] - 20, 100, SAID, 38, size, lead)
        y = items(s, mark, ITEM, at, size, lead, width, 180)
        s.prose(at[0] - 20, y + 12, SAID, 38, size, lead)

    _, c, text = read(tmp_path, draw)
    paras = [p for p in text.split('\n\n') if ITEM[5:] in p]
    assert len(paras) == 3 and all(p.strip().endswith(ITEM[-8:]) for p in paras), text


@pytest.mark.parametrize(
    'marks',
    (
        ('ア', 'イ', 'ウ'),
        ('1.', '2.', '3.'),
        ('一', '二', '三'),
        ('①', '②', '③'),
        ('(1)', '(2)', '(3)'),
        ('i.', 'ii.', 'iii.'),
    ),
)
def test_full_items_without_a_stop_begin_where_the_next_mark_stands(tmp_path, marks):
    full = '館内で飲み物を飲むことができる場所と時間の決まりを見直すための話し合い'

    def draw(s):
        s.prose(80, 90)
        for i, m in enumerate(marks):
            s.write(84, 180 + 18 * i, m)
            s.write(112, 180 + 18 * i, full + 'を重ねた')

    text = read(tmp_path, draw)[2]
    assert text.count('\n\n') == 3 and text.count(full) == 3, text


def test_an_indented_paragraph_under_an_item_is_its_own(tmp_path):
    """The second row returns to the left:
    it was the first row of a paragraph, not the rest of the item"""

    def draw(s):
        y = 100
        for k in range(3):
            s.write(
                64,
                y,
                '○ 分館の書庫と閲覧室の改修は、来年の春から三年をかけて順に進めることとした',
                12,
            )
            y = s.prose(68, y + 18, SAID, 38, 12, 18, 1) + 16

    _, c, _ = read(tmp_path, draw)
    assert [b.text for b in c.blocks] == [
        '分館の書庫と閲覧室の改修は、来年の春から三年をかけて順に進めることとした',
        SAID,
    ] * 3


def test_marks_in_a_row_of_a_paragraph_do_not_tear_it(tmp_path):
    text = (
        '今年の春から数えて、町の中で本を借りられる場所は駅の前と学校と診療所の合わせて'
        '三か所になった。申込の紙を出す人の数も増え、窓口の係は二人から三人になるはずで'
        '一人が配送に回る。アルバムや地図も借りられるようになり、来月には点字の本を百冊ほ'
        'ど加える。ただし館内の閲覧だけの本もある。'
    )
    out = read(tmp_path, lambda s: s.prose(70, 100, text, 38))[2]
    assert out.strip() == text


# ---- heads

TOPS = dict(
    tails=(
        'に届け出ること。',
        'この期限の後は、受け付けない。',
        '係が負担する。',
        'なお、雨の日は休む。',
    ),
    headings=(
        '第１章　市の歩み',
        '第２章　出店の決まり',
        '第３章　当日の流れ',
        '第４章　片付け',
    ),
    unnumbered=('市の歩み', '出店の決まり', '当日の流れ', '片付けと返却'),
)


@pytest.mark.parametrize('name', TOPS)
@pytest.mark.parametrize('y,size', ((64, 10.5), (70, 10.5), (56, 9)))
def test_the_first_line_of_a_page_is_text_unless_it_repeats(tmp_path, name, y, size):
    def page(top, n):
        def draw(s):
            s.write(71, y, top, size)
            s.prose(71, y + 45, SAID * 2, 42, size)
            s.write(290, 800, str(n), 9)

        return draw

    _, c, text = read(tmp_path, *(page(t, n) for n, t in enumerate(TOPS[name], 5)))
    for t in TOPS[name]:
        assert t.translate(str.maketrans('１２３４', '1234')) in text
    assert [b.text for b in c.furniture] == ['5', '6', '7', '8']


def test_pages_of_one_line_are_text(tmp_path):
    lines = (
        '使い終えた箱は、裏の棚に戻す。',
        '鍵は係が持つ。',
        '雨の日は市を開かない。',
        '雨天の順延はない',
    )
    slides = [(lambda s, t=t: s.write(60, 50, t, 24)) for t in lines]
    assert read(tmp_path, *slides, w=842, h=595)[2].split('\n\n') == [
        *lines[:3],
        lines[3] + '\n',
    ]
    assert '雨の日は市を開かない。' in read(tmp_path, slides[2])[2]


def test_a_single_page_keeps_its_title(tmp_path):
    text = read(tmp_path, lambda s: (s.write(71, 60, '古本の市の案内'), s.prose(71, 110)))[2]
    assert '古本の市の案内' in text and SAID in text


HEADS = dict(
    same=lambda n: ('町の図書館の年報', {}),
    chapter=lambda n: (('第１章　蔵書', '第２章　貸出')[n > 3], {}),
    number=lambda n: (
        f'{("蔵書", "配送", "貸出", "行事", "会計", "資料")[n - 1]}　{n + 20}',
        {},
    ),
    small=lambda n: (('蔵書', '配送', '貸出', '行事', '会計', '資料')[n - 1], dict(size=8)),
    bold=lambda n: ('町の図書館の年報', dict(size=14)),
    near=lambda n: ('町の図書館の年報', dict(y=66)),
)


@pytest.mark.parametrize('name', HEADS)
def test_running_heads_go_even_if_they_look_like_headings(tmp_path, name):
    def page(n):
        def draw(s):
            t, how = HEADS[name](n)
            s.write(71, how.get('y', 48), t, how.get('size', 10.5))
            s.prose(71, 90, SAID * 4)
            s.write(290, 800, str(n + 20), 9)

        return draw

    _, c, text = read(tmp_path, *map(page, range(1, 7)))
    assert text.replace('\n', '') == SAID * 24 and len(c.furniture) == 12


def test_the_title_of_a_chapter_over_its_later_pages_goes(tmp_path):
    def page(n):
        def draw(s):
            title = ('第１章　蔵書', '第２章　貸出')[n > 2]
            first = n % 3 == 0
            s.write(71, 130 if first else 52, title, 18 if first else 14)
            s.prose(71, 160 if first else 100, SAID * 3)

        return draw

    _, c, text = read(tmp_path, *map(page, range(6)))
    assert text.count('第1章') == text.count('第2章') == 1 and len(c.furniture) == 4
    assert text.count(SAID) == 18


def test_a_title_that_repeats_in_the_middle_of_pages_is_kept(tmp_path):
    def draw(s):
        s.prose(71, 90)
        s.write(71, 200, 'まとめ', 14)
        s.prose(71, 230)

    assert read(tmp_path, *[draw] * 5)[2].count('まとめ') == 5


# ---- turned pages


@pytest.mark.parametrize('rotate', (0, 90, 180, 270))  # /Rotate of the page
@pytest.mark.parametrize('angle', (0, 90, 180, 270))  # of the text on the page
def test_four_directions_with_and_without_rotate(tmp_path, rotate, angle):
    src = pymupdf.open()
    s = Sheet(src.new_page(width=500, height=700))
    s.write(60, 60, '町の図書館の一年', 18)
    s.prose(60, 110, SAID * 2, 18)
    s.prose(270, 110, SAID, 18)
    s.write(240, 670, '4', 9)
    want = [b.text for b in clean_pages(list(iter_pages(save(src, tmp_path)))).blocks]
    assert want == ['町の図書館の一年', SAID * 2, SAID]
    d = pymupdf.open()
    w, h = (700, 500) if angle % 180 else (500, 700)
    d.new_page(width=w, height=h).show_pdf_page(pymupdf.Rect(0, 0, w, h), src, 0, rotate=angle)
    d[0].set_rotation(rotate)
    (page,) = iter_pages(save(d, tmp_path))
    assert [b.text for b in clean_pages([page]).blocks] == want
    title = next(b for b in page.blocks if '一年' in b.text).bbox
    shown = pymupdf.open(tmp_path / 'a.pdf')[
        0
    ].rect  # what a viewer shows, where the box must lie on ink
    assert 0 <= title[0] < title[2] <= shown.width and 0 <= title[1] < title[3] <= shown.height
    pix = pymupdf.open(tmp_path / 'a.pdf')[0].get_pixmap(clip=title, colorspace=pymupdf.csGRAY)
    assert min(pix.samples) < 100


def save(d, tmp_path):
    d.save(tmp_path / 'a.pdf')
    return tmp_path / 'a.pdf'


# ---- what lies over, above and beside the text

STAMPS = dict(
    slant=dict(size=54, rotate=45),
    level=dict(size=40, rotate=0),
    upwards=dict(size=40, rotate=90),
    steep=dict(size=48, rotate=-60),
)


@pytest.mark.parametrize('name', STAMPS)
@pytest.mark.parametrize('words', ('社外秘　複製禁止', '見本', 'DRAFT'))
def test_watermarks_at_any_angle_are_furniture(tmp_path, name, words):
    def draw(s):
        s.prose(80, 100, SAID * 8)
        at, m = pymupdf.Point(250, 400), pymupdf.Matrix(STAMPS[name]['rotate'])
        s.write(170, 300, words, STAMPS[name]['size'], color=(0.85, 0.85, 0.85), morph=(at, m))

    _, c, text = read(tmp_path, draw, draw)
    assert text.replace('\n', '') == SAID * 16 and [b.text for b in c.furniture] == [words] * 2


RUBY = {'図書館': 'としょかん', '駅': 'えき', '期間': 'きかん', '予約': 'よやく'}


@pytest.mark.parametrize('size', (10.5, 12, 16))
def test_readings_above_kanji_leave_the_text(tmp_path, size):
    def draw(s):
        width = int(440 // size)
        s.prose(71, 100, SAID * 2, width, size, 1.8 * size)
        for i in range(0, 2 * len(SAID), width):
            row = (SAID * 2)[i : i + width]
            for kanji, kana in RUBY.items():
                if (k := row.find(kanji)) >= 0:
                    x = 71 + size * k + (len(kanji) * size - len(kana) * size / 2) / 2
                    s.write(x, 100 + 1.8 * size * (i // width) - size, kana, size / 2)

    assert read(tmp_path, draw)[2].strip() == SAID * 2
    with pymupdf.open(tmp_path / 'a.pdf') as d:
        from climate_ft.layout import page_blocks

        kept = ''.join(b.text for b in page_blocks(d[0], brackets=True)).replace('\n', '')
    assert kept.count('駅（えき）') == 2 and kept.count('図書館（としょかん）') == 2


@pytest.mark.parametrize('step', (1, 5))
@pytest.mark.parametrize('x,align', ((74, 'left'), (60, 'right'), (540, 'left')))
@pytest.mark.parametrize(
    'first', (False, True)
)  # drawn before its line, MuPDF glues it to the text
def test_line_numbers_in_a_margin_go(tmp_path, step, x, align, first):
    text = SAID * 6

    def draw(s):
        for i in range(0, len(text), 36):
            n, y = i // 36 + 1, 120 + 24 * (i // 36)

            def number():
                if n % step == 0:
                    s.write(
                        x - (6 * len(str(n)) if align == 'right' else 0), y, str(n), 12, 'helv'
                    )

            if first:
                number()
            s.write(100, y, text[i : i + 36], 12)
            if not first:
                number()

    _, c, out = read(tmp_path, draw, draw)
    assert out.replace('\n', '') == text * 2 and len(c.furniture) == 2 * (
        len(range(0, len(text), 36)) // step
    )


def test_a_numbered_list_keeps_its_numbers(tmp_path):
    def draw(s):
        s.prose(80, 90)
        for i in range(5):
            s.write(84, 180 + 20 * i, str(i + 1))
            s.write(
                110, 180 + 20 * i, f'{"東西南北中"[i]}の棚の本を並べ直し、背の札を貼り替える。'
            )
        s.prose(80, 300)

    out = read(tmp_path, draw)[2]
    assert all(
        f'{i + 1}{"東西南北中"[i]}の棚' in out.replace(' ', '').replace('　', '')
        for i in range(5)
    )


def test_a_reference_at_a_row_start_is_no_caption(tmp_path):
    rows = (
        '貸出の日数は年代で違い、全体では平均で九日半になる',
        '（図表 1-3）。冊数では物語が最も多いという（図表 2',
        '図表 2-4）。次に多いのは料理の本である（',
        '図 5）。',
    )

    def draw(s):
        for i, r in enumerate(rows):
            s.write(80, 100 + 18 * i, r)

    _, c, text = read(tmp_path, draw)
    assert (
        c.captions == []
        and '図表1-3）。' in text
        and '図5）。' in text
        and '図表2-4）。' in text
    )


def test_tabs_beside_a_banner(tmp_path):
    def draw(s):
        s.rect((0, 10, 595, 92), color=(0.8, 0.9, 1), width=2)
        s.page.draw_bezier((0, 20), (200, 95), (400, 10), (595, 88), width=2)
        s.page.draw_bezier((0, 40), (200, 90), (400, 30), (595, 80), width=2)
        s.prose(66, 130, SAID * 8, 42, 11, 20)
        for t, y in (('案内', 118), ('貸出', 250), ('行事', 340), ('年表', 430)):
            for k, ch in enumerate(t):
                s.write(570, y + k * 12, ch, 9.5)

    _, c, text = read(tmp_path, draw, draw, draw)
    assert text.replace('\n', '') == SAID * 24


# ---- the body of the document


@pytest.mark.parametrize('where', (0, 2, 5))
def test_labels_that_outnumber_the_prose_of_a_page(tmp_path, where):
    def plain(s):
        s.prose(70, 70, SAID * 6, 44, 10, 17)

    def chart(s):
        s.prose(70, 70, SAID, 44, 10, 17)
        for r in range(3):
            y = 240 + 190 * r
            s.rect((81, y, 544, y + 90), width=0.4)
            for k in range(36):
                s.rect((84 + k * 12.7, y + 50, 90 + k * 12.7, y + 70), fill=(0.9, 0.6, 0.2))
                s.write(82 + k * 12.7, y + 103, '上中下'[k % 3] + '旬', 5.6)
            for k in range(10):
                s.write(72, y + 5 + k * 10, str(5 - k), 5.6)

    _, c, text = read(tmp_path, *[chart if i == where else plain for i in range(6)])
    assert text.replace('\n', '') == SAID * 31 and '旬' not in text and len(c.captions) >= 1


def test_prose_above_small_close_notes_keeps_its_own_leading(tmp_path):
    def draw(s):
        for i in range(9):
            s.write(
                97,
                300 + i * 10.7,
                'A study of paths between villages, '
                'drawn by the words that people use for them.',
                8.5,
                'helv',
            )
        s.prose(47, 560, SAID * 2, 26, 9.2, 14.9)
        for i in range(7):
            s.write(
                47,
                690 + i * 10,
                f'{"abcdefg"[i]}) someone.with.a.long.address.{i}@example.org',
                8.1,
                'helv',
            )
        s.prose(309, 560, SAID * 3, 26, 9.2, 14.9)

    assert SAID * 2 in read(tmp_path, draw, w=612, h=792)[2]


# ---- columns

LISTINGS = dict(
    code=[
        'begin{list}',
        'title{年報}',
        'author{係}',
        'maketitle',
        '<本文>',
        '謝辞',
        'end{list}',
    ],
    poem=['本の背が並ぶ', '窓の光', '指先で', '一冊を', '引き出す', '町の朝'],
    names=['東の山の分館', '北の川の分館', '南の浜の分館', '西の谷の本館'],
)


@pytest.mark.parametrize('name', LISTINGS)
@pytest.mark.parametrize('side', ('left', 'right'))
def test_a_column_of_short_lines_beside_prose(tmp_path, name, side):
    rows = (LISTINGS[name] * 6)[:24]
    a, b = (47, 309) if side == 'left' else (309, 47)

    def draw(s):
        for i, r in enumerate(rows):
            s.write(a, 100 + 15 * i, r, 10)
        s.prose(b, 100, (SAID * 6)[: 22 * 24 - 9] + '。', 22, 10, 15)

    page = read(tmp_path, draw)[0][0]
    text = page.text.replace('\n', '')
    order = [text.index(''.join(rows)), text.index((SAID * 6)[:200])]
    assert order == sorted(order, reverse=side == 'right')


def test_columns_that_begin_with_the_end_of_a_paragraph_above_charts(tmp_path):
    left = [
        'と決めた。',
        '　春の市は、去年より一週間早く始まり、朝から多',
        'くの人が訪れた。古い地図と絵本がよく売れたほか',
        '、点字の本を探す人も多かった。',
        '　係の話では、箱の数を増やしたことが人を呼び、',
    ]
    right = [
        '来年も続けるという。',
        '　夏の市では、日よけの布を広げて休む場所を作る',
        '。飲み物は町の店が出し、売り上げの一部を図書館',
        'に贈る。詳しい日程は三月の末に決まり、掲示板と',
        '町の便りで知らせる。',
    ]

    def draw(s):
        for i, (l, r) in enumerate(zip(left, right)):
            s.write(69, 62 + i * 17, l, 10)
            s.write(327, 62 + i * 17, r, 10)
        for x in (70, 236, 403):
            for y in (230, 362):
                s.rect((x, y, x + 142, y + 98), width=0.5)
                for k in range(12):
                    s.rect(
                        (x + 12 + k * 10, y + 40, x + 17 + k * 10, y + 70),
                        fill=(0.5, 0.5, 0.5),
                    )
                    s.write(x + 12 + k * 10, y + 94, str(k + 1), 3.3)

    text = read(tmp_path, draw)[2]
    assert '人を呼び、来年も続けるという。' in text and text.startswith('と決めた。')


# ---- tables without rules


ROWS = (
    ('地区', '始まり', '冊数', '回数'),
    ('東の山', '2009年7月', '3,669冊', '135回'),
    ('北の川', '2013年1月', '980冊', '42回'),
    ('南の浜', '2013年11月', '12,004冊', '7回'),
)


@pytest.mark.parametrize('lead', [14, 19])
@pytest.mark.parametrize('xs', [(75, 180, 300, 420), (75, 150, 330, 480)])
def test_a_table_without_rules_is_one_record(tmp_path, xs, lead):
    def draw(s):
        y = s.prose(71, 100) + 8
        for row in ROWS:
            for x, cell in zip(xs, row):
                s.write(x, y, cell, 9)
            y += lead
        s.prose(71, y + 14, SAID.replace('図書館', '公民館'))

    pages, c, text = read(tmp_path, draw)
    (table,) = [b for b in pages[0].blocks if b.role == 'table']
    assert table.text == '\n'.join('\t'.join(r) for r in ROWS)
    assert [b.text for b in c.blocks] == [SAID, SAID.replace('図書館', '公民館')]


@pytest.mark.parametrize('shade', [True, False])
@pytest.mark.parametrize('at', [0, 21])  # cells beside the first row, or beside the middle
def test_wrapped_cells_stay_in_their_records(tmp_path, shade, at):
    told = [
        (
            '雪と川の水かさの毎年の変化に合',
            'わせるため、車両の燃料をはじめ',
            'とする費用の前渡しを行う。',
        ),
        ('船の来る日にだけ開くことにして', 'いる窓口の時刻を、前の週までに', '知らせる。'),
        ('橋の工事の間は、川の向こうの停', '車場に止まることとし、案内を配', 'ることとする。'),
    ]

    def draw(s):
        y = s.prose(71, 100) + 20
        for n, (rows, name) in enumerate(zip(told, ('東の山', '北の川', '南の浜'))):
            if shade and n % 2 == 0:
                s.rect((71, y - 10, 525, y + 48), color=None, fill=(0.85, 0.9, 1))
            for i, r in enumerate(rows):
                s.write(240, y + i * 14, r, 9)
            for x, cell in ((75, name), (150, f'201{n}年'), (450, f'{n + 3}回')):
                s.write(x, y + at, cell, 9)
            y += 66
        s.prose(71, y + 10, SAID.replace('図書館', '公民館'))

    pages, c, text = read(tmp_path, draw)
    (table,) = [b for b in pages[0].blocks if b.role == 'table']
    assert [r.split('\t') for r in table.text.split('\n')] == [
        [name, f'201{n}年', ''.join(rows), f'{n + 3}回']
        for n, (rows, name) in enumerate(zip(told, ('東の山', '北の川', '南の浜')))
    ]
    assert [b.text for b in c.blocks] == [SAID, SAID.replace('図書館', '公民館')]


def test_prose_beside_a_table_without_rules_stays_text(tmp_path):
    long = SAID * 3

    def draw(s):
        s.prose(310, 100, long, 21, 10, 16)
        y = s.prose(60, 100, SAID.replace('図書館', '公民館'), 21, 10, 16) + 10
        for row in ROWS:
            for x, cell in zip((60, 110, 185, 245), row):
                s.write(x, y, cell, 8)
            y += 16

    pages, c, text = read(tmp_path, draw)
    assert [b.text for b in c.blocks] == [SAID.replace('図書館', '公民館'), long]
    assert [b.role for b in pages[0].blocks].count('table') == 1


def test_columns_whose_rows_run_into_one_another(tmp_path):
    left = [f'{n}つ目の項目は施設の品質の管理について定めるものである。' for n in '一二三']
    right = [f'{n}つ目の項目は記録の保存について定めるものである。' for n in '四五']

    def draw(s):
        for i, t in enumerate(left):
            s.write(60, 150 + 60 * i, t, 14)
        for i, t in enumerate(right):
            s.write(425, 150 + 60 * i, t, 12)

    _, c, _ = read(tmp_path, draw, w=842, h=595)
    assert [b.text for b in c.blocks] == left + right


def test_notes_under_one_another_stay_apart(tmp_path):
    notes = ['※1　貸出の数は本館と分館を合わせて数える。', '※2　登録の数は三月末の値である。']

    def draw(s):
        y = 90
        for _ in range(5):
            y = s.prose(71, y, first=1) + 20
        for i, t in enumerate(notes):
            s.write(71, 740 + 12 * i, t, 8)

    pages, _, _ = read(tmp_path, draw)
    assert [b.text for b in pages[0].blocks if b.role == 'footnote'] == notes


def test_a_figure_dash_is_a_hyphen():
    from climate_ft.clean import normalise_width

    assert normalise_width('GOSAT‒2は動く。') == 'GOSAT-2は動く。'


def test_two_columns_of_prose_with_a_table_in_one_are_no_table():
    "Without the rules of the table, its cells alone must not take the page"
    with pymupdf.open(REPO / 'documents/testbed/mixed.pdf') as d:
        lines, _ = layout.read_lines(d[0])
    columns = layout.arrange(layout.strips(lines), layout.body_size(lines))
    rows = [l for c in columns for r in layout.rows_of(c) for l in r]
    text = [l.text for l in rows if isinstance(l, layout.Line)]
    at = text.index('気候変動に関する政府間パネル（IPCC:')
    assert text[at + 1].startswith('Intergovernmental Panel')


def test_a_numbered_heading_of_two_rows_in_another_font_is_a_heading(tmp_path):
    rows = ('（15）男女の共同参画を進めるために助言をす', 'る人を地域へ送る事業')

    def draw(s, font):
        s.prose(80, 90)
        s.write(80, 200, rows[0], font=font)
        s.write(112, 217, rows[1], font=font)
        s.prose(80, 240)

    # what the font is called decides: another one that is not bold hangs an item
    d = pymupdf.open()
    s = Sheet(d.new_page())
    draw(s, 'japan')
    lines, shapes = layout.read_lines(d[0])
    bold = [l._replace(font='Gothic-Bold') if l.text in rows else l for l in lines]
    roles = [
        {b.text.replace('\n', ''): b.role for b in layout.assemble(ls, shapes, 595, 842)}
        for ls in (bold, lines)
    ]
    assert [r[''.join(rows)] for r in roles] == ['heading', 'list']


@pytest.mark.parametrize(
    'font, sign, text',
    [
        ('Wingdings-Regular', 'z', '●題の見せ方'),
        ('Wingdings', 'à', '→題の見せ方'),
        ('MS-PGothic', 'z', 'z題の見せ方'),
    ],
)
def test_a_letter_of_a_font_of_signs_is_a_bullet(font, sign, text):
    d = pymupdf.open()
    Sheet(d.new_page()).write(80, 90, sign, font='helv')
    Sheet(d[0]).write(88, 90, '題の見せ方')
    blocks, *rest = layout.upright(d[0])
    for s in [s for b in blocks for l in b.get('lines', ()) for s in l['spans']]:
        s['font'] = font if s['text'].strip() == sign else s['font']
    lines, _ = layout.read_lines(d[0], (blocks, *rest))
    assert ''.join(l.text for l in lines).replace(' ', '') == text


def test_a_table_may_begin_at_the_edge_of_the_page_or_beyond_it(tmp_path):
    def draw(s):
        s.prose(80, 90)
        for k in range(5):
            s.page.draw_line((-2.25, 300 + 30 * k), (560, 300 + 30 * k), width=0.5)
            for x, cell in zip((20, 200, 400), ('東の棚', '12冊', '貸出中')):
                s.write(x, 320 + 30 * k, cell, 9)

    pages, c, out = read(tmp_path, draw)
    assert out.startswith(SAID) and 'table' in [b.role for b in pages[0].blocks]
    assert '東の棚' not in out.split('。')[0]


@pytest.mark.parametrize(
    'before, raised, after, text',
    [
        (
            '国際的に重要な課題と認識',
            '80',
            'されている。',
            '国際的に重要な課題と認識されている。',
        ),
        ('XBRL', '51', 'を使う。', 'XBRLを使う。'),
        ('面積は250 m', '2', 'である。', '面積は250 m2である。'),
        ('濃度は10', '3', '倍になる。', '濃度は103倍になる。'),
        ('変数x', '2', 'を微分する。', '変数x2を微分する。'),
        ('', '80', '国際的な課題である。', '80国際的な課題である。'),
    ],
)
def test_the_raised_number_of_a_footnote_goes_and_a_power_stays(before, raised, after, text):
    d = pymupdf.open()
    s, x = Sheet(d.new_page()), 80
    for part, size, up in ((before, 10.5, 0), (raised, 6.5, 4.5), (after, 10.5, 0)):
        font = 'helv' if part.isascii() else 'japan'
        s.write(x, 90 - up, part, size, font)
        x += pymupdf.get_text_length(part, font, size)
    lines, _ = layout.read_lines(pymupdf.open('pdf', d.tobytes())[0])
    assert ''.join(l.text for l in lines).replace(' ', '') == text.replace(' ', '')


def test_a_heading_whose_second_row_stands_apart_is_one(tmp_path):
    def draw(s):
        s.write(57, 130, 'Ⅱ．課題の解決と成長を両立させる仕組みを', 18)
        s.write(93, 160, '構築する', 18)
        s.prose(57, 200)
        s.write(57, 330, '１．町の図書館', 18)
        s.write(57, 360, '２．駅の前の棚', 18)
        s.prose(57, 400)

    pages = read(tmp_path, draw)[0]
    heads = [b.text for b in pages[0].blocks if b.role == 'heading']
    assert heads[0].replace('\n', '') == 'Ⅱ．課題の解決と成長を両立させる仕組みを構築する'
    assert heads[1:] == ['１．町の図書館', '２．駅の前の棚']


def test_a_sum_at_the_end_of_its_row_opens_no_gutter(tmp_path):
    "As in a white paper: the sums stand at the head of the left column"
    said = [
        f'{x}の区の図書館では、平日の夜も本を借りることができ、' * 5 + '利用が多い。'
        for x in '東西南北'
    ]

    def sums(s, x, y):
        for label, amount in (('令和6年度予算額', '7百万円'), ('令和5年度予算額', '7')):
            s.write(x + 10, y, label, 9.9)
            s.write(x + 182, y, amount, 9.9)
            y += 15.5

    def draw(s):
        sums(s, 59, 80)
        y = s.prose(59, 142, said[0], 21, 10.6, 15.5, first=1)
        sums(s, 59, y)
        s.prose(59, y + 62, said[1], 21, 10.6, 15.5, first=1)
        y = s.prose(313, 80, said[2], 21, 10.6, 15.5)
        s.prose(313, y + 31, said[3], 21, 10.6, 15.5, first=1)

    out = read(tmp_path, draw)[2]
    whole = [t for t in out.replace('\n', '').split('。') if '図書館' in t]
    assert [t[t.index('の区') - 1 :] + '。' for t in whole] == said


def test_a_text_marker_behind_rows_is_no_box(tmp_path):
    def draw(s):
        s.write(80, 90, '町の図書館', 14)
        s.prose(80, 130, first=1)
        for x, y in ((90, 119), (80, 137)):
            s.rect((x, y, 501, y + 14), color=None, fill=(1, 1, 0.6), overlay=False)

    pages, _, out = read(tmp_path, draw)
    assert 'column' not in [b.role for b in pages[0].blocks] and SAID in out.replace('\n', '')


def test_a_bar_and_a_sign_behind_headings_are_no_chart(tmp_path):
    def draw(s):
        s.prose(80, 90)
        s.page.draw_circle((90, 262), 9, color=None, fill=(0.6, 0.6, 0.6), overlay=False)
        s.rect((80, 276, 300, 294), color=None, fill=(0.85, 0.85, 0.85), overlay=False)
        s.rect((80, 276, 118, 294), color=None, fill=(0.5, 0.5, 0.5), overlay=False)
        s.write(86, 267, '2', 13)
        s.write(120, 267, '災害への対策', 13)
        s.write(86, 289, '2-1', 10.5)
        s.write(124, 289, '地震に関する調査', 10.5)
        s.prose(80, 330)

    pages, _, out = read(tmp_path, draw)
    assert 'chart' not in [b.role for b in pages[0].blocks]
    assert '災害への対策' in out and '地震に関する調査' in out


def test_a_heading_in_large_type_ends_a_table(tmp_path):
    def draw(s):
        for top in (100, 300):
            s.write(80, top, f'第{top}節の一覧', 16)
            for k in range(4):
                for x, t in zip((80, 200, 330, 460), (f'棚{k}', f'{k}冊', '貸出中', '東')):
                    s.write(x, top + 40 + 24 * k, t, 9)
        s.prose(80, 500)

    pages = read(tmp_path, draw)[0]
    tables = [b.text for b in pages[0].blocks if b.role == 'table']
    assert tables and not [t for t in tables if '節の一覧' in t]
    assert [b.text for b in pages[0].blocks if b.role == 'heading'] == [
        '第100節の一覧',
        '第300節の一覧',
    ]


def test_a_piece_that_is_printed_over_its_line_counts_once(tmp_path):
    def draw(s):
        s.write(80, 90, '年齢別の転入と転出の状況', 13)
        s.write(80.3, 90.2, '年齢別の', 13)
        s.prose(80, 130)
        s.write(400, 90, '年齢別の', 13)  # beside it, it stays

    pages = read(tmp_path, draw)[0]
    text = ''.join(b.text for b in pages[0].blocks)
    assert text.count('年齢別の') == 2 and '年齢別の転入と転出の状況' in text


# ---- drawn kinds

SEEDS = dict(rotated_pages=9, chart_in_column=6, cards=8, two_columns=25, running_heads=3)


@pytest.mark.parametrize('kind', page_kinds.KINDS)
def test_a_drawn_kind_is_read_whole_and_in_order(kind):
    s = scoreboard_kinds.measure(kind, SEEDS.get(kind, 6), ['blocks'])['cleaned']
    assert s['sentences'] == s['sentences_of'] > 3 and s['joins'] >= 0.99 * s['joins_of']
    assert s['order'] == s['order_of'] and not s['left'] and not s['aside']


def test_a_drawn_kind_of_an_even_seed_is_drawn_in_another_order():
    def direct(seed):
        s = scoreboard_kinds.measure('two_columns', seed, ['direct'])['direct']
        return s['order'] / s['order_of']

    assert direct(1) == 1 and direct(2) < 0.9


def test_a_heading_that_says_the_same_is_no_head_left():
    doc = page_kinds.Doc(1)
    doc.page()
    doc.margin(71, 40, '第１章　貸出')
    doc.head(71, 90, '第１章　貸出')
    left = lambda text: scoreboard_kinds.left(doc, {1: text})
    assert left('第１章　貸出\n本文') == 0 and left('第１章　貸出\n第１章　貸出') == 1
    doc.furniture = [(1, '資料')]
    assert left('資料を読む') == 0 and left('読む\n資\n料') == left('資料\n読む') == 1


# ---- rows and marks


def test_a_row_that_closes_a_bracket_is_no_item(tmp_path):
    rows = '町の観測の仕組み（GCOS: Global Syste', 'm）は、町の図書館が続けている。'

    def draw(s):
        for i, r in enumerate(rows):
            s.write(71, 100 + 18 * i, r)

    (block,) = read(tmp_path, draw)[1].blocks
    assert block.text == '町の観測の仕組み（GCOS: Global Syste m）は、町の図書館が続けている。'


def test_indented_paragraphs_of_one_full_row_stay_apart(tmp_path):
    one = '分館は駅の前にあり、朝の八時から夜の九時まで毎日開いており人が多い。'

    def draw(s):
        s.prose(71, 100, SAID, 34, first=1)
        s.prose(81.5, 172, one, 34)
        s.prose(71, 190, SAID, 34, first=1)

    texts = [b.text for b in read(tmp_path, draw)[1].blocks]
    assert texts == [SAID, one, SAID]


@pytest.mark.parametrize('mark', 'アイ１ａ一')
def test_a_bare_mark_stays_apart_from_its_item(tmp_path, mark):
    def draw(s):
        s.prose(71, 100)
        s.write(71, 200, mark)
        s.write(92, 200, 'アルゴの計画は二十年続いている。')

    last = read(tmp_path, draw)[1].blocks[-1].text
    assert last[1:] == '　アルゴの計画は二十年続いている。'


def test_a_mark_without_a_character_begins_an_item():
    assert layout.BULLET.match('\x00町の図書館') and layout.BULLET.match('－ 町の図書館')
    assert layout.MARK.match('第１　目的') and not layout.BULLET.match('－5度')


@pytest.mark.parametrize('y', range(140, 158, 3))
def test_a_watermark_at_a_slight_slant_goes(tmp_path, y):
    def draw(s):
        s.prose(71, 100, SAID * 3)
        at = pymupdf.Point(200, y)
        turn = pymupdf.Matrix(1, 1).prerotate(5)
        s.write(*at, '社外秘', 36, color=(0.9, 0.8, 0.8), morph=(at, turn))

    _, c, text = read(tmp_path, draw)
    assert text.replace('\n', '') == SAID * 3 and [f.text for f in c.furniture] == ['社外秘']


def noted(tmp_path, notes, x=452, rules=(446,), size=11):
    "The blocks of a page of prose with notes beside it, and upright rules"
    doc = pymupdf.open()
    p = doc.new_page()
    for x0 in rules:
        p.draw_line((x0, 70), (x0, 720), width=0.5)
    for k in range(34):
        said = '利用者の希望に応じて図書の貸出の期間を延ばすことができる' + '。な'[k % 3 > 0]
        p.insert_text((80, 90 + 18 * k), said, fontname='japan', fontsize=size)
    for k, t in enumerate(notes):
        p.insert_text((x, 90 + 90 * k), t, fontname='japan', fontsize=size)
    doc.save(tmp_path / 'n.pdf')
    return layout.page_blocks(pymupdf.open(tmp_path / 'n.pdf')[0])


def test_short_notes_in_the_type_of_the_body_beyond_the_only_rule_are_furniture(tmp_path):
    blocks = noted(tmp_path, ['図書館要綱', 'P12', '同解説', 'P64～66'])
    assert [b.text for b in blocks if b.role == 'margin_note'] == [
        '図書館要綱',
        'P12',
        '同解説',
        'P64～66',
    ]
    assert not any('要綱' in b.text for b in blocks if b.role == 'body')
    for rules in ((), (446, 560)):  # no rule; a table has several
        roles = {b.role for b in noted(tmp_path, ['図書館要綱', 'P12'], rules=rules)}
        assert 'margin_note' not in roles
    said = ['返却の日は、窓口で知らせる。'] * 5  # prose beyond a rule is a column
    assert 'margin_note' not in {b.role for b in noted(tmp_path, said)}
