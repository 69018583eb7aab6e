"""Renderings that extraction is tried on, beside the report itself, with their gold text:
documents/testbed/.

scrambled
    pages of the report, same look, drawn in another order (right column first, frames from
    last to first, captions before the text)
wide
    the same source with a wider gutter, every figure across both columns, a side tab with
    the chapter name
chromium
    printed by Chromium from HTML: other fonts, other producer, headings and leads across
    both columns in the middle of a page
one_column, vertical, vertical_identity, owner_password, near_empty: readable; scan,
no_tounicode, truncated, password, zero_byte: not readable as they are"""

import html
import json
import random
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pymupdf
from build_report import (
    DOCS,
    Drawn,
    Piece,
    as_block,
    check,
    cut,
    gold_pages,
    nows,
    order,
    table_text,
    typeset,
    write_gold,
    MARK,
)

OUT = DOCS / 'testbed'
# the page of the awkward one-page files: a chart, a wide table, few different characters
SAMPLE = 17
FIXED = dict(creationDate="D:20261101000000+09'00'", modDate="D:20261101000000+09'00'")


def save(doc, name, **kw):
    """Write a PDF with no more glyphs than it needs
    and without anything that changes from run to run."""
    if 'encryption' in kw and same_text(doc, OUT / f'{name}.pdf'):
        return  # its keys are random
    if name != 'no_tounicode':
        doc.subset_fonts()  # there, the glyphs can no longer be told
    doc.set_metadata(
        {
            **{
                k: v
                for k, v in doc.metadata.items()
                if k in ('title', 'author', 'producer', 'creator')
            },
            **FIXED,
        }
    )
    doc.save(OUT / f'{name}.pdf', garbage=4, deflate=True, use_objstms=1, no_new_id=True, **kw)


def same_text(doc, pdf):
    if not pdf.exists():
        return False
    with pymupdf.open(pdf) as old:
        return bool(old.authenticate('owner')) and [p.get_text() for p in old] == [
            p.get_text() for p in doc
        ]


def untag(doc):
    "Drop the tag tree: it would give the reading order away."
    doc.xref_set_key(doc.pdf_catalog(), 'StructTreeRoot', 'null')
    doc.xref_set_key(doc.pdf_catalog(), 'MarkInfo', 'null')


# ---- scrambled ------------------------------------------------------------------------------
TOKEN = re.compile(
    rb'\((?:\\.|[^\\()])*\)|<<|>>|<[0-9A-Fa-f\s]*>|/[^\s/\[\]()<>]+|[\[\]]|[^\s/\[\]()<>]+',
    re.S,
)


def units(stream):
    "The q … Q groups of a content stream, without marked-content operators."
    depth, start, found = 0, 0, []
    for m in TOKEN.finditer(stream):
        if m[0] == b'q':
            if depth == 0:
                start = m.start()
            depth += 1
        elif m[0] == b'Q':
            depth -= 1
            if depth == 0:
                found.append(stream[start : m.end()])
    return found


def layer(unit, width, height):
    "(rank of the layer in the new drawing order, baseline) of a text unit."
    x, y = map(float, re.search(rb'q 1 0 0 -1 ([\d.]+) ([\d.]+) cm', unit).groups())
    size = float(re.search(rb'/f\d+ ([\d.]+) Tf', unit)[1])
    if y < 50:
        return 0, y  # page number
    if y > height - 60:
        return 5, y  # running head
    if 6.2 < size < 8.3:
        return 1, y  # captions, labels, tables, footnotes
    if size > 10:
        return 4, y  # headings
    return (2 if x > width / 2 - 5 else 3), y


def scramble_page(page, rng):
    found = units(page.read_contents())
    layers = {k: [] for k in range(6)}
    shapes = [u for u in found if b'BT' not in u]
    for u in (u for u in found if b'BT' in u):
        rank, y = layer(u, page.rect.width, page.rect.height)
        layers[rank].append((y, u))
    out = shapes
    for rank, items in layers.items():
        frames, last = [[]], None
        for y, u in items:  # a frame: eight lines or so
            if last is not None and abs(y - last) > 8:
                frames[-1].append(None)
                if frames[-1].count(None) > rng.randint(6, 10):
                    frames.append([])
            frames[-1].append(u)
            last = y
        out += [u for f in (frames if rank in (0, 5) else frames[::-1]) for u in f if u]
    return b'\n'.join(out)


