"""Mutated PDFs through the command line: no traceback, no hang, no crash, earlier outputs
untouched.

python scripts/fuzz_pdfs.py [--n 500] [--seed 0] [--all-every 5]
        writes results/fuzz_pdfs.json
"""

import argparse
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
import pymupdf
from climate_ft.workspace import REPO, write_json


def base_pdfs(folder):
    "Two-page excerpts to mutate: compressed as they are, and with readable object streams"
    out = []
    for first, name, options in (
        (0, 'plain', dict(deflate=False, expand=True)),
        (3, 'packed', dict(garbage=3, deflate=True)),
        (8, 'streams', dict(garbage=3, deflate=True, use_objstms=True)),
    ):
        with pymupdf.open(REPO / 'documents/document_01.pdf') as d:
            d.select(range(first, first + 2))
            d.subset_fonts()
            d.save(folder / f'{name}.pdf', **options)
        out.append((folder / f'{name}.pdf').read_bytes())
    return out


def mutate(data, rng):
    "One of six mutations -> (its name, the new bytes)"
    b, kind = (
        bytearray(data),
        rng.choice(['flip', 'flip', 'truncate', 'swap', 'number', 'cut', 'repeat']),
    )
    objects = [m.span() for m in re.finditer(rb'\n\d+ 0 obj.*?endobj', data, re.S)] + [
        (data.rfind(b'xref'), len(data)),
        (0, len(data)),
    ]
    spot = lambda: rng.randrange(
        *rng.choice(objects)
    )  # every object is hit as often, however long its fonts are
    if kind == 'flip':
        for _ in range(rng.choice([1, 4, 32, 256])):
            b[spot()] ^= 1 << rng.randrange(8)
    elif kind == 'truncate':
        del b[rng.randrange(len(b)) :]
    elif kind == 'number':
        spots = [m.span() for m in re.finditer(rb'(?<=[ /\[\n])\d+(?=[ /\]\n>])', data)]
        for a, z in sorted(
            rng.sample(spots, min(len(spots), rng.choice([1, 5, 30]))), reverse=True
        ):
            b[a:z] = str(
                rng.choice([0, -1, 1, 7, 65536, 2**31, 2**63, rng.randrange(1000)])
            ).encode()
    elif kind in ('cut', 'repeat'):
        a = spot()
        z = min(len(b), a + rng.choice([1, 20, 400, 8000]))
        b[a:z] = b'' if kind == 'cut' else b[a:z] * rng.choice([2, 50])
    else:
        if len(objects) > 3:
            (a, z), (c, y) = sorted(rng.sample(objects[:-2], 2))
            head = lambda s: re.match(rb'\n\d+ 0 obj', s)[0]
            one, two = data[a:z], data[c:y]
            b[a:y] = (
                head(one)
                + two[len(head(two)) :]
                + data[z:c]
                + head(two)
                + one[len(head(one)) :]
            )
    return kind, bytes(b)


def run_one(pdf, out, extractor, limit=40):
    "Exit status, seconds and standard error of `climate-ft extract`"
    t = time.perf_counter()
    try:
        r = subprocess.run(
            [
                sys.executable,
                '-m',
                'climate_ft.cli',
                'extract',
                str(pdf),
                '--with',
                extractor,
                '--out',
                str(out),
            ],
            capture_output=True,
            text=True,
            timeout=limit,
            errors='replace',
        )
    except subprocess.TimeoutExpired:
        return None, limit, ''
    return r.returncode, time.perf_counter() - t, r.stderr


def judge(status, seconds, err, before, after, limit=20):
    "What is wrong with one run; an empty string if nothing is"
    last = err.strip().splitlines()[-1] if err.strip() else ''
    if status is None or seconds > limit:
        return f'took {seconds:.0f} s'
    if 'Traceback' in err:
        return 'traceback: ' + last
    if status not in (0, 2):
        return f'status {status}: {last}'
    if status == 2 and not last.startswith('climate-ft: '):
        return 'no clear line: ' + last
    if status == 2 and before != after:
        return 'earlier outputs changed'
    return ''


def fuzz(n, seed, all_every, folder, limit=20, log=lambda *a: None):
    "Run `n` mutated files; the summary"
    rng, folder, out = random.Random(seed), Path(folder), Path(folder) / 'out'
    bases, kinds, outcomes, bad, slowest = base_pdfs(folder), Counter(), Counter(), [], 0
    snapshot = lambda: (
        {p.name: p.read_bytes() for p in sorted((out / 'documents').glob('*'))}
        if out.exists()
        else {}
    )
    for i in range(n):
        kind, data = mutate(rng.choice(bases), rng)
        pdf, extractor = (
            folder / 'mutated.pdf',
            'all' if all_every and i % all_every == 0 else 'blocks',
        )
        pdf.write_bytes(data)
        before = snapshot()
        status, seconds, err = run_one(pdf, out, extractor)
        wrong = judge(status, seconds, err, before, snapshot(), limit)
        kinds[kind] += 1
        slowest = max(slowest, seconds)
        last = err.strip().splitlines()[-1] if err.strip() else ''
        outcomes[
            'read'
            if status == 0
            else re.sub(
                r'\(.*?\)|page \d+|status -?\d+',
                '',
                last.removeprefix('climate-ft: mutated.pdf').removeprefix('climate-ft: '),
            )
            .split(':')[0]
            .strip()
        ] += 1
        if wrong:
            bad.append(dict(index=i, kind=kind, extractor=extractor, wrong=wrong))
            (folder / f'bad{i}.pdf').write_bytes(data)
        log(i, kind, extractor, status, f'{seconds:.1f} s', wrong or last[:100])
    return dict(
        files=n,
        seed=seed,
        mutations=dict(kinds),
        outcomes=dict(outcomes.most_common()),
        slowest_seconds=round(slowest, 1),
        failures=bad,
    )


if __name__ == '__main__':
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument('--n', type=int, default=500)
    ap.add_argument('--seed', type=int, default=0)
    ap.add_argument(
        '--all-every',
        type=int,
        default=5,
        help='every n-th file goes through all extractors, '
        'the others through the block extractor',
    )
    ap.add_argument('--keep', help='folder that keeps the files that failed')
    a = ap.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        r = fuzz(
            a.n,
            a.seed,
            a.all_every,
            a.keep or tmp,
            log=lambda *x: print(*x, file=sys.stderr, flush=True),
        )
    r |= dict(
        python=platform.python_version(), pymupdf=pymupdf.VersionBind, system=platform.system()
    )
    write_json(REPO / 'results/fuzz_pdfs.json', r)
    print(r['outcomes'], r['failures'])
    sys.exit(bool(r['failures']))
