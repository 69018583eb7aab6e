"""Runs of `scripts/gpu_forms.py` or `scripts/own_pdf.py` in one file.

usage: python scripts/collect_recipes.py OUT.json ABOUT FILE…   (ABOUT: one sentence)"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from climate_ft.workspace import read_json, write_json


def main(out, about, *files):
    every = [read_json(Path(f)) for f in files]
    head = {k: v for k, v in every[0].items() if k != 'runs'}
    for f, d in zip(files, every):
        other = {k: v for k, v in d.items() if k != 'runs'}
        if other != head:
            raise SystemExit(f'{f}: another model, machine or version than {files[0]}')
    runs = [r for d in every for r in d['runs']]
    write_json(Path(out), head | dict(about=about, runs=runs))
    print(len(runs), 'runs')


if __name__ == '__main__':
    main(*sys.argv[1:])