def scrambled(pages=8):
    with pymupdf.open(DOCS / 'document_01.pdf') as doc:
        doc.select(list(range(pages)))
        rng = random.Random(0)
        for page in doc:
            new = scramble_page(page, rng)
            xref = doc.get_new_xref()
            doc.update_object(xref, '<<>>')
            doc.update_stream(xref, new)
            page.set_contents(xref)
        untag(doc)
        doc.set_toc([])
        save(doc, 'scrambled')
    gold = json.loads((DOCS / 'gold/document_01.json').read_text(encoding='utf-8'))
    gold.update(doc='scrambled', pages=gold['pages'][:pages])
    del gold['source_sha256']
    with pymupdf.open(OUT / 'scrambled.pdf') as doc:
        for p, page in zip(gold['pages'], doc):
            check(p['page'], p['blocks'], Drawn(page))
    write_gold(gold, OUT / 'scrambled')


# ---- other geometries by typst --------------------------------------------------------------
def by_typst(name, pages=None, **inputs):
    pdf, records = typeset(**inputs)
    gold = gold_pages(records, pdf, name)
    with pymupdf.open(stream=pdf, filetype='pdf') as doc:
        if pages:
            doc.select(list(range(pages)))
        untag(doc)
        save(doc, name)
    gold['pages'] = gold['pages'][:pages]
    write_gold(gold, OUT / name)


# ---- Chromium -------------------------------------------------------------------------------
CSS = '''
@page { size: A4; margin: 24mm 17mm 20mm;
  @bottom-right { content: "- " counter(page) " -"; font: 8pt IPAexGothic } }
body { font: 9.6pt/1.62 IPAexMincho; margin: 0; text-align: justify; line-break: strict }
h1, h2, h3, figcaption, .box, table, text { font-family: IPAexGothic }
h1 { font-size: 15pt; border-left: 3mm solid #355; padding-left: 3mm; margin: 0 0 4mm }
h2 { font-size: 11.5pt; margin: 5mm 0 2mm }
h3 { font-size: 10pt; margin: 3mm 0 1mm }
h1, h2, h3 { break-after: avoid; text-align: left }
p { margin: 0; text-indent: 1em; orphans: 2; widows: 2 }
p.li { text-indent: -1.2em; margin: 0 0 0 1.2em }
.cols { columns: 2; column-gap: 9mm; margin-top: 3mm }
.wide { column-span: all }
figure { margin: 4mm 0; break-inside: avoid }
figcaption { font-size: 8pt; text-align: left }
table { border-collapse: collapse; font-size: 7pt; width: 100% }
td { border: .3pt solid #777; padding: .6mm .8mm; white-space: nowrap }
svg { display: block; overflow: visible; margin: 1mm auto }
.box { border: .6pt solid #355; border-radius: 2mm; padding: 2.5mm; font-size: 8.6pt;
  margin: 4mm 0; break-inside: avoid; background: #f3f6f4 }
.box b { display: block }
.note { font-size: 7.5pt; text-indent: 0; border-top: .3pt solid #777 }
sup { font-size: 6pt; line-height: 0 }
'''


def svg(record, page):
    "A chart as SVG: the shapes that typst drew, the labels as text."
    x0, y0 = record['x'], record['y']
    w, h = record['size']
    area, parts = pymupdf.Rect(x0 - 1, y0 - 1, x0 + w + 1, y0 + h + 1), []
    colour = lambda c: (
        'none' if c is None else '#%02x%02x%02x' % tuple(round(255 * v) for v in c)
    )
    for d in page.get_drawings():
        if d['rect'] not in area or d['rect'].height > h:
            continue
        path = ''
        for it in d['items']:
            if it[0] == 'l':
                path += (
                    f'M{it[1].x - x0:.1f} {it[1].y - y0:.1f}'
                    f'L{it[2].x - x0:.1f} {it[2].y - y0:.1f}'
                )
            elif it[0] == 're':
                path += (
                    f'M{it[1].x0 - x0:.1f} {it[1].y0 - y0:.1f}h'
                    f'{it[1].width:.1f}v{it[1].height:.1f}h-{it[1].width:.1f}z'
                )
            elif it[0] == 'c':
                path += f'M{it[1].x - x0:.1f} {it[1].y - y0:.1f}C' + ' '.join(
                    f'{p.x - x0:.1f} {p.y - y0:.1f}' for p in it[2:]
                )
        parts.append(
            f'<path d="{path}" fill="{colour(d["fill"])}" '
            f'stroke="{colour(d["color"])}" stroke-width="{d["width"] or 0:.1f}"/>'
        )
    wide = lambda t: 6 * sum(1 if ord(c) > 0x2E80 else 0.6 for c in t)
    text = ''.join(
        f'<text x="{max(0, min(x, w - wide(t))):.1f}" '
        f'y="{y + 6:.1f}" font-size="6">{html.escape(t)}</text>'
        for x, y, t in record['labels']
    )
    return (
        f'<svg width="{w:.0f}pt" height="{h:.0f}pt" viewBox="0 '
        f'0 {w:.0f} {h:.0f}">{"".join(parts)}{text}</svg>'
    )


