"""Scores of every extractor on drawn kinds of page.

python scripts/scoreboard_kinds.py          writes results/scoreboard_kinds.json (chapter 03)
python scripts/scoreboard_kinds.py ruby 3   shows what is wrong with one drawn document
"""

import logging
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
import pymupdf
from climate_ft.clean import clean_pages
from climate_ft.compare import kendall, normalise
from climate_ft.extract import iter_pages
from climate_ft.text import sentences
from climate_ft.workspace import REPO, write_json
from page_kinds import KINDS, drawn

SEEDS = range(1, 5)
EXTRACTORS = ('direct', 'pymupdf4llm', 'pdfplumber', 'pypdfium2', 'blocks')
OURS = 'cleaned'


def joins(gold):
    """Six characters on both sides of each row end of a paragraph, within a frame and from
    one frame to the next"""
    inside, across = [], []
    for g in gold:
        rows = [(f, normalise(r)) for f, r in g['rows']]
        for (f, a), (k, b) in zip(rows, rows[1:]):
            (inside if f == k else across).append(a[-6:] + b[:6])
    return inside, across


def gold_sentences(gold):
    found = [
        normalise(s) for g in gold if g['role'] != 'heading' for s in sentences(g['text'])
    ]
    return [s for s in found if len(s) > 7]


def left(doc, pages):
    """How many of the running heads, numbers and readings are still in the text; short ones
    count as rows of their own, or one letter a row. A heading may say the same as the head of
    its page"""
    n = 0
    for page, text in doc.furniture:
        t, whole = normalise(text), pages.get(page, '')
        if len(t) < 4:
            rows = [normalise(l) for l in whole.split('\n')]
            letters = '\n'.join(['', *t, ''])
            n += (
                t in rows or len(t) > 1 and letters in '\n'.join(['', *filter(None, rows), ''])
            )
            continue
        own = [normalise(g['text']) for g in doc.gold if g['page'] == page]
        n += normalise(whole).count(t) > sum(g.count(t) for g in own)
    return n


def score(doc, pages):
    "Counts for one extractor: `pages` maps page numbers to text"
    out = normalise('\n'.join(pages.values()))
    inside, across = joins(doc.gold)
    sents = gold_sentences(doc.gold)
    at = [p for s in sents if (p := out.find(s[:12])) >= 0 and out.count(s[:12]) == 1]
    order, pairs = kendall(at)
    return dict(
        joins=sum(j in out for j in inside),
        joins_of=len(inside),
        breaks=sum(j in out for j in across),
        breaks_of=len(across),
        sentences=sum(s in out for s in sents),
        sentences_of=len(sents),
        order=order,
        order_of=pairs,
        left=left(doc, pages),
        left_of=len(doc.furniture),
    )


def paragraphs(doc, cleaned):
    """Counts only the cleaned text has: paragraphs that came out as one, prose that was set
    aside, cells in the text"""
    have = {normalise(b.text) for b in cleaned.blocks}
    aside = ''.join(normalise(c.content) for c in cleaned.captions)
    want = [
        {normalise(g['text']), normalise(g['mark'] + g['text'])}
        for g in doc.gold
        if g['role'] != 'heading'
    ]
    cells = {normalise(t) for t in doc.aside if len(t) > 3}
    return dict(
        whole=sum(bool(t & have) for t in want),
        whole_of=len(want),
        aside=sum(s in aside for s in gold_sentences(doc.gold)),
        cells=sum(any(c in t for t in have) for c in cells),
    )


def cleaned_text(cleaned):
    pages = defaultdict(str)
    for b in cleaned.blocks:
        pages[b.pages[0]] += b.text + '\n'
    return dict(sorted(pages.items()))


def measure(kind, seed, extractors=EXTRACTORS, path=None):
    "Extractor -> counts for one drawn document"
    doc, res = drawn(kind, seed), {}
    with tempfile.TemporaryDirectory() as tmp:
        pdf = Path(path or f'{tmp}/{kind}_{seed}.pdf')
        doc.pdf.save(pdf)
        for e in extractors:
            how = dict(ocr='never') if e == 'blocks' else {}
            pages = list(iter_pages(pdf, e, **how))
            res[e] = score(doc, {p.number: p.text for p in pages})
            if e == 'blocks':
                c = clean_pages(pages)
                res[OURS] = score(doc, cleaned_text(c)) | paragraphs(doc, c)
    return res


def rates(counts):
    """Sums of counts as rates: percent, order from -1 to 1, furniture left and what was set
    aside as counts"""
    s = defaultdict(int)
    for c in counts:
        for k, v in c.items():
            s[k] += v
    share = lambda k: round(100 * s[k] / s[k + '_of'], 1) if s[k + '_of'] else None
    out = {k: share(k) for k in ('joins', 'breaks', 'sentences')}
    out['order'] = round(s['order'] / s['order_of'], 3) if s['order_of'] else None
    out['left'] = s['left']
    if 'whole' in s:
        out |= dict(paragraphs=share('whole'), aside=s['aside'], cells=s['cells'])
    return out


def board(kinds=KINDS, seeds=SEEDS, extractors=EXTRACTORS):
    res = {}
    for kind in kinds:
        found = defaultdict(list)
        for seed in seeds:
            for e, counts in measure(kind, seed, extractors).items():
                found[e].append(counts)
        res[kind] = {e: rates(c) for e, c in found.items()}
        print(kind, *(f'\n  {e:12}{r}' for e, r in res[kind].items()), flush=True)
    return res


def show(kind, seed):
    "What is wrong with one drawn document, for a person"
    doc, pdf = drawn(kind, seed), Path(tempfile.gettempdir()) / f'{kind}_{seed}.pdf'
    doc.pdf.save(pdf)
    pages = list(iter_pages(pdf))
    c = clean_pages(pages)
    have = {normalise(b.text) for b in c.blocks}
    print(pdf)
    for p in pages:
        for b in p.blocks:
            print(f'p{p.number} {b.role:12}{b.text[:90]!r}')
    for g in doc.gold:
        if not {normalise(g['text']), normalise(g['mark'] + g['text'])} & have:
            print('NOT WHOLE', g['role'], g['text'][:90])
    print({k: v for k, v in measure(kind, seed, ['blocks']).items()})


if __name__ == '__main__':
    logging.disable(logging.ERROR)
    if len(sys.argv) > 2:
        show(sys.argv[1], sys.argv[2])
    else:
        pymupdf.TOOLS.mupdf_display_errors(False)
        kinds = sys.argv[1:] or KINDS
        res = board(kinds)
        if not sys.argv[1:]:
            write_json(
                REPO / 'results/scoreboard_kinds.json', dict(seeds=list(SEEDS), kinds=res)
            )
