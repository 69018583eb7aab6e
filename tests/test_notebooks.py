"""Every notebook, run alone as on Colab: an empty folder in the place of `/content`, a clone,
an environment without the course. What the cheap ones print must be what is saved in them."""

import json
import os
import subprocess
import sys
from pathlib import Path
import nbformat
import pytest
from nbrun import (
    CFG,
    REPO,
    TRAINING,
    Forks,
    by_needs,
    colab_vars,
    drift,
    execute,
    make_env,
    make_origin,
    said,
    sh,
)

NOTEBOOKS = by_needs((REPO / 'nbs').glob('*.ipynb'))


@pytest.fixture(scope='session')
def origin(tmp_path_factory):
    return make_origin(tmp_path_factory.mktemp('origin'))


@pytest.fixture(scope='session')
def fresh(tmp_path_factory, origin):
    "The environment, after the setup cell has run in it once for real"
    folder = tmp_path_factory.mktemp('colab')
    content = folder / 'content'
    content.mkdir()
    env = make_env(folder)
    cell = ''.join(json.loads((REPO / 'nbs/index.ipynb').read_text())['cells'][0]['source'])
    code = (
        cell + '\nimport sys; print(os.getcwd(), '
        '"climate_ft" in sys.modules)\nimport climate_ft; print(climate_ft.__file__)\n' + cell
    )
    r = subprocess.run(
        [env / 'bin/python', '-c', code],
        cwd=content,
        env={**os.environ, **colab_vars(origin, content)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return folder, content, r


def test_setup_cell_clones_and_installs_once(fresh):
    _, content, r = fresh
    assert r.returncode == 0, r.stderr[-2000:]
    said = r.stdout.splitlines()
    assert said[0].startswith('Ready: cpu') and 'torch' in said[0]
    assert said[1] == f"{content / CFG['repo'] / 'nbs'} False" and said[2].startswith(
        str(content / CFG['repo'])
    ), said
    assert len(said) == 3, 'running the cell again must do nothing'


def test_setup_cell_does_nothing_elsewhere(tmp_path):
    cell = ''.join(json.loads((REPO / 'nbs/index.ipynb').read_text())['cells'][0]['source'])
    r = subprocess.run(
        [sys.executable, '-c', cell],
        cwd=tmp_path,
        env={**os.environ, 'CLIMATE_FT_COLAB': str(tmp_path / 'none')},
        capture_output=True,
        text=True,
    )
    assert (r.returncode, r.stdout, r.stderr, list(tmp_path.iterdir())) == (0, '', '', [])


def colab_setup(tmp_path, monkeypatch, install, gpu=True):
    """Run the setup script with `install(n, pins)` in the
    place of pip's n-th run: it returns pip's exit status"""
    import runpy
    import shutil
    import types

    calls = []

    def pip(cmd, **kw):
        calls.append((cmd, Path(cmd[-1]).read_text().split()))
        return types.SimpleNamespace(
            returncode=install(len(calls), calls[-1][1]) or 0, stderr='no such version'
        )

    monkeypatch.setattr(shutil, 'which', lambda n: '/usr/bin/nvidia-smi' if gpu else None)
    monkeypatch.setattr(subprocess, 'run', pip)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.delattr(sys, 'climate_ft_restart', raising=False)
    try:
        return calls, runpy.run_path(str(REPO / 'scripts/colab_setup.py')), None
    except Exception as e:
        return calls, None, e


def installed(monkeypatch, **have):
    "Let these distributions look installed in these versions; a value may change later"
    import importlib.metadata as md

    real = md.version
    monkeypatch.setattr(md, 'version', lambda d: have[d] if d in have else real(d))
    return have


def test_setup_stops_where_a_restart_is_needed(tmp_path, monkeypatch):
    have = installed(monkeypatch, pytest='9.0')
    calls, _, e = colab_setup(
        tmp_path, monkeypatch, lambda n, pins: have.update(pytest='9.9')
    )  # the install has changed a loaded package
    assert calls[0][0][-3].endswith('[cpu,gpu]')
    assert (
        'restart the session' in str(e)
        and 'pytest changed while in use' in str(e)
        and Path.cwd() == tmp_path
    )
    assert e._render_traceback_() == [f'STOP: {e}']
    import runpy

    with pytest.raises(Exception, match='restart the session'):
        runpy.run_path(str(REPO / 'scripts/colab_setup.py'))  # once more without a restart
    assert len(calls) == 1


def test_setup_keeps_what_is_loaded_or_serves(tmp_path, monkeypatch, capsys):
    import PIL
    import psutil

    installed(
        monkeypatch,
        psutil='5.9.5',
        pillow='11.3.0',
        torch='2.9.0+cu126',
        transformers='4.57.1',
        scipy='1.16.3',
    )
    calls, _, e = colab_setup(tmp_path, monkeypatch, lambda n, pins: 0)
    pins = calls[0][1]
    assert e is None and 'Ready: cpu, gpu; torch 2.9.0+cu126' in capsys.readouterr().out
    assert {'psutil==5.9.5', 'pillow==11.3.0', 'torch==2.9.0'} <= set(pins)
    assert [p for p in pins if p.startswith('transformers==')] == [
        'transformers==5.17.0'
    ]  # too old: the course's own
    assert [p for p in pins if p.startswith('scipy==')] in ([], ['scipy==1.16.3'])
    assert not [p for p in pins if p.startswith(('pip==', 'setuptools=='))]


def test_setup_gives_way_step_by_step_and_ends_in_an_error(tmp_path, monkeypatch):
    installed(monkeypatch, pillow='11.3.0', transformers='4.57.1')
    import PIL

    calls, _, e = colab_setup(tmp_path, monkeypatch, lambda n, pins: n < 3)
    assert e is None and len(calls) == 3
    assert ['pillow==11.3.0' in c[1] for c in calls] == [True, True, False] and [
        'transformers==5.17.0' in c[1] for c in calls
    ] == [True, False, True]
    calls, _, e = colab_setup(tmp_path, monkeypatch, lambda n, pins: 1)
    assert (
        len(calls) == 3 and 'The installation failed' in str(e) and 'no such version' in str(e)
    )


def test_an_error_of_the_setup_cell_ends_run_all(tmp_path):
    "In a real kernel: the cell after it is not run, and what is shown is one line"
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbformat.v4 import new_code_cell, new_notebook

    script = (
        (REPO / 'scripts/colab_setup.py')
        .read_text()
        .replace("main(Path(os.path", "need_restart(['pillow']) or main(Path(os.path")
    )
    (tmp_path / 's.py').write_text(script)
    nb = new_notebook(
        cells=[
            new_code_cell(
                "exec(compile(open('s.py').read(), 's.py', 'exec'), dict(__file__='s.py'))"
            ),
            new_code_cell("open('went_on', 'w')"),
        ]
    )
    with pytest.raises(CellExecutionError):
        NotebookClient(
            nb, kernel_name='python3', resources=dict(metadata=dict(path=str(tmp_path)))
        ).execute()
    assert not (tmp_path / 'went_on').exists()
    (out,) = nb.cells[0].outputs
    assert (
        out.traceback == [f'STOP: {out.evalue}']
        and 'pillow changed while in use' in out.evalue
    )


def test_setup_cell_says_when_nothing_can_be_fetched(tmp_path):
    cell = ''.join(json.loads((REPO / 'nbs/index.ipynb').read_text())['cells'][0]['source'])
    env = {**os.environ, **colab_vars(tmp_path / 'no_such_repository', tmp_path)}
    r = subprocess.run(
        [sys.executable, '-c', cell], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert (
        r.returncode == 1
        and 'could not be fetched' in r.stderr
        and 'Traceback' not in r.stderr
    )


def test_setup_cell_is_in_every_notebook():
    r = subprocess.run(
        [sys.executable, 'scripts/insert_setup_cell.py', '--check'],
        cwd=REPO,
        capture_output=True,
        text=True,
    )
    assert r.returncode == 0, r.stderr


def test_the_canary_takes_the_newest_of_everything_and_may_fail():
    import yaml

    job = yaml.safe_load((REPO / '.github/workflows/ci.yml').read_text())['jobs'][
        'newest-versions'
    ]
    assert job['continue-on-error'] is True and 'canary' in job['name']
    steps = [s['run'] for s in job['steps'] if 'run' in s]
    names = subprocess.run(
        ['bash', '-c', 'echo ' + steps[1].partition('-U ')[2]],
        cwd=REPO,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert {
        'torch',
        'transformers',
        'trl',
        'peft',
        'accelerate',
        'datasets',
        'bitsandbytes',
    } <= set(names) and not [n for n in names if set('<>=') & set(n)]
    assert all((REPO / t).is_file() for t in steps[-1].split() if t.startswith('tests/'))


def test_drift_sees_a_changed_number_and_no_changed_time():
    from nbformat.v4 import new_code_cell as code, new_notebook as nb, new_output as out

    def one(src, s):
        return nb(cells=[code(src, outputs=[out('stream', name='stdout', text=s)])])

    assert (
        drift(one('len(x)', '41 chunks in 0.31 s'), one('len(x)', '41 chunks in 0.52 s')) == []
    )
    assert (
        len(drift(one('len(x)', '41 chunks in 0.31 s'), one('len(x)', '42 chunks in 0.31 s')))
        == 1
    )
    assert drift(one('t = time.time()', '3'), one('t = time.time()', '4')) == []


@pytest.fixture(scope='session')
def installed_before(tmp_path_factory):
    """A folder whose `pip` does nothing: for `PYTHONPATH`,
    once the setup cell has installed the course for real"""
    folder = tmp_path_factory.mktemp('nopip')
    (folder / 'pip').mkdir()
    for f in ('__init__.py', '__main__.py'):
        (folder / 'pip' / f).write_text('')
    return folder


@pytest.fixture(scope='session')
def forks(fresh, installed_before):
    folder, _, r = fresh
    assert r.returncode == 0, r.stderr[-2000:]
    env = dict(PYTHONPATH=str(installed_before))
    with Forks(folder / 'jupyter', folder / 'env/bin/python', env) as f:
        yield f


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs_alone_from_a_clone(
    path, forks, origin, installed_before, tmp_path, monkeypatch
):
    "In an empty folder, as on Colab"
    assert '# Colab setup' in ''.join(json.loads(path.read_text())['cells'][0]['source']), (
        'run make export'
    )
    monkeypatch.setenv('JUPYTER_PATH', str(forks.folder))
    run = execute(
        path,
        tmp_path,
        forks.kernel(path) or 'fresh',
        dict(colab_vars(origin, tmp_path), PYTHONPATH=str(installed_before)),
    )
    if path.stem not in TRAINING:
        assert '\n'.join(drift(nbformat.read(path, as_version=4), run)) == ''


@pytest.mark.parametrize('path', sorted((REPO / 'nbs').rglob('*.ipynb')), ids=lambda p: p.stem)
def test_no_saved_output_names_a_folder_of_the_machine_it_ran_on(path):
    outputs = [
        o
        for c in json.loads(path.read_text(encoding='utf-8'))['cells']
        for o in c.get('outputs', [])
    ]
    said = json.dumps(outputs, ensure_ascii=False)
    assert 'site-packages' not in said and str(REPO) not in said


def test_saved_outputs_come_from_the_real_model():
    "Executed with the tiny profile, these notebooks would show what random weights answer"
    chosen = {}
    for path in sorted((REPO / 'nbs').glob('*.ipynb')):
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        if any("'CLIMATE_FT_PROFILE') or" in ''.join(c['source']) for c in cells):
            outputs = json.dumps([c.get('outputs') for c in cells])
            chosen[path.stem] = "'gemma-3-270m'" in outputs
    assert len(chosen) == 6 and all(chosen.values()), chosen


def test_the_lesson_is_short_and_its_model_is_chosen_by_the_tests(tmp_path):
    nb = nbformat.read(REPO / 'nbs/00_first_hour.ipynb', as_version=4)
    code = [
        c.source
        for c in nb.cells
        if c.cell_type == 'code' and not c.source.startswith('#| hide')
    ]
    assert (
        len(code) <= 25
        and max(len(l) for c in code for l in c.split('\n')) <= 95
        and not [c for c in code if '#| export' in c]
    )
    pick = next(c for c in code if 'get_profile' in c).replace(
        'torch.cuda.is_available()', 'gpu'
    )

    def chosen(gpu, **env):
        out = dict(os=type('os', (), dict(environ=env)), gpu=gpu)
        exec(pick, out)
        return out['profile'].name

    assert [chosen(False), chosen(True), chosen(True, CLIMATE_FT_PROFILE='tiny')] == [
        'cpu',
        'qwen3-8b-4bit',
        'tiny',
    ]
