"""Run notebooks as Colab would: the notebook alone in an empty `/content`,
a clone to fetch, an environment without the course."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from configparser import ConfigParser
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
cp = ConfigParser(delimiters=['='])
cp.read(REPO / 'settings.ini', encoding='utf-8')
CFG = cp['DEFAULT']


def sh(*args, cwd=REPO, **kw):
    return subprocess.run(
        [*map(str, args)], cwd=cwd, check=True, capture_output=True, text=True, **kw
    ).stdout


def make_origin(folder):
    "A repository with one commit that holds what a commit of the working tree would hold"
    for f in sh('git', 'ls-files', '-coz', '--exclude-standard').split('\0'):
        if f and (REPO / f).is_file():
            (folder / f).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / f, folder / f)
    sh('git', 'init', '-q', '-b', CFG['branch'], cwd=folder)
    sh('git', 'add', '-A', '-f', cwd=folder)
    sh(
        'git',
        '-c',
        'user.name=t',
        '-c',
        'user.email=t@localhost',
        'commit',
        '-qm',
        'all',
        cwd=folder,
    )
    sh('git', 'repack', '-adq', cwd=folder)  # a clone takes the pack as it is
    return folder


def make_env(folder):
    """A new environment that sees the packages of this one,
    but not the course; and a kernel called `fresh` that runs in it"""
    env = folder / 'env'
    venv.create(env, symlinks=True, with_pip=True)
    site = next((env / 'lib').glob('python3*')) / 'site-packages'
    (site / 'outer.pth').write_text(
        str(next(p for p in sys.path if p.endswith('site-packages'))) + '\n'
    )
    k = folder / 'jupyter/kernels/fresh'
    k.mkdir(parents=True)
    (k / 'kernel.json').write_text(
        json.dumps(
            dict(
                argv=[
                    str(env / 'bin/python'),
                    '-m',
                    'ipykernel_launcher',
                    '-f',
                    '{connection_file}',
                ],
                display_name='fresh',
                language='python',
            )
        )
    )
    return env


def colab_vars(origin, content):
    """Environment variables that put `content` in the place of
    Colab's `/content`, and `origin` in the place of `git_url`"""
    return dict(
        CLIMATE_FT_COLAB=str(content),
        GIT_CONFIG_COUNT='1',
        GIT_CONFIG_KEY_0=f'url.file://{origin}.insteadOf',
        GIT_CONFIG_VALUE_0=CFG['git_url'],
        PYTHONPATH='',
        PIP_DISABLE_PIP_VERSION_CHECK='1',
    )


LIBRARIES = [
    'torch._dynamo',
    'pandas',
    'pyarrow.dataset',
    'scipy.stats',
    'transformers:Trainer',
    'transformers:AutoModelForCausalLM',
    'transformers:Qwen3ForCausalLM',
    'datasets',
    'peft',
    'bitsandbytes',
    'trl:SFTTrainer',
]
uses_libraries = re.compile(
    r'\b(torch|transformers|trl|peft|bitsandbytes|datasets|load_tokenizer|load_quantized'
    r'|climate_ft\.(train|trainlog|generate|models|judging|llamacpp|hub))\b'
)
# variables that the libraries read while they are imported, where a notebook sets them
sets = re.compile(r'^os\.environ(?:\.update\([^)]*\)|\[.*)', re.M)
read_at_import = re.compile(
    r'\b(TQDM_DISABLE|TRANSFORMERS_VERBOSITY|HF_HUB_OFFLINE)\b\W+(\w+)'
)
# what a notebook that was forked would see otherwise
looks_at_process = re.compile(r'sys\.modules|/proc/self|VmHWM')


def needs(path):
    """What a notebook's kernel may have imported before: (modules, environment of their
    import); None if the notebook looks at such things"""
    cells = json.loads(path.read_text(encoding='utf-8'))['cells'][1:]
    code = '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'code')
    if looks_at_process.search(code):
        return None
    if not uses_libraries.search(code):
        return (), ()
    env = {('USE_HUB_KERNELS', 'NO'), *read_at_import.findall(' '.join(sets.findall(code)))}
    return tuple(LIBRARIES), tuple(sorted(env))


def by_needs(paths):
    "Notebooks with the same needs one after the other: one server at a time has its memory"
    return sorted(paths, key=lambda p: (needs(p) or (), p.name))


IN_MEMORY = '--HistoryManager.hist_file=:memory:'  # as nbclient asks of a `python3` kernel


