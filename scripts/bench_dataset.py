"""Time and memory of the corpus and dataset stages from 100 to 10,000 pages.

    python scripts/bench_dataset.py [--pages 100 300 1000 3000 10000] [--out FILE.json]

The pages are made from the sentences of the course's corpus: every noun is replaced by another
noun of the report and every number by another number, so that no two pages are alike and the
morphology stays that of a real report. Each size runs in a process of its own, on one core.
Seconds are processor time after imports, so that other work on the machine does not count;
`wall_s` is the clock."""

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAGE = 1500  # characters


def templates():
    from climate_ft.corpus import load_corpus, sentences
    from climate_ft.style import tokens
    from climate_ft.workspace import REPO, Workspace

    chunks = load_corpus(Workspace(REPO))[1]
    nouns, res = set(), []
    for c in chunks:
        for s in sentences(c.text):
            if s[-1] != '。':
                continue
            ts = tokens(s)
            res.append(
                [
                    (
                        t.surface,
                        'noun'
                        if t.pos == '名詞' and t.sub in ('一般', 'サ変接続', '固有名詞')
                        else 'number'
                        if t.surface.isdigit()
                        else '',
                    )
                    for t in ts
                ]
            )
            nouns |= {
                t.surface
                for t in ts
                if t.pos == '名詞' and t.sub == '一般' and len(t.surface) > 1
            }
    return res, sorted(nouns)


def pages(n, seed=0):
    """Blocks of `n` pages: documents of 100 pages,
    a section of four pages, paragraphs of five sentences"""
    sents, nouns = templates()
    rng = random.Random(seed)

    def sentence():
        return ''.join(
            rng.choice(nouns)
            if k == 'noun'
            else str(rng.randint(1, 2999))
            if k == 'number'
            else w
            for w, k in rng.choice(sents)
        )

    for p in range(n):
        at = dict(page=p % 100 + 1, bbox=(0, 0, 0, 0), doc=f'report_{p // 100:03}')
        if p % 100 == 0 or p % 20 == 0:
            yield dict(
                at,
                role='heading',
                level=1,
                text=f'{p % 100 // 20 + 1} {rng.choice(nouns)}と{rng.choice(nouns)}',
            )
        if p % 4 == 0:
            yield dict(
                at,
                role='heading',
                level=2,
                text=f'{p % 100 // 20 + 1}.{p % 20 // 4 + 1} '
                f'{rng.choice(nouns)}の{rng.choice(nouns)}',
            )
        done = 0
        while done < PAGE:
            text = ''.join(sentence() for _ in range(5))
            done += len(text)
            yield dict(at, role='body', text=text)


def measure(n):
    from climate_ft.corpus import run_corpus
    from climate_ft.dataset import run_dataset
    from climate_ft.style import tokens
    from climate_ft.workspace import Workspace, write_json
    from rapidfuzz.fuzz import ratio

    tokens('辞書を読み込む。')
    with tempfile.TemporaryDirectory() as d:
        ws = Workspace(d)
        blocks = list(pages(n))
        write_json(ws.path('cleaned_blocks'), dict(blocks=blocks, captions=[]))
        chars = sum(len(b['text']) for b in blocks)
        del blocks
        now = lambda: (time.process_time(), time.perf_counter())
        t0 = now()
        run_corpus(ws)
        t1 = now()
        report = run_dataset(ws)
        t2 = now()
    return dict(
        pages=n,
        characters=chars,
        corpus_s=round(t1[0] - t0[0], 2),
        dataset_s=round(t2[0] - t1[0], 2),
        total_s=round(t2[0] - t0[0], 2),
        wall_s=round(t2[1] - t0[1], 2),
        train_pairs=report['rows']['train'],
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )


if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--pages', type=int, nargs='+', default=[100, 300, 1000, 3000, 10000])
    ap.add_argument(
        '--out',
        type=Path,
        default=Path(__file__).parent.parent / 'results' / 'bench_dataset.json',
    )
    ap.add_argument('--one', type=int, help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.one:
        print(json.dumps(measure(a.one)))
        sys.exit()
    rows = []
    for n in a.pages:
        r = subprocess.run(
            [sys.executable, __file__, '--one', str(n)],
            check=True,
            capture_output=True,
            text=True,
            env=dict(os.environ, OMP_NUM_THREADS='1'),
        )
        rows.append(json.loads(r.stdout))
        print(rows[-1], flush=True)
    cpu = (
        next(
            (
                l.split(':')[1].strip()
                for l in open('/proc/cpuinfo')
                if l.startswith('model name')
            ),
            platform.processor(),
        )
        if Path('/proc/cpuinfo').exists()
        else platform.processor()
    )
    a.out.parent.mkdir(exist_ok=True)
    a.out.write_text(
        json.dumps(dict(python=platform.python_version(), cpu=cpu, rows=rows), indent=1) + '\n'
    )
