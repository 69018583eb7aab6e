"""Kinds of page that real documents have, drawn in several layouts, each with its gold text.

`KINDS` maps a name to a function that draws pages of that kind into a `Doc`. What varies
(sizes, widths, frames, marks, places) is drawn from a seed, so that the same seed gives the
same file. The prose is that of the course's report.
"""

import random
import re
from functools import lru_cache
from pathlib import Path
import pymupdf
from climate_ft.compare import load_gold
from climate_ft.text import sentences
from climate_ft.workspace import REPO

MARKED = re.compile(r'図表|注\d')  # what refers to something outside the sentence
NO_START = '、。，．）」』】〉》ー・！？'
TOWNS = (
    '青木 石田 上山 小川 金沢 川北 北原 笹野 白浜 杉本 高橋 谷口 中里 西尾 東野 松島'.split()
)
HEADS = (
    '調査の目的 観測の方法 結果の概要 今後の課題 費用の見通し 体制の整備 用語の説明 地域の現状'
).split()


@lru_cache
def report_sentences():
    "Whole sentences of the report's running text, 18 to 90 characters"
    blocks = [
        b['text']
        for bs in load_gold(REPO / 'documents/gold/document_01.json').values()
        for b in bs
        if b['role'] == 'body' and not b.get('continued')
    ]
    found = [s for t in blocks for s in sentences(t)]
    return tuple(
        dict.fromkeys(
            s for s in found if 18 <= len(s) <= 90 and s[-1] == '。' and not MARKED.search(s)
        )
    )


@lru_cache
def ipa():
    "IPAex Gothic, whose Latin letters are narrow"
    import matplotlib_fontja

    path = Path(matplotlib_fontja.__file__).parent / 'fonts/ipaexg.ttf'
    return str(path), pymupdf.Font(fontfile=str(path))


@lru_cache(9999)
def em(char, name):
    "Width of a character in parts of the type size; the built-in fonts set Latin letters wide"
    return ipa()[1].text_length(char, 1) if name == 'ipa' else 1.0


def rows_of_text(text, width, size, name, first=0.0):
    "The rows of a paragraph set to `width` points; a full stop never begins a row"
    rows, row, x = [], '', first
    for c in text:
        w = em(c, name) * size
        if x + w > width and c not in NO_START:
            rows.append(row)
            row, x = '', 0.0
        row += c
        x += w
    return rows + [row]


