"""A page on which the layout code fails keeps its plain text and is named; the other pages
are what they would be without it"""

import json
import os
import pymupdf
import pytest
from conftest import REPO
from climate_ft import extract as X, extractors, layout as L
from climate_ft.report import reading_section
from climate_ft.workspace import CourseError, Workspace, read_state
from test_extract import make_pdf

SAID = [
    ('海氷は日射の多くを宇宙へ反射し、北極を冷やす。', '海氷が減ると、海が熱を受け取る。'),
    ('氷河の厚さは衛星から毎年測られている。', '融けた水は川へ流れ、やがて海に入る。'),
    ('海面の高さは験潮所で百年以上観測されてきた。', '上昇は近年ほど速くなっている。'),
]
FINDING = (
    'a.pdf could not be put in reading order on page 2: '
    'the plain text was used; look at these pages, and report the file'
)


@pytest.fixture
def pdf(tmp_path):
    "Three pages of two paragraphs; the lower one is drawn first"
    texts = iter(SAID)

    def draw(page, write):
        above, below = next(texts)
        write(40, 200, below)
        write(40, 100, above)

    return make_pdf(tmp_path / 'a.pdf', draw, pages=3)


def break_page_2(monkeypatch, name, error=ValueError):
    "`ordered` or `read_lines` of the layout raises on the second page"
    real = getattr(L, name)

    def broken(p, *a, **k):  # a `Held` counts from 1, a page of PyMuPDF from 0
        if p.number == (2 if name == 'ordered' else 1):
            raise error('never thought of')
        return real(p, *a, **k)

    monkeypatch.setattr(L, name, broken)


@pytest.mark.parametrize('name', ['ordered', 'read_lines'])
def test_the_page_keeps_its_text_and_is_named(pdf, monkeypatch, name):
    sound = X.extract(pdf, notice=pytest.fail)
    break_page_2(monkeypatch, name)
    found = []
    one, two, three = X.extract(pdf, notice=found.append)
    assert [one, three] == [sound[0], sound[2]]
    assert two.text.split('\n') == list(SAID[1])
    assert [(b.page, b.role, b.doc) for b in two.blocks] == [(2, 'body', 'a')] * 2
    assert [(f.kind, f.fatal, f.pages) for f in found] == [('unordered', False, [2])]
    assert str(found[0]) == FINDING
    assert [p.asdict().get('plain') for p in (one, two, three)] == [None, True, None]


def test_every_page_may_fail(pdf, monkeypatch):
    monkeypatch.setattr(L, 'ordered', lambda *a, **k: 1 / 0)
    found = []
    pages = X.extract(pdf, notice=found.append)
    assert [tuple(p.text.split('\n')) for p in pages] == SAID
    assert [f.pages for f in found] == [[1, 2, 3]] and 'on every page:' in str(found[0])


def test_a_page_that_waits_for_later_ones_is_the_right_one(tmp_path, monkeypatch):
    number = iter(range(1, 99))
    pdf = make_pdf(
        tmp_path / 'a.pdf',
        lambda p, write: write(40, 100, f'観測地点の第{next(number)}号'),
        20,
    )
    break_page_2(monkeypatch, 'ordered')
    pages = list(X.iter_pages(pdf))
    assert [p.text for p in pages] == [f'観測地点の第{n}号' for n in range(1, 21)]
    assert [p.number for p in pages if p.plain] == [2]


@pytest.mark.parametrize('turned', [0, 90, 180, 270])
def test_boxes_are_those_of_the_page_as_shown(tmp_path, turned):
    d = pymupdf.open()
    page = d.new_page(width=400, height=500)
    page.set_rotation(turned)
    for y, t in ((200, SAID[0][1]), (100, SAID[0][0])):
        at = pymupdf.Point(60, y) * page.derotation_matrix
        page.insert_text(at, t, fontname='japan', fontsize=10, rotate=turned)
    d.save(tmp_path / 'a.pdf')
    with L.open_pdf(tmp_path / 'a.pdf') as d:
        plain, sound = L.plain_blocks(d[0]), L.page_blocks(d[0])
    assert [b.text for b in plain] == list(SAID[0]) == [b.text for b in sound]
    for a, b in zip(plain, sound):
        assert a.bbox == pytest.approx(b.bbox, abs=4)


