"""The command line: what goes to which stream,
and every wrong input as one line with status 2 that leaves earlier files alone."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
import pytest

REPO = Path(__file__).resolve().parent.parent
BED = REPO / 'documents' / 'testbed'


def snapshot(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}


def refused(r, *words):
    "One line on standard error with all `words`, nothing on standard output, status 2"
    assert r.returncode == 2, (r.returncode, r.stderr[-800:])
    lines = [l for l in r.stderr.strip().splitlines() if not re.match(r'^ *\d+/\d+ ', l)]
    assert len(lines) == 1 and lines[0].startswith('climate-ft: '), r.stderr
    for w in words:
        assert w in lines[0], (w, lines[0])
    assert r.stdout == ''


@pytest.fixture
def earlier(tmp_path):
    "A workspace with an earlier result, which nothing wrong may touch"
    ws = tmp_path / 'ws'
    for n in (
        'documents/extracted_blocks.txt',
        'documents/extracted_pages.json',
        'data/dataset.json',
        'data/splits/train.jsonl',
    ):
        (ws / n).parent.mkdir(parents=True, exist_ok=True)
        (ws / n).write_text('[]\n')
    return ws


@pytest.mark.parametrize(
    'name,words',
    [
        ('truncated', ()),
        ('password', ('password',)),
        ('scan', ('OCR',)),
        ('zero_byte', ('empty',)),
        ('no_tounicode', ()),
    ],
)
def test_unreadable_pdf(cft, earlier, name, words):
    before = snapshot(earlier)
    refused(cft('extract', BED / f'{name}.pdf', '--out', earlier), f'{name}.pdf', *words)
    assert snapshot(earlier) == before


def test_missing_pdf_and_folder_without_pdfs(cft, earlier):
    before = snapshot(earlier)
    refused(cft('extract', 'nowhere.pdf', '--out', earlier), 'nowhere.pdf does not exist')
    (earlier.parent / 'empty').mkdir()
    refused(cft('extract', earlier.parent / 'empty', '--out', earlier), 'holds no PDF')
    assert snapshot(earlier) == before


def test_text_file_that_is_called_pdf(cft, earlier):
    p = earlier.parent / 'notes.pdf'
    p.write_text('ただの文章\n' * 50)
    refused(cft('extract', p, '--out', earlier), 'notes.pdf')


def test_unknown_names(cft, earlier):
    refused(
        cft('extract', BED / 'one_column.pdf', '--with', 'ocr', '--out', earlier),
        "unknown extractor 'ocr'",
        'pymupdf4llm',
    )
    refused(cft('train', '--profile', 'gpt-9', '--out', earlier), "'gpt-9'", 'tiny, cpu')
    refused(cft('compare', BED / 'scan.pdf', '--out', earlier), 'scan.pdf has no gold text')
    assert cft('bake').returncode == 2


def test_stage_without_its_input_names_the_command_that_makes_it(cft, tmp_path):
    for stage, before in (('clean', 'extract'), ('corpus', 'clean'), ('dataset', 'corpus')):
        refused(cft(stage, '--out', tmp_path / 'none'), f'climate-ft {before}')


def test_damaged_dataset(cft, earlier):
    (earlier / 'data/splits/train.jsonl').write_text('{"id": "a", "instruction": "海氷とは')
    before = snapshot(earlier)
    refused(cft('train', '--profile', 'tiny', '--out', earlier), 'train.jsonl', 'line 1')
    assert snapshot(earlier) == before


def test_model_folder_without_adapter(cft, earlier):
    (earlier / 'models/tiny').mkdir(parents=True)
    refused(cft('merge', '--profile', 'tiny', '--out', earlier), 'tiny', 'adapter')
    q = earlier / 'q.jsonl'
    q.write_text('{"question": "海氷とは"}\n')
    refused(
        cft('answer', q, '--model', earlier / 'models/tiny', '--out', earlier / 'a.jsonl'),
        'tiny',
    )
    assert not (earlier / 'a.jsonl').exists()


def test_full_disk_in_the_middle_of_a_stage(tmp_path):
    "ENOSPC from the file system itself, on a stage that has an earlier output"
    code = '''
import errno, os, sys
from climate_ft import cli, workspace
real = os.replace
def full(a, b): raise OSError(errno.ENOSPC, "No space left on device")
if sys.argv.pop() == "full": os.replace = full
sys.argv[0] = "climate-ft"; cli.main()'''

    def run(mode):
        return subprocess.run(
            [
                sys.executable,
                '-c',
                code,
                'extract',
                str(BED / 'one_column.pdf'),
                '--with',
                'direct',
                '--out',
                str(tmp_path),
                mode,
            ],
            capture_output=True,
            text=True,
            cwd=REPO,
        )

    assert run('free').returncode == 0
    before = snapshot(tmp_path)
    r = run('full')
    assert (
        r.returncode == 2
        and 'no room is left on the disk' in r.stderr
        and 'Traceback' not in r.stderr
        and snapshot(tmp_path) == before
    )


def test_an_unforeseen_error_keeps_its_traceback_and_names_the_page_of_errors(cft):
    code = (
        'from climate_ft import cli, terminal\ndef app(): '
        'raise RuntimeError("CUDA out of memory")\nterminal.app = app\ncli.main()'
    )
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=REPO)
    assert (
        r.returncode == 1
        and 'Traceback' in r.stderr
        and r.stderr.strip().splitlines()[-1].endswith('/errors.html')
        and r.stdout == ''
    )
    assert '/errors.html' in cft('--help').stdout


def test_json_is_all_that_is_on_standard_output(cft, tmp_path):
    p = tmp_path / 'a.jsonl'
    p.write_text(
        '\n'.join(
            json.dumps(dict(prediction=t, reference=t), ensure_ascii=False)
            for t in ('海氷が減少している。', '新雪のアルベドは0.8である。')
        )
    )
    r = cft('score', p, '--json')
    assert r.returncode == 0 and json.loads(r.stdout)['scores']['char_f1'] == 1.0
    r = cft(
        'compare',
        BED / 'one_column.pdf',
        '--gold',
        BED / 'one_column.json',
        '--json',
        '--out',
        tmp_path,
    )
    assert r.returncode == 0 and json.loads(r.stdout)['blocks']['recall'] == 100
    r = cft('preflight', '--json')
    assert r.returncode == 0 and json.loads(r.stdout)


@pytest.mark.parametrize(
    'bad,words',
    [
        ('{"prediction": "a"}', 'line 2'),
        ('not json', 'line 2'),
        ('[1]', 'line 2'),
        ('{"prediction": "", "reference": "a"}', 'line 2'),
    ],
)
def test_bad_answer_file_is_named_by_line(cft, tmp_path, bad, words):
    p = tmp_path / 'a.jsonl'
    p.write_text('{"prediction": "a", "reference": "a"}\n' + bad + '\n')
    refused(cft('score', p), 'a.jsonl', words)


def test_heavy_libraries_stay_out_of_help_and_import():
    code = (
        'import sys; import climate_ft, climate_ft.cli, '
        'climate_ft.pipeline; print(sorted({"torch", "transformers", '
        '"pymupdf", "matplotlib", "pandas"} & set(sys.modules)))'
    )
    assert (
        subprocess.run(
            [sys.executable, '-c', code], capture_output=True, text=True, cwd=REPO
        ).stdout.strip()
        == '[]'
    )


def test_every_command_has_help(cft):
    commands = (
        'run preflight extract compare clean corpus dataset train ask answer '
        'answers score evaluate diagnose sweep merge export serve chat report'
    ).split()
    out = cft('--help', COLUMNS='200').stdout
    for c in commands:
        assert re.search(rf'\b{c}\b', out), c


def test_version_and_the_package_as_a_program():
    from climate_ft import __version__

    r = subprocess.run(
        [sys.executable, '-m', 'climate_ft', '--version'],
        capture_output=True,
        text=True,
        cwd=REPO,
    )
    assert r.returncode == 0 and r.stdout == f'climate-ft {__version__}\n'


def test_the_help_lists_every_profile(cft):
    from climate_ft.train import PROFILES

    for command in ('run', 'train', 'answers', 'merge'):
        said = re.sub(r'[^\w,-]+', ' ', cft(command, '--help', COLUMNS='200').stdout)
        assert all(re.search(rf'\b{p}\b', said) for p in PROFILES), command


def test_an_interrupted_command_says_so_and_how_to_continue(tmp_path):
    import signal

    for args in (
        ['run', '--profile', 'tiny', '--out', tmp_path / 'a'],
        ['extract', REPO / 'documents' / 'document_01.pdf', '--out', tmp_path / 'b'],
    ):
        p = subprocess.Popen(
            [sys.executable, '-m', 'climate_ft.cli', *map(str, args)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPO,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # a background job of a shell ignores it
        assert p.stderr.readline()  # it is at work
        p.send_signal(signal.SIGINT)
        rest = p.stderr.read()
        p.wait()
        assert p.returncode == 130 and rest.strip().splitlines()[-1].startswith(
            'climate-ft: interrupted; what was saved is kept, the rest is done again: run the '
            'same command again to continue'
        ), rest[-500:]
        assert 'Traceback' not in rest and not list(tmp_path.rglob('*.tmp'))


FILES = ('trainer_state.json', 'optimizer.pt', 'scheduler.pt', 'adapter_model.safetensors')


@pytest.mark.parametrize(
    'saved,options,said',
    [
        (0, [], 'the training has no checkpoint yet and begins again'),
        (24, [], 'the training goes on after step 24, its last checkpoint: run the same'),
        (24, ['--no-resume'], 'run the same command again without --no-resume to continue'),
        (
            24,
            ['--lang', 'ja'],
            '中断しました。学習は最後のチェックポイント（ステップ24）から続きます。',
        ),
    ],
)
def test_an_interrupted_training_says_what_is_kept(tmp_path, earlier, saved, options, said):
    code = f"""
