"""`make` says before each long step what it does and how long that takes, and nothing else"""

import os
import shutil
import subprocess
import sys
import pytest
from conftest import REPO

ENVIRONMENT = [
    'PyTorch goes into .venv: a minute to ten, as fast as the network is',
    'the course and its libraries go into .venv: a minute to five',
]
TOOLS = 'the tools for tests and docs go into .venv: a minute to five'
RUN = (
    'a whole run takes about ten minutes on two quiet cores; '
    'after Ctrl-C, make demo goes on with it'
)
ASK = (
    'Ask it for what the report says: '
    '.venv/bin/climate-ft ask "干渉SARとはどのような手法ですか。" --out runs/demo'
)


@pytest.fixture
def make(tmp_path):
    "`make` in a folder whose programs do nothing"
    if not shutil.which('make'):
        pytest.skip('make is not installed')
    shutil.copy(REPO / 'Makefile', tmp_path)
    for n in ('constraints-cpu.txt', 'settings.ini', 'setup.py'):
        (tmp_path / n).touch()
    bin = tmp_path / '.venv' / 'bin'
    bin.mkdir(parents=True)
    for n in ('python', 'pip', 'climate-ft'):
        (bin / n).write_text('#!/bin/sh\necho "$(basename "$0") $*" >> called\n')
        (bin / n).chmod(0o755)

    # the tests themselves are run by make, which tells its children so
    env = {k: v for k, v in os.environ.items() if not k.startswith(('MAKE', 'MFLAGS'))}

    def run(*args):
        (tmp_path / 'called').unlink(missing_ok=True)
        command = ['make', f'PYTHON={sys.executable}', *args]
        r = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert (r.returncode, r.stderr) == (0, ''), r.stderr
        file = tmp_path / 'called'
        return r.stdout.splitlines(), file.read_text().splitlines() if file.exists() else []

    return run


def test_each_long_step_is_announced_once(make):
    said, called = make('demo')
    assert said == [*ENVIRONMENT, RUN, ASK] and len(called) == 3
    assert called[-1] == 'climate-ft run --profile cpu --out runs/demo'
    assert make('demo') == ([RUN, ASK], called[-1:])
    said, called = make('dev')
    assert said == [TOOLS] and called == [
        'pip install -q -e .[cpu,dev,docs] -c constraints-cpu.txt'
    ]
    assert make('dev')[1] == []


def test_make_alone_lists_the_targets(make):
    said, called = make()
    assert called == [] and all(l.startswith('  make ') for l in said) and len(said) > 10
