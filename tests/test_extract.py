import json
import shutil
import sys
from pathlib import Path
import pymupdf
import pytest
from climate_ft.workspace import CourseError, Workspace, read_json
from climate_ft import extract as X, extractors, layout as L, workers
from climate_ft.compare import load_gold, score_pages

REPO = Path(__file__).resolve().parent.parent
BED, REPORT = REPO / 'documents/testbed', REPO / 'documents/document_01.pdf'
RENDERINGS = (
    'scrambled',
    'wide',
    'chromium',
    'one_column',
    'mixed',
    'owner_password',
    'vertical',
    'vertical_identity',
)


def make_pdf(path, draw, pages=1, w=400, h=500):
    """A PDF drawn by `draw(page, write)`,
    where `write(x, y, text, size)` sets Japanese text on a baseline"""
    d = pymupdf.open()
    for _ in range(pages):
        p = d.new_page(width=w, height=h)
        draw(
            p,
            lambda x, y, t, size=10: p.insert_text((x, y), t, fontname='japan', fontsize=size),
        )
    d.save(path)
    d.close()
    return path


LEFT = [
    '　海氷は日射の多くを宇宙へ反射する。',
    '海氷が減ると海面があらわれ、より多くの',
    '熱が海に入る。この働きは正のフィードバ',
]
RIGHT = [
    'ックと呼ばれる。北極域の気温はこの数十',
    '年、世界平均より速く上昇してきた。海氷',
    'の面積は衛星から毎日観測されている。',
]


def two_columns(p, write):
    "The right column is drawn first, a caption stands at its head"
    write(210, 70, '図 1　海氷域面積の推移', 8)
    for i, t in enumerate(RIGHT):
        write(210, 100 + i * 16, t, 9)
    for i, t in enumerate(LEFT):
        write(20, 100 + i * 16, t, 9)
    write(20, 84, '2 海氷とアルベド', 13)


def blocks_of(path):
    return next(X.iter_pages(path)).blocks


@pytest.mark.parametrize('name', RENDERINGS)
def test_block_extractor_reads_every_rendering(name):
    s = score_pages(X.iter_pages(BED / f'{name}.pdf'), load_gold(BED / f'{name}.json'))
    assert s['cer'] <= 3 and s['recall'] >= 99 and s['order'] >= 0.99 and s['torn'] == 0


def test_block_extractor_reads_the_report():
    s = score_pages(X.iter_pages(REPORT), load_gold(REPO / 'documents/gold/document_01.json'))
    assert s['cer'] <= 1 and s['recall'] >= 99 and s['order'] >= 0.99 and s['torn'] == 0


@pytest.mark.parametrize('extractor', X.EXTRACTORS)
def test_one_signature(extractor):
    (p,) = X.extract(REPORT, extractor, pages=[2])
    assert (p.number, p.doc, round(p.width), round(p.height)) == (2, 'document_01', 595, 842)
    assert (
        '気候' in p.text
        and p.blocks
        and all(b.page == 2 and b.doc == 'document_01' and len(b.bbox) == 4 for b in p.blocks)
    )
    assert all(
        -1 <= b.bbox[0] <= b.bbox[2] <= 597 and -1 <= b.bbox[1] <= b.bbox[3] <= 843
        for b in p.blocks
    )


def test_columns_and_a_caption_at_their_head(tmp_path):
    bs = blocks_of(make_pdf(tmp_path / 'a.pdf', two_columns))
    text = ''.join(b.text.replace('\n', '') for b in bs)
    assert ''.join(LEFT + RIGHT).strip('　') in text.replace('　海氷は', '海氷は')
    assert [b.role for b in bs if 'アルベド' in b.text or '図 1' in b.text] == [
        'heading',
        'caption',
    ]
    assert text.index('正のフィードバック') < text.index('図 1')


