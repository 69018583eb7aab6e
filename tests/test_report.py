"The course's report, its gold text and the test bed hold what they promise."

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pymupdf
import pytest

REPO = Path(__file__).resolve().parent.parent
DOCS = REPO / 'documents'
sys.path.insert(0, str(REPO / 'scripts'))
from build_report import Drawn, nows, page_texts, source_hash  # noqa: E402

GOLD = json.loads((DOCS / 'gold/document_01.json').read_text(encoding='utf-8'))
BODY = (DOCS / 'gold/document_01_body.txt').read_text(encoding='utf-8')
BLOCKS = [b for p in GOLD['pages'] for b in p['blocks']]
QUESTIONS = [
    json.loads(l)
    for l in (DOCS / 'gold_questions.jsonl').read_text(encoding='utf-8').splitlines()
]
READABLE = sorted(f.stem for f in (DOCS / 'testbed').glob('*.json'))


def test_size():
    assert len(GOLD['pages']) >= 24
    assert len(nows(BODY.split('# 付録A')[0])) >= 36_000  # without the appendices
    assert (DOCS / 'document_01.pdf').stat().st_size <= 2_000_000
    assert sum(f.stat().st_size for f in (DOCS / 'testbed').glob('*.pdf')) <= 2_500_000


def test_sections_over_three_levels():
    numbered = [
        b for b in BLOCKS if b['role'] == 'heading' and re.match(r'\d+(\.\d+)*　', b['text'])
    ]
    assert {b['level'] for b in numbered} == {1, 2, 3}
    chapters = [int(b['text'].split('　')[0]) for b in numbered if b['level'] == 1]
    assert chapters == list(range(1, 14))
    assert all(b['text'].split('　')[0].count('.') == b['level'] - 1 for b in numbered)


def test_figures_are_numbered_consecutively_and_have_a_source():
    captions = [b for b in BLOCKS if b['role'] == 'caption']
    numbers = sorted(
        int(m[1]) for b in captions if (m := re.match(r'図表 (\d+)　', b['text']))
    )
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 40
    assert sorted(b['figure'] for b in captions if b['text'].startswith('出所：')) == numbers
    assert sorted(b['figure'] for b in BLOCKS if b['role'] in ('chart', 'table')) == numbers


def test_body_refers_to_figures():
    sentences = [
        s
        for line in BODY.splitlines()
        if not line.startswith('#')
        for s in line.split('。')
        if re.search(r'図表 \d+', s)
    ]
    assert len(sentences) >= 20
    assert {int(n) for s in sentences for n in re.findall(r'図表 (\d+)', s)} <= {
        b['figure'] for b in BLOCKS if 'figure' in b
    }


def test_boxes_lists_and_notes():
    boxes = [b['text'] for b in BLOCKS if b['role'] == 'column' and b.get('level')]
    assert len(boxes) >= 5 and 'コラム　気候変動と国際協力' in boxes
    lists = [b['text'] for b in BLOCKS if b['role'] == 'list' and not b.get('continued')]
    assert (
        all(re.match(r'◼ |[A-Z]\) ', t) for t in lists)
        and any(t.startswith('A)') for t in lists)
        and any(t.startswith('◼') for t in lists)
    )
    notes = [
        int(re.match(r'注(\d+)　', b['text'])[1]) for b in BLOCKS if b['role'] == 'footnote'
    ]
    assert sorted(notes) == list(range(1, len(notes) + 1)) and len(notes) >= 13


def test_boxes_stay_in_their_chapter():
    boxes = [
        (p.name, t)
        for p in sorted((DOCS / 'source/sections').glob('*.typ'))
        for t in re.findall(r'#column-box\(\[(.+?)\]\)', p.read_text(encoding='utf-8'))
    ]
    before = {
        t: re.findall(r'^# (\d+)　', BODY[: BODY.index(f'コラム　{t}')], re.M)[-1]
        for _, t in boxes
    }
    assert all(int(before[t]) == int(name[:2]) for name, t in boxes), before


