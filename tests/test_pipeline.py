import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
import pytest
from climate_ft import evaluation as E, pipeline as P
from climate_ft.workspace import CourseError, Workspace, read_json, read_jsonl, read_state

REPO = Path(__file__).resolve().parent.parent
STAGES = [
    'extract',
    'compare',
    'clean',
    'corpus',
    'dataset',
    'train',
    'answer',
    'evaluate',
    'report',
    'merge',
]


def test_tiny_run_goes_from_pdf_to_report(tiny_run):
    ws = Workspace(tiny_run)
    state = read_state(ws, 'tiny')
    assert list(state) == STAGES and {s['status'] for s in state.values()} == {'finished'}
    html = ws.path('report').read_text()
    assert (
        not re.search(r'(src|href)=["\']?(https?:)?//', html.split('<body', 1)[0])
        and '<script src' not in html
        and len(html) > 20_000
    )
    assert len(read_jsonl(ws.path('splits') / 'train.jsonl')) >= 2000


def test_its_evaluation_can_be_recomputed(tiny_run):
    ws = Workspace(tiny_run)
    r = read_json(ws.path('evaluation'))
    assert {'recall', 'unseen', 'general'} <= set(r['scores']) and E.recompute(r)[
        'scores'
    ] == r['scores']
    assert (
        r['bits'] == 4
        and r['signatures']['bleu']
        and set(r['scores']['recall']) >= {'base', 'tuned'}
    )
    assert E.describe(r).count('\n') == sum(1 + len(v) for v in r['scores'].values())


def test_tiny_run_names_every_stage_and_ends_with_the_report(tiny_run):
    lines = (tiny_run.parent / 'stderr.txt').read_text().strip().splitlines()
    assert lines[-1] == f'Report: {tiny_run}/report.html'
    for i, s in enumerate(STAGES, 1):
        assert any(l.startswith(f'{i:2}/{len(STAGES)} {s}') for l in lines), s


def test_second_run_does_no_work(tiny_run, cft, tmp_path):
    own = shutil.copytree(tiny_run, tmp_path / 'run')
    before = {
        p: p.stat().st_mtime_ns for p in own.rglob('*') if p.is_file() and p.name != 'run.json'
    }
    r = cft('run', '--profile', 'tiny', '--out', own)
    assert r.returncode == 0 and r.stderr.count('done before') == len(STAGES)
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_changed_input_runs_what_depends_on_it(tiny_run, tmp_path):
    ws = Workspace(tmp_path / 'run')
    shutil.copytree(tiny_run, ws.root, ignore=shutil.ignore_patterns('models'))
    p = ws.path('corpus_chunks')
    p.write_text(p.read_text().replace('衛星', '人工衛星', 1))
    job, stages = P.make_job(ws.root, 'tiny'), {s.name: s for s in P.course_stages()}
    done = {n: P.is_done(s, job, P.State(job)[s]) for n, s in stages.items()}
    assert done['extract'] and done['clean'] and done['corpus'] and not done['dataset']


KILLED = '''import os, signal
from climate_ft import cli, trainer
save = trainer.save_whole
def save_and_die(*args):
    save(*args)
    os.kill(os.getpid(), signal.SIGKILL)
trainer.save_whole = save_and_die
cli.main()'''


