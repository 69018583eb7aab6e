"Chapter 12c: search spaces, a sweep with a stand-in for the training, and one real trial"

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
import psutil
import pytest
from climate_ft import sweep as s
from climate_ft.evaluation import PLANS
from climate_ft.pipeline import resolve_config
from climate_ft.workspace import QA, CourseError, Workspace, read_json, read_jsonl
from climate_ft.workspace import write_json, write_jsonl

STAND_IN = '''
import json, os, pathlib, sys, threading, time
from climate_ft.sweep import _end_with_parent
threading.Thread(target=_end_with_parent, daemon=True).start()
folder = pathlib.Path(sys.argv[1])
c = json.loads((folder / "trial.json").read_text())["config"]
with open(folder.parent / "started.txt", "a") as f:
    f.write(f"{c['r']} {os.getpid()}\\n")
if c["r"] == 3:
    sys.exit("OutOfMemoryError: CUDA out of memory")
if c["r"] == 5:
    (folder / "error.json").write_text(json.dumps(dict(error="targets fits no layer")))
    sys.exit(2)
for step in (1, 2, 3):
    with open(folder / "watched.jsonl", "a") as f:
        f.write(json.dumps(dict(step=step, value=c["r"] * step / 300)) + "\\n")
    for _ in range(300 if c["r"] == HANG else 0):
        time.sleep(0.1)
(folder / "result.json").write_text(json.dumps(dict(value=c["r"] / 100, seconds=1.0)))
'''


@pytest.fixture
def sweep(tmp_path):
    "`sweep(space text, **settings)`: a sweep over a workspace of one row, with the stand-in"
    ws = Workspace(tmp_path / 'run')
    write_jsonl(ws.path('splits') / 'train.jsonl', [dict(instruction='問', output='答')])

    def made(space, hang=0, **how):
        (tmp_path / 'space.toml').write_text(space)
        program = tmp_path / 'stand_in.py'
        program.write_text(STAND_IN.replace('HANG', str(hang)))
        how = dict(command=(sys.executable, str(program))) | how
        space, cfg = s.read_space(tmp_path / 'space.toml'), resolve_config('tiny')
        return s.Sweep(ws, space, cfg, PLANS['tiny'], **how)

    return made


def started(sweep):
    "What the stand-in has written: the rank and the process of each trial that was started"
    lines = (sweep.folder / 'trials' / 'started.txt').read_text().splitlines()
    return [tuple(map(int, l.split())) for l in lines]


def space_of(tmp_path, text, name='space.toml'):
    (tmp_path / name).write_text(text)
    return s.read_space(tmp_path / name)


def test_a_space_in_both_notations(tmp_path):
    toml = """
[settings]
learning_rate = {low = 1e-4, high = 1e-2, log = true}
r = {low = 4, high = 16, step = 4}
targets = [["q_proj"], ["q_proj", "v_proj"]]
topics = ["衛星", "海"]
max_facts = 20
forms = true
[dataset]
refusals = {low = 0.0, high = 0.3}
gaps = [true, false]
"""
    a = space_of(tmp_path, toml)
    import tomllib

    b = space_of(tmp_path, json.dumps(tomllib.loads(toml)), 'space.json')
    assert a == b
    assert list(a.ranges) == [
        'learning_rate',
        'r',
        'targets',
        'dataset.refusals',
        'dataset.gaps',
    ]
    assert a.fixed == dict(topics=('衛星', '海'), max_facts=20, forms=True)
    params = {'r': 8, 'learning_rate': 1e-3, 'targets': 'q_proj,v_proj'}
    params |= {'dataset.refusals': 0.2, 'dataset.gaps': False}
    settings, shares = a.parts(params)
    assert settings == a.fixed | dict(r=8, learning_rate=1e-3, targets=('q_proj', 'v_proj'))
    assert shares == dict(refusals=0.2, gaps=False)