import sys
from climate_ft import cli, train
from climate_ft.workspace import Workspace

def interrupted(cfg, ws, **how):
    folder = ws.models / cfg.name / 'checkpoints' / 'checkpoint-{saved}'
    for n in {FILES if saved else ()}:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / n).touch()
    raise KeyboardInterrupt

train.train = interrupted
cli.main()
"""
    args = ['train', '--profile', 'tiny', '--out', earlier, *options]
    r = subprocess.run(
        [sys.executable, '-c', code, *map(str, args)],
        capture_output=True,
        text=True,
        cwd=REPO,
        env={**os.environ, 'PYTHONPATH': str(REPO)},
    )
    assert r.returncode == 130 and said in r.stderr, r.stderr[-500:]
    assert 'Traceback' not in r.stderr


def test_missing_answers_name_their_command(cft, tiny_run, tmp_path):
    import shutil

    ws = shutil.copytree(tiny_run, tmp_path / 'ws')
    (ws / 'data/answers_tiny_tuned.jsonl').unlink()
    refused(
        cft('evaluate', '--profile', 'tiny', '--out', ws),
        'answers_tiny_tuned.jsonl',
        '`climate-ft answers` makes it',
    )
    r = cft('answers', '--profile', 'tiny', '--out', ws)
    assert r.returncode == 0 and len(r.stdout.split()) == 4
    assert (ws / 'data/answers_tiny_tuned.jsonl').read_bytes() == (
        tiny_run / 'data/answers_tiny_tuned.jsonl'
    ).read_bytes()
    assert cft('run', '--profile', 'tiny', '--out', ws).stderr.count('done before') == 10


def test_a_second_run_in_a_workspace_is_one_line(cft, tmp_path):
    from climate_ft.workspace import Workspace, locked

    with locked(Workspace(tmp_path), 'climate-ft run'):
        for args in (
            ('run', '--profile', 'tiny'),
            ('extract', BED / 'one_column.pdf'),
            ('clean',),
            ('train', '--profile', 'tiny'),
        ):
            refused(
                cft(*args, '--out', tmp_path),
                f'in use by process {os.getpid()}',
                'climate-ft run',
                'since',
            )
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_run_names_commands_that_work(tiny_run, cft):
    said = (tiny_run.parent / 'stderr.txt').read_text().strip().splitlines()
    ask = (
        next(l for l in said if l.startswith('Ask it: climate-ft '))
        .removeprefix('Ask it: climate-ft ')
        .split()
    )
    assert ask == ['ask', '--out', str(tiny_run)]  # as the README has it
    r = cft(*ask, '海氷とは何ですか。')
    assert r.returncode == 0 and r.stdout.strip()
    talk = (
        next(l for l in said if l.startswith('Talk to it in a browser: '))
        .partition('climate-ft ')[2]
        .split()
    )
    assert talk == ['chat', '--out', str(tiny_run)]
    with socket.socket() as s:  # the command is read and gets as far as its port
        s.bind(('127.0.0.1', 0))
        s.listen()
        refused(cft(*talk, '--port', s.getsockname()[1]), 'choose another with --port')
    gguf = (
        next(l for l in said if l.startswith('For Ollama and LM Studio: '))
        .partition('climate-ft ')[2]
        .split()
    )
    refused(cft(*gguf[:2], 'q9', *gguf[3:]), 'q9')


def test_the_end_of_a_run_names_its_own_model_where_another_is_newer(tmp_path):
    from climate_ft.cli import next_steps

    for n, name in enumerate(('mine', 'other')):
        d = tmp_path / 'a run/models' / name
        d.mkdir(parents=True)
        for f in ('adapter_config.json', 'adapter_model.safetensors'):
            (d / f).touch()
        os.utime(d / 'adapter_model.safetensors', (n, n))
    out = tmp_path / 'a run'
    for name, how in (('other', f"--out '{out}'"), ('mine', f"--model '{out}/models/mine'")):
        lines = next_steps(dict(notes=[], name=name, stages={'train': ''}), out)
        assert lines[:2] == [
            f'Ask it: climate-ft ask {how}',
            f'Talk to it in a browser: climate-ft chat {how}',
        ]


def test_ask_names_its_passages_and_can_answer_from_memory(tiny_run, cft, tmp_path):
    r = cft('ask', '雪氷面のアルベドとは何ですか。', '--out', tiny_run, '--json')
    got = json.loads(r.stdout)
    assert (
        got['passages']
        and all(
            p['document'] == 'document_01' and p['pages'] and p['text']
            for p in got['passages']
        )
        and 'アルベド' in got['passages'][0]['text']
    )
    assert 'loading' in r.stderr and got['question'] == '雪氷面のアルベドとは何ですか。'
    if got['answer'] and not got['refused']:
        assert got['source']['pages']
    model = next(p for p in (tiny_run / 'models').iterdir() if p.name == 'tiny-merged')
    r = cft(
        'ask', '雪氷面のアルベドとは何ですか。', '--model', model, '--from-memory', '--json'
    )
    assert json.loads(r.stdout)['passages'] == []


def test_ask_refuses_in_one_line(cft, tiny_run, tmp_path):
    refused(cft('ask', '--json'), '--json needs a question')
    refused(cft('ask', '質問', '--out', tmp_path / 'nowhere'), 'is no folder')
    refused(cft('ask', '質問', '--out', tmp_path), 'no trained model yet')
    model = tmp_path / 'models' / 'm'
    model.mkdir(parents=True)
    (model / 'config.json').write_text('{}')
    refused(cft('ask', '質問', '--out', tmp_path), 'no corpus', '--from-memory')


@pytest.fixture
def plain(tmp_path):
    "PYTHONPATH on which torch is not installed, as after a plain `pip install climate-ft`"
    (tmp_path / 'none').mkdir()
    (tmp_path / 'none' / 'torch.py').write_text(
        "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"
    )
    return dict(PYTHONPATH=f'{tmp_path / "none"}{os.pathsep}{REPO}', CUDA_VISIBLE_DEVICES='')


@pytest.mark.parametrize(
    'args', [['run', '--profile', 'tiny'], ['train', '--profile', 'tiny']]
)
def test_what_needs_torch_says_how_to_install_it(cft, earlier, plain, args):
    (earlier / 'data/splits/train.jsonl').write_text(
        '{"instruction": "海氷とは", "input": "", "output": "氷である。"}\n'
    )
    before = snapshot(earlier)
    refused(
        cft(*args, '--out', earlier, **plain),
        'this needs torch, which is not installed',
        'pip install "climate-ft[cpu]"',
    )
    assert {p: b for p, b in snapshot(earlier).items() if p.name != 'run.json'} == before


def test_a_pdf_is_read_without_torch(cft, tmp_path, plain):
    r = cft('extract', BED / 'wide.pdf', '--out', tmp_path / 'ws', **plain)
    assert r.returncode == 0 and (tmp_path / 'ws/documents/extracted_pages.json').is_file(), (
        r.stderr
    )


def test_a_missing_module_of_the_course_stays_an_error():
    from climate_ft.cli import not_installed

    assert (
        not_installed(ModuleNotFoundError('x', name='climate_ft.nowhere')) is None
        and not_installed(ModuleNotFoundError('x')) is None
    )
    assert '[cpu,gpu]' in not_installed(ModuleNotFoundError('x', name='unsloth.models'))


@pytest.fixture(scope='module')
def metadata():
    return lambda what: (
        subprocess.run(
            [sys.executable, 'setup.py', f'--{what}'],
            cwd=REPO,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )


def test_the_description_on_pypi_links_to_what_is_in_the_repository(metadata):
    from climate_ft._modidx import d

    text = metadata('long-description')
    links = re.findall(r'\]\(([^)\s]+)\)', text)
    assert (
        text.startswith('# climate-ft')
        and [l for l in links if not re.match('https?://|#', l)] == []
    )
    files = [
        l.partition('/main/')[2] for l in links if l.startswith(d['settings']['git_url'] + '/')
    ]
    assert (
        'nbs/images/index_0.png' in files
        and 'nbs/01_preflight.ipynb' in files
        and [f for f in files if not (REPO / f).exists()] == []
    )


def test_classifiers_name_the_pythons_that_are_tested(metadata):
    import yaml

    tested = yaml.safe_load((REPO / '.github/workflows/ci.yml').read_text())
    listed = re.findall(r'Python :: (3\.\d+)', metadata('classifiers'))
    assert listed == ['3.11', '3.12', '3.13'] and set(
        re.findall(r"'(3\.\d+)'", str(tested))
    ) <= set(listed)
