"""Extractors that the course does not install, scored once on the test bed; chapter 03 shows
the result.

    python -m venv OUTSIDE; OUTSIDE/bin/pip install pymupdf==2.0 pymupdf4llm==2.0 pypdf
    python scripts/extractors_outside.py --python OUTSIDE/bin/python

It writes results/extractors_outside.json. pdftotext (poppler) is used from the system.
"""

import argparse
import json
import subprocess
from climate_ft.workspace import REPO, Page, write_json
from climate_ft.compare import load_gold, score_pages
from scoreboard import paths

RENDERINGS = ('document_01', 'scrambled', 'wide', 'chromium')
READERS = dict(  # code that sets `pages`, a list of texts, from `pdf`
    pymupdf4llm_2='import pymupdf4llm\npages = [c["text"] for c in '
    'pymupdf4llm.to_markdown(pdf, page_chunks=True)]',
    pypdf='import pypdf\npages = [p.extract_text() for p in pypdf.PdfReader(pdf).pages]',
    pdftotext='import subprocess\npages = subprocess.run(["pdftotext", pdf, "-"], '
    'capture_output=True, text=True, check=True).stdout.split("\\f")',
    pdftotext_layout='import subprocess\npages = subprocess.run(["pdftotext", "-layout", pdf, '
    '"-"], capture_output=True, text=True, check=True).stdout.split("\\f")',
)
AROUND = '''import json, sys, time, importlib.metadata as md
pdf, t = sys.argv[1], time.perf_counter()
{code}
seconds = time.perf_counter()-t
versions = {{}}
for m in ('pymupdf4llm', 'PyMuPDF', 'pypdf'):
    try: versions[m] = md.version(m)
    except md.PackageNotFoundError: pass
print('\\n@@'+json.dumps(dict(pages=pages, seconds=seconds, versions=versions)))
'''

if __name__ == '__main__':
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument(
        '--python', required=True, help='interpreter of the environment that holds them'
    )
    python, res = ap.parse_args().python, dict(versions={}, renderings={})
    for name in RENDERINGS:
        pdf, gold = paths(name)
        for reader, code in READERS.items():
            r = subprocess.run(
                [python, '-c', AROUND.format(code=code), str(pdf)],
                capture_output=True,
                text=True,
            )
            if '@@' not in r.stdout:
                print(name, reader, 'failed', r.stderr[-300:])
                continue
            d = json.loads(r.stdout.rsplit('\n@@', 1)[1])
            res['versions'] |= d['versions']
            pages = [Page(i, 0, 0, t) for i, t in enumerate(d['pages'], 1)]
            res['renderings'].setdefault(name, {})[reader] = s = score_pages(
                pages, load_gold(gold)
            ) | dict(seconds=d['seconds'] / max(len(pages), 1))
            print(
                f'{name:12s} {reader:18s} CER {s["cer"]:5.1f}  sentences {s["recall"]:5.1f} '
                f' order {s["order"]:.3f}  {s["seconds"] * 1000:.0f} ms/page',
                flush=True,
            )
    res['versions']['poppler'] = (
        subprocess.run(['pdftotext', '-v'], capture_output=True, text=True)
        .stderr.split('\n')[0]
        .removeprefix('pdftotext version ')
    )
    write_json(REPO / 'results/extractors_outside.json', res)
