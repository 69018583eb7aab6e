"""Chapter 01b: pages without usable text. A stand-in replays what the engine saw on a page;
where the engine is installed, it reads that page itself"""

import json
import os
import sys
import numpy as np
import pymupdf
import pytest
from climate_ft import extract as X, ocr as O
from climate_ft.compare import load_gold, normalise, score_page
from climate_ft.layout import Held, assemble, is_vertical, ordered, read_page
from climate_ft.ocr import Seen
from climate_ft.pipeline import Job, data_stages, fingerprint
from climate_ft.workspace import REPO, CourseError, Page, Workspace, read_json

REPORT, BED = REPO / 'documents/document_01.pdf', REPO / 'documents/testbed'
ENGINE, GOLD = (
    REPO / 'tests/assets/engine',
    load_gold(REPO / 'documents/gold/document_01.json')[2],
)


@pytest.fixture
def engine(monkeypatch):
    "The stand-in, as the installed engine"
    monkeypatch.syspath_prepend(str(ENGINE))
    O._engine.cache_clear()
    yield
    sys.modules.pop('rapidocr', None)
    O._engine.cache_clear()


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.setattr(O, 'find_spec', lambda name: None)


def picture(page, dpi=300, angle=0.0):
    "A document of one page, the picture of `page`"
    grey, out = np.ascontiguousarray(O.render(page, dpi, -angle)), pymupdf.open()
    q = out.new_page(width=page.rect.width, height=page.rect.height)
    q.insert_image(
        q.rect, pixmap=pymupdf.Pixmap(pymupdf.csGRAY, *grey.shape[::-1], grey.tobytes(), 0)
    )
    return out


@pytest.fixture(scope='module')
def mixed(tmp_path_factory):
    "Page 1 of the report as it is, page 2 as a picture"
    path = tmp_path_factory.mktemp('ocr') / 'mixed.pdf'
    with pymupdf.open(REPORT) as d:
        d.select([0, 1])
        d.insert_pdf(picture(d[1]))
        d.delete_page(1)
        d.save(path)
    return path


def cer(text):
    s = score_page(text, GOLD)
    return s['errors'] / s['chars']


# ---- which pages


@pytest.mark.parametrize(
    'name,needed',
    [
        ('one_column', False),
        ('vertical', False),
        ('near_empty', False),
        ('scan', True),
        ('no_tounicode', True),
    ],
)
def test_pages_that_need_ocr(name, needed):
    with pymupdf.open(BED / f'{name}.pdf') as d:
        assert O.needs_ocr(O.page_counts(d[0], read_page(d[0]))) is needed


def test_an_unknown_mode_is_one_line(cft, tmp_path):
    for command in (('extract', BED / 'one_column.pdf'), ('run', '--profile', 'tiny')):
        r = cft(*command, '--ocr', 'maybe', '--out', tmp_path / 'w')
        assert (
            r.returncode == 2
            and r.stderr.strip() == "climate-ft: --ocr is 'maybe': choose auto, never, always"
        )


def test_always_without_an_engine_says_how_to_install_one(alone, tmp_path):
    with pytest.raises(
        CourseError,
        match='--ocr always needs an OCR engine: `pip install rapidocr onnxruntime`',
    ):
        X.run_extract(Workspace(tmp_path), [BED / 'one_column.pdf'], ['blocks'], ocr='always')
    assert not Workspace(tmp_path).path('extracted_pages').exists()


def test_without_an_engine_the_page_is_named(alone, mixed):
    (f,) = X.check_pdf(mixed)
    assert (f.kind, f.fatal, f.pages) == ('scan', False, [2])
    assert (
        'install an OCR engine (`pip install rapidocr onnxruntime`)' in f.advice
        and 'ocrmypdf' in f.advice
    )
    assert [p.text.strip() == '' for p in X.iter_pages(mixed)] == [False, True]