class Forks:
    """Kernels called `forked`, made by a server of `forks.py` that `python` runs with `env`.
    Their description lies in `folder`, which `JUPYTER_PATH` must name"""

    def __init__(self, folder, python, env):
        self.folder, self.python, self.env = folder, python, env
        self.spec = folder / 'kernels/forked/kernel.json'
        self.spec.parent.mkdir(parents=True, exist_ok=True)
        self.needs = self.server = None

    def kernel(self, path):
        "The kernel for a notebook: one to be forked, or, if it needs that, its own"
        want = needs(path)
        if want is None or os.environ.get('OMP_NUM_THREADS') != '1' or sys.platform != 'linux':
            return None
        if want != self.needs:
            self.close()
            self.start(*want)
            self.needs = want
        return 'forked'

    def start(self, modules, env):
        self.place = tempfile.mkdtemp()  # a socket's address must be short
        code, socket = str(REPO / 'tests/forks.py'), f'{self.place}/socket'
        self.server = subprocess.Popen(
            [self.python, code, socket, 'serve', *modules],
            env={**os.environ, **self.env, **dict(env)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        while (line := self.server.stdout.readline()) != b'ready\n':
            assert line, 'the server of kernels ended'
        argv = [sys.executable, '-IS', code, socket, '-f', '{connection_file}', IN_MEMORY]
        self.spec.write_text(
            json.dumps(dict(argv=argv, display_name='forked', language='python'))
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        if self.server:
            self.server.communicate()
            shutil.rmtree(self.place)
            self.server = None


def directives(src):
    "The `#| name: value` lines of a cell: name -> value"
    found = re.findall(r'^\s*#\|\s*([\w-]+):?[ \t]*(.*)$', src, re.M)
    return {name: value.split('#')[0].strip() for name, value in found}


def skipped(src):
    """Is this a cell for a GPU, one that tests leave out, or the export of all notebooks,
    which `make check-notebooks` does once?"""
    d = directives(src)
    left_out = not {'gpu', 'notest'}.isdisjoint(d) or 'nbdev.nbdev_export()' in src
    return d.get('eval') == 'false' or left_out


def execute(path, cwd, kernel='python3', extra=None, timeout=3600, allow_errors=False):
    """Run a notebook's cells (those for a GPU and those marked
    `notest` apart) with a kernel in `cwd`; the executed notebook"""
    import nbformat
    from nbclient import NotebookClient

    nb = nbformat.read(path, as_version=4)
    c = NotebookClient(nb, timeout=timeout, kernel_name=kernel, allow_errors=allow_errors)
    with c.setup_kernel(
        cwd=str(cwd), env={**os.environ, 'CLIMATE_FT_PROFILE': 'tiny', **(extra or {})}
    ):  # the lesson's model
        for i, cell in enumerate(nb.cells):
            if cell.cell_type != 'code' or skipped(cell.source):
                continue
            cell.outputs = []
            c.execute_cell(cell, i)
    return nb


# ---- outputs that must not drift

# what these chapters print is that of a larger model, or depends on the processor's
# arithmetic in every cell: they must run without an error, and their text is not compared
TRAINING = {
    '08_train',
    '08d_checkpoints',
    '08e_verdict',
    '09_train_8bit',
    '10_generate',
    '10c_answers',
    '10d_asking',
}

volatile = [
    (re.compile(p), r)
    for p, r in (
        (r'\x1b\[[0-9;]*m', ''),
        (r'0x[0-9a-f]{6,}', '0x'),
        (r'/\S+/', '/…/'),
        (r'\btmp\w{6,}', 'tmp'),
        (
            r'\d[\d.,]*\s*(µs|ms|s|seconds?|minutes?|min'
            r'|h|[KMG]i?B|tokens/s|it/s|x\b|times)(?![\w])',
            '# \\1',
        ),
        (r'(?<=[\d.])\d{3,}(?=\b)', '#'),
    )
]
measured = re.compile(
    r'\b(time|perf_counter|timeit|timed|machine\(|versions\('
    r'|preflight\(|memory|getpid|monotonic|speed|seconds|disk|free_)',
    re.I,
)


def said(cell):
    "The text a cell printed or returned, without what differs from run to run"
    out = []
    for o in cell.get('outputs', []):
        if o.get('name') == 'stderr' or o.output_type == 'error':
            continue
        t = o.get('text') or o.get('data', {}).get('text/plain') or ''
        t = ''.join(t)
        out.append(t if o.output_type == 'stream' else f'\n{t}\n')
    s = ''.join(out)
    for p, r in volatile:
        s = p.sub(r, s)
    return '\n'.join(l.rstrip() for l in s.splitlines() if '<Figure size' not in l).strip()


def pictures(cell):
    "How many of a cell's outputs are an image or HTML"
    kinds = {'image/png', 'image/svg+xml', 'text/html'}
    return sum(not kinds.isdisjoint(o.get('data', {})) for o in cell.get('outputs', []))


number = re.compile(r'(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?', re.I)


def tolerance(spec):
    "Relative and absolute tolerance of `#| approx: 5% 0.001`; either may be left out"
    rel = [float(t[:-1]) / 100 for t in spec.split() if t.endswith('%')]
    return max(rel, default=0.0), max(
        (float(t) for t in spec.split() if not t.endswith('%')), default=0.0
    )


def close(a, b, spec):
    """Are two texts the same but for numbers that differ by
    no more than `spec` allows? Runs of spaces count as one"""
    rel, tol = tolerance(spec)
    xs, ys = ([float(x.replace(',', '')) for x in number.findall(t)] for t in (a, b))
    words = [' '.join(number.sub(' # ', t).split()) for t in (a, b)]
    return words[0] == words[1] and all(
        abs(x - y) <= max(tol, rel * abs(x)) for x, y in zip(xs, ys)
    )


def drifted(saved, run):
    """What differs between a saved cell and the same cell executed;
    nothing if the difference is allowed"""
    d, a, b = directives(saved.source), said(saved), said(run)
    if (
        skipped(saved.source)
        or '# Colab setup' in saved.source
        or 'sampled' in d
        or measured.search(saved.source)
    ):
        return ''
    drawn = pictures(saved), pictures(run)
    if drawn[0] != drawn[1]:
        return f'{saved.source[:80]!r}\n  saved: {drawn[0]} pictures\n  now:   {drawn[1]}'
    if a == b or 'approx' in d and close(a, b, d['approx']):
        return ''
    return f'{saved.source[:80]!r}\n  saved: {a[:200]!r}\n  now:   {b[:200]!r}'


def drift(saved, run):
    "Cells whose saved output is not what running them gives, each with what differs"
    pairs = [
        (i, drifted(a, b))
        for i, (a, b) in enumerate(zip(saved.cells, run.cells))
        if a.cell_type == 'code'
    ]
    return [f'cell {i}: {d}' for i, d in pairs if d]