class Doc:
    "A PDF that is drawn page by page, and what a reader would write down from it"

    def __init__(self, seed):
        self.rng, self.pdf = random.Random(seed), pymupdf.open()
        # paragraphs in reading order: role, text, rows with the number of their frame
        self.gold = []
        self.furniture = []  # (page, text)
        self.aside = []  # cells and labels, which belong to no sentence
        self.body = 'japan-s' if self.rng.random() < 0.5 else 'ipa'
        self.pool = list(report_sentences())
        self.rng.shuffle(self.pool)
        self.frame = 0

    def page(self, w=595, h=842):
        self.frame += 1
        return self.pdf.new_page(width=w, height=h)

    def said(self, low=2, high=4, most=None):
        "A paragraph of a few sentences that the document has nowhere else"
        found = []
        for _ in range(self.rng.randint(low, high)):
            k = next(
                (i for i, s in enumerate(self.pool) if most is None or len(s) <= most), None
            )
            if k is not None:
                found.append(self.pool.pop(k))
        return ''.join(found)

    def wide(self, text, size=1.0):
        "Width of a text in the font of the body"
        return sum(em(c, self.body) for c in text) * size

    def rows(self, text, width, size, first=0.0):
        return rows_of_text(text, width, size, self.body, first)

    def write(self, x, y, text, size=10.5, name=None, **how):
        name = name or self.body
        if name == 'ipa':
            how['fontfile'] = ipa()[0]
        self.pdf[-1].insert_text((x, y), text, fontname=name, fontsize=size, **how)

    def record(self, text, rows=None, role='body', mark=''):
        rows = [(self.frame, r) for r in rows or [text]]
        page = len(self.pdf)
        self.gold.append(dict(role=role, text=text, rows=rows, mark=mark, page=page))

    def put(self, x, y, text, width=420, size=10.5, lead=1.7, first=0.0, role='body', **how):
        "A paragraph with its first baseline at `y`; the baseline of the row after it"
        rows = self.rows(text, width, size, first)
        for i, r in enumerate(rows):
            self.write(x + (0 if i else first), y + i * lead * size, r, size, **how)
        self.record(text, rows, role)
        return y + len(rows) * lead * size

    def head(self, x, y, text, size=13, name='japan'):
        self.write(x, y, text, size, name)
        self.record(text, role='heading')
        return y + 2.2 * size

    def item(self, x, y, mark, text, width=420, size=10.5, lead=1.7, hang=1.5):
        "An item whose mark hangs out to the left"
        at = x + hang * size
        rows = self.rows(text, width - hang * size, size)
        self.write(x, y, mark, size)
        for i, r in enumerate(rows):
            self.write(at, y + i * lead * size, r, size)
        self.record(text, rows, 'list', mark)
        return y + len(rows) * lead * size

    def flow(self, frames, size=10, lead=1.6, indent=True):
        "Paragraphs that run on through frames (x, y, width, height) of this page"
        rows, first = [], size if indent else 0.0
        texts = []
        for x, y, w, h in frames:
            self.frame += 1
            for k in range(int(h / (lead * size))):
                if not rows:
                    texts.append(self.said(2, 4))
                    rows = self.rows(texts[-1], w, size, first)
                    page = len(self.pdf)
                    self.gold.append(
                        dict(role='body', text=texts[-1], rows=[], mark='', page=page)
                    )
                    start = True
                r = rows.pop(0)
                self.write(x + (first if start else 0), y + k * lead * size, r, size)
                self.gold[-1]['rows'].append((self.frame, r))
                start = False
        if rows:  # the last paragraph ends with the last frame
            g = self.gold[-1]
            g['text'] = ''.join(r for _, r in g['rows'])

    def margin(self, x, y, text, size=9, name=None):
        "Furniture: it belongs to the page, not to the text"
        self.write(x, y, text, size, name)
        self.furniture.append((len(self.pdf), text))

    def label(self, x, y, text, size=9, name=None):
        "A cell or a label"
        self.write(x, y, text, size, name)
        self.aside.append(text)

    def full_page(self, y=90, until=740, x=71, width=452, size=10.5):
        while y < until - 60:
            y = self.put(x, y, self.said(), width, size, first=size) + 4
        return y


def frame_of(doc, box):
    "One of the frames that programs draw"
    how, p, r = doc.rng.randrange(5), doc.pdf[-1], pymupdf.Rect(box)
    if how == 0:
        p.draw_rect(r, width=0.7)
    elif how == 1:
        p.draw_rect(r, color=None, fill=(0.92, 0.95, 1), overlay=False)
    elif how == 2:
        p.draw_rect(r, width=1, radius=0.05)
    elif how == 3:  # in four pieces, as Word draws them
        for q in ((0, 0, 1, 0), (0, 1, 1, 1), (0, 0, 0, 1), (1, 0, 1, 1)):
            a = (r.x0 + q[0] * r.width, r.y0 + q[1] * r.height)
            b = (r.x0 + q[2] * r.width, r.y0 + q[3] * r.height)
            p.draw_rect(
                pymupdf.Rect(a[0], a[1], b[0] + 0.6, b[1] + 0.6), color=None, fill=(0, 0, 0)
            )
    else:  # a title bar above a shaded box
        p.draw_rect(
            pymupdf.Rect(r.x0, r.y0 - 3, r.x1, r.y0 + 1), color=None, fill=(0.2, 0.3, 0.6)
        )
        p.draw_rect(r, color=None, fill=(0.96, 0.96, 0.9), overlay=False)