def flowing(records):
    """The records that flow, floats between paragraphs and
    footnotes after their chapter, and the HTML blocks they form."""
    keep = [
        r
        for r in records
        if r['role']
        not in ('running_head', 'side_tab', 'page_number', 'title', 'subtitle', 'imprint')
    ]
    floats, notes, out = {}, [], []
    for r in keep:
        if 'key' in r:
            floats.setdefault(r['key'], []).append(r)
    done = set()
    for r in keep:
        if r['role'] == 'footnote':
            notes.append(r)
            continue
        if r['role'] == 'heading' and r['level'] == 1:
            out, notes = out + notes, []
        if 'key' not in r:
            out.append(r)
        elif r['key'] not in done:
            done.add(r['key'])
            out += floats[r['key']]
    return out + notes


def to_html(records, doc, css=CSS):
    text = lambda r: (
        html.escape(r['text'])
        if r['role'] == 'footnote'
        else MARK.sub(r'<sup>\g<0></sup>', html.escape(r['text']))
    )
    body, i, lead = [], 0, False
    while i < len(records):
        r, role = records[i], records[i]['role']
        if role == 'heading' and r['level'] == 1:
            if body:
                body.append('</div>')
            body.append(f'<h1 style="margin-top:{8 if body else 0}mm">{text(r)}</h1>')
            r['span'] = lead = True
        elif lead:  # the chapter's first paragraph runs over the whole width
            body.append(f'<p>{text(r)}</p><div class="cols">')
            r['span'], lead = True, False
        elif role == 'heading':
            body.append(f'<h{r["level"]}>{text(r)}</h{r["level"]}>')
        elif role == 'list':
            body.append(f'<p class="li">{text(r)}</p>')
        elif role == 'footnote':
            body.append(f'<p class="note">{text(r)}</p>')
        elif role == 'column':
            box = [r]
            while (
                i + 1 < len(records)
                and records[i + 1]['role'] == 'column'
                and not records[i + 1].get('level')
            ):
                i += 1
                box.append(records[i])
            body.append(
                f'<div class="box"><b>{text(box[0])}</b>'
                + ''.join(f'<p>{text(b)}</p>' for b in box[1:])
                + '</div>'
            )
        elif role == 'caption':
            fig = [r]
            while fig[-1]['role'] != 'source':
                i += 1
                fig.append(records[i])
            middle = fig[1]
            inner = (
                svg(middle, doc[middle['page'] - 1])
                if middle['role'] == 'chart'
                else '<table>'
                + ''.join(
                    '<tr>' + ''.join(f'<td>{html.escape(c)}</td>' for c in row) + '</tr>'
                    for row in middle['rows']
                )
                + '</table>'
            )
            wide = ' class="wide"' if r['span'] else ''
            body.append(
                f'<figure{wide}><figcaption><b>{text(r)}</b></figcaption>'
                f'{inner}<figcaption>{text(fig[-1])}</figcaption></figure>'
            )
        else:
            body.append(f'<p>{text(r)}</p>')
        i += 1
    return (
        '<!doctype html><html lang="ja"><meta charset="utf-8"><title>地球観測が支える気候変'
        f'動対策（抜粋）</title><style>{css}</style><body>{"".join(body)}</div></body></html>'
    )


