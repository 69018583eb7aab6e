"""Paths that are not what they should be,
and disks without room: one line, and what is there stays"""

import errno
import os
import resource
import subprocess
import sys
import pytest
from climate_ft import cli, terminal
from climate_ft.workspace import REPO, CourseError, Workspace, cache_dir, file_digest

BED = REPO / 'documents/testbed'


def one_line(monkeypatch, capsys, *argv):
    "What a command says when it ends with status 2"
    monkeypatch.setattr(sys, 'argv', ['climate-ft', *map(str, argv)])
    monkeypatch.setattr(sys, 'excepthook', sys.excepthook)
    with pytest.raises(SystemExit) as e:
        cli.main()
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and err.startswith('climate-ft: '), err
    return err


@pytest.mark.parametrize(
    'argv,words',
    [
        (('extract', '/dev/zero', '--out', 'ws'), 'no regular file'),
        (('extract', 'pipe', '--out', 'ws'), 'no regular file'),
        (('extract', 'loop', '--out', 'ws'), 'does not exist'),
        (('extract', '長' * 100 + '.pdf', '--out', 'ws'), 'name is too long'),
        (('extract', BED / 'one_column.pdf', '--out', 'file'), 'choose another folder'),
        (('extract', BED / 'one_column.pdf', '--out', 'file/x'), 'choose another'),
        (('extract', BED / 'one_column.pdf', '--out', 'loop'), 'links lead in a circle'),
        (('clean', '--out', '長' * 100), 'name is too long'),
        (('score', 'pipe'), 'a device or a pipe'),
        (('score', '/proc/kmsg'), 'a device or a pipe'),  # a regular file, says the system
        (('extract', '/proc/kmsg', '--out', 'ws'), 'no regular file'),
        (('score', 'file/x'), 'not a folder'),
        (('score', 'loop'), 'circle'),
        (('run', '--config', '/dev/zero', '--out', 'ws'), 'a device or a pipe'),
        (
            ('compare', BED / 'one_column.pdf', '--gold', 'pipe', '--out', 'ws'),
            'a device or a pipe',
        ),
        (('corpus', '--out', 'ws2'), 'is a folder'),
    ],
)
def test_paths_on_the_command_line(tmp_path, monkeypatch, capsys, argv, words):
    monkeypatch.chdir(tmp_path)
    os.mkfifo('pipe')
    os.symlink('loop', 'loop')
    (tmp_path / 'file').write_text('mine')
    (tmp_path / 'ws2/documents/cleaned_blocks.json').mkdir(parents=True)
    assert words in one_line(monkeypatch, capsys, *argv)
    assert (tmp_path / 'file').read_text() == 'mine' and not (tmp_path / 'ws').exists()


@pytest.mark.parametrize('what', ['pipe', '/dev/zero', '/proc/kmsg'])
def test_a_digest_never_waits(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    os.mkfifo('pipe')
    with pytest.raises(CourseError, match='device or a pipe'):
        file_digest(what)


def test_a_cache_that_is_a_file_names_the_variable(tmp_path, monkeypatch):
    (tmp_path / 'cache').touch()
    monkeypatch.setenv('CLIMATE_FT_CACHE', str(tmp_path / 'cache'))
    with pytest.raises(CourseError, match='set CLIMATE_FT_CACHE to another folder'):
        cache_dir()
    with pytest.raises(CourseError, match='set CLIMATE_FT_CACHE to another folder'):
        cache_dir('models')


@pytest.mark.parametrize(
    'error,words',
    [
        (OSError(13, 'x', 'a.json'), 'cannot use a.json: permission denied'),
        (OSError('the hub says no'), 'the hub says no'),
        (MemoryError(), 'not enough memory'),
        (
            type('SafetensorError', (Exception,), {})(
                'I/O error: No space left on device (os error 28)'
            ),
            'no room is left',
        ),
    ],
)
def test_every_error_of_the_system_is_one_line(monkeypatch, capsys, error, words):
    def app():
        raise error

    monkeypatch.setattr(terminal, 'app', app)
    assert words in one_line(monkeypatch, capsys)


def test_an_error_of_ours_keeps_its_traceback(monkeypatch):
    def app():
        raise KeyError('x')

    monkeypatch.setattr(terminal, 'app', app)
    monkeypatch.setattr(sys, 'argv', ['climate-ft'])
    monkeypatch.setattr(sys, 'excepthook', sys.excepthook)
    with pytest.raises(KeyError):
        cli.main()


def test_a_full_disk_while_pages_come_in(tmp_path):
    """A limit on the size of files is met in the middle of a document;
    the reading thread must not crash Python"""
    for n in ('documents/extracted_blocks.txt', 'documents/extracted_pages.json'):
        (tmp_path / n).parent.mkdir(exist_ok=True)
        (tmp_path / n).write_text('[]\n')

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    argv = [
        sys.executable,
        '-m',
        'climate_ft.cli',
        'extract',
        str(REPO / 'documents/document_01.pdf'),
        '--with',
        'blocks',
        '--out',
        str(tmp_path),
    ]
    r = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        preexec_fn=small,
        env={**os.environ, 'PYTHONPATH': str(REPO)},
    )
    said = [l for l in r.stderr.splitlines() if l.startswith('climate-ft: ')]
    assert (
        r.returncode == 2
        and len(said) == 1
        and 'larger than this disk allows' in said[0]
        and 'Traceback' not in r.stderr
        and 'Fatal' not in r.stderr
    ), r.stderr
    assert [p.name for p in sorted(tmp_path.rglob('*')) if p.is_file()] == [
        'extracted_blocks.txt',
        'extracted_pages.json',
    ] and (tmp_path / 'documents/extracted_pages.json').read_text() == '[]\n'


def test_locked_files_and_folders_say_so(tmp_path, monkeypatch):
    "Root may read everything: the system's answers are replaced"
    import builtins
    from climate_ft import hub, serve
    from climate_ft.models import loading

    (tmp_path / 'models').mkdir()
    (tmp_path / 'f').write_text('x')
    real = os.access
    monkeypatch.setattr(os, 'access', lambda p, m: 'models' not in str(p) and real(p, m))
    for call in (cli.newest_model, serve.newest_gguf, lambda r: hub.pick('merged', r)):
        with pytest.raises(CourseError, match='models may not be read: change its perm'):
            call(tmp_path)

    def locked(path, *a, **kw):
        raise PermissionError(errno.EACCES, 'Permission denied', str(path))

    monkeypatch.setattr(builtins, 'open', locked)
    for call in (lambda: file_digest(tmp_path / 'f'), lambda: open(tmp_path / 'f')):
        with pytest.raises(CourseError, match='cannot read .*/f: permission denied; change'):
            with loading('folder'):
                call()


def test_a_pdf_that_may_not_be_read_is_no_damaged_pdf(tmp_path, monkeypatch):
    from pathlib import Path
    from climate_ft.layout import open_pdf

    (tmp_path / 'a.pdf').write_bytes(b'%PDF-1.7')

    def locked(path, *a, **kw):
        raise PermissionError(errno.EACCES, 'Permission denied', str(path))

    monkeypatch.setattr(Path, 'open', locked)
    with pytest.raises(CourseError, match='a.pdf: permission denied; change its permissions'):
        with open_pdf(tmp_path / 'a.pdf'):
            pass


def test_a_line_stays_a_line_whatever_value_stands_in_it():
    said = str(CourseError(f'a.json: r is {"[" * 9000}: a whole number is needed'))
    assert len(said) < 1200
    assert said.startswith('a.json: r is [[') and said.endswith(': a whole number is needed')