def test_never_leaves_pictures_alone(engine, mixed):
    (f,) = X.check_pdf(mixed, ocr='never')
    assert 'leave out --ocr never' in f.advice
    pages = list(X.iter_pages(mixed, ocr='never'))
    assert [(p.ocr, p.text.strip() == '') for p in pages] == [(False, False), (False, True)]


# ---- the picture


@pytest.mark.parametrize('angle', [0.0, 0.8, -2.0])
@pytest.mark.parametrize('number', [2, 10])
def test_a_sheet_that_lay_askew_is_straightened(angle, number):
    with pymupdf.open(REPORT) as d:
        assert abs(O.tilt(picture(d[number - 1], 150, angle)[0]) - angle) < 0.11


def test_an_empty_sheet_is_straight_and_has_no_ink():
    d = pymupdf.open()
    d.new_page()
    assert O.tilt(d[0]) == 0 and not O.ink(O.render(d[0])).any()


def test_gaps_cut_a_line_or_put_a_space_into_it():
    mask = np.zeros((60, 900), bool)
    for x in (0, 40, 120, 160, 320, 360):
        mask[10:46, x + 4 : x + 38] = (
            True  # characters 40 wide; gaps of one and of three characters
        )
    at = tuple(x + 20 for x in (0, 40, 120, 160, 320, 360))
    found = O._cut(Seen(0, 0, 900, 60, '第1序章概要', at), mask)
    assert [(s.text, s.x0, s.x1) for s in found] == [('第1　序章', 4, 198), ('概要', 324, 398)]
    mask[10:46, 118:122] = (
        True  # a gap that is less than a character: behind a comma it is the comma's own
    )
    at = tuple(x + 20 for x in (0, 40, 120, 160))
    assert O._cut(Seen(0, 0, 200, 60, '海、氷雪', at), mask)[0].text == '海、氷雪'
    assert O._cut(Seen(0, 0, 200, 60, '海洋氷雪', at), mask)[0].text == '海洋　氷雪'


@pytest.mark.parametrize(
    'seen,meant',
    [
        ('マイク口波', 'マイク口波'),
        ('エア口ゾル', 'エアロゾル'),
        ('センタ一ビル', 'センタービル'),
        ('データ一覧', 'データ一覧'),
        ('入口ホール', '入口ホール'),
        ('二カ国', '二カ国'),
    ],
)
def test_kanji_among_katakana(seen, meant):
    assert O._kana(seen) == meant


def test_sizes_that_are_alike_are_one():
    assert O._gathered([40, 41, 39, 52, 53, 24], [20, 20, 20, 5, 6, 3]) == [
        40,
        40,
        40,
        53,
        53,
        24,
    ]


# ---- through the layout code


def test_a_mixed_document_from_the_command_to_the_corpus(cft, mixed, tmp_path):
    env, ws = (
        dict(PYTHONPATH=os.pathsep.join(map(str, (REPO, ENGINE)))),
        Workspace(tmp_path / 'w'),
    )
    r = cft('extract', mixed, '--with', 'blocks', '--out', ws.root, **env)
    assert r.returncode == 0 and 'images and no text on page 2: read by OCR' in r.stderr
    one, two = [Page.fromdict(p) for p in read_json(ws.path('extracted_pages'))]
    with pymupdf.open(REPORT) as d:
        d.select([0])
        d.save(tmp_path / 'a.pdf')
    assert not one.ocr and one.text == next(X.iter_pages(tmp_path / 'a.pdf')).text
    assert two.ocr and cer(two.text) < 0.005
    assert [b.text for b in two.blocks if b.role == 'heading'] == [
        '1.2.2　日本の気温',
        '1.3　将来予測とシナリオ',
        '1.4　観測が果たす役割',
        '1.4.1　必須気候変数と衛星',
        '1.4.2　データから対策へ',
    ]
    r = cft('clean', '--out', ws.root)
    assert (
        f'read by OCR: page 2 ({len(two.text):,} characters)' in r.stderr
        and 'nothing read' not in r.stderr
    )
    assert cft('corpus', '--out', ws.root).returncode == 0
    chunks = read_json(ws.path('corpus_chunks'))
    assert {tuple(c['pages']) for c in chunks if c.get('ocr') == [2]} >= {(2,)} and all(
        2 in c['pages'] for c in chunks if c.get('ocr')
    )
    assert any('ocr' not in c for c in chunks)
    assert cft('dataset', '--out', ws.root).returncode == 0
    rows = [
        json.loads(l) for l in (ws.path('splits') / 'train.jsonl').read_text().splitlines()
    ]
    scanned = {c['id'] for c in chunks if c.get('ocr')}
    assert (
        {r['source_id'].rpartition('.')[0] for r in rows if r['extra'].get('ocr')}
        == {r['source_id'].rpartition('.')[0] for r in rows} & scanned
        != set()
    )