@pytest.mark.parametrize(
    'text,words',
    [
        ('[settings]\nlerning_rate = [1e-3, 1e-2]', 'did you mean learning_rate'),
        ('[settings]\nname = ["a", "b"]', "no setting 'name'"),
        ('[settings]\nbits = [4, 5]', 'bits is 5: choose 4, 8, 16'),
        ('[settings]\nr = [4, "many"]', "r is 'many': a whole number is needed"),
        ('[settings]\nr = [0, 4]', 'r is 0: from 1 to 4,096 is needed'),
        ('[settings]\nr = []', 'r has no values'),
        ('[settings]\nr = {low = 4}', 'a range has low and high'),
        ('[settings]\nr = {low = 4, high = 8, steps = 2}', 'a range has low and high'),
        ('[settings]\nr = {low = 8, high = 4}', 'r is'),
        ('[settings]\ndropout = {low = 0.0, high = 0.5, log = true}', 'dropout is'),
        ('[settings]\nfused = {low = false, high = true}', 'no range of numbers'),
        ('[settings]\nepochs = 2', 'nothing to try'),
        ('[dataset]\nrefusals = [0.1, 3.0]', 'a share is between 0 and 1'),
        ('[dataset]\nrefusal = [0.1]', 'did you mean refusals'),
        ('r = [4, 8]', "'r' belongs into [settings] or [dataset]"),
        ('settings = 3', 'no search space'),
        ('[settings\nr = 4', 'is no TOML'),
        ('[settings]\nr = ' + '[' * 3000, 'nested too deeply'),
        ('[settings]\nr = [' + '9' * 5000 + ']', '4300 digits'),
        ('[settings]\nr = [0x' + 'f' * 4000 + ']', '4300 digits'),
        ('[settings]\nr = {low = 1, high = 8, step = 0.5}', 'step a number as low is'),
        ('[settings]\nr = {low = 1, high = 8, log = "x"}', 'log is true or false'),
        ('[settings]\ndropout = {low = 0.0, high = 0.4, step = nan}', 'step a number'),
        ('[settings]\ndropout = {low = 0.0, high = 0.4, step = 1e-300}', 'dropout is'),
    ],
)
def test_a_wrong_space_is_one_line(tmp_path, text, words):
    with pytest.raises(CourseError) as e:
        space_of(tmp_path, text)
    assert words in str(e.value) and 'space.toml' in str(e.value)
    assert '\n' not in str(e.value)


def test_the_best_is_kept_and_a_failure_is_a_line(sweep):
    result = s.run_sweep(
        sweep('[settings]\nr = [2, 3, 4, 5, 9]', sampler='grid', trials=9, jobs=2)
    )
    rows = {r['settings']['r']: r for r in result['trials']}
    assert {k: r['state'] for k, r in rows.items()} == {
        2: 'finished',
        3: 'failed',
        4: 'finished',
        5: 'failed',
        9: 'finished',
    }
    assert (rows[9]['value'], rows[9]['evaluations'], rows[9]['seconds']) == (0.09, 3, 1.0)
    assert rows[3]['error'] == 'ended with status 1: OutOfMemoryError: CUDA out of memory'
    assert rows[5]['error'] == 'targets fits no layer'
    assert [r['settings']['r'] for r in result['trials']][:3] == [9, 4, 2]
    text = s.describe(result)
    assert (
        text.splitlines()[1].split() == ['4', 'finished', '0.09', '1', '9'] or '0.09' in text
    )
    assert 'failed: targets fits no layer' in text
    folder = Path(result['best']).parent
    study = s.open_study(folder)  # TPE learns from what was pruned, not from what failed
    assert {t.state.name for t in study.trials} == {'COMPLETE', 'PRUNED'}
    assert (folder / 'sweep.png').read_bytes()[:4] == b'\x89PNG'
    assert resolve_config('tiny', config_file=result['best']) == replace(
        resolve_config('tiny'), r=9
    )


def test_more_trials_continue_and_what_was_trained_is_not_trained_again(sweep):
    one = sweep('[settings]\nr = [2, 4]', trials=2, jobs=1, seed=1)
    s.run_sweep(one)
    result = s.run_sweep(replace(one, trials=6))
    assert [r['state'] for r in result['trials']] == ['finished'] * 6
    assert sorted(r['trial'] for r in result['trials']) == list(range(6))
    began = [r for r, _ in started(one)]
    assert len(began) == len(set(began)) <= 2


