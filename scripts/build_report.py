"""Typeset the course's report and write its gold text.

    python scripts/build_report.py            # all of it
    python scripts/build_report.py --report   # without the test bed

It writes documents/document_01.pdf, documents/gold/, documents/gold_questions.jsonl and
documents/testbed/.

The gold text comes from the typst source: every macro of `lib.typ` leaves a record (role,
text, place), typst itself lists the records. The typeset PDF is only asked where a block is
cut by a page or column break, and each page of the gold must hold exactly the characters of
that page of the PDF.

Reading order of a page: running head (and side tab); what spans both columns at the top; the
left column, then the right one, each from top to bottom with its footnotes last; what spans
both columns at the bottom; page number. A block stands where its first line on the page
stands: a paragraph that runs from the left column into the right one is one block, and a float
that interrupts it comes after it."""

import argparse
import hashlib
import json
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pymupdf

REPO = Path(__file__).resolve().parent.parent
DOCS, SOURCE = REPO / 'documents', REPO / 'documents/source'
MARK = re.compile(r'注\d+')  # a footnote mark in running text
nows = lambda s: ''.join(unicodedata.normalize('NFKC', s).split())


@dataclass
class Piece:
    "The part of a block that one page holds."

    block: dict
    text: str
    page: int
    place: tuple  # (x, y) of its first character, in pt
    right: float = 0.0  # right edge of what it covers, in pt
    continued: bool = False


def source_hash():
    "One digest over everything that the typeset report depends on."
    files = [
        SOURCE / 'lib.typ',
        SOURCE / 'report.typ',
        *sorted((SOURCE / 'sections').glob('*.typ')),
    ]
    return hashlib.sha256(b''.join(f.read_bytes() for f in files)).hexdigest()


def typeset(**inputs):
    "The PDF as bytes and the records of the report, or of the chapters named in `inputs`."
    import typst  # only to build, not to check

    main, kw = str(SOURCE / 'report.typ'), dict(root=str(SOURCE), sys_inputs=inputs)
    return typst.compile(main, **kw), json.loads(
        typst.query(main, '<records>', field='value', one=True, **kw)
    )


class Drawn:
    "The characters of one page in drawing order, without white space, with their places."

    def __init__(self, page):
        chars = [
            (c['c'], c['bbox'])
            for b in page.get_text('rawdict')['blocks']
            for l in b.get('lines', [])
            for s in l['spans']
            for c in s['chars']
        ]
        self.box = [box for c, box in chars for _ in nows(c)]
        self.text = ''.join(nows(c) for c, _ in chars)
        self.used = bytearray(len(self.text))

    def find(self, s, start=0):
        "Where `s` first stands in characters that no block has taken yet, or -1."
        while (i := self.text.find(s, start)) >= 0 and any(self.used[i : i + len(s)]):
            start = i + 1
        return i

    def take(self, i, n):
        self.used[i : i + n] = b'\1' * n
        return self.box[i][:2], max(b[2] for b in self.box[i : i + n])

    def prefix(self, s):
        "Length and place of the longest beginning of `s` on this page."
        lo, hi, at = 0, len(s), -1
        while lo < hi:
            mid = (lo + hi + 1) // 2
            if (i := self.find(s[:mid])) >= 0:
                lo, at = mid, i
            else:
                hi = mid - 1
        return lo, at


def cut(text, n):
    "`text` after its first `n` normalised characters, as (before, after)."
    seen = 0
    for i, c in enumerate(text):
        if seen >= n:
            return text[:i], text[i:].lstrip()
        seen += len(nows(c))
    return text, ''


def table_text(rows):
    return '\n'.join(' '.join(r) for r in rows)


def pieces(records, doc):
    "Every block cut at the page breaks of `doc`."
    drawn, out = [Drawn(p) for p in doc], []
    scattered = []
    for r in records:
        r['plain'] = table_text(r['rows']) if 'rows' in r else r['text']
        if r['role'] in ('chart', 'table', 'running_head', 'side_tab', 'page_number'):
            scattered.append(r)
    for r in scattered:  # before the text, so that a heading is not taken for the running head
        d, want = drawn[r['page'] - 1], nows(r['plain'])
        if r['role'] == 'running_head':
            d.take(d.find(want), len(want))
    for r in records:
        if r in scattered:
            continue
        rest, page, first = r['plain'], r['page'], True
        while rest:
            d = drawn[page - 1]
            want, taken, place, right = nows(rest), 0, None, 0
            while taken < len(want):
                n, at = d.prefix(want[taken:])
                if n < min(4, len(want) - taken):
                    break  # a coincidence, not a column
                p, x1 = d.take(at, n)
                place, right, taken = place or p, max(right, x1), taken + n
            if taken:
                if (
                    first
                    and 'x' in r
                    and (abs(place[1] - r['y']) > 30 or abs(place[0] - r['x']) > 200)
                ):
                    raise SystemExit(f'page {page}: found elsewhere: {rest[:40]}')
                here, rest = cut(rest, taken)
                out.append(Piece(r, here, page, place, right, continued=not first))
                first = False
            if rest:
                page += 1
            if page > len(drawn):
                raise SystemExit(f'{r["role"]} block is not on the pages: {rest[:40]}')
    return out + [Piece(r, r['plain'], r['page'], (r['x'], r['y'])) for r in scattered], drawn


ROLES = dict(
    title='heading',
    subtitle='heading',
    source='caption',
    side_tab='running_head',
    imprint='body',
)
LEVELS = dict(title=1, subtitle=2)


