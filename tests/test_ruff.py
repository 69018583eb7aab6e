"One style for all code: `make export` applies it, `ruff.toml` states it"

import subprocess
import sys

import pytest
from conftest import REPO


@pytest.mark.parametrize('words', (['format', '--check'], ['check']))
def test_code_is_formatted_and_clean(words):
    r = subprocess.run(
        [sys.executable, '-m', 'ruff', *words, '.'], cwd=REPO, capture_output=True, text=True
    )
    assert r.returncode == 0, f'run `make export`\n{r.stdout[-2000:]}{r.stderr[-500:]}'