def framed(doc):
    "Prose in frames between prose"
    for _ in range(2):
        doc.page()
        y = doc.put(71, 100, doc.said(), 452, first=10.5) + 14
        for _ in range(2):
            top, x, w = y, 71 + doc.rng.choice((0, 12, 30)), doc.rng.choice((452, 380, 300))
            y = doc.put(x + 10, top + 14, doc.said(1, 3), w - 20, 10) + 6
            if doc.rng.random() < 0.5:
                y = doc.put(x + 10, y, doc.said(1, 2), w - 20, 10) + 4
            frame_of(doc, (x, top - 4, x + w, y - 4))
            y = doc.put(71, y + 24, doc.said(), 452, first=10.5) + 16


MARKS = (
    '○ 〇 ◯ ● ◆ ■ ・ ※ → ➡ ◎ ▶ ✓ (1) （１） 1. １ ① (a) a. i. ii) ア イ． (ｱ) ⅰ 一 '
    '注１ 【例】 A) Ⅱ. 問１ ★'
).split()


def hanging(doc):
    "Items whose rows stand under the text, not under the mark"
    doc.page()
    y, size = doc.put(71, 90, doc.said(), 452, first=10.5) + 8, doc.rng.choice((10, 10.5, 11))
    for mark in doc.rng.sample(MARKS, 6):
        hang = 0.8 + doc.wide(mark)
        x = 71 + doc.rng.choice((0, 10.5, 21))
        for _ in range(2):
            y = doc.item(x, y, mark, doc.said(1, 2), 440 - x + 71, size, 1.6, hang)
            y += doc.rng.choice((0, 4))
        if y > 640:
            break


def faq(doc):
    "Questions in boxes with their answers below, or both in one"
    doc.page()
    y, marks = 90, doc.rng.choice((('問', '答'), ('Q', 'A'), ('Ｑ', 'Ａ'), ('Q.', 'A.')))
    whole, size = doc.rng.random() < 0.5, doc.rng.choice((10, 10.5, 11))
    for k in range(1, 5):
        number, top = doc.rng.choice(('', str(k))), y
        ask = doc.said(1, 1, 40)[:-1] + 'でしょうか。'
        y = doc.item(85, y + 10, marks[0] + number, ask, 420, size, hang=3)
        if not whole:
            frame_of(doc, (76, top - 6, 520, y - 4))
            y += 10
        y = doc.item(85, y + 8, marks[1] + number, doc.said(2, 3), 420, size, hang=3)
        if whole:
            frame_of(doc, (76, top - 6, 520, y - 4))
        y += 22


def running_heads(doc):
    """Heads and feet that repeat, change with the chapter, stand left and right in turn, or
    carry the number"""
    how, title = doc.rng.randrange(5), doc.rng.choice(('町の気候の白書', '年次報告書 2025'))
    for n in range(1, 7):
        doc.page()
        chapter = f'第{(n + 2) // 3}章　{HEADS[(n + 2) // 3]}'
        text = (title, chapter, f'{n}　{title}', f'{chapter}｜{n}', title)[how]
        x = 71 if how != 1 or n % 2 else 400
        doc.margin(x, 48, text, 9 if how != 4 else 10.5, 'japan' if how % 2 else None)
        if how in (0, 3):
            doc.pdf[-1].draw_line((71, 54), (523, 54), width=0.5)
        y = doc.head(71, 92, chapter, 15) if n % 3 == 1 else 84
        doc.full_page(y)
        doc.margin(290, 808, f'- {n} -' if how == 2 else str(n), 9)