def test_killed_while_training_continues_from_the_last_checkpoint(tiny_run, tmp_path, cft):
    "The process dies at once when its first checkpoint is complete; no clock is involved"
    from safetensors.torch import load_file

    out = tmp_path / 'run'
    shutil.copytree(
        tiny_run,
        out,
        ignore=shutil.ignore_patterns('models', 'logs', 'answers_*', 'report.html'),
    )
    args = ['run', '--profile', 'tiny', '--out', str(out), '--to', 'train']
    env = {**os.environ, 'PYTHONPATH': str(REPO)}
    p = subprocess.run(
        [sys.executable, '-c', KILLED, *args], cwd=REPO, env=env, capture_output=True
    )
    assert p.returncode == -signal.SIGKILL, p.stderr[-2000:]
    (step,) = (
        int(d.name.split('-')[1]) for d in out.glob('models/tiny/checkpoints/checkpoint-*')
    )
    assert read_state(Workspace(out), 'tiny')['train']['status'] == 'started'
    assert not (out / 'models/tiny/adapter_model.safetensors').exists()
    r = cft(*args)
    assert r.returncode == 0, r.stderr[-2000:]
    steps = [row['step'] for row in read_jsonl(out / 'logs' / 'tiny.jsonl') if 'loss' in row]
    assert steps == sorted(set(steps)) and steps[-1] > step
    a, b = (load_file(d / 'models/tiny/adapter_model.safetensors') for d in (out, tiny_run))
    assert a.keys() == b.keys() and all((a[k] - b[k]).abs().max() < 1e-4 for k in a)


def test_unknown_profile_and_missing_pdf_write_nothing(tmp_path, cft):
    for args, words in (
        (['--profile', 'gpt-9'], "there is no profile 'gpt-9'"),
        (['--profile', 'tiny', '--pdf', 'none.pdf'], 'none.pdf does not exist'),
        (['--profile', 'tiny', '--from', 'bake'], "unknown stage 'bake'"),
    ):
        r = cft('run', '--out', tmp_path / 'run', *args)
        assert (
            r.returncode == 2
            and words in r.stderr
            and len(r.stderr.strip().splitlines()) == 1
            and r.stdout == ''
        )
        assert not (tmp_path / 'run').exists()


def test_no_room_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(
        shutil, 'disk_usage', lambda p: shutil._ntuple_diskusage(10**12, 10**12 - 10**7, 10**7)
    )
    with pytest.raises(CourseError, match=r'has 0\.0 GB free and this run needs 0\.2 GB'):
        P.run_all(tmp_path / 'run', 'tiny')
    assert not (tmp_path / 'run').exists()


def test_two_pdfs_of_one_name_are_refused(tmp_path):
    for d in 'ab':
        (tmp_path / d).mkdir()
        shutil.copy(REPO / 'documents' / 'document_01.pdf', tmp_path / d / 'r.pdf')
    with pytest.raises(CourseError, match='two PDFs are called r'):
        P.source_pdfs([tmp_path / 'a', tmp_path / 'b' / 'r.pdf'])


def test_a_run_in_8_bits_keeps_its_results_beside_those_in_4(tiny_run, tmp_path, monkeypatch):
    from dataclasses import replace
    from climate_ft.train import PROFILES

    monkeypatch.setitem(
        PROFILES, 'tiny-8bit', replace(PROFILES['tiny'], name='tiny-8bit', bits=8)
    )
    monkeypatch.setitem(E.PLANS, 'tiny-8bit', E.PLANS['tiny'])
    ws = Workspace(shutil.copytree(tiny_run, tmp_path / 'run'))
    before = ws.path('evaluation').read_bytes()
    did = P.run_all(ws.root, 'tiny-8bit')['stages']
    assert [s for s, how in did.items() if how == 'finished'] == [
        'train',
        'answer',
        'evaluate',
        'report',
        'merge',
    ]
    assert (
        read_json(ws.path('evaluation_8bit'))['bits'] == 8
        and ws.path('evaluation').read_bytes() == before
    )


@pytest.mark.parametrize(
    'stage,name',
    [
        ('corpus', 'data/corpus.txt'),
        ('corpus', 'data/corpus_chunks.json'),
        ('dataset', 'data/splits/train.jsonl'),
        ('dataset', 'data/alpaca_dataset.json'),
        ('train', 'models/tiny/adapter_config.json'),
        ('train', 'logs/tiny.jsonl'),
        ('report', 'report.html'),
        ('merge', 'models/tiny-merged/config.json'),
    ],
)
def test_a_stage_never_replaces_what_another_program_wrote(tmp_path, stage, name):
    job = P.make_job(tmp_path, 'tiny', documents=False)
    f = tmp_path / name
    f.parent.mkdir(parents=True, exist_ok=True)
    f.write_text('{"mine": "海氷"}')
    with pytest.raises(P.CourseError, match='was not written by this program'):
        P.run_command(job, stage)
    assert f.read_text() == '{"mine": "海氷"}' and not (tmp_path / 'run.json').exists()


