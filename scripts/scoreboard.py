"""Scores of every extractor on every rendering of the test bed, of the cleaning, and what the
block extractor costs.

python scripts/scoreboard.py            writes results/scoreboard.json, which chapter 03 plots
"""

import json
import logging
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
import pymupdf
from climate_ft.workspace import REPO, write_json
from climate_ft.layout import page_blocks
from climate_ft.extract import extract
from climate_ft.compare import describe, load_gold, scoreboard
from climate_ft.clean import clean_pages, score_cleaned

RENDERINGS = (
    'document_01',
    'scrambled',
    'wide',
    'chromium',
    'one_column',
    'mixed',
    'vertical',
    'vertical_identity',
)
logging.disable(logging.ERROR)


def paths(name):
    return (
        (REPO / 'documents/document_01.pdf', REPO / 'documents/gold/document_01.json')
        if name == 'document_01'
        else (REPO / f'documents/testbed/{name}.pdf', REPO / f'documents/testbed/{name}.json')
    )


def best(fs, repeats=9):
    """CPU seconds of the fastest of several calls of each function,
    taken in turn: what the code costs, whatever else the machine does"""

    def once(f):
        t = time.process_time()
        f()
        return time.process_time() - t

    return [min(ts) for ts in zip(*([once(f) for f in fs] for _ in range(repeats)))]


def against_dict(pdf):
    "CPU milliseconds a page of the block extractor and of `get_text('dict')`, and their ratio"
    with pymupdf.open(pdf) as d:
        for p in d:
            page_blocks(p)
        theirs, ours = (
            sum(s) / len(d) * 1000
            for s in zip(
                *(best([lambda: p.get_text('dict'), lambda: page_blocks(p)]) for p in d)
            )
        )
    return dict(
        dict_ms=round(theirs, 2), blocks_ms=round(ours, 2), ratio=round(ours / theirs, 2)
    )


def peak_mib(pdf, code):
    "Peak memory of a process that runs `code` on `pdf`"
    tail = (
        "\nimport resource; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024, "
        "resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/1024)"
    )
    r = subprocess.run(
        [sys.executable, '-c', f'import sys\npdf = sys.argv[1]\n{code}{tail}', str(pdf)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [round(float(x), 1) for x in r.stdout.split()[-2:]]


def memory(pages=(10, 1000)):
    """Peak memory for documents of different length:
    reading page by page, and the whole stage with its worker"""
    read = 'from climate_ft.extract import iter_pages\nfor p in iter_pages(pdf): pass'
    stage = (
        'import tempfile\nfrom climate_ft.extract import '
        'run_extract\nfrom climate_ft.workspace import Workspace\n'
        'run_extract(Workspace(tempfile.mkdtemp()), [pdf], ["blocks"])'
    )
    out = {}
    with tempfile.TemporaryDirectory() as tmp:
        for n in pages:
            with pymupdf.open(REPO / 'documents/document_01.pdf') as d:
                d.select([i % len(d) for i in range(n)])
                d.save(f'{tmp}/{n}.pdf')
            (one, _), (parent, worker) = (
                peak_mib(f'{tmp}/{n}.pdf', read),
                peak_mib(f'{tmp}/{n}.pdf', stage),
            )
            out[n] = dict(iter_pages_mib=one, stage_mib=parent, stage_worker_mib=worker)
    return dict(
        peak={str(k): v for k, v in out.items()},
        ratio={k: round(out[pages[1]][k] / out[pages[0]][k], 2) for k in out[pages[0]]},
    )


if __name__ == '__main__':
    res = dict(
        machine=f'{platform.machine()}, {platform.system()}, '
        f'Python {platform.python_version()}',
        versions={},
        renderings={},
    )
    for m in ('pymupdf', 'pymupdf4llm', 'pdfplumber', 'pypdfium2'):
        from importlib.metadata import version

        res['versions'][m] = version(m)
    for name in RENDERINGS:
        pdf, gold = paths(name)
        scores = scoreboard(pdf, gold)
        res['renderings'][name] = dict(
            extractors=scores,
            cleaned=score_cleaned(clean_pages(extract(pdf)), load_gold(gold)),
            time=against_dict(pdf),
        )
        print(
            f'\n{name}\n{describe(scores)}\ncleaned '
            f'{res["renderings"][name]["cleaned"]}\n{res["renderings"][name]["time"]}',
            flush=True,
        )
    res['memory'] = memory()
    print('\n', json.dumps(res['memory']))
    write_json(REPO / 'results/scoreboard.json', res)