def test_a_document_of_pictures_alone_is_no_error(engine, tmp_path):
    with pymupdf.open(REPORT) as d:
        picture(d[1], 100).save(tmp_path / 'a.pdf')
    (f,) = X.check_pdf(tmp_path / 'a.pdf')
    assert (f.kind, f.fatal) == ('scan', False) and 'read by OCR' in f.advice
    (page,) = X.iter_pages(tmp_path / 'a.pdf')
    assert page.ocr and normalise('全球気候観測システム') in normalise(page.text)


def test_always_reads_every_page(engine, tmp_path):
    with pymupdf.open(REPORT) as d:
        d.select([1])
        d.save(tmp_path / 'a.pdf')
    assert [
        (p.ocr, cer(p.text) < 0.01) for p in X.iter_pages(tmp_path / 'a.pdf', ocr='always')
    ] == [(True, True)]


def test_a_picture_without_text_gives_an_empty_page(engine):
    d = pymupdf.open()
    d.new_page()
    held = O.read_by_ocr(d[0])
    assert (
        held == Held(1, 0, 0, 595, 842, [], [])
        and assemble(held.lines, held.shapes, 595, 842) == []
    )


def test_vertical_lines_are_read_from_the_right():
    columns = [
        '海氷の面積は毎年九月に最も小さくなる。',
        '観測は五十年に近く続いている。',
        '雪が積もる山では融け水を春の田に引く。',
    ]
    seen = [
        Seen(x, 100, x + 50, 100 + 45 * len(t), t, tuple([x + 25] * len(t)))
        for x, t in zip((300, 400, 500), columns)
    ]
    lines = O.ocr_lines(seen, np.zeros((1200, 600), bool))
    assert is_vertical(lines)
    text = ''.join(b.text for b in ordered(Held(1, 0, 0, 144, 288, lines, [])))
    assert text.replace('\n', '') == ''.join(columns[::-1])


def test_the_stage_depends_on_the_mode(tmp_path):
    stage = data_stages()[0]
    jobs = [Job(Workspace(tmp_path), pdfs=[BED / 'one_column.pdf'], ocr=m) for m in O.MODES]
    assert len({fingerprint(stage, j) for j in jobs}) == 3 and 'rapidocr' in stage.libraries


# ---- the engine


@pytest.mark.skipif(
    not O.installed(),
    reason='the OCR engine is not installed: pip install rapidocr onnxruntime',
)
def test_the_engine_reads_a_page_of_the_report():
    with pymupdf.open(REPORT) as d:
        page = picture(d[1])[0]
    held = O.read_by_ocr(page)
    text = '\n'.join(b.text for b in assemble(held.lines, held.shapes, held.W, held.H))
    assert cer(text) <= 0.02


def test_the_measured_target():
    r = read_json(REPO / 'results/ocr.json')['engines']
    assert r['rapidocr']['300 dpi, clean']['page_cer'] <= 2 and len(r) > 1
