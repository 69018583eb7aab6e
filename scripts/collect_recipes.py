"""Runs of `scripts/gpu_forms.py` or `scripts/own_pdf.py` in one file.

usage: python scripts/collect_recipes.py OUT.json ABOUT FILE…   (ABOUT: one sentence)

Answers of `gpu_forms.py` that lie beside a file are counted again. A run on another machine
than that of the first file says so."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from gpu_forms import counts, curve, safe
from climate_ft.workspace import read_json, read_jsonl, write_json


def recounted(f, run):
    settings = ','.join(f'{k}={v}' for k, v in run.get('settings', {}).items())
    spec = f"{run.get('variant')}:{settings}" if settings else str(run.get('variant'))
    p = f.with_name(f'{f.stem}_{safe(spec)}.jsonl')
    if not p.is_file():
        return run
    answers = read_jsonl(p)
    return run | dict(table=counts(answers), curve=curve(answers))


def main(out, about, *files):
    every = [read_json(Path(f)) for f in files]
    head = {k: v for k, v in every[0].items() if k != 'runs'}
    runs = []
    for f, d in zip(files, every):
        other = {k: v for k, v in d.items() if k != 'runs' and v != head[k]}
        if other.keys() - {'machine', 'versions'}:
            raise SystemExit(f'{f}: {other}, unlike {files[0]}')
        runs += [recounted(Path(f), r) | other for r in d['runs']]
    write_json(Path(out), head | dict(about=about, runs=runs))
    print(len(runs), 'runs')


if __name__ == '__main__':
    main(*sys.argv[1:])