def test_a_wide_title_ends_a_band(tmp_path):
    def draw(p, write):
        for i in range(5):
            write(210, 60 + i * 16, f'右上{i}はじめの段の文章が続いていく。', 9)
            write(20, 60 + i * 16, f'左上{i}はじめの段の文章が続いていく。', 9)
        write(20, 170, '両段にまたがる長い見出しがここにあり、二つの帯を分けている', 13)
        for i in range(5):
            write(210, 200 + i * 16, f'右下{i}つぎの段の文章が続いていく。', 9)
            write(20, 200 + i * 16, f'左下{i}つぎの段の文章が続いていく。', 9)

    t = ''.join(b.text for b in blocks_of(make_pdf(tmp_path / 'a.pdf', draw)))
    order = [
        t.index(k)
        for k in (
            '左上0',
            '左上4',
            '右上0',
            '右上4',
            '両段',
            '左下0',
            '左下4',
            '右下0',
            '右下4',
        )
    ]
    assert order == sorted(order)


def test_a_table_is_read_across_and_a_wrapped_cell_is_one_cell(tmp_path):
    def draw(p, write):
        for i in range(4):
            write(
                20,
                40 + i * 16,
                '　本文の行がここに一段で長く続いているので、表ではないと分かる文章である。',
                9,
            )
        for y in (130, 150, 185, 205):
            p.draw_line((20, y), (300, y))
        for y, row in (
            (144, ('衛星', '打上げ', '対象')),
            (172, ('いぶき', '2009年', '')),
            (199, ('しずく', '2012年', '水循環')),
        ):
            for x, c in zip((24, 120, 200), row):
                c and write(x, y, c, 8)
        write(200, 165, '二酸化炭素', 8)
        write(200, 175, 'とメタン', 8)

    (table,) = [b for b in blocks_of(make_pdf(tmp_path / 'a.pdf', draw)) if b.role == 'table']
    assert table.text.split('\n') == [
        '衛星\t打上げ\t対象',
        'いぶき\t2009年\t二酸化炭素とメタン',
        'しずく\t2012年\t水循環',
    ]


def test_captions_are_told_from_references():
    for s in (
        '図表 12　降水量',
        '図1 観測網',
        '表３　指標',
        'Fig. 3 Trend',
        '図表1-1：気温',
        '【図2】海氷',
    ):
        assert L.CAPTION.match(s), s
    for s in (
        '図表 12 に示すように',
        '図 3、図 4',
        '表面の反射率',
        '図書館',
        '図表 2 のとおり',
        '発表 1 件',
        '地図 3',
    ):
        assert not L.CAPTION.match(s), s


def test_vertical_page_is_read_from_the_right():
    p = next(X.iter_pages(BED / 'vertical.pdf'))
    assert (
        p.text.startswith('衛星観測と気候')
        and '、' in p.text
        and p.blocks[0].bbox[0] > p.blocks[-1].bbox[0]
    )


@pytest.mark.parametrize(
    'name,kind,fatal',
    [
        ('scan', 'scan', True),
        ('no_tounicode', 'no_unicode', True),
        ('near_empty', 'near_empty', False),
        ('vertical', 'vertical', False),
        ('vertical_identity', 'vertical', False),
        ('truncated', 'unreadable', True),
        ('password', 'unreadable', True),
        ('zero_byte', 'unreadable', True),
        ('absent', 'unreadable', True),
    ],
)
def test_health_check_names_the_trouble(name, kind, fatal):
    found = X.check_pdf(BED / f'{name}.pdf')
    assert (kind, fatal) in [(f.kind, f.fatal) for f in found] and all(
        f'{name}.pdf' in f.message for f in found
    )


@pytest.mark.parametrize('name', ['wide', 'chromium', 'one_column', 'owner_password'])
def test_health_check_is_silent_about_sound_files(name):
    assert X.check_pdf(BED / f'{name}.pdf') == []


def test_a_scanned_page_among_others_is_no_reason_to_stop(tmp_path):
    with pymupdf.open(BED / 'one_column.pdf') as d, pymupdf.open(BED / 'scan.pdf') as s:
        d.insert_pdf(s, to_page=0)
        d.save(tmp_path / 'a.pdf')
    (f,) = X.check_pdf(tmp_path / 'a.pdf')
    assert (f.kind, f.fatal, f.pages) == ('scan', False, [3]) and 'ocrmypdf' in f.advice
    assert len(X.extract(tmp_path / 'a.pdf')) == 3


