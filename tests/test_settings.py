"""Settings from a profile, a file and the command line; which documents;
how many GPUs; what is refused before anything is loaded."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
import pytest
from climate_ft import extract as X, generate as G, options, pipeline as P, stages
from climate_ft.workspace import (
    Answer,
    CourseError,
    REPO,
    Workspace,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)

BED = REPO / 'documents' / 'testbed'


def test_the_last_word_wins(tmp_path):
    f = write_json(tmp_path / 'c.json', dict(epochs=7, r=8))
    cfg = P.resolve_config(
        'tiny',
        'owner/model',
        [
            'r=4',
            'targets=q_proj,v_proj',
            'regroup=false',
            'max_facts=none',
            'learning_rate=1e-3',
            'dropout=0',
        ],
        f,
    )
    assert (cfg.name, cfg.base, cfg.epochs, cfg.r, cfg.targets) == (
        'tiny',
        'owner/model',
        7.0,
        4,
        ('q_proj', 'v_proj'),
    )
    assert (
        cfg.regroup is False
        and cfg.max_facts is None
        and cfg.learning_rate == 0.001
        and type(cfg.dropout) is float
    )


def test_a_pdf_with_a_name_that_is_no_utf8_is_named(tmp_path):
    pdf = tmp_path / os.fsdecode(b'\xff.pdf')
    shutil.copy(BED / 'one_column.pdf', pdf)
    for given in (pdf, tmp_path):
        with pytest.raises(CourseError, match=r'the name of .*udcff.pdf is not UTF-8'):
            P.source_pdfs([given])


@pytest.mark.parametrize(
    'given,words',
    [
        ('learning_rat=1', r"no setting 'learning_rat'.*learning_rate"),
        ('LR=1', 'no setting'),
        ('epochs=many', "epochs is 'many': a number"),
        ('r=2.5', 'r is 2.5: a whole number'),
        ('batch_size=0', 'batch_size is 0: from 1 to 10,000 is needed'),
        ('learning_rate=nan', 'a number is needed'),
        ('regroup=perhaps', 'true or false'),
        ('r=true', 'a whole number'),
        ('bits=5', 'bits is 5: choose 4, 8, 16'),
        ('keep=first', 'best, last'),
        ('epochs', 'key=value'),
        ('name=../x', 'plain name'),
        ('name=', 'plain name'),
        ('seed=none', 'a whole number'),
        ('seed=-1', 'seed is -1: from 0 to 4,294,967,295 is needed'),
        ('dropout=1.5', 'dropout is 1.5: from 0 to 0.9'),
        ('beta2=1', 'beta2 is 1.0: from 0 to 0.999999'),
        ('max_steps=-5', 'max_steps is -5'),
        ('max_facts=0', 'max_facts is 0: from 1'),
        ('scheduler=zigzag', 'linear, cosine, constant'),
        ('optimizer=sgdd', 'optimizer is .sgdd.: choose adamw_8bit'),
        ('targets=,', 'targets names no layers'),
        ('name=\x1b[2J', r"name is '.x1b.2J': choose a plain name"),
        ('name=a\u202eb', 'choose a plain name'),
        ('name=\u3000', 'choose a plain name'),
        ('name=\udcff', r"name is '.udcff': a word is needed"),
        ('topics=海,\udcff', 'words, separated by commas is needed'),
        ('base=\udcff/x', 'a word is needed'),
    ],
)
def test_a_wrong_setting_is_named(given, words):
    with pytest.raises(CourseError, match=words) as e:
        P.resolve_config('tiny', sets=[given])
    assert '\n' not in str(e.value)


@pytest.mark.parametrize(
    'text,words',
    [
        ('[1]', 'JSON object'),
        ('{"epochs": "3"}', 'a number is needed'),
        ('{"batchsize": 2}', 'batch_size'),
        ('{"targets": ["q_proj", 3]}', 'words'),
        ('{"r": null}', 'whole number'),
        ('{"dataset": []}', 'no JSON object of shares'),
        ('{', 'damaged'),
    ],
)
def test_a_wrong_configuration_is_one_line_and_nothing_is_written(tmp_path, cft, text, words):
    f = tmp_path / 'c.json'
    f.write_text(text)
    for command in ('run', 'train'):
        r = cft(command, '--profile', 'tiny', '--config', f, '--out', tmp_path / 'out')
        assert (
            r.returncode == 2
            and words in r.stderr
            and len(r.stderr.strip().splitlines()) == 1
            and not (tmp_path / 'out').exists()
        )


def test_the_configuration_that_a_run_saves_can_be_given_to_the_next(tiny_run, tmp_path):
    saved = tiny_run / 'models/tiny/train_config.json'
    cfg = P.resolve_config(config_file=saved)
    got = read_json(saved)
    assert cfg.name == 'tiny' and {k: got[k] for k in P.setting_types()} == json.loads(
        json.dumps(cfg.asdict())
    )
    assert set(got) - set(P.setting_types()) <= P.MEASURED
    with pytest.raises(CourseError, match="no setting 'stepz'"):
        P.resolve_config(config_file=write_json(tmp_path / 'c.json', got | dict(stepz=3)))


@pytest.mark.parametrize(
    'base,words',
    [
        ('no-such-model', 'neither a folder nor'),
        ('./none', 'neither a folder nor'),
        ('EMPTY', 'config.json'),
    ],
)
def test_a_base_that_cannot_be_one(tmp_path, cft, base, words):
    if base == 'EMPTY':
        base = tmp_path / 'empty'
        base.mkdir()
    r = cft('run', '--profile', 'tiny', '--base', base, '--out', tmp_path / 'out')
    assert (
        r.returncode == 2
        and words in r.stderr
        and len(r.stderr.strip().splitlines()) == 1
        and not (tmp_path / 'out').exists()
    )


# ---- GPUs


@pytest.mark.parametrize(
    'choice,there,want',
    [
        (None, 2, 1),
        ('all', 2, 2),
        ('2', 2, 2),
        ('3', 2, 'this machine has 2'),
        ('0', 2, 'a number or all'),
        ('two', 2, 'a number or all'),
        ('all', 0, 'no GPU'),
        ('1', 0, 'no GPU'),
    ],
)
def test_gpus_are_counted_first(monkeypatch, choice, there, want):
    monkeypatch.setattr(options, 'count_gpus', lambda: there)
    if isinstance(want, int):
        assert P.resolve_gpus(choice) == want
    else:
        with pytest.raises(CourseError, match=want):
            P.resolve_gpus(choice)


def test_several_gpus_go_to_the_distributed_trainer(monkeypatch, tmp_path):
    from climate_ft import train as T

    got = []
    monkeypatch.setattr(
        T,
        'train_distributed',
        lambda cfg, ws, gpus, resume, progress: got.append((cfg.name, gpus, resume)),
        raising=False,
    )
    monkeypatch.setattr(options, 'count_gpus', lambda: 2)
    job = P.make_job(tmp_path, 'tiny', gpus='all', documents=False)
    job.fresh = True
    stages._train(job, None)
    assert got == [('tiny', 2, False)]


# ---- documents


def test_a_folder_holds_pdfs_of_any_spelling_and_below(tmp_path):
    for n in ('b.PDF', 'sub/a.pdf', '._b.PDF', '.trash/c.pdf', 'notes.txt'):
        (tmp_path / n).parent.mkdir(exist_ok=True)
        shutil.copy(BED / 'one_column.pdf', tmp_path / n)
    (tmp_path / 'folder.pdf').mkdir()
    assert [p.relative_to(tmp_path).as_posix() for p in P.source_pdfs([tmp_path])] == [
        'b.PDF',
        'sub/a.pdf',
    ]
    assert len(P.source_pdfs([tmp_path, tmp_path / 'b.PDF'])) == 2  # named twice, read once
    shutil.copy(BED / 'one_column.pdf', tmp_path / 'a.pdf')
    with pytest.raises(CourseError, match='two PDFs are called a'):
        P.source_pdfs([tmp_path])


def test_what_lies_beside_the_pdfs_is_told_with_what_to_do(tmp_path, cft):
    d = tmp_path / 'my docs'
    for n in ('b.pdf', 'a.docx', 'sub/c.PPTX', 'b.txt', '~$a.docx', '.d.doc', 'picture.png'):
        (d / n).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(BED / 'one_column.pdf', d / n)
    (line,) = P.left_out([d, d / 'b.pdf'])
    assert line == (
        'left out: a.docx, c.PPTX: only PDFs are read; save as PDF, e.g. `soffice --headless '
        f"--convert-to pdf --outdir '{d}' '{d}/a.docx'`"
    )
    for n in 'efg':
        (d / f'{n}.html').write_text('')
    assert P.left_out([d])[0].startswith('left out: a.docx, e.html, f.html …: only PDFs')
    out = ('--with', 'direct', '--out', tmp_path / 'ws')
    r = cft('extract', d, *out)
    assert r.returncode == 0 and r.stderr.count('left out') == 1, r.stderr
    r = cft('--lang', 'ja', 'extract', d, *out)
    said = (
        '次のものは読み込みませんでした：a.docx, e.html, f.html …：読み込めるのはPDFだけです'
    )
    assert said in r.stderr
    how = ('--profile', 'tiny', '--to', 'extract', '--out', tmp_path / 'run')
    assert cft('run', '--pdf', d, *how).stderr.startswith('climate-ft: left out: a.docx')
    (d / 'b.pdf').unlink()
    for given in (d, d / 'a.docx'):
        assert P.left_out([given]) == []
    with pytest.raises(CourseError, match='^a.docx, b.txt, e.html …: only PDFs are read'):
        P.source_pdfs([d])


def test_another_kind_of_document_is_told_to_become_a_pdf(tmp_path, cft):
    shutil.copy(BED / 'one_column.pdf', tmp_path)
    (tmp_path / 'a.docx').write_bytes(b'PK\x03\x04 not read')
    r = cft('extract', 'a.docx', '--out', 'ws', cwd=tmp_path)
    line = (
        'a.docx: only PDFs are read; save as PDF, e.g. `soffice --headless --convert-to pdf '
    )
    assert (r.returncode, r.stderr.count('\n')) == (2, 1)
    assert f'climate-ft: {line}a.docx`' in r.stderr
    args = ('extract', 'one_column.pdf', 'a.docx', '--with', 'direct', '--out', 'ws')
    r = cft(*args, cwd=tmp_path)
    assert r.returncode == 0 and f'climate-ft: left out: {line}a.docx`' in r.stderr


def test_a_pipe_is_no_pdf(tmp_path):
    os.mkfifo(tmp_path / 'x.pdf')
    with pytest.raises(CourseError, match='no regular file'):
        P.source_pdfs([tmp_path / 'x.pdf'])


def test_an_unreadable_pdf_of_a_folder_is_named_and_the_others_are_read(tmp_path, cft):
    for n in ('one_column', 'scan', 'mixed', 'zero_byte'):
        shutil.copy(BED / f'{n}.pdf', tmp_path)
    for _ in range(2):  # the second time nothing is read, and it is told still
        r = cft(
            'run',
            '--profile',
            'tiny',
            '--pdf',
            tmp_path,
            '--to',
            'corpus',
            '--out',
            tmp_path / 'out',
        )
        assert (
            r.returncode == 0
            and 'left out: scan.pdf' in r.stderr
            and 'left out: zero_byte.pdf' in r.stderr
        )
    assert {c['doc'] for c in read_json(tmp_path / 'out/data/corpus_chunks.json')} == {
        'one_column',
        'mixed',
    }


def test_a_folder_without_any_readable_pdf(tmp_path, cft):
    for n in ('scan', 'zero_byte'):
        shutil.copy(BED / f'{n}.pdf', tmp_path)
    r = cft('run', '--profile', 'tiny', '--pdf', tmp_path, '--out', tmp_path / 'out')
    said = [l for l in r.stderr.splitlines() if l.startswith('climate-ft: ')]
    assert (
        r.returncode == 2
        and len(said) == 1
        and 'none of the 2 PDFs' in said[0]
        and 'Traceback' not in r.stderr
    )


def test_documents_side_by_side_come_out_in_order(tmp_path):
    pdfs = [BED / f'{n}.pdf' for n in ('one_column', 'mixed', 'wide')]
    one, many = (Workspace(tmp_path / str(n)) for n in (1, 3))
    for ws, n in ((one, 1), (many, 3)):
        X.run_extract(ws, pdfs, ['blocks', 'direct'], workers=n)
    for name in ('extracted_pages', 'extracted_blocks', 'extracted_direct'):
        assert one.path(name).read_bytes() == many.path(name).read_bytes()
    assert [p['doc'] for p in read_json(one.path('extracted_pages'))] == ['one_column'] * 2 + [
        'mixed'
    ] * sum(p['doc'] == 'mixed' for p in read_json(one.path('extracted_pages'))) + [
        'wide'
    ] * sum(p['doc'] == 'wide' for p in read_json(one.path('extracted_pages')))
    assert list(one.documents.glob('.*')) == []


@pytest.mark.parametrize(
    'choice,own,want',
    [
        (None, True, 'sections'),
        (None, False, 'wordings'),
        ('sections', False, 'sections'),
        ('pages', True, None),
    ],
)
def test_what_is_held_out(choice, own, want):
    if want:
        assert P.what_to_hold_out(choice, own) == want
    else:
        with pytest.raises(CourseError, match='sections or wordings'):
            P.what_to_hold_out(choice, own)


# ---- answers that are continued


def answers_of(monkeypatch, out, rows, contexts, key='k', upto=None):
    """`answer_rows` with a model that says question and passage;
    `upto`: interrupted after so many"""
    asked = []

    def generate(model, tok, questions, contexts=None, *a, **k):
        said = a[3] if a else k['on_answer']  # batch size, new tokens, progress, on_answer
        for i, q in enumerate(questions):
            if upto is not None and i == upto:
                raise KeyboardInterrupt
            asked.append(q)
            said(i, f'{q}|{contexts[i] if contexts else ""}')

    monkeypatch.setattr(G, 'generate', generate)
    got = G.answer_rows(lambda: (None, None), rows, out, 'm', key, contexts)
    return [r['prediction'] for r in got], asked


def test_a_continued_file_keeps_every_question_with_its_own_passage(monkeypatch, tmp_path):
    rows, ctx = (
        [dict(question=f'q{i}', reference='r') for i in range(6)],
        [f'c{i}' for i in range(6)],
    )
    with pytest.raises(KeyboardInterrupt):
        answers_of(monkeypatch, tmp_path / 'a.jsonl', rows, ctx, upto=2)
    said, asked = answers_of(monkeypatch, tmp_path / 'a.jsonl', rows, ctx)
    assert said == [f'q{i}|c{i}' for i in range(6)] and asked == ['q2', 'q3', 'q4', 'q5']


def test_another_passage_or_other_weights_are_asked_again_another_reference_is_not(
    monkeypatch, tmp_path
):
    rows, f = [dict(question=f'q{i}', reference='r') for i in range(2)], tmp_path / 'a.jsonl'
    answers_of(monkeypatch, f, rows, ['c', 'd'])
    kept = read_jsonl(f)
    write_jsonl(f, [dict(r, extra=dict(r['extra'], nll=[1, 2])) for r in kept])
    new = [dict(rows[0], reference='s'), rows[1]]
    assert answers_of(monkeypatch, f, new, ['c', 'd'])[1] == []
    assert [(r['reference'], 'nll' in r['extra']) for r in read_jsonl(f)] == [
        ('s', False),
        ('r', True),
    ]
    assert answers_of(monkeypatch, f, new, ['c', 'e'])[1] == ['q0', 'q1'] and answers_of(
        monkeypatch, f, new, ['c', 'e'], key='other'
    )[1] == ['q0', 'q1']


def test_a_document_of_ones_own_goes_on_from_the_reading_adapter():
    from climate_ft.profiles import OWN, get_profile

    own, alone = P.resolve_config('cpu', foreign=True), get_profile('cpu')
    assert {k: getattr(own, k) for k in OWN} == OWN and own.name == 'cpu'
    assert (own.start, own.max_answer, own.topics) == ('reading', None, ())
    assert own.learning_rate == 1e-3
    mine = P.resolve_config('cpu', sets=['epochs=5'], foreign=True)
    assert (mine.epochs, mine.start) == (5.0, 'reading')
    for given in ('r=4', 'start=', 'forms=false', 'base=owner/model'):
        cfg = P.resolve_config('cpu', sets=[given], foreign=True)
        assert (cfg.start, cfg.epochs) == ('', alone.epochs)
    assert P.resolve_config('qwen3-8b-4bit', foreign=True) == get_profile('qwen3-8b-4bit')
    assert P.resolve_config('tiny', foreign=True) == get_profile('tiny')


def test_the_demo_reads_passages_and_the_profile_alone_does_not():
    from climate_ft.profiles import get_profile

    for name in ('cpu', 'cpu-8bit'):
        demo, alone = P.resolve_config(name), get_profile(name)
        assert (alone.start, alone.forms, alone.epochs) == ('', False, 6)
        assert (demo.start, demo.forms, demo.max_forms) == ('reading', True, 150)
        assert (demo.epochs, demo.wordings, demo.batch_size) == (2, 2, 2)
        assert demo.learning_rate == 2e-4  # at 1e-3 the adapter forgets what it read
        kept = ('base', 'bits', 'max_facts', 'max_answer', 'topics', 'max_dev')
        assert all(getattr(demo, k) == getattr(alone, k) for k in kept)
        for given in ('forms=false', 'start=', 'r=4'):
            assert P.resolve_config(name, sets=[given]).start == ''
        assert P.resolve_config(name, sets=['forms=false']) == alone
    for name in ('tiny', 'qwen3-8b-4bit'):
        assert P.resolve_config(name) == get_profile(name)


def test_a_workspace_knows_whose_document_it_holds(tmp_path):
    ours = REPO / 'documents' / 'document_01.pdf'
    ws = Workspace(tmp_path)
    assert P.is_foreign(ws, [tmp_path / 'mine.pdf']) and not P.is_foreign(ws, [ours])
    assert not P.is_foreign(ws, [])  # nothing there yet
    chunk = read_json(REPO / 'data' / 'corpus_chunks.json')[0]
    write_json(ws.path('corpus_chunks'), [chunk])
    assert not P.is_foreign(ws, [])
    write_json(ws.path('corpus_chunks'), [chunk, chunk | dict(doc='mine')])
    assert P.is_foreign(ws, [])


def test_an_adapter_to_go_on_from_is_there_before_anything_starts(tmp_path, monkeypatch):
    with pytest.raises(CourseError, match="start is 'nowhere': name the folder of an adapter"):
        P.resolve_config('tiny', sets=['start=nowhere'])
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'adapter_model.safetensors').write_bytes(b'')
    monkeypatch.chdir(tmp_path)
    assert P.resolve_config('tiny', sets=['start=mine']).start == str(tmp_path / 'mine')
    assert P.resolve_config('tiny', sets=['start=reading']).start == 'reading'
