"""Fixtures that several test files share: the command line as a subprocess,
and one finished run of the tiny profile."""

import os
import subprocess
import sys
from pathlib import Path
import pytest
from climate_ft.workspace import system_language

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / 'site'))
if system_language() == 'ja':
    os.environ['LC_ALL'] = 'C.UTF-8'  # what the tests expect of commands is English


def climate_ft(*args, cwd=REPO, timeout=600, **env):
    "Run the command line; returns the finished process with text streams"
    return subprocess.run(
        [sys.executable, '-m', 'climate_ft.cli', *map(str, args)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        env={**os.environ, 'PYTHONPATH': str(REPO), **env},
    )


@pytest.fixture
def cft():
    return climate_ft


@pytest.fixture(scope='session')
def tiny_run(tmp_path_factory):
    """Workspace folder of one complete `climate-ft run --profile tiny`,
    shared by the session: read it, do not write to it"""
    from filelock import FileLock

    root = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        root = root.parent  # one for all processes of the session
    out = root / 'tiny' / 'run'
    with FileLock(root / 'tiny.lock'):
        if not (root / 'tiny' / 'stderr.txt').is_file():
            r = climate_ft('run', '--profile', 'tiny', '--out', out)
            assert r.returncode == 0, r.stderr[-3000:]
            (out.parent / 'stderr.txt').write_text(r.stderr)
    return out


@pytest.fixture(scope='session')
def chromium():
    "One browser for all test files: a second one cannot be started while the first is open"
    pytest.importorskip('playwright')
    import browser

    if not browser.chromium():
        pytest.skip('Chromium is not installed')
    with browser.browser() as b:
        yield b