def table_rows(doc, columns):
    "Cells of a made-up table: a name, then figures or words"
    words = ('継続', '終了', '検討中', '未定', '実施')
    kinds = [doc.rng.choice('nnwd') for _ in range(columns - 1)]
    make = dict(
        n=lambda: f'{doc.rng.randint(1, 9999):,}',
        w=lambda: doc.rng.choice(words),
        d=lambda: f'{doc.rng.randint(2001, 2025)}年{doc.rng.randint(1, 12)}月',
    )
    rows = [['町名', *(HEADS[k][:2] for k in range(columns - 1))]]
    names = doc.rng.sample(TOWNS, doc.rng.randint(3, 7))
    return rows + [[n, *(make[k]() for k in kinds)] for n in names]


def unruled_table(doc):
    "Tables without a rule between paragraphs"
    for _ in range(2):
        doc.page()
        y = doc.put(71, 100, doc.said(), 452, first=10.5) + 6
        for _ in range(2):
            columns, size = doc.rng.randint(3, 5), doc.rng.choice((9, 10, 10.5))
            step, lead = 440 / columns, doc.rng.choice((1.5, 1.9))
            left = doc.rng.random() < 0.5
            for r in table_rows(doc, columns):
                for k, cell in enumerate(r):
                    w = doc.wide(cell, size)
                    doc.label(
                        75 + k * step + (0 if left or not k else step - w - 14), y, cell, size
                    )
                y += lead * size
            y = doc.put(71, y + 12, doc.said(), 452, first=10.5) + 8


def wrapped_cells(doc):
    """Tables without rules whose cells hold prose in several rows, some with every second
    row shaded"""
    doc.page()
    y = doc.put(71, 100, doc.said(), 452, first=10.5) + 16
    size, shade, middle = (
        doc.rng.choice((8.5, 9, 10)),
        doc.rng.random() < 0.6,
        doc.rng.random() < 0.6,
    )
    for n, town in enumerate(doc.rng.sample(TOWNS, 4)):
        text = doc.said(1, 2, 60)
        rows = doc.rows(text, 190, size)
        h = len(rows) * 1.5 * size
        if shade and n % 2 == 0:
            box = pymupdf.Rect(71, y - size - 2, 525, y + h - size + 2)
            doc.pdf[-1].draw_rect(box, color=None, fill=(0.85, 0.9, 1), overlay=False)
        for i, r in enumerate(rows):
            doc.write(230, y + i * 1.5 * size, r, size)
        at = y + (h - 1.5 * size) / 2 if middle else y
        doc.label(75, at, town + '地区', size)
        doc.label(150, at, f'令和{n + 2}年{n + 3}月', size)
        doc.label(430, at, f'{doc.rng.randint(100, 9999):,}冊', size)
        doc.label(495, at, f'{doc.rng.randint(10, 99)}回', size)
        doc.aside.append(text)
        y += h + 8
    doc.put(71, y + 12, doc.said(), 452, first=10.5)


def side_tabs(doc):
    "Tabs at the edge, written downwards, beside prose"
    right, size = doc.rng.random() < 0.5, doc.rng.choice((8, 9, 10))
    words = doc.rng.sample(('概要', '本文', '資料', '実績', 'コラム'), 4)
    banner = doc.rng.random() < 0.5
    for _ in range(4):
        doc.page()
        if banner:
            for k in range(3):
                doc.pdf[-1].draw_bezier((0, 20 + k), (200, 95), (400, 10), (595, 88), width=2)
        for i, w in enumerate(words):
            for k, c in enumerate(w):
                doc.write(570 if right else 14, 130 + i * 120 + k * 1.3 * size, c, size)
            doc.furniture.append((len(doc.pdf), w))
        doc.full_page(130)


def rotated(doc):
    """Pages whose text is turned by a quarter, with or without /Rotate, one or two columns
    of different size"""
    for _ in range(3):
        src, two = pymupdf.open(), doc.rng.random() < 0.5
        keep, doc.pdf = doc.pdf, src
        doc.page(842, 595)
        doc.head(80, 80, doc.rng.choice(HEADS), 20)
        y = 140
        for k in range(3):
            y = doc.put(80, y, doc.said(1, 2), 320 if two else 680, 12, role='body') + 12
        if two:
            y, size = 140, doc.rng.choice((11, 12))
            for k in range(3):
                y = doc.put(440, y, doc.said(1, 2), 320, size) + 12
        doc.pdf, turn = keep, doc.rng.choice((90, 270))
        q = doc.pdf.new_page(width=595, height=842)
        q.show_pdf_page(q.rect, src, 0, rotate=turn)
        if doc.rng.random() < 0.6:
            q.set_rotation(90 if turn == 90 else 270)


