"""Scores of the committed evaluation results, computed again from the answers inside the files
after a metric changed.

usage: python scripts/recompute_results.py [FILE …]

All committed results if no file is named; prints what moved by more than .001.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from climate_ft.evaluation import recompute
from climate_ft.workspace import REPO, read_json, write_json


def moved(old, new, where=''):
    "(place, old value, new value) of every number that moved"
    if isinstance(new, dict):
        return [
            m for k, v in new.items() for m in moved((old or {}).get(k), v, f'{where}/{k}')
        ]
    if not isinstance(new, (int, float)) or old == new:
        return []
    return [(where[1:], old, new)]


def main(files):
    for p in map(
        Path,
        files
        or [
            *(REPO / 'data').glob('evaluation_results*.json'),
            *(REPO / 'results').glob('evaluation_*bit.json'),
        ],
    ):
        old = read_json(p)
        new = json.loads(json.dumps({**old, **recompute(old)}))
        if new == old:
            continue
        write_json(p, new)
        for where, a, b in moved(old['scores'], new['scores']):
            if a is None or abs(a - b) > 0.001:
                print(p.name, where, a, '->', b)


if __name__ == '__main__':
    main(sys.argv[1:])