@pytest.mark.parametrize('name', ['ordered', 'read_lines'])
@pytest.mark.parametrize('error', [MemoryError, KeyboardInterrupt, CourseError])
def test_what_is_no_fault_of_the_page_is_raised(pdf, monkeypatch, name, error):
    break_page_2(monkeypatch, name, error)
    with pytest.raises(error):
        list(X.iter_pages(pdf))


def test_without_plain_text_the_error_stands(tmp_path, pdf, monkeypatch):
    break_page_2(monkeypatch, 'ordered')
    with monkeypatch.context() as m, pytest.raises(ZeroDivisionError):
        m.setattr(extractors, 'plain_blocks', lambda page: 1 / 0)
        list(X.iter_pages(pdf))
    drawn = make_pdf(tmp_path / 'b.pdf', lambda p, write: p.draw_rect((40, 40, 90, 90)), 2)
    with pytest.raises(ValueError, match='never thought of'):
        list(X.iter_pages(drawn))


def test_plain_text_is_no_substitute_for_ocr(pdf, monkeypatch):
    def reader(ocr, used):
        def read(page):
            used.add(page.number + 1)
            raise ValueError('the engine failed')

        return read

    monkeypatch.setattr(extractors, 'reader', reader)
    with pytest.raises(ValueError, match='the engine failed'):
        list(X.iter_pages(pdf))


BROKEN = """
import climate_ft.layout as L

real = L.ordered

def broken(p, *a, **k):
    if p.number == 2:
        raise ValueError('never thought of')
    return real(p, *a, **k)

L.ordered = broken
"""


@pytest.fixture
def broken(tmp_path):
    "Environment in which every process of the course fails on second pages"
    (tmp_path / 'site').mkdir()
    (tmp_path / 'site/sitecustomize.py').write_text(BROKEN)
    return dict(PYTHONPATH=os.pathsep.join([str(tmp_path / 'site'), str(REPO)]))


def test_the_commands_and_the_report_say_so(pdf, broken, cft, tmp_path):
    out = tmp_path / 'out'
    r = cft('extract', pdf, '--with', 'blocks', '--out', out, **broken)
    assert r.returncode == 0 and f'climate-ft: {FINDING}' in r.stdout + r.stderr
    r = cft('extract', pdf, '--with', 'blocks', '--out', out, '--lang', 'ja', **broken)
    assert (
        'a.pdfには読む順序を決められなかったページがあります（2ページ）' in r.stdout + r.stderr
    )
    r = cft('run', '--pdf', pdf, '--profile', 'tiny', '--to', 'clean', '--out', out, **broken)
    assert r.returncode == 0 and FINDING in r.stdout + r.stderr
    ws = Workspace(out)
    assert FINDING in reading_section(read_state(ws))['pre'].splitlines()
    text = ws.path('extracted_cleaned').read_text(encoding='utf-8')
    assert all(t in text for page in SAID for t in page)
    assert [p.get('plain') for p in json.loads(ws.path('extracted_pages').read_text())] == [
        None,
        True,
        None,
    ]


def test_a_page_without_plain_text_is_one_clear_line(broken, cft, tmp_path):
    drawn = make_pdf(
        tmp_path / 'b.pdf',
        lambda p, write: (
            p.draw_rect((40, 40, 90, 90)) if p.number else write(40, 90, SAID[0][0])
        ),
        2,
    )
    r = cft('extract', drawn, '--with', 'blocks', '--out', tmp_path / 'out', **broken)
    assert r.returncode and 'blocks cannot read b.pdf (ValueError)' in r.stderr
    assert 'Traceback' not in r.stderr