def ruby(doc):
    "Small readings above some of the words"
    size = doc.rng.choice((10.5, 11, 12))
    readings = 'ひょうが こうずい れっか ほうらく じょうりゅう へいたん'.split()
    for _ in range(2):
        doc.page()
        y = 100
        for _ in range(6):
            start = len(doc.gold)
            y1 = doc.put(71, y, doc.said(), 452, size, 2.1, first=size)
            for k, (_, r) in enumerate(doc.gold[start]['rows'][:3]):
                at = next((i for i in range(4, len(r) - 2) if '一' <= r[i] <= '龠'), None)
                if at:
                    x = 71 + (0 if k else size) + doc.wide(r[:at], size)
                    doc.margin(x, y + k * 2.1 * size - size, readings[k % 6], size / 2)
            y = y1 + 4


def watermark(doc):
    "Large pale words across the page"
    word, size = (
        doc.rng.choice(('社外秘', '複製禁止', 'DRAFT', '見本 無断転載禁止')),
        doc.rng.choice((48, 64, 80)),
    )
    angle = doc.rng.choice((0, 30, 45, 60, -45))
    for _ in range(3):
        doc.page()
        doc.full_page(90)
        at = pymupdf.Point(140, 480)
        turn = pymupdf.Matrix(1, 1).prerotate(angle)
        doc.write(*at, word, size, 'japan', color=(0.85, 0.85, 0.85), morph=(at, turn))
        doc.furniture.append((len(doc.pdf), word))


def vertical(doc):
    "Lines that run downwards, from the right, in one or two tiers"
    size, tiers = doc.rng.choice((10, 11, 12)), doc.rng.choice((1, 2))
    height = 640 if tiers == 1 else 300
    for _ in range(2):
        doc.page()
        for tier in range(tiers):
            x, top = 510, 90 + tier * 340
            while x > 140:
                text = doc.said(1, 2)
                text = ''.join(c for c in text if c > '\u02ff')
                rows = rows_of_text(text, height, size, 'japan-s', size)
                rows = rows[: max(int((x - 80) / (1.8 * size)), 1)]
                for i, r in enumerate(rows):
                    for k, c in enumerate(r):
                        doc.write(x, top + (k + (0 if i else 1)) * size, c, size)
                    x -= 1.8 * size
                doc.record(''.join(rows), rows)


def line_numbers(doc):
    "Numbers that count the lines in a margin"
    step, x = doc.rng.choice((1, 5, 5)), doc.rng.choice((46, 530))
    start, count = doc.rng.random() < 0.5, 0
    for _ in range(3):
        doc.page()
        y, size, count = 100, 11, 0 if start else count
        while y < 680:
            n = len(doc.gold)
            y1 = doc.put(90, y, doc.said(), 420, size, 2.1, first=size)
            for k in range(len(doc.gold[n]['rows'])):
                count += 1
                if count % step == 0:
                    doc.margin(x, y + k * 2.1 * size, str(count), 9)
            y = y1


def margin_notes(doc):
    "Laws and keywords in small type in a margin, beyond a rule from top to bottom"
    left, pieces = doc.rng.random() < 0.3, doc.rng.choice((1, 8))
    text, note, rule = (190, 70, 184) if left else (80, 452, 446)
    for _ in range(2):
        doc.page()
        y, until = 90, 720
        for k in range(pieces):
            a, b = (90 + (until - 90) * (k + i) / pieces for i in (0, 1))
            doc.pdf[-1].draw_line((rule, a - 12), (rule, b - 12), width=0.5)
        while y < until - 60:
            if doc.rng.random() < 0.7:
                law = f'規則第{doc.rng.randint(1, 200)}条'
                doc.margin(note, y, doc.rng.choice((law, '要点', '昭和48年通達')), 8)
            y = doc.put(text, y, doc.said(), 352, 11, first=11) + 4


