"""Run the notebooks and the solutions under settings that change a processor's arithmetic, and
report which cells differ.

    python scripts/arithmetic.py                # everything, in every setting: hours
    python scripts/arithmetic.py --settings plain sse41 -- 05_corpus solutions/13_export

A figure that passed through a sum of floating-point numbers depends on the order of that sum,
and the order on the number of threads and on the instructions that the libraries choose. Each
setting takes some of those away, as an older processor would. A cell *differs* where its text
is not letter for letter what is saved; it *fails* where it raises an error, or where
`tests/nbrun.py` calls the difference a drift (a cell states its tolerance with `#| approx`;
the chapters in its list TRAINING show what a larger model said, and only have to run).
Each run adds to `results/arithmetic.json`, so that the work can be done in pieces."""

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
import nbformat

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / 'tests'))
from nbrun import TRAINING, drifted, execute, said, skipped

OLD = dict(
    ONEDNN_MAX_CPU_ISA='SSE41',
    DNNL_MAX_CPU_ISA='SSE41',
    ATEN_CPU_CAPABILITY='default',
    MKL_CBWR='COMPATIBLE',
    OPENBLAS_CORETYPE='Prescott',
    NPY_DISABLE_CPU_FEATURES='X86_V3',
)
SETTINGS = dict(
    plain={},
    threads2=dict(OMP_NUM_THREADS='2', OPENBLAS_NUM_THREADS='2'),
    sse41=dict(ONEDNN_MAX_CPU_ISA='SSE41', DNNL_MAX_CPU_ISA='SSE41'),
    avx2=dict(ONEDNN_MAX_CPU_ISA='AVX2', DNNL_MAX_CPU_ISA='AVX2'),
    aten=dict(ATEN_CPU_CAPABILITY='default'),
    mkl=dict(MKL_CBWR='COMPATIBLE'),
    prescott=dict(OPENBLAS_CORETYPE='Prescott'),
    nehalem=dict(OPENBLAS_CORETYPE='Nehalem'),
    haswell=dict(OPENBLAS_CORETYPE='Haswell'),
    old=OLD,  # all of them: the oldest processor that can run this
    old2=dict(OLD, OMP_NUM_THREADS='2', OPENBLAS_NUM_THREADS='2'),
)


# with ATEN_CPU_CAPABILITY=default, torch 2.13 compiles code that names what it does not
# include (`at::vec` has not been declared), whatever the processor: left out there
COMPILES = '25_torch_compile'


def notebooks(names):
    """Paths of the notebooks called `names` (`05_corpus`,
    `solutions/05_corpus`); all of them for none"""
    every = [
        *sorted((REPO / 'nbs').glob('*.ipynb')),
        *sorted((REPO / 'nbs/solutions').glob('*.ipynb')),
    ]
    by_name = {title(p): p for p in every}
    if wrong := set(names) - set(by_name):
        sys.exit(f'no notebook is called {", ".join(sorted(wrong))}')
    return [by_name[n] for n in names] if names else every


def title(path):
    return path.relative_to(REPO / 'nbs').with_suffix('').as_posix()


def outcome(saved, run, compared=True):
    "Numbers of the cells that differ by a letter, and of those that fail with the reason"
    code = [
        (i, a, b)
        for i, (a, b) in enumerate(zip(saved.cells, run.cells))
        if a.cell_type == 'code' and not skipped(a.source)
    ]
    differ = [i for i, a, b in code if said(a) != said(b)]
    fail = {i: reason for i, _, b in code if (reason := error_of(b))}
    if compared:
        fail |= {i: drift for i, a, b in code if i not in fail and (drift := drifted(a, b))}
    return dict(differ=differ, fail=fail)


def error_of(cell):
    "First 200 characters of the error that a cell ended with, or nothing"
    errors = [o for o in cell.outputs if o.output_type == 'error']
    return f'{errors[0].ename}: {errors[0].evalue}'[:200] if errors else ''


def run_one(path, setting, keep=None):
    "Outcome of a notebook in a setting; the executed notebook goes into the folder `keep`"
    env = dict(OMP_NUM_THREADS='1', PYTHONPATH=str(REPO)) | SETTINGS[setting]
    if path.stem == COMPILES:
        env.pop('ATEN_CPU_CAPABILITY', None)
    run = execute(path, path.parent, extra=env, allow_errors=True)
    if keep:
        to = keep / setting / f'{title(path)}.ipynb'
        to.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(run, to)
    saved = nbformat.read(path, as_version=4)
    return outcome(saved, run, compared=title(path) not in TRAINING)


def record(out, setting, name, got):
    "Add the outcome `got` to the file `out`"
    r = json.loads(out.read_text()) if out.exists() else {}
    r.setdefault('settings', {})[setting] = SETTINGS[setting]
    r.setdefault('notebooks', {}).setdefault(name, {})[setting] = got
    r['notebooks'] = dict(sorted(r['notebooks'].items()))
    text = json.dumps(r, indent=1, ensure_ascii=False)
    out.write_text(re.sub(r'\[[\s\d,]+\]', lambda m: ' '.join(m[0].split()), text) + '\n')


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument(
        'names',
        nargs='*',
        help='notebooks, such as 05_corpus or solutions/05_corpus (default: all)',
    )
    p.add_argument('--settings', nargs='+', choices=SETTINGS, default=list(SETTINGS))
    p.add_argument('--out', type=Path, default=REPO / 'results/arithmetic.json')
    p.add_argument('--keep', type=Path, help='folder for the executed notebooks')
    a = p.parse_args()
    failed = 0
    for path in notebooks(a.names):
        for setting in a.settings:
            t = time.time()
            got = run_one(path, setting, a.keep)
            record(a.out, setting, title(path), got)
            failed += bool(got['fail'])
            print(
                f'{title(path):32} {setting:9} {time.time() - t:5.0f} s '
                f' {len(got["differ"])} differ, {len(got["fail"])} fail',
                flush=True,
            )
            for i, reason in got['fail'].items():
                print(f'    cell {i}: {reason}', flush=True)
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
