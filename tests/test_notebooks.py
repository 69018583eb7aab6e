"""Every notebook, run alone as on Colab: an empty folder in the place of `/content`, a clone, an environment without the course. What the cheap ones
print must be what is saved in them."""
import json, os, subprocess, sys
from pathlib import Path
import nbformat, pytest
from nbrun import CFG, REPO, colab_vars, drift, execute, make_env, make_origin, said, sh

NOTEBOOKS = sorted((REPO/'nbs').glob('*.ipynb'), key=lambda p: p.name)
TRAINING = {'08_train', '09_train_8bit', '10_generate'}     # what they print depends on the processor's arithmetic

@pytest.fixture(scope='session')
def origin(tmp_path_factory): return make_origin(tmp_path_factory.mktemp('origin'))

@pytest.fixture(scope='session')
def fresh(tmp_path_factory, origin):
    "The environment, after the setup cell has run in it once for real"
    folder = tmp_path_factory.mktemp('colab'); content = folder/'content'; content.mkdir()
    env = make_env(folder)
    cell = ''.join(json.loads((REPO/'nbs/index.ipynb').read_text())['cells'][0]['source'])
    code = cell+'\nimport sys; print(os.getcwd(), "climate_ft" in sys.modules)\nimport climate_ft; print(climate_ft.__file__)\n'+cell
    r = subprocess.run([env/'bin/python', '-c', code], cwd=content, env={**os.environ, **colab_vars(origin, content)}, capture_output=True, text=True, timeout=600)
    return folder, content, r

def test_setup_cell_clones_and_installs_once(fresh):
    _, content, r = fresh
    assert r.returncode == 0, r.stderr[-2000:]
    said = r.stdout.splitlines()
    assert said[0].startswith('Ready: cpu') and 'torch' in said[0]
    assert said[1] == f"{content/CFG['repo']/'nbs'} False" and said[2].startswith(str(content/CFG['repo'])), said
    assert len(said) == 3, 'running the cell again must do nothing'

def test_setup_cell_does_nothing_elsewhere(tmp_path):
    cell = ''.join(json.loads((REPO/'nbs/index.ipynb').read_text())['cells'][0]['source'])
    r = subprocess.run([sys.executable, '-c', cell], cwd=tmp_path, env={**os.environ, 'CLIMATE_FT_COLAB': str(tmp_path/'none')}, capture_output=True, text=True)
    assert (r.returncode, r.stdout, r.stderr, list(tmp_path.iterdir())) == (0, '', '', [])

def test_setup_keeps_torch_and_names_what_needs_a_restart(tmp_path, monkeypatch, capsys):
    import runpy, shutil, types
    monkeypatch.setattr(shutil, 'which', lambda n: '/usr/bin/nvidia-smi')
    calls = []
    monkeypatch.setattr(subprocess, 'run', lambda cmd, **kw: (calls.append((cmd, Path(cmd[-1]).read_text())), types.SimpleNamespace(returncode=0, stderr=''))[1])
    monkeypatch.chdir(tmp_path); monkeypatch.setattr(sys, 'path', list(sys.path))
    import importlib.metadata as md
    real, seen = md.version, []
    monkeypatch.setattr(md, 'version', lambda d: '9.9' if d == 'pytest' and calls else real(d))     # the install has changed a loaded package
    runpy.run_path(str(REPO/'scripts/colab_setup.py'))
    cmd, pins = calls[0]
    assert cmd[-3].endswith('[cpu,gpu]') and f'torch=={real("torch").split("+")[0]}' in pins.splitlines()
    assert 'Restart the session' in (out := capsys.readouterr().out) and 'pytest' in out

def test_setup_cell_is_in_every_notebook():
    r = subprocess.run([sys.executable, 'scripts/insert_setup_cell.py', '--check'], cwd=REPO, capture_output=True, text=True); assert r.returncode == 0, r.stderr

def test_drift_sees_a_changed_number_and_no_changed_time():
    from nbformat.v4 import new_code_cell as code, new_notebook as nb, new_output as out
    def one(src, s): return nb(cells=[code(src, outputs=[out('stream', name='stdout', text=s)])])
    assert drift(one('len(x)', '41 chunks in 0.31 s'), one('len(x)', '41 chunks in 0.52 s')) == []
    assert len(drift(one('len(x)', '41 chunks in 0.31 s'), one('len(x)', '42 chunks in 0.31 s'))) == 1
    assert drift(one('t = time.time()', '3'), one('t = time.time()', '4')) == []

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs_alone_from_a_clone(path, fresh, origin, tmp_path, monkeypatch):
    "In an empty folder, as on Colab"
    assert '# Colab setup' in ''.join(json.loads(path.read_text())['cells'][0]['source']), 'run make export'
    monkeypatch.setenv('JUPYTER_PATH', str(fresh[0]/'jupyter'))
    run = execute(path, tmp_path, 'fresh', dict(colab_vars(origin, tmp_path), PIP_NO_DEPS='1'))     # the packages came with the first run of the setup cell
    if path.stem not in TRAINING: assert '\n'.join(drift(nbformat.read(path, as_version=4), run)) == ''