def test_another_sweep_under_the_same_name_is_refused(sweep):
    s.run_sweep(sweep('[settings]\nr = [2, 4]', trials=1))
    with pytest.raises(CourseError, match='begun with another space: name a new sweep'):
        s.run_sweep(sweep('[settings]\nr = [2, 8]', trials=1))
    with pytest.raises(CourseError, match='another metric'):
        s.run_sweep(sweep('[settings]\nr = [2, 4]', trials=1, metric='dev_loss'))


def test_a_trial_that_falls_behind_is_ended(sweep):
    """Four good trials, then one that would run for ever: its first figure is below their
    median"""
    one = sweep('[settings]\nr = [20, 30, 40, 50, 10]', hang=10, sampler='grid', trials=5)
    result = s.run_sweep(one)
    assert [(r['settings']['r'], r['state']) for r in result['trials']] == [
        (50, 'finished'),
        (40, 'finished'),
        (30, 'finished'),
        (20, 'finished'),
        (10, 'pruned'),
    ]
    assert result['trials'][-1]['evaluations'] == 1


def test_a_killed_sweep_continues_with_the_trial_it_was_at(sweep, tmp_path):
    one = sweep('[settings]\nr = [7]', hang=7, trials=1)
    code = f'''
import sys
from pathlib import Path
from climate_ft import sweep as s
from climate_ft.evaluation import PLANS
from climate_ft.pipeline import resolve_config
from climate_ft.workspace import Workspace
space = s.read_space({str(tmp_path / 'space.toml')!r})
s.run_sweep(s.Sweep(Workspace({str(one.ws.root)!r}), space,
    resolve_config('tiny'), PLANS['tiny'], trials=1, command={one.command!r}))
'''
    p = subprocess.Popen([sys.executable, '-c', code])
    watched = 'trials/*/watched.jsonl'
    for _ in range(600):
        if list(one.folder.glob(watched)):
            break
        time.sleep(0.1)
    p.kill()
    p.wait()
    ((_, orphan),) = started(one)
    for _ in range(100):
        if not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == 'zombie':
            break
        time.sleep(0.1)
    else:
        pytest.fail('the trial goes on although nobody waits for it')
    result = s.run_sweep(sweep('[settings]\nr = [7]', trials=1))
    assert [r['state'] for r in result['trials']] == ['finished', 'interrupted']
    assert len(list((one.folder / 'trials').glob('*/trial.json'))) == 1


def test_all_failed_is_one_line_with_the_reason(sweep):
    with pytest.raises(
        CourseError, match='no trial of .* has finished: targets fits no layer'
    ):
        s.run_sweep(sweep('[settings]\nr = [5]', trials=2))


@pytest.mark.parametrize(
    'space,how,words',
    [
        ('[settings]\nr = [4]', dict(metric='f1'), "--metric is 'f1': choose known"),
        ('[settings]\nr = [4]', dict(sampler='cma'), "--sampler is 'cma': choose tpe"),
        ('[settings]\nr = [4]', dict(jobs=0), '--jobs is 0'),
        ('[settings]\nr = [4]', dict(name='a/b'), "name is 'a/b'"),
        ('[settings]\nr = [4]', dict(seed=-1), 'seed is -1: from 0 to'),
        ('[settings]\nr = [4]', dict(seed=2**32), 'seed is 4294967296: from 0 to'),
        ('[dataset]\nrefusals = [0.1, 0.2]', {}, 'change nothing without forms = true'),
        (
            '[settings]\ndropout = {low = 0.0, high = 0.5}',
            dict(sampler='grid'),
            'a grid needs a list of values for dropout',
        ),
    ],
)
def test_wrong_settings_of_a_sweep(sweep, space, how, words):
    with pytest.raises(CourseError) as e:
        s.run_sweep(sweep(space, **how))
    assert words in str(e.value)


def test_the_largest_seed_can_be_continued(sweep):
    one = sweep('[settings]\nr = [2, 4]', trials=1, seed=2**32 - 1)
    s.run_sweep(one)
    assert len(s.run_sweep(replace(one, trials=2))['trials']) == 2