def behind(doc, drawing):
    "Let operators of PDF draw something under what is on the last page"
    page, xref = doc.pdf[-1], doc.pdf.get_new_xref()
    doc.pdf.update_object(xref, '<<>>')
    doc.pdf.update_stream(xref, drawing.encode())
    parts = ' '.join(f'{x} 0 R' for x in (xref, *page.get_contents()))
    doc.pdf.xref_set_key(page.xref, 'Contents', f'[{parts}]')


def clipped_shapes(doc):
    "Two columns; a tab at the edge is a large drawing, clipped to the little that is seen"
    size, wide = doc.rng.choice((9, 10)), doc.rng.choice((320, 420))
    for _ in range(2):
        doc.page()
        doc.flow([(66, 90, 216, 660), (312, 90, 216, 660)], size)
        y = doc.rng.randint(150, 500)
        clip = f'0 {y} 36 70 re W n'
        behind(doc, f'q {clip} 0.5 g -28 {y} {wide} 80 re f -88 {y - 30} 460 105 re f Q\n')
        doc.margin(10, 842 - y - 40, '第3部', 8, 'japan')


def columns(n):
    def draw(doc):
        size, gap = doc.rng.choice((8.5, 9, 10)), doc.rng.choice((14, 20, 26))
        for _ in range(2):
            doc.page()
            top = doc.head(71, 90, doc.rng.choice(HEADS), 16) if doc.rng.random() < 0.5 else 90
            w = (460 - gap * (n - 1)) / n
            doc.flow([(66 + k * (w + gap), top, w, 760 - top) for k in range(n)], size)

    draw.__doc__ = f'{n} columns of prose'
    return draw


def chart_beside(doc):
    "Two columns with a chart in one of them, its labels and its caption"
    for _ in range(2):
        doc.page()
        right, top = doc.rng.random() < 0.5, doc.rng.choice((90, 420))
        x, p = (310 if right else 66), doc.pdf[-1]
        full, other = (66 if right else 310, 90, 222, 660), []
        if top == 90:
            other = [(x, 90 + 300, 222, 360)]
        else:
            other = [(x, 90, 222, 300)]
        doc.flow([full, *other] if right else [*other, full])
        p.draw_line((x + 20, top + 20), (x + 20, top + 200), width=0.5)
        p.draw_line((x + 20, top + 200), (x + 215, top + 200), width=0.5)
        for k in range(8):
            h = doc.rng.randint(20, 160)
            box = pymupdf.Rect(x + 28 + k * 23, top + 200 - h, x + 42 + k * 23, top + 200)
            p.draw_rect(box, fill=(0.4, 0.6, 0.8))
            doc.label(x + 28 + k * 23, top + 212, f'{k + 1}月', 7)
        for k in range(5):
            doc.label(x + 2, top + 202 - k * 40, str(k * 25), 7)
        doc.label(x, top + 234, f'図{doc.rng.randint(1, 20)}　月ごとの記録の推移', 9)


def slides(doc):
    "Landscape pages with few large rows; two columns of different size, some as cards"
    for _ in range(3):
        doc.page(842, 595)
        doc.head(60, 70, doc.rng.choice(HEADS) + '（続き）' * doc.rng.randrange(2), 24)
        sizes = doc.rng.choice(((14, 14), (14, 12), (12, 16)))
        for x, size in zip((60, 440), sizes):
            y = 150
            for _ in range(3):
                y = doc.put(x, y, doc.said(1, 1, 60), 340, size, 1.5) + doc.rng.choice((8, 20))
        doc.margin(790, 570, str(len(doc.pdf)), 10)


