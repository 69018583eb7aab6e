"""Put the Colab setup cell first in every notebook, or bring it up to date: `make export` runs
this. It holds `git_url` of settings.ini, because on Colab the notebook is all there is. With
names as arguments only those notebooks are touched; `--check` only reports."""

import json
import sys
from configparser import ConfigParser
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
HEAD = '# Colab setup'


def cell(cfg):
    """Source of the cell. `/content` exists on Colab,
    `/kaggle/working` on Kaggle; the tests put another folder in its place."""
    repo = cfg['repo']
    return f'''#| hide
{HEAD}: fetches and installs the course there and on Kaggle; elsewhere it does nothing.
import os

folders = ('/kaggle/working', '/content')
root = os.environ.get('CLIMATE_FT_COLAB') or next(filter(os.path.isdir, folders), '')
if os.path.isdir(root) and not os.path.exists('../settings.ini'):
    url = '{cfg['git_url']}'
    course = f'{{root}}/{repo}'
    if not os.path.isdir(course) and os.system(f'git clone -q --depth 1 {{url}} {{course}}'):
        raise SystemExit(
            'The course could not be fetched: is the network on? (Kaggle: Settings > Internet)'
        )
    setup = f'{{course}}/scripts/colab_setup.py'
    exec(compile(open(setup).read(), setup, 'exec'), dict(__file__=setup))'''


def update(path, src):
    "Insert or replace the cell; True if the notebook changed"
    text = path.read_text(encoding='utf-8')
    nb = json.loads(text)
    cells = [c for c in nb['cells'] if HEAD not in ''.join(c['source'][:2])]
    old = [c for c in nb['cells'] if c not in cells]
    new = dict(
        cell_type='code',
        execution_count=None,
        id=old[0]['id'] if old else 'colab-setup',
        metadata={},
        outputs=[],
        source=src.splitlines(True),
    )
    nb['cells'] = [new] + cells
    out = json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + '\n'
    if out == text:
        return False
    path.write_text(out, encoding='utf-8')
    return True


if __name__ == '__main__':
    cp = ConfigParser(delimiters=['='])
    cp.read(REPO / 'settings.ini', encoding='utf-8')
    names = [a for a in sys.argv[1:] if a != '--check']
    src = cell(cp['DEFAULT'])
    nbs = [
        p
        for p in sorted((REPO / 'nbs').glob('**/*.ipynb'))
        if not {'.ipynb_checkpoints', 'ja'} & {*p.parts} and (not names or p.stem in names)
    ]
    if '--check' in sys.argv:
        bad = [
            p.name
            for p in nbs
            if json.loads(p.read_text(encoding='utf-8'))['cells'][0]['source']
            != src.splitlines(True)
        ]
        sys.exit(
            f"run make export: the setup cell is missing or old in {', '.join(bad)}"
            if bad
            else 0
        )
    print([p.stem for p in nbs if update(p, src)])