def test_a_dataset_is_made_for_each_set_of_shares(sweep, monkeypatch):
    import climate_ft.dataset as data

    one = sweep('[settings]\nforms = true\n[dataset]\nrefusals = [0.1, 0.3]')
    made = []

    def run_dataset(ws, mix, **how):
        made.append((mix.refusals, how))
        write_json(ws.path('dataset_report'), {})
        write_jsonl(ws.path('splits') / 'forms.jsonl', [row | dict(id='d.1')])

    row = QA('practice/1+', 'practice/1', '?', 'a b', 'b', 'passage').asdict()
    write_jsonl(one.ws.path('splits') / 'forms.jsonl', [row, row | dict(id='d.0')])
    monkeypatch.setattr(data, 'run_dataset', run_dataset)
    monkeypatch.setattr(data, 'read_report', lambda ws: dict(seed=7, hold_out='wordings'))
    folders = {s.dataset_of(one, dict(refusals=v)).root for v in (0.1, 0.3, 0.1)}
    how = dict(seed=7, hold_out='wordings')
    assert made == [(0.1, how), (0.3, how)] and len(folders) == 2
    assert s.dataset_of(one, {}) is one.ws
    for f in folders:  # the questions about other texts (--practice) are in every trial
        forms = read_jsonl(Workspace(f).path('splits') / 'forms.jsonl')
        assert [r['id'] for r in forms] == ['d.1', 'practice/1+']


def test_the_command_trains(cft, tmp_path):
    "One real trial on the tiny profile; then wrong input"
    out, space = tmp_path / 'run', tmp_path / 'space.toml'
    s.link_data(Workspace(), out)
    # packed rows, whose attention has to be changed while the model is asked
    fixed = 'max_facts = 4\nlayout = "padding_free"\n'
    space.write_text(f'[settings]\nepochs = [1]\n{fixed}')
    args = ('sweep', space, '--profile', 'tiny', '--out', out, '--trials', 1)
    r = cft(*args, '--questions', 2, '--json')
    assert r.returncode == 0, r.stderr
    result = json.loads(r.stdout)
    (trial,) = result['trials']
    assert trial['state'] == 'finished' and trial['evaluations'] == 1
    assert 0 <= trial['value'] <= 1 and trial['settings'] == {'epochs': 1.0}
    best = read_json(result['best'])
    assert (best['name'], best['epochs'], best['max_facts']) == ('tiny', 1.0, 4)
    (folder,) = (out / 'sweeps' / 'space' / 'trials').iterdir()
    (row,) = [json.loads(l) for l in (folder / 'watched.jsonl').read_text().splitlines()]
    assert row['dev_loss'] > 0 and row['value'] == trial['value']
    assert (folder / 'models/tiny/adapter_model.safetensors').is_file()
    assert not (folder / 'models/tiny/checkpoints').exists()
    space.write_text('[settings]\nrank = [1]\n')
    r = cft(*args)
    assert r.returncode == 2 and r.stdout == '' and len(r.stderr.splitlines()) == 1
    assert 'space.toml' in r.stderr and "there is no setting 'rank'" in r.stderr


def test_a_configuration_carries_the_shares_of_its_dataset(tmp_path, monkeypatch):
    import climate_ft.dataset as data
    from climate_ft import pipeline as p

    best = write_json(tmp_path / 'best.json', dict(name='tiny', dataset=dict(refusals=0.25)))
    job = p.make_job(tmp_path / 'run', config=best)
    plain = p.make_job(tmp_path / 'run', 'tiny')
    (stage,) = [s for s in p.data_stages() if s.name == 'dataset']
    assert (job.mix, plain.mix) == (dict(refusals=0.25), {})
    assert stage.settings(plain) == 'sections'  # as before: no run is repeated
    assert stage.settings(job) == dict(hold_out='sections', mix=dict(refusals=0.25))
    made = []
    monkeypatch.setattr(data, 'run_dataset', lambda ws, *a, **how: made.append(how['mix']))
    monkeypatch.setattr(data, 'told', lambda report: [])
    stage.run(job, None)
    stage.run(plain, None)
    assert [m.refusals for m in made] == [0.25, 0.1]
    for shares, words in (
        (dict(refusals=2.0), 'a share is between 0 and 1'),
        (dict(refusal=0.1), 'did you mean refusals'),
        ([1], 'no JSON object'),
    ):
        write_json(best, dict(name='tiny', dataset=shares))
        with pytest.raises(CourseError, match=words):
            p.make_job(tmp_path / 'run', config=best)
