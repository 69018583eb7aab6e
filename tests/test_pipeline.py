import os, re, shutil, signal, subprocess, sys, time
from pathlib import Path
import pytest
from climate_ft import evaluation as E, pipeline as P
from climate_ft.workspace import CourseError, Workspace, read_json, read_jsonl, read_state

REPO = Path(__file__).resolve().parent.parent
STAGES = ['extract', 'compare', 'clean', 'corpus', 'dataset', 'train', 'answer', 'evaluate', 'report', 'merge']

def test_tiny_run_goes_from_pdf_to_report(tiny_run):
    ws = Workspace(tiny_run)
    state = read_state(ws, 'tiny')
    assert list(state) == STAGES and {s['status'] for s in state.values()} == {'finished'}
    html = ws.path('report').read_text()
    assert not re.search(r'(src|href)=["\']?(https?:)?//', html.split('<body', 1)[0]) and '<script src' not in html and len(html) > 20_000
    assert len(read_jsonl(ws.path('splits')/'train.jsonl')) >= 2000

def test_its_evaluation_can_be_recomputed(tiny_run):
    ws = Workspace(tiny_run)
    r = read_json(ws.path('evaluation'))
    assert {'recall', 'unseen', 'general'} <= set(r['scores']) and E.recompute(r)['scores'] == r['scores']
    assert r['bits'] == 4 and r['signatures']['bleu'] and set(r['scores']['recall']) >= {'base', 'tuned'}
    assert E.describe(r).count('\n') == sum(map(len, r['scores'].values()))

def test_tiny_run_names_every_stage_and_ends_with_the_report(tiny_run):
    lines = (tiny_run.parent/'stderr.txt').read_text().strip().splitlines()
    assert lines[-1] == f'Report: {tiny_run}/report.html'
    for i,s in enumerate(STAGES, 1): assert any(l.startswith(f'{i:2}/{len(STAGES)} {s}') for l in lines), s

def test_second_run_does_no_work(tiny_run, cft):
    before = {p: p.stat().st_mtime_ns for p in tiny_run.rglob('*') if p.is_file() and p.name != 'run.json'}
    t0 = time.time(); r = cft('run', '--profile', 'tiny', '--out', tiny_run)
    assert r.returncode == 0 and r.stderr.count('done before') == len(STAGES)
    assert {p: p.stat().st_mtime_ns for p in before} == before

def test_changed_input_runs_what_depends_on_it(tiny_run, tmp_path):
    ws = Workspace(tmp_path/'run'); shutil.copytree(tiny_run, ws.root, ignore=shutil.ignore_patterns('models'))
    p = ws.path('corpus_chunks'); p.write_text(p.read_text().replace('衛星', '人工衛星', 1))
    job, stages = P.make_job(ws.root, 'tiny'), {s.name: s for s in P.course_stages()}
    done = {n: P.is_done(s, job, P.State(job)[s]) for n,s in stages.items()}
    assert done['extract'] and done['clean'] and done['corpus'] and not done['dataset']

def test_killed_while_training_continues_from_the_last_checkpoint(tiny_run, tmp_path):
    out = tmp_path/'run'; shutil.copytree(tiny_run, out, ignore=shutil.ignore_patterns('models', 'logs', 'answers_*', 'report.html'))
    env = {**os.environ, 'PYTHONPATH': str(REPO)}
    cmd = [sys.executable, '-m', 'climate_ft.cli', 'run', '--profile', 'tiny', '--out', str(out), '--to', 'train']
    p = subprocess.Popen(cmd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env, cwd=REPO)
    for _ in range(30_000):                    # ten minutes: a busy machine is slow
        if list(out.glob('models/tiny/checkpoints/checkpoint-*/trainer_state.json')) or p.poll() is not None: break
        time.sleep(.02)
    assert p.poll() is None, 'training ended before it could be killed'
    p.send_signal(signal.SIGKILL); p.wait()
    step = max(int(d.name.split('-')[1]) for d in out.glob('models/tiny/checkpoints/checkpoint-*'))
    assert read_state(Workspace(out), 'tiny')['train']['status'] == 'started' and not (out/'models/tiny/adapter_model.safetensors').exists()
    r = subprocess.run(cmd, capture_output=True, text=True, env=env, cwd=REPO)
    assert r.returncode == 0, r.stderr[-2000:]
    steps = [row['step'] for row in read_jsonl(out/'logs'/'tiny.jsonl') if 'loss' in row]
    assert steps == sorted(set(steps)) and steps[-1] > step
    import safetensors.torch as st
    a, b = (st.load_file(d/'models/tiny/adapter_model.safetensors') for d in (out, tiny_run))
    assert a.keys() == b.keys() and all((a[k]-b[k]).abs().max() < 1e-4 for k in a)

def test_unknown_profile_and_missing_pdf_write_nothing(tmp_path, cft):
    for args,words in ((['--profile', 'gpt-9'], "there is no profile 'gpt-9'"), (['--profile', 'tiny', '--pdf', 'none.pdf'], 'none.pdf does not exist'),
                       (['--profile', 'tiny', '--from', 'bake'], "unknown stage 'bake'")):
        r = cft('run', '--out', tmp_path/'run', *args)
        assert r.returncode == 2 and words in r.stderr and len(r.stderr.strip().splitlines()) == 1 and r.stdout == ''
        assert not (tmp_path/'run').exists()

def test_no_room_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda p: shutil._ntuple_diskusage(10**12, 10**12-10**7, 10**7))
    with pytest.raises(CourseError, match=r'has 0\.0 GB free and this run needs 0\.2 GB'): P.run_all(tmp_path/'run', 'tiny')
    assert not (tmp_path/'run').exists()

def test_two_pdfs_of_one_name_are_refused(tmp_path):
    for d in 'ab': (tmp_path/d).mkdir(); shutil.copy(REPO/'documents'/'document_01.pdf', tmp_path/d/'r.pdf')
    with pytest.raises(CourseError, match='two PDFs are called r'): P.source_pdfs([tmp_path/'a', tmp_path/'b'/'r.pdf'])

def test_a_run_in_8_bits_keeps_its_results_beside_those_in_4(tiny_run, tmp_path, monkeypatch):
    from dataclasses import replace
    from climate_ft.train import PROFILES
    monkeypatch.setitem(PROFILES, 'tiny-8bit', replace(PROFILES['tiny'], name='tiny-8bit', bits=8))
    monkeypatch.setitem(E.PLANS, 'tiny-8bit', E.PLANS['tiny'])
    ws = Workspace(shutil.copytree(tiny_run, tmp_path/'run'))
    before = ws.path('evaluation').read_bytes()
    did = P.run_all(ws.root, 'tiny-8bit')['stages']
    assert [s for s,how in did.items() if how == 'finished'] == ['train', 'answer', 'evaluate', 'report', 'merge']
    assert read_json(ws.path('evaluation_8bit'))['bits'] == 8 and ws.path('evaluation').read_bytes() == before