@pytest.mark.parametrize(
    'name,words',
    [
        ('scan', 'ocrmypdf'),
        ('truncated', 'mutool clean'),
        ('password', 'qpdf --decrypt'),
        ('zero_byte', 'empty file'),
        ('no_tounicode', 'table to Unicode'),
    ],
)
def test_bad_files_on_the_command_line(cft, tmp_path, name, words):
    old = tmp_path / 'documents/extracted_blocks.txt'
    old.parent.mkdir()
    old.write_text('earlier')
    r = cft('extract', BED / f'{name}.pdf', '--with', 'all', '--out', tmp_path)
    assert (
        r.returncode == 2
        and f'{name}.pdf' in r.stderr
        and words in r.stderr.strip().splitlines()[-1]
        and 'Traceback' not in r.stderr
    )
    assert old.read_text() == 'earlier' and [p.name for p in old.parent.iterdir()] == [
        old.name
    ]


def test_unknown_page_and_extractor():
    with pytest.raises(CourseError, match='pages 1 to 2, not 9'):
        list(X.iter_pages(BED / 'one_column.pdf', pages=[9]))
    with pytest.raises(CourseError, match="unknown extractor 'ocr'"):
        X.iter_pages(REPORT, 'ocr')


def test_stage_writes_all_files_or_none(tmp_path):
    ws = Workspace(tmp_path)
    paths = X.run_extract(
        ws, [BED / 'one_column.pdf', BED / 'mixed.pdf'], ['direct', 'blocks']
    )
    assert sorted(p.name for p in paths) == [
        'extracted_blocks.txt',
        'extracted_direct.txt',
        'extracted_pages.json',
    ]
    pages = read_json(ws.path('extracted_pages'))
    assert [(p['doc'], p['number']) for p in pages] == [
        ('one_column', 1),
        ('one_column', 2),
        ('mixed', 1),
    ]
    assert ws.path('extracted_blocks').read_text().split('\f') == [p['text'] for p in pages]
    before = {p: p.read_bytes() for p in paths}
    with pytest.raises(CourseError, match='scan.pdf'):
        X.run_extract(ws, [BED / 'mixed.pdf', BED / 'scan.pdf'], ['direct', 'blocks'])
    assert {p: p.read_bytes() for p in tmp_path.rglob('*.*') if p.is_file()} == before


def test_worker_that_stalls_or_dies_is_one_line():
    with pytest.raises(X.Stalled, match='silent for 0.001 s at page 1'):
        list(X.iter_pages_safely(BED / 'mixed.pdf', seconds=0.001))
    with pytest.raises(CourseError, match='mixed.pdf'):
        list(X.iter_pages_safely(BED / 'mixed.pdf', 'pymupdf4llm', gib=0.06))


def test_a_worker_that_gets_no_turn_is_not_a_broken_file(monkeypatch):
    import os
    import signal
    import subprocess
    import threading

    plain = subprocess.Popen

    def stopped(*a, **k):
        p = plain(*a, **k)
        os.kill(p.pid, signal.SIGSTOP)
        threading.Timer(6, os.kill, (p.pid, signal.SIGCONT)).start()
        return p

    monkeypatch.setattr(subprocess, 'Popen', stopped)
    assert len(list(X.iter_pages_safely(BED / 'mixed.pdf', seconds=4))) == 1


def test_another_extractor_may_fail(tmp_path, monkeypatch):
    real = X.iter_pages_safely

    def broken(pdf, extractor, *a, **k):
        if extractor == 'pdfplumber':
            raise X.Stalled('mixed.pdf: pdfplumber was silent')
        return real(pdf, extractor, *a, **k)

    monkeypatch.setattr(workers, 'iter_pages_safely', broken)
    ws = Workspace(tmp_path)
    X.run_extract(ws, [BED / 'mixed.pdf'], ['pdfplumber', 'pypdfium2', 'blocks'])
    assert ws.path('extracted_pdfplumber').read_text() == '[mixed.pdf: pdfplumber was silent]'
    assert ws.path('extracted_pypdfium2').read_text() == '[mixed.pdf: pypdfium2 was left out]'
    assert '気候' in ws.path('extracted_blocks').read_text()


def test_findings_that_are_not_fatal_are_passed_on(tmp_path):
    found = []
    X.run_extract(Workspace(tmp_path), [BED / 'vertical.pdf'], ['blocks'], notice=found.append)
    assert [f.kind for f in found] == ['vertical']