def print_to_pdf(page_html, pdf):
    "Print HTML with Chromium."
    with tempfile.TemporaryDirectory() as tmp:
        source = Path(tmp) / 'page.html'
        source.write_text(page_html, encoding='utf-8')
        subprocess.run(
            [
                shutil.which('chromium') or 'google-chrome',
                '--headless',
                '--no-sandbox',
                '--disable-gpu',
                '--no-pdf-header-footer',
                f'--user-data-dir={tmp}/profile',
                f'--print-to-pdf={pdf}',
                source.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )


def place_flow(records, doc):
    "Pieces of a document whose records come in reading order but without pages."
    drawn, out, page, keyed = [Drawn(p) for p in doc], [], 1, {}
    for r in records:
        r['plain'] = table_text(r['rows']) if 'rows' in r else r['text']
        if r['role'] in ('chart', 'table'):
            x, y = keyed[r['key']].place
            out.append(Piece(r, r['plain'], keyed[r['key']].page, (x, y + 1)))
            continue
        rest, first, at_page = r['plain'], True, page
        while rest:
            if at_page > len(drawn):
                raise SystemExit(f'not on the pages: {rest[:40]}')
            d, want, taken, place = drawn[at_page - 1], nows(rest), 0, None
            while taken < len(want):
                n, at = d.prefix(want[taken:])
                if n < min(6, len(want) - taken):
                    break
                p, _ = d.take(at, n)
                place, taken = place or p, taken + n
            if taken:
                here, rest = cut(rest, taken)
                out.append(Piece(r, here, at_page, place, continued=not first))
                first, page = False, at_page if r['role'] != 'footnote' else page
                if r['role'] == 'caption':
                    keyed[r['key']] = out[-1]
            if rest:
                at_page += 1
    return out, drawn


def chromium(
    name='chromium', chapters='07,08', pages=6, gothic='IPAexGothic', mincho='IPAexMincho'
):
    pdf, records = typeset(chapters=chapters)
    with pymupdf.open(stream=pdf, filetype='pdf') as doc:
        flow = flowing(records)
        page_html = to_html(
            flow, doc, CSS.replace('IPAexGothic', gothic).replace('IPAexMincho', mincho)
        )
    with tempfile.TemporaryDirectory() as tmp:
        print_to_pdf(page_html, f'{tmp}/out.pdf')
        with pymupdf.open(f'{tmp}/out.pdf') as doc:
            parts, drawn = place_flow(flow, doc)
            gold = []
            for n, page in enumerate(doc, 1):
                mine = [p for p in parts if p.page == n] + [
                    Piece(dict(role='page_number'), f'- {n} -', n, (0, 0))
                ]
                blocks = [as_block(p) for p in order(mine, page.rect.width)]
                check(n, blocks, drawn[n - 1])
                gold.append(dict(page=n, blocks=blocks))
            doc.select(list(range(min(pages, len(doc)))))
            untag(doc)
            save(doc, name)
    write_gold(dict(doc=name, pages=gold[:pages]), OUT / name)


# ---- awkward kinds --------------------------------------------------------------------------
VERTICAL = [
    '衛星観測と気候',
    '人工衛星は、雲や海氷、森林の変化を毎日観測している。'
    '観測の記録は五十年に近く、気候の長期の変化を確かめる基礎となっている。',
    '地上の観測所は陸地に偏るため、海の上や極域では人工衛星の観測が欠かせない。'
    '複数の国が分担して観測を続けている。',
]


def paragraphs(name, texts, roles=None):
    blocks = [
        dict(
            role=(roles or ['body'] * len(texts))[i],
            text=t,
            **({'level': 1} if roles and roles[i] == 'heading' else {}),
        )
        for i, t in enumerate(texts)
    ]
    write_gold(dict(doc=name, pages=[dict(page=1, blocks=blocks)]), OUT / name)


def vertical():
    body = ''.join(
        f'<{"h1" if i == 0 else "p"}>{t}</{"h1" if i == 0 else "p"}>'
        for i, t in enumerate(VERTICAL)
    )
    print_to_pdf(
        '<!doctype html><html lang="ja"><meta '
        f'charset="utf-8"><style>@page{{size:A5;margin:20mm}} '
        f'body{{writing-mode:vertical-rl;font:12pt/1.9 '
        f'IPAexMincho;height:150mm}} h1{{font-size:16pt}}</style>{body}</html>',
        OUT / 'vertical.pdf',
    )
    with pymupdf.open(stream=(OUT / 'vertical.pdf').read_bytes(), filetype='pdf') as doc:
        untag(doc)
        save(doc, 'vertical')
    paragraphs('vertical', VERTICAL, ['heading', 'body', 'body'])
    # the same text by a font with a vertical encoding, as typesetting programs write it
    doc = pymupdf.open()
    page = doc.new_page(width=420, height=595)
    page.insert_font(
        fontname='M', fontfile='/usr/share/fonts/opentype/ipaexfont-mincho/ipaexm.ttf'
    )
    x = 350
    for i, t in enumerate(VERTICAL):
        for k in range(0, len(t), 34):
            page.insert_text(
                (x, 70), t[k : k + 34], fontname='M', fontsize=16 if i == 0 else 12
            )
            x -= 40 if i == 0 else 24
    doc.subset_fonts()
    for xref in range(1, doc.xref_length()):
        if doc.xref_get_key(xref, 'Encoding')[1] == '/Identity-H':
            doc.xref_set_key(xref, 'Encoding', '/Identity-V')
    save(doc, 'vertical_identity')
    paragraphs('vertical_identity', VERTICAL, ['heading', 'body', 'body'])


def awkward():
    report = pymupdf.open(DOCS / 'document_01.pdf')
    gold = json.loads((DOCS / 'gold/document_01.json').read_text(encoding='utf-8'))['pages']

    def excerpt(*numbers):
        doc = pymupdf.open()
        for n in numbers:
            doc.insert_pdf(report, from_page=n - 1, to_page=n - 1)
        return doc

    scan = pymupdf.open()  # an image and no text
    pix = report[1].get_pixmap(dpi=72, colorspace=pymupdf.csGRAY)
    scan.new_page(width=595, height=842).insert_image(
        (0, 0, 595, 842), stream=pix.tobytes('jpeg', jpg_quality=35)
    )
    save(scan, 'scan')

    bare = excerpt(SAMPLE)
    bare.subset_fonts()  # glyph numbers that nothing maps to characters
    for xref in range(1, bare.xref_length()):
        if bare.xref_get_key(xref, 'ToUnicode')[0] == 'xref':
            bare.xref_set_key(xref, 'ToUnicode', 'null')
    save(bare, 'no_tounicode')

    secret = pymupdf.open()
    secret.new_page().insert_text((72, 72), 'not to be read without the password')
    save(
        secret,
        'password',
        encryption=pymupdf.PDF_ENCRYPT_AES_256,
        user_pw='climate',
        owner_pw='owner',
    )
    save(
        excerpt(SAMPLE),
        'owner_password',
        encryption=pymupdf.PDF_ENCRYPT_AES_256,
        owner_pw='owner',
    )
    write_gold(
        dict(doc='owner_password', pages=[dict(gold[SAMPLE - 1], page=1)]),
        OUT / 'owner_password',
    )

    save(excerpt(SAMPLE), 'truncated')
    whole = (OUT / 'truncated.pdf').read_bytes()
    (OUT / 'truncated.pdf').write_bytes(whole[: len(whole) * 6 // 10])
    (OUT / 'zero_byte.pdf').write_bytes(b'')

    empty = pymupdf.open()
    for n in (1, 2, 3):
        empty.new_page(width=595, height=842).insert_text((290, 810), str(n), fontsize=8)
    save(empty, 'near_empty')
    write_gold(
        dict(
            doc='near_empty',
            pages=[
                dict(page=n, blocks=[dict(role='page_number', text=str(n))]) for n in (1, 2, 3)
            ],
        ),
        OUT / 'near_empty',
    )


def build():
    OUT.mkdir(parents=True, exist_ok=True)
    scrambled()
    by_typst('wide', geometry='wide', chapters='02,05,10', pages=7)
    by_typst('one_column', geometry='one', chapters='13', pages=2)
    awkward()
    if shutil.which('chromium') or shutil.which('google-chrome'):
        chromium()
        chromium('mixed', '11', 1, 'BIZ UDPGothic', 'BIZ UDPMincho')
        vertical()
    else:
        print('no Chromium: chromium.pdf, mixed.pdf and vertical.pdf are left as they are')
    for f in sorted(OUT.glob('*.pdf')):
        print(f'{f.name}: {f.stat().st_size / 1e3:.0f} kB')


if __name__ == '__main__':
    build()