def test_running_heads_and_page_numbers():
    for p in GOLD['pages']:
        assert p['blocks'][0]['role'] == 'running_head' and p['blocks'][-1] == dict(
            role='page_number', text=str(p['page'])
        )
        assert Counter(b['role'] for b in p['blocks'])['running_head'] == 1


def same_characters(pdf, gold):
    with pymupdf.open(pdf) as doc:
        assert len(doc) == len(gold['pages'])
        for p, page in zip(gold['pages'], doc):
            assert Counter(nows(''.join(b['text'] for b in p['blocks']))) == Counter(
                Drawn(page).text
            ), f'page {p["page"]}'


def test_gold_holds_the_characters_of_each_page():
    same_characters(DOCS / 'document_01.pdf', GOLD)


@pytest.mark.parametrize('name', READABLE)
def test_gold_of_the_testbed(name):
    same_characters(
        DOCS / 'testbed' / f'{name}.pdf',
        json.loads((DOCS / 'testbed' / f'{name}.json').read_text(encoding='utf-8')),
    )


def test_scrambled_pages_look_the_same_and_read_otherwise():
    with (
        pymupdf.open(DOCS / 'document_01.pdf') as a,
        pymupdf.open(DOCS / 'testbed/scrambled.pdf') as b,
    ):
        assert a[1].get_pixmap(dpi=40).samples == b[1].get_pixmap(dpi=40).samples
        assert nows(a[1].get_text()) != nows(b[1].get_text())


def test_every_block_of_a_page_is_whole_in_the_body():
    flat = nows(BODY)
    for b in BLOCKS:
        if b['role'] in ('body', 'list', 'column', 'heading'):
            assert nows(re.sub(r'注\d+', '', b['text'])) in flat, b['text'][:40]
    assert not re.search(r'注\d', BODY) and '出所：' not in BODY


def test_text_file_is_the_json():
    assert (DOCS / 'gold/document_01.txt').read_text(encoding='utf-8') == page_texts(GOLD)


def test_questions():
    flat = nows(BODY)
    assert len(QUESTIONS) >= 220 and [q['id'] for q in QUESTIONS] == [
        f'gq-{i:03d}' for i in range(1, len(QUESTIONS) + 1)
    ]
    assert len({q['question'] for q in QUESTIONS}) == len(QUESTIONS)
    for q in QUESTIONS:
        assert nows(q['support']) in flat and nows(q['answer']) in nows(q['support']), q['id']
        assert (
            q['kind'] in ('number', 'year', 'name', 'definition', 'cause')
            and q['question2'] != q['question']
        ), q['id']


def test_what_the_original_asks_about_is_covered():
    for term in (
        'SWOT',
        'CNES',
        'カナダ宇宙庁',
        '英国宇宙庁',
        '雪氷面のアルベドとは',
        '三要素',
    ):
        assert term in BODY, term


def test_built_from_this_source():
    assert GOLD['source_sha256'] == source_hash(), 'run make report-pdf'


def test_rebuilding_gives_the_same_text():
    typst = pytest.importorskip('typst')
    if (
        not shutil.which('fc-list')
        or 'BIZ UDPMincho'
        not in subprocess.run(['fc-list'], capture_output=True, text=True).stdout
    ):
        pytest.skip('BIZ UD fonts are not installed')
    new = typst.compile(str(DOCS / 'source/report.typ'), root=str(DOCS / 'source'))
    with (
        pymupdf.open(stream=new, filetype='pdf') as a,
        pymupdf.open(DOCS / 'document_01.pdf') as b,
    ):
        assert [p.get_text() for p in a] == [p.get_text() for p in b]


def test_what_was_read_and_what_was_not_is_in_the_report():
    from climate_ft.report import reading_section

    state = dict(
        extract=dict(notes=['a.pdf has images and no text on pages 2, 4: run OCR first']),
        clean=dict(notes=['a: 5 pages']),
    )
    s = reading_section(state)
    assert s['pre'].splitlines() == [
        'a.pdf has images and no text on pages 2, 4: run OCR first',
        'a: 5 pages',
    ]
    assert reading_section({}) is None
