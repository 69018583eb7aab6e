"""The package without its repository: a wheel,
unpacked and run from an empty folder, works or says in one line what it needs"""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
import pytest
from conftest import REPO

BED = REPO / 'documents' / 'testbed'
SOURCES = (
    'climate_ft setup.py settings.ini MANIFEST.in README.md LICENSE constraints-cpu.txt '
    'documents/general_questions.jsonl data/evaluation_results.json results'
).split()
BLOCK = '''import sys
class Missing:
    "The packages of the extras cannot be imported"
    names = set('torch transformers peft trl bitsandbytes datasets huggingface_hub bm25s '
                'gguf xllamacpp conversion'.split())
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in self.names:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Missing())
'''


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "The unpacked wheel, built from a copy of what git tracks"
    root = tmp_path_factory.mktemp('wheel')
    files = subprocess.run(
        ['git', 'ls-files', '--cached', '--others', '--exclude-standard', *SOURCES],
        capture_output=True,
        text=True,
        cwd=REPO,
        check=True,
    ).stdout.split()
    for f in files:
        (root / 'src' / f).parent.mkdir(parents=True, exist_ok=True)
        if (REPO / f).is_file():
            (root / 'src' / f).write_bytes((REPO / f).read_bytes())
    pip = [
        sys.executable,
        '-m',
        'pip',
        'wheel',
        '-q',
        '--no-deps',
        '--no-build-isolation',
        '-w',
        str(root),
        str(root / 'src'),
    ]
    r = subprocess.run(
        pip,
        capture_output=True,
        text=True,
        env={**os.environ, 'PIP_DISABLE_PIP_VERSION_CHECK': '1'},
    )
    assert r.returncode == 0, r.stderr[-2000:]
    zipfile.ZipFile(next(root.glob('*.whl'))).extractall(root / 'site')
    (root / 'block').mkdir()
    (root / 'block' / 'sitecustomize.py').write_text(BLOCK)
    return root


@pytest.fixture
def away(wheel, tmp_path):
    """Run a command of the unpacked wheel from an empty folder;
    `bare`: without the packages of the extras"""

    def run(*args, bare=False):
        path = [str(wheel / 'block')] * bare + [str(wheel / 'site')]
        return subprocess.run(
            [sys.executable, '-m', 'climate_ft', *map(str, args)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(path)},
        )

    return run


def one_line(r, *words):
    lines = [
        l
        for l in r.stderr.strip().splitlines()
        if l.startswith('climate-ft: ') and 'loading' not in l or 'Traceback' in l
    ]
    assert (
        r.returncode == 2 and len(lines) == 1 and r.stderr.strip().splitlines()[-1] == lines[0]
    ), r.stderr[-800:]
    for w in words:
        assert w in lines[0], lines[0]


def test_the_wheel_holds_what_the_commands_read(wheel, tmp_path):
    code = (
        'import climate_ft; from climate_ft.workspace import *; '
        'from climate_ft.dataset import read_questions; print(climate_ft.__file__); '
        'print(len(read_questions(Workspace("w"), "general")))'
    )
    r = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(wheel / 'site')},
    )
    where, n = r.stdout.split('\n')[:2]
    assert where.startswith(str(wheel / 'site')) and int(n) == len(
        (REPO / 'documents/general_questions.jsonl').read_text().splitlines()
    )
    tracked = subprocess.run(
        ['git', 'ls-files', 'climate_ft'], capture_output=True, text=True, cwd=REPO
    ).stdout.split()
    assert [f for f in tracked if not (wheel / 'site' / f).is_file()] == []


def test_what_needs_no_model_works(away, tmp_path):
    from climate_ft import __version__

    assert away('--version').stdout == f'climate-ft {__version__}\n'
    r = away(
        'run',
        '--profile',
        'tiny',
        '--pdf',
        BED / 'one_column.pdf',
        '--to',
        'corpus',
        '--out',
        'w',
    )
    assert r.returncode == 0 and 'Done up to corpus' in r.stderr, r.stderr[-800:]
    r = away('preflight', '--profile', 'tiny')
    assert r.returncode == 0 and re.search(r'train +memory .* min .*4 bits', r.stdout), (
        r.stderr[-500:]
    )  # from measured rates
    assert sorted(p.name for p in tmp_path.iterdir()) == ['w']


def test_what_is_not_there_is_named(away, tmp_path):
    one_line(
        away('run', '--profile', 'tiny'),
        'the course\'s own report is not installed here',
        '--pdf FILE',
    )
    one_line(away('compare', BED / 'one_column.pdf', '--out', 'w'), 'no gold text', '--gold')
    one_line(away('ask', '質問'), 'no trained model yet')
    (tmp_path / 'w/data/splits').mkdir(parents=True)
    for s in ('train', 'recall'):
        (tmp_path / f'w/data/splits/{s}.jsonl').write_text(
            '{"instruction": "a", "output": "b"}\n'
        )
    one_line(
        away('answers', '--profile', 'tiny', '--out', 'w'),
        'holds no adapter',
        'climate-ft train',
    )


def test_without_the_extras_every_command_says_what_to_install(away, tmp_path):
    m = tmp_path / 'w/models/m'
    m.mkdir(parents=True)
    (m / 'train_config.json').write_text('{"base": "tiny", "bits": 4}')
    (m / 'adapter_config.json').write_text('{}')
    (m / 'adapter_model.safetensors').write_bytes(b'')
    r = away(
        'run',
        '--profile',
        'tiny',
        '--pdf',
        BED / 'one_column.pdf',
        '--to',
        'corpus',
        '--out',
        'w',
        bare=True,
    )
    assert r.returncode == 0 and 'Done up to corpus' in r.stderr, r.stderr[-800:]
    for args in (
        ['preflight'],
        ['train', '--profile', 'tiny', '--out', 'w'],
        ['run', '--profile', 'tiny', '--pdf', BED / 'one_column.pdf', '--out', 'w'],
        ['dataset', '--out', 'w'],
        ['ask', '質問', '--from-memory', '--out', 'w'],
        ['push', 'adapter', '--repo', 'a/b', '--out', 'w'],
    ):
        one_line(away(*args, bare=True), 'pip install "climate-ft[cpu]"')
    assert 'this needs torch' in away('preflight', bare=True).stderr