def footnotes(doc):
    "Notes at the foot of a page in small type, with a rule above or without"
    for n in range(3):
        doc.page()
        doc.full_page(90, 660)
        if doc.rng.random() < 0.5:
            doc.pdf[-1].draw_line((71, 688), (200, 688), width=0.5)
        y = 700
        for k in range(2):
            mark = doc.rng.choice(('注', '※', '*')) + str(2 * n + k + 1)
            y = doc.item(71, y, mark, doc.said(1, 1, 60), 452, 8, 1.4, 2.5)
        doc.margin(290, 800, str(n + 1), 9)


def definition_list(doc):
    "Terms in a narrow column, what they mean in a wide one"
    doc.page()
    y = doc.put(71, 100, doc.said(), 452, first=10.5) + 10
    size, step = doc.rng.choice((9.5, 10.5)), doc.rng.choice((90, 110, 130))
    for town in doc.rng.sample(TOWNS, 5):
        term, text = town + '方式', doc.said(1, 2)
        rows = doc.rows(text, 440 - step, size)
        doc.write(75, y, term, size, 'japan')
        for i, r in enumerate(rows):
            doc.write(75 + step, y + i * 1.6 * size, r, size)
        doc.record(text, rows, 'list', term)
        y += len(rows) * 1.6 * size + doc.rng.choice((4, 8))
    doc.put(71, y + 12, doc.said(), 452, first=10.5)


def cards(doc):
    "Three boxes abreast, each with a title and a few rows"
    doc.page(842, 595)
    doc.head(60, 70, doc.rng.choice(HEADS), 22)
    doc.put(60, 115, doc.said(1, 2), 720, 12)
    shaded, size = doc.rng.random() < 0.5, doc.rng.choice((10, 11, 12))
    for k in range(3):
        x = 60 + k * 248
        y = doc.head(x + 10, 190, '①②③'[k] + doc.rng.choice(HEADS), size + 2)
        for _ in range(2):
            y = doc.put(x + 10, y, doc.said(1, 1, 50), 205, size, 1.5) + 6
        box = pymupdf.Rect(x, 165, x + 228, 420)
        if shaded:
            doc.pdf[-1].draw_rect(box, color=None, fill=(0.9, 0.95, 0.9), overlay=False)
        else:
            doc.pdf[-1].draw_rect(box, width=0.8)
    doc.put(60, 470, doc.said(1, 2), 720, 12)


KINDS = dict(
    framed_prose=framed,
    hanging_items=hanging,
    faq_boxes=faq,
    running_heads=running_heads,
    unruled_table=unruled_table,
    wrapped_cells=wrapped_cells,
    side_tabs=side_tabs,
    rotated_pages=rotated,
    ruby=ruby,
    watermarks=watermark,
    vertical=vertical,
    line_numbers=line_numbers,
    margin_notes=margin_notes,
    clipped_shapes=clipped_shapes,
    two_columns=columns(2),
    three_columns=columns(3),
    chart_in_column=chart_beside,
    slides=slides,
    footnotes=footnotes,
    definition_list=definition_list,
    cards=cards,
)


def disordered(doc, pieces=7):
    """The pages as a program draws them that does not follow the reading order: pieces of a
    page, each of several rows, in any order"""
    for page in doc.pdf:
        parts = page.get_contents()
        n = max(len(parts) // pieces, 1)
        cut = [parts[i : i + n] for i in range(0, len(parts), n)]
        doc.rng.shuffle(cut)
        order = ' '.join(f'{x} 0 R' for part in cut for x in part)
        doc.pdf.xref_set_key(page.xref, 'Contents', f'[{order}]')


def drawn(kind, seed):
    "A document of a kind: `Doc`. An even seed draws it in another order than that of reading"
    doc = Doc(f'{kind}/{seed}')
    KINDS[kind](doc)
    if int(seed) % 2 == 0:
        disordered(doc)
    return doc
