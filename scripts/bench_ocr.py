"""OCR engines on pages of the report, as pictures, clean and degraded: character error rate,
seconds a page.

    python -m venv ../ocr-env
    ../ocr-env/bin/pip install rapidocr onnxruntime rapidocr-onnxruntime scipy \
        pymupdf rapidfuzz psutil
    apt-get install tesseract-ocr tesseract-ocr-jpn tesseract-ocr-script-jpan
    PYTHONPATH=. ../ocr-env/bin/python scripts/bench_ocr.py        writes results/ocr.json

`recognised` pairs each line that an engine found with the line of the PDF under its middle, so
that the order of columns plays no part: it is what the engine reads. `page` is the text of the
whole page after this course's layout code, against the gold text: it is what a user gets. Both
in percent of characters. Seconds are processor time of one thread."""

import csv
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
import numpy as np
import pymupdf
from climate_ft import ocr
from climate_ft.compare import errors, load_gold, normalise, score_page
from climate_ft.layout import assemble, read_lines
from climate_ft.ocr import Seen
from climate_ft.workspace import REPO, write_json

os.environ.update(OMP_NUM_THREADS='1', OMP_THREAD_LIMIT='1')
PAGES, REPORT = (2, 4, 7, 10, 15, 26), REPO / 'documents/document_01.pdf'
LICENCES = {
    'rapidocr': 'Apache-2.0, models PP-OCRv6 small (Apache-2.0) inside the wheel',
    'tesseract': 'Apache-2.0, models tessdata_fast (Apache-2.0)',
    'rapidocr-onnxruntime': 'Apache-2.0, models PP-OCRv4 mobile (Apache-2.0) inside the wheel',
}


def degraded(grey, seed=0):
    "The picture as from a poor scan: a degree askew, blurred, greyer, with noise"
    from scipy.ndimage import gaussian_filter, rotate

    k = 1 if len(grey) > 2500 else 0.6
    g = rotate(grey.astype(np.float32), 1.0, reshape=False, order=1, cval=255)
    g = (
        gaussian_filter(g, 1.2 * k) * 0.75
        + 45
        + np.random.default_rng(seed).normal(0, 14, g.shape)
    )
    return g.clip(0, 255).astype(np.uint8)


def picture(page, dpi, poor):
    "A PDF of one page that holds the picture of `page`"
    grey, out = np.ascontiguousarray(ocr.render(page, dpi)), pymupdf.open()
    if poor:
        grey = degraded(grey)
    q = out.new_page(width=page.rect.width, height=page.rect.height)
    q.insert_image(
        q.rect,
        pixmap=pymupdf.Pixmap(
            pymupdf.csGRAY, *grey.shape[::-1], np.ascontiguousarray(grey).tobytes(), 0
        ),
    )
    return out


