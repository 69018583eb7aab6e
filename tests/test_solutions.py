"""The solutions of the exercises run in the repository,
and what they print is what is saved in them."""

import nbformat
import pytest
from nbrun import REPO, drift, execute

SOLUTIONS = sorted((REPO / 'nbs/solutions').glob('*.ipynb'))
CHAPTERS = {p.stem for p in (REPO / 'nbs').glob('*.ipynb')} - {'index'}


@pytest.mark.parametrize('path', SOLUTIONS, ids=lambda p: p.stem)
def test_solution(path):
    assert (
        '\n'.join(drift(nbformat.read(path, as_version=4), execute(path, path.parent))) == ''
    )


def test_every_chapter_has_its_solutions():
    assert {p.stem for p in SOLUTIONS} == CHAPTERS
