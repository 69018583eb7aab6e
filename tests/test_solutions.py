"""The solutions of the exercises run in the repository,
and what they print is what is saved in them."""

import sys
import nbformat
import pytest
from nbrun import REPO, Forks, by_needs, drift, execute

SOLUTIONS = by_needs((REPO / 'nbs/solutions').glob('*.ipynb'))
CHAPTERS = {p.stem for p in (REPO / 'nbs').glob('*.ipynb')} - {'index'}


@pytest.fixture(scope='module')
def forks(tmp_path_factory):
    with Forks(tmp_path_factory.mktemp('forks'), sys.executable, {}) as f:
        yield f


@pytest.mark.parametrize('path', SOLUTIONS, ids=lambda p: p.stem)
def test_solution(path, forks, monkeypatch):
    monkeypatch.setenv('JUPYTER_PATH', str(forks.folder))
    run = execute(path, path.parent, forks.kernel(path) or 'python3')
    assert '\n'.join(drift(nbformat.read(path, as_version=4), run)) == ''


def test_every_chapter_has_its_solutions():
    assert {p.stem for p in SOLUTIONS} == CHAPTERS