def cpu():
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def tesseract(grey, lang, psm=3):
    with tempfile.TemporaryDirectory() as tmp:
        pymupdf.Pixmap(
            pymupdf.csGRAY, *grey.shape[::-1], np.ascontiguousarray(grey).tobytes(), 0
        ).save(f'{tmp}/a.png')
        r = subprocess.run(
            [
                'tesseract',
                f'{tmp}/a.png',
                '-',
                '-l',
                lang,
                '--psm',
                str(psm),
                '--dpi',
                str(ocr.DPI),
                'tsv',
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    lines = {}
    for w in csv.DictReader(io.StringIO(r.stdout), delimiter='\t', quoting=csv.QUOTE_NONE):
        if w['level'] != '5' or not w['text'].strip():
            continue
        x, y, b, h = (int(w[k]) for k in ('left', 'top', 'width', 'height'))
        lines.setdefault((w['block_num'], w['par_num'], w['line_num']), []).append(
            (x, y, x + b, y + h, w['text'])
        )
    return [_joined(ws) for ws in lines.values()]


def _joined(ws):
    text, at = '', []
    for x0, _, x1, _, t in ws:
        text += (' ' if text and text[-1] < '\u0250' and t[0] < '\u0250' else '') + t
        at += [x0 + (k + 0.5) * (x1 - x0) / len(t) for k in range(len(t))]
    x0, y0, x1, y1 = zip(*[w[:4] for w in ws])
    return Seen(min(x0), min(y0), max(x1), max(y1), text, tuple(at))


def older(grey):
    "rapidocr-onnxruntime 1.4: PP-OCRv4, whose characters are Chinese and English"
    from rapidocr_onnxruntime import RapidOCR

    older.engine = getattr(older, 'engine', None) or RapidOCR(
        intra_op_num_threads=1, max_side_len=2000
    )
    found, _ = older.engine(np.repeat(grey[..., None], 3, 2), use_cls=False)
    return [ocr._seen(b, t, ()) for b, t, _ in found or []]


def engines():
    "name -> function, package; what is installed here"
    import shutil

    out = {}
    if ocr.installed():
        out['rapidocr'] = ocr.see
    if shutil.which('tesseract'):
        langs = subprocess.run(
            ['tesseract', '--list-langs'], capture_output=True, text=True
        ).stdout.split()
        for lang, psm in (('jpn', 3), ('jpn', 11), ('script/Japanese', 3)):
            if lang in langs:
                out[f'tesseract {lang} --psm {psm}'] = partial(tesseract, lang=lang, psm=psm)
    if ocr.find_spec('rapidocr_onnxruntime'):
        out['rapidocr-onnxruntime'] = older
    return out


def recognised(seen, lines):
    "Errors and characters, line by line of the PDF"
    k, held, lost = 72 / ocr.DPI, {}, 0
    for s in seen:
        x, y = (s.x0 + s.x1) / 2 * k, (s.y0 + s.y1) / 2 * k
        i = next(
            (
                i
                for i, l in enumerate(lines)
                if l.y0 - 2 < y < l.y1 + 2 and l.x0 - 4 < x < l.x1 + 4
            ),
            None,
        )
        if i is None:
            lost += len(normalise(s.text))
        else:
            held.setdefault(i, []).append(s)
    wrong = sum(
        errors(
            normalise(''.join(s.text for s in sorted(held.get(i, []), key=lambda s: s.x0))),
            normalise(l.text),
        )
        for i, l in enumerate(lines)
    )
    return wrong + lost, sum(len(normalise(l.text)) for l in lines)


def rows(lines):
    "Lines that touch on one baseline as one: an engine need not know where a PDF cuts them"
    out = []
    for l in sorted(lines, key=lambda l: (round(l.y0), l.x0)):
        p = out[-1] if out else None
        if p and abs(p.y0 - l.y0) < 3 and -2 < l.x0 - p.x1 < 2 * l.size:
            out[-1] = p._replace(x1=l.x1, text=p.text + l.text)
        else:
            out.append(l)
    return out


def measure(see, dpi, poor):
    gold, n = (
        load_gold(REPO / 'documents/gold/document_01.json'),
        dict(wrong=0, chars=0, page_errors=0, page_chars=0, found=0, sentences=0, seconds=0.0),
    )
    with pymupdf.open(REPORT) as d:
        for number in PAGES:
            page = picture(d[number - 1], dpi, poor)[0]
            t = cpu()
            grey = ocr.render(page, angle=ocr.tilt(page))
            mask, seen = ocr.ink(grey), see(grey)
            lines, shapes = ocr.ocr_lines(seen, mask), ocr.ocr_shapes(seen, grey, mask)
            text = '\n'.join(
                b.text for b in assemble(lines, shapes, page.rect.width, page.rect.height)
            )
            n['seconds'] += cpu() - t
            wrong, chars = recognised(seen, rows(read_lines(d[number - 1])[0]))
            s = score_page(text, gold[number])
            for k, v in dict(
                wrong=wrong,
                chars=chars,
                page_errors=s['errors'],
                page_chars=s['chars'],
                found=s['found'],
                sentences=s['sentences'],
            ).items():
                n[k] += v
    return dict(
        recognised_cer=round(100 * n['wrong'] / n['chars'], 2),
        page_cer=round(100 * n['page_errors'] / n['page_chars'], 2),
        sentences=round(100 * n['found'] / n['sentences'], 1),
        seconds=round(n['seconds'] / len(PAGES), 2),
    )


def record(number=2):
    """What the engine sees on a page of the report:
    chapter 01b and the tests read it where there is no engine"""
    with pymupdf.open(REPORT) as d:
        seen = ocr.see(ocr.render(picture(d[number - 1], 300, False)[0]))
    lines = [
        json.dumps(
            [*(round(v) for v in s[:4]), s.text, [round(x) for x in s.at]], ensure_ascii=False
        )
        for s in seen
    ]
    (REPO / f'results/ocr_page_{number}.json').write_text(
        '[\n' + ',\n'.join(lines) + '\n]\n', encoding='utf-8'
    )


def versions():
    out = {}
    for p in ('rapidocr', 'onnxruntime', 'rapidocr-onnxruntime'):
        try:
            out[p] = version(p)
        except PackageNotFoundError:
            pass
    try:
        out['tesseract'] = subprocess.run(
            ['tesseract', '--version'], capture_output=True, text=True
        ).stdout.split()[1]
    except OSError:
        pass
    return out


if __name__ == '__main__':
    path = REPO / 'results/ocr.json'
    res = (  # without names of engines the whole file comes from this one run
        json.loads(path.read_text())
        if sys.argv[1:] and path.exists()
        else dict(pages=PAGES, licences=LICENCES, versions={}, engines={})
    )
    res['machine'] = f'{platform.machine()}, {platform.system()}, one thread'
    res['versions'] |= versions()
    if ocr.installed():
        record()
    for name, see in engines().items():
        if sys.argv[1:] and not any(name.startswith(a) for a in sys.argv[1:]):
            continue
        res['engines'][name] = {}
        for dpi in (300, 150):
            for poor in (False, True):
                res['engines'][name][f"{dpi} dpi, {'degraded' if poor else 'clean'}"] = r = (
                    measure(see, dpi, poor)
                )
                print(f"{name:28} {dpi} {'degraded' if poor else 'clean':9}", r, flush=True)
        write_json(path, res)