def test_many_shapes_take_little_time():
    import time

    t = time.process_time()
    assert (
        len(
            L.clusters(
                [(x, y, x + 1, y + 1) for x in range(0, 500, 5) for y in range(0, 700, 7)]
            )
        )
        == 1
    )
    assert time.process_time() - t < 2


def test_mutated_files(tmp_path):
    sys.path.insert(0, str(REPO / 'scripts'))
    from fuzz_pdfs import fuzz

    r = fuzz(8, seed=20, all_every=0, folder=tmp_path, limit=40)
    assert r['failures'] == [] and sum(r['outcomes'].values()) == 8


def half_scanned(path):
    "Pages 2 and 4 are pictures, page 5 is text turned into outlines"

    def draw(p, write):
        for i in range(8):
            write(
                20, 40 + i * 16, 'この年報は貸出の数をまとめたもので、毎年の夏に作られる。', 9
            )

    make_pdf(path, draw, 5)
    with pymupdf.open(path) as d:
        pictures = [d[i].get_pixmap(dpi=50) for i in (1, 3)]
        outlines = pymupdf.open('svg', d[4].get_svg_image(text_as_path=True).encode())
        outlines = pymupdf.open('pdf', outlines.convert_to_pdf())
        for i, pix in zip((1, 3), pictures):
            d.delete_page(i)
            d.new_page(i, width=400, height=500).insert_image((0, 0, 400, 500), pixmap=pix)
        d.delete_page(4)
        d.insert_pdf(outlines)
        d.save(path.with_name('half.pdf'))
    return path.with_name('half.pdf')


def test_what_could_not_be_read_is_said(tmp_path, cft, capsys):
    pdf = half_scanned(tmp_path / 'a.pdf')
    found = {f.kind: f for f in X.check_pdf(pdf)}
    assert {k: f.pages for k, f in found.items()} == dict(
        scan=[2, 4], outlined=[5]
    ) and not any(f.fatal for f in found.values())
    r = cft('extract', pdf, '--with', 'blocks', '--out', tmp_path / 'w')
    said = [l for l in r.stderr.splitlines() if 'half.pdf has' in l]
    assert (
        r.returncode == 0
        and len(said) == 2
        and 'pages 2, 4' in said[0]
        and 'ocrmypdf -l jpn' in said[0]
    )
    assert 'outlines on page 5' in said[1] and '--force-ocr' in said[1]
    r = cft('clean', '--out', tmp_path / 'w')
    line = r.stderr.strip().splitlines()[-1]
    assert (
        line == 'half: 5 pages, 448 characters, 16 sentences of text; '
        'set aside: nothing; nothing read on pages 2, 4, 5'
    ), line
    X.extract(pdf)
    assert [l for l in capsys.readouterr().err.splitlines()] == said  # in a notebook too


def test_outlined_text_alone_is_fatal(tmp_path):
    with pymupdf.open(half_scanned(tmp_path / 'a.pdf')) as d:
        d.select([4])
        d.save(tmp_path / 'b.pdf')
    (f,) = X.check_pdf(tmp_path / 'b.pdf')
    assert (f.kind, f.fatal) == ('outlined', True)


def test_pymupdf4llm_learns_the_headings_once(monkeypatch):
    "However long the document: from some of its pages, for all pages that are asked for"
    import pymupdf4llm

    seen, real = [], pymupdf4llm.IdentifyHeaders
    monkeypatch.setattr(extractors, 'HEADER_PAGES', 10)
    monkeypatch.setattr(
        pymupdf4llm,
        'IdentifyHeaders',
        lambda doc, pages=None: (seen.append(list(pages)), real(doc, pages=pages))[1],
    )
    got = list(X.iter_pages(REPORT, 'pymupdf4llm', [1, 2, 3]))
    assert [p.number for p in got] == [1, 2, 3] and seen == [list(range(0, 29, 3))]
    monkeypatch.setattr(extractors, 'HEADER_PAGES', 300)
    assert [p.text for p in got] == [
        p.text for p in X.iter_pages(REPORT, 'pymupdf4llm', [1, 2, 3])
    ]
