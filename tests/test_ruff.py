"One style for all code: `make export` applies it, `ruff.toml` states it"

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO

PACKAGE = REPO / 'climate_ft'


@pytest.mark.parametrize('words', (['format', '--check'], ['check']))
def test_code_is_formatted_and_clean(words):
    r = subprocess.run(
        [sys.executable, '-m', 'ruff', *words, '.'], cwd=REPO, capture_output=True, text=True
    )
    assert r.returncode == 0, f'run `make export`\n{r.stdout[-2000:]}{r.stderr[-500:]}'


def test_names_that_come_by_star_imports_exist():
    "`from x import *` brings no private names, and nothing says so before the line runs"
    found = json.loads(
        subprocess.run(
            [sys.executable, '-m', 'ruff', 'check', '--isolated', '--no-cache', '--select']
            + [
                'F405,F821',
                '--output-format',
                'json',
                *sorted(map(str, PACKAGE.glob('*.py'))),
            ],
            capture_output=True,
            text=True,
        ).stdout
    )
    names = [(Path(e['filename']).stem, re.search('`(.+?)`', e['message'])[1]) for e in found]
    starred = {m for m, n in names if n in ('predict_memory', 'settle', 'load_for_inference')}
    assert {'preflight', 'train', 'generate'} <= starred, 'or nothing was looked at'
    own = {m: importlib.import_module(f'climate_ft.{m}') for m in starred}
    assert [(m, n) for m, n in names if m in starred and not hasattr(own[m], n)] == []