def test_another_seed_replaces_nothing_of_another_program(tiny_run, tmp_path):
    for n in ('data/corpus.txt', 'data/corpus_chunks.json', 'documents/cleaned_blocks.json'):
        (tmp_path / n).parent.mkdir(exist_ok=True)
        shutil.copy(tiny_run / n, tmp_path / n)
    job = P.Job(P.Workspace(tmp_path), hold_out='wordings', seed=7)
    f = tmp_path / 'data/dataset.json'
    f.write_text('{"mine": "海氷"}')
    with pytest.raises(P.CourseError, match='was not written by this program'):
        P.run_command(job, 'dataset')
    assert f.read_text() == '{"mine": "海氷"}' and not (tmp_path / 'data/splits').exists()
    f.unlink()
    P.run_command(job, 'dataset')
    assert P.read_json(job.ws.path('dataset_report'))['seed'] == 7
    (stage,) = [s for s in P.course_stages() if s.name == 'dataset']
    later = P.Job(job.ws, hold_out='wordings')  # a run keeps what the command made
    assert P.is_done(stage, later, P.read_state(job.ws)['dataset'])


def test_what_a_stage_finds_of_its_own_is_replaced(tmp_path):
    job = P.make_job(tmp_path, 'tiny', documents=False)
    (stage,) = [s for s in P.course_stages() if s.name == 'dataset']
    for p in stage.writes(job):
        P.write_text(p, '[]\n')
    P.refuse_foreign(stage, job)
    P.write_json(job.ws.path('dataset'), [dict(id='a', source_id='b')])
    P.write_json(job.ws.path('alpaca'), [dict(instruction='問い')])
    P.refuse_foreign(stage, job)


def test_checkpoints_of_another_program_stay(tmp_path):
    from climate_ft.train import CourseError, resume_point

    f = tmp_path / 'checkpoints/checkpoint-9/pytorch_model.bin'
    f.parent.mkdir(parents=True)
    f.write_text('x')
    for resume in (True, False):
        with pytest.raises(CourseError, match='holds files of another program'):
            resume_point(tmp_path / 'checkpoints', {}, resume)
    assert f.read_text() == 'x'


def test_the_practice_is_trained_with_all_forms_or_refused(tmp_path):
    p = tmp_path / 'set.json'
    p.write_text('{"data": []}')
    how = dict(documents=False, practice=tmp_path)
    job = P.make_job(tmp_path / 'ws', 'qwen3-8b-4bit', **how)
    assert job.cfg.forms and job.practice == [p.resolve()]
    plain = P.make_job(tmp_path / 'ws', 'qwen3-8b-4bit', documents=False)
    assert not plain.cfg.forms and plain.practice == []
    with pytest.raises(CourseError, match='neither max_facts nor max_forms'):
        P.make_job(tmp_path / 'ws', 'cpu', **how)
    with pytest.raises(CourseError, match='no JSON file'):
        P.make_job(tmp_path / 'ws', 'qwen3-8b-4bit', documents=False, practice=tmp_path / 'x')


def test_the_dataset_is_made_again_when_the_practice_changes(tmp_path):
    p = tmp_path / 'set.json'
    (stage,) = [s for s in P.course_stages() if s.name == 'dataset']
    marks = []
    for content in ('{"data": []}', '{"data": [ ]}'):
        p.write_text(content)
        job = P.make_job(tmp_path / 'ws', 'qwen3-8b-4bit', documents=False, practice=p)
        marks.append(P.fingerprint(stage, job))
    job = P.make_job(tmp_path / 'ws', 'qwen3-8b-4bit', documents=False)
    assert len({*marks, P.fingerprint(stage, job)}) == 3