def order(page_pieces, width):
    """Reading order of one page's pieces: what spans both columns
    cuts the page into bands, a band is read column by column."""
    ends = {'running_head': 0, 'side_tab': 1, 'page_number': 9}
    spans = sorted((p.place[1] for p in page_pieces if spanning(p)))

    def key(p):
        x, y = p.place
        if p.block['role'] in ends:
            return (ends[p.block['role']],)
        band = sum(s < y for s in spans)
        return (5, band, 1, 0, y) if spanning(p) else (5, band, 0, x > width / 2, y)

    return sorted(page_pieces, key=key)


def spanning(p):
    return p.block.get('span') or p.block['role'] in ('title', 'subtitle', 'imprint')


def listed(text):
    return re.sub(r'^(◼|[A-Z]\))\s*', r'\1 ', text)


def as_block(p):
    b = p.block
    out = dict(
        role=ROLES.get(b['role'], b['role']),
        text=listed(p.text) if b['role'] == 'list' else p.text.strip(),
    )
    if level := LEVELS.get(b['role'], b.get('level', 0)):
        out['level'] = level
    if 'key' in b:
        out['figure'] = b['number']
    if p.continued:
        out['continued'] = True
    return out


def check(page, blocks, drawn):
    "The gold page holds the characters of the typeset page, no more and no fewer."
    gold, real = Counter(nows(''.join(b['text'] for b in blocks))), Counter(drawn.text)
    if gold != real:
        raise SystemExit(
            f'page {page}: gold only {dict(gold - real)}, page only {dict(real - gold)}'
        )


def gold_pages(records, pdf, doc_name, **extra):
    "The gold JSON of a typeset PDF (bytes)."
    with pymupdf.open(stream=pdf, filetype='pdf') as doc:
        parts, drawn = pieces(records, doc)
        pages = []
        for n, page in enumerate(doc, 1):
            blocks = [
                as_block(p) for p in order([p for p in parts if p.page == n], page.rect.width)
            ]
            check(n, blocks, drawn[n - 1])
            pages.append(dict(page=n, blocks=blocks))
    return dict(doc=doc_name, **extra, pages=pages)


def body_text(records, doc):
    """Headings, paragraphs, lists and boxes only, whole,
    in reading order: what cleaning should leave."""
    parts, _ = pieces(records, doc)
    lines = []
    for n in range(1, len(doc) + 1):
        for p in order(
            [p for p in parts if p.page == n and not p.continued], doc[n - 1].rect.width
        ):
            b = p.block
            role = ROLES.get(b['role'], b['role'])
            text = MARK.sub('', b.get('text', '')).strip()
            if role == 'heading':
                lines.append('#' * LEVELS.get(b['role'], b.get('level', 1)) + ' ' + text)
            elif role in ('body', 'list', 'column'):
                lines.append(listed(text) if role == 'list' else text)
    return '\n\n'.join(lines) + '\n'


def page_texts(gold):
    return '\f'.join('\n'.join(b['text'] for b in p['blocks']) for p in gold['pages'])


def write_gold(gold, stem, text=False):
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix('.json').write_text(
        json.dumps(gold, ensure_ascii=False, indent=1) + '\n', encoding='utf-8'
    )
    if text:
        stem.with_suffix('.txt').write_text(page_texts(gold), encoding='utf-8')


def questions(body):
    """The hand-written questions with ids;
    every support must stand in the body, every answer in its support."""
    flat, rows, asked = nows(body), [], set()
    for f in sorted((SOURCE / 'questions').glob('*.jsonl')):
        for i, line in enumerate(f.read_text(encoding='utf-8').splitlines(), 1):
            if not line.strip():
                continue
            q = json.loads(line)
            where = f'{f.name}:{i}: {q["question"]}'
            if nows(q['support']) not in flat:
                raise SystemExit(f'{where}: the support is not in the report')
            if nows(q['answer']) not in nows(q['support']):
                raise SystemExit(f'{where}: the answer is not in the support')
            if q['question'] in asked:
                raise SystemExit(f'{where}: asked twice')
            asked.add(q['question'])
            rows.append(dict(id=f'gq-{len(rows) + 1:03d}', **q))
    return rows


def build_report():
    pdf, records = typeset()
    (DOCS / 'document_01.pdf').write_bytes(pdf)
    gold = gold_pages(records, pdf, 'document_01', source_sha256=source_hash())
    write_gold(gold, DOCS / 'gold/document_01', text=True)
    with pymupdf.open(stream=pdf, filetype='pdf') as doc:
        body = body_text(records, doc)
    (DOCS / 'gold/document_01_body.txt').write_text(body, encoding='utf-8')
    rows = questions(body)
    (DOCS / 'gold_questions.jsonl').write_text(
        ''.join(json.dumps(r, ensure_ascii=False) + '\n' for r in rows), encoding='utf-8'
    )
    print(
        f'document_01.pdf: {len(gold["pages"])} pages, {len(pdf) / 1e6:.2f} MB, '
        f'body {len(nows(body))} characters, {len(rows)} questions'
    )


if __name__ == '__main__':
    ap = argparse.ArgumentParser(
        description='Typeset the report, its gold text and the test bed.'
    )
    ap.add_argument('--report', action='store_true', help='only the report, not the test bed')
    args = ap.parse_args()
    build_report()
    if not args.report:
        import build_testbed

        build_testbed.build()
