"Run notebooks as Colab would: the notebook alone in an empty `/content`, a clone to fetch, an environment without the course."
import json, os, re, shutil, subprocess, sys, venv
from configparser import ConfigParser
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
cp = ConfigParser(delimiters=['=']); cp.read(REPO/'settings.ini', encoding='utf-8')
CFG = cp['DEFAULT']

def sh(*args, cwd=REPO, **kw): return subprocess.run([*map(str, args)], cwd=cwd, check=True, capture_output=True, text=True, **kw).stdout

def make_origin(folder):
    "A repository with one commit that holds what a commit of the working tree would hold"
    for f in sh('git', 'ls-files', '-coz', '--exclude-standard').split('\0'):
        if f and (REPO/f).is_file(): (folder/f).parent.mkdir(parents=True, exist_ok=True); shutil.copy2(REPO/f, folder/f)
    sh('git', 'init', '-q', '-b', CFG['branch'], cwd=folder); sh('git', 'add', '-A', '-f', cwd=folder)
    sh('git', '-c', 'user.name=t', '-c', 'user.email=t@localhost', 'commit', '-qm', 'all', cwd=folder)
    return folder

def make_env(folder):
    "A new environment that sees the packages of this one, but not the course; and a kernel called `fresh` that runs in it"
    env = folder/'env'; venv.create(env, symlinks=True, with_pip=True)
    site = next((env/'lib').glob('python3*'))/'site-packages'
    (site/'outer.pth').write_text(str(next(p for p in sys.path if p.endswith('site-packages')))+'\n')
    k = folder/'jupyter/kernels/fresh'; k.mkdir(parents=True)
    (k/'kernel.json').write_text(json.dumps(dict(argv=[str(env/'bin/python'), '-m', 'ipykernel_launcher', '-f', '{connection_file}'], display_name='fresh', language='python')))
    return env

def colab_vars(origin, content):
    "Environment variables that put `content` in the place of Colab's `/content`, and `origin` in the place of `git_url`"
    return dict(CLIMATE_FT_COLAB=str(content), GIT_CONFIG_COUNT='1', GIT_CONFIG_KEY_0=f'url.file://{origin}.insteadOf', GIT_CONFIG_VALUE_0=CFG['git_url'],
                PYTHONPATH='', PIP_DISABLE_PIP_VERSION_CHECK='1')

def skipped(src):
    d = ' '.join(re.findall(r'^\s*#\|\s*(.*)$', src, re.M))
    return bool(re.search(r'eval:\s*false', d)) or not {'gpu', 'notest'}.isdisjoint(d.split())

def execute(path, cwd, kernel='python3', extra=None, timeout=900):
    "Run a notebook's cells (those for a GPU and those marked `notest` apart) with a kernel in `cwd`; the executed notebook"
    import nbformat
    from nbclient import NotebookClient
    nb = nbformat.read(path, as_version=4)
    c = NotebookClient(nb, timeout=timeout, kernel_name=kernel)
    with c.setup_kernel(cwd=str(cwd), env={**os.environ, **(extra or {})}):
        for i,cell in enumerate(nb.cells):
            if cell.cell_type == 'code' and not skipped(cell.source): cell.outputs = []; c.execute_cell(cell, i)
    return nb

# ---- outputs that must not drift

volatile = [(re.compile(p), r) for p,r in (
    (r'\x1b\[[0-9;]*m', ''), (r'0x[0-9a-f]{6,}', '0x'), (r'/\S+/', '/…/'), (r'\btmp\w{6,}', 'tmp'),
    (r'\d[\d.,]*\s*(µs|ms|s|seconds?|minutes?|min|h|[KMG]i?B|tokens/s|it/s|x\b|times)(?![\w])', '# \\1'), (r'(?<=[\d.])\d{3,}(?=\b)', '#'))]
measured = re.compile(r'\b(time|perf_counter|timeit|timed|machine\(|versions\(|preflight\(|memory|getpid|monotonic|speed|seconds|disk|free_)', re.I)

def said(cell):
    "The text a cell printed or returned, without what differs from run to run"
    out = []
    for o in cell.get('outputs', []):
        if o.get('name') == 'stderr' or o.output_type == 'error': continue
        t = o.get('text') or o.get('data', {}).get('text/plain') or ''
        out.append(''.join(t))
    s = ''.join(out)
    for p,r in volatile: s = p.sub(r, s)
    return '\n'.join(l.rstrip() for l in s.splitlines() if '<Figure size' not in l).strip()

def drift(saved, run):
    "Cells whose saved output is not what running them gives; cells that measure the machine are left out"
    return [f'cell {i}: {a.source[:80]!r}\n  saved: {said(a)[:200]!r}\n  now:   {said(b)[:200]!r}' for i,(a,b) in enumerate(zip(saved.cells, run.cells))
            if a.cell_type == 'code' and '# Colab setup' not in a.source and not skipped(a.source) and not measured.search(a.source) and said(a) != said(b)]
