import errno
import json
import os
import pytest
from climate_ft import lock, workspace as w


def test_failed_write_keeps_the_old_file_and_leaves_no_litter(tmp_path):
    p = w.write_json(tmp_path / 'data' / 'a.json', {'年': 2024})
    with pytest.raises(TypeError):
        w.write_json(p, {'年': object()})
    assert w.read_json(p) == {'年': 2024} and os.listdir(p.parent) == ['a.json']


@pytest.mark.parametrize(
    'code,words',
    [
        (errno.ENOSPC, 'no room is left'),
        (errno.EACCES, 'permission denied'),
        (errno.EROFS, 'read-only'),
        (errno.EIO, 'check the disk'),
        (errno.ENAMETOOLONG, 'choose a shorter one'),
        (errno.ELOOP, 'circle'),
        (errno.ESTALE, 'cannot write'),
    ],
)
def test_disk_errors_are_one_line(tmp_path, monkeypatch, code, words):
    def fail(*a):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(w.CourseError, match=words) as e:
        w.write_text(tmp_path / 'a.txt', 'x')
    assert (
        '\n' not in str(e.value)
        and str(tmp_path / 'a.txt') in str(e.value)
        and os.listdir(tmp_path) == []
    )


def test_an_error_that_is_not_about_files_is_not_swallowed(tmp_path, monkeypatch):
    def fail(*a):
        raise RuntimeError('a bug')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(RuntimeError, match='a bug'):
        w.write_text(tmp_path / 'a.txt', 'x')


@pytest.mark.parametrize('cut', [3, 5, 12])
def test_damaged_json_names_file_and_line(tmp_path, cut):
    p = w.write_json(
        tmp_path / 'd.json', [{'instruction': '海氷とは', 'output': '海水が凍ったもの'}]
    )
    p.write_text(p.read_text()[:-cut])
    with pytest.raises(
        w.CourseError, match=r'd\.json is damaged at line \d+.*climate-ft dataset'
    ):
        w.read_json(p, made_by='dataset')


def test_jsonl_rejects_a_line_that_is_no_object(tmp_path):
    (tmp_path / 'a.jsonl').write_text('{"a":1}\n[1]\n')
    with pytest.raises(
        w.CourseError, match='a.jsonl line 2: a JSON object is needed, not list'
    ):
        w.read_jsonl(tmp_path / 'a.jsonl')


def test_shift_jis_is_named(tmp_path):
    (tmp_path / 'sjis.txt').write_bytes('気候'.encode('shift_jis'))
    with pytest.raises(w.CourseError, match='sjis.txt is not UTF-8'):
        w.read_text(tmp_path / 'sjis.txt')


def test_records_round_trip_through_json():
    pg = w.Page(1, 595.3, 841.9, '本文', [w.Block(1, (1, 2, 3, 4), '本文', 'body')], 'r')
    back = w.Page.fromdict(json.loads(json.dumps(pg.asdict())))
    assert back.blocks[0].text == '本文' and back.blocks[0].role == 'body' and back.doc == 'r'
    with pytest.raises(w.CourseError, match='incomplete'):
        w.QA.fromdict({'id': 'a'})


def test_root_is_found_from_below(tmp_path, monkeypatch):
    (tmp_path / 'settings.ini').write_text('')
    (tmp_path / 'nbs' / 'deep').mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'nbs' / 'deep')
    assert w.Workspace().root == tmp_path


# ---- files that are not what they should be


def wrong(path, data, words, read=w.read_jsonl, **kw):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(w.CourseError) as e:
        read(path, **kw)
    assert words in str(e.value) and path.name in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize(
    'line,words',
    [
        ('{"variants": "海"}', 'line 2: "variants" must be a list of texts, not a text'),
        ('{"variants": ["海", 3]}', '"variants" must be a list of texts'),
        ('{"extra": {"variants": "海"}}', 'in "extra": "variants" must be a list of texts'),
        ('{"extra": []}', '"extra" must be an object'),
        ('{"id": ["a"]}', '"id" must be a text or a whole number, not a list'),
        ('{"source_id": {"a": 1}}', '"source_id" must be a text'),
        ('{"source_id": true}', '"source_id" must be a text'),
        ('{"id": 1e400}', '"id" must be a text'),
        ('{"question": 5}', '"question" must be a text'),
        ('{"reference": {"a": 1}}', '"reference" must be a text or a list of texts'),
        ('{"question": "\\ud800"}', 'half of a surrogate pair'),
        ('{"i": %s}' % ('9' * 5000), 'too many digits'),
        ('[' * 100000, 'nested too deeply'),
        ('{"a": 1', 'damaged at line 2'),
        ('\x00\x01', 'damaged at line 2'),
        ('null', 'not NoneType'),
        ('"x"', 'not str'),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, words):
    wrong(tmp_path / 'rows.jsonl', '{"question": "海氷とは何か。"}\n' + line + '\n', words)


def test_nulls_are_absent_and_numbers_as_ids_are_texts(tmp_path):
    (tmp_path / 'a.jsonl').write_text(
        '{"id": 7, "extra": null, "variants": null, "seen": null}\n'
    )
    assert w.read_jsonl(tmp_path / 'a.jsonl') == [{'id': '7', 'seen': None}]


@pytest.mark.parametrize(
    'data',
    [
        b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}\r\n',
        b'{"a": 1}\n\xef\xbb\xbf{"a": 2}',
        b'\xef\xbb\xbf{"a": 1}\r{"a": 2}',
    ],
)
def test_byte_order_marks_and_foreign_line_ends(tmp_path, data):
    (tmp_path / 'a.jsonl').write_bytes(data)
    assert w.read_jsonl(tmp_path / 'a.jsonl') == [{'a': 1}, {'a': 2}]


@pytest.mark.parametrize(
    'codec,name',
    [
        ('cp932', 'CP932'),
        ('euc_jp', 'EUC-JP'),
        ('utf-16', 'UTF-16'),
        ('utf-16-le', 'UTF-16'),
        ('utf-16-be', 'UTF-16'),
        ('iso2022_jp', 'ISO-2022-JP'),
    ],
)
def test_other_encodings_are_named(tmp_path, codec, name):
    text = '{"question": "北極の海氷面積はどのように変わったのか。ア・イ・ウ"}\n'
    wrong(tmp_path / 'q.jsonl', text.encode(codec), f'not UTF-8 but {name}')
    wrong(tmp_path / 'q.json', text.encode(codec), f'not UTF-8 but {name}', w.read_json)


@pytest.mark.parametrize('data', ['[]', 'null', '3', '"x"'])
def test_a_json_file_holds_what_is_asked_for(tmp_path, data):
    wrong(tmp_path / 'run.json', data, 'where an object {…} is needed', w.read_json, kind=dict)


def test_half_a_line_of_a_growing_file_is_left_out(tmp_path):
    (tmp_path / 'log.jsonl').write_text('{"step": 1}\n{"st')
    assert w.read_jsonl(tmp_path / 'log.jsonl', growing=True) == [{'step': 1}]
    wrong(
        tmp_path / 'log.jsonl', '{"step": 1}\ngarbage\n{"step": 2}\n', 'line 2', growing=True
    )


@pytest.mark.parametrize(
    'change,words',
    [
        (dict(text=None), 'wrong text'),
        (dict(start=float('nan')), 'wrong start'),
        (dict(start=1e9), 'wrong start'),
        (dict(end=10**30), 'wrong end'),
        (dict(section='第1章'), 'wrong section'),
        (dict(pages=['1']), 'wrong pages'),
        (dict(more=1), 'unknown fields'),
        (dict(id=['a']), 'wrong id'),
        (dict(tokens=True), 'wrong tokens'),
    ],
)
def test_a_wrong_record_is_named_by_file_and_entry(tmp_path, change, words):
    good = dict(id='a', doc='d', section=['第1章'], text='本文', pages=[1], start=0, end=2)
    w.write_json(tmp_path / 'chunks.json', [good, {**good, **change}])
    with pytest.raises(w.CourseError) as e:
        w.read_records(tmp_path / 'chunks.json', w.Chunk, 'corpus')
    assert (
        'chunks.json, entry 2' in str(e.value)
        and words in str(e.value)
        and 'climate-ft corpus' in str(e.value)
    )
    w.write_json(tmp_path / 'chunks.json', [good, 3])
    with pytest.raises(w.CourseError, match='entry 2.*must be an object'):
        w.read_records(tmp_path / 'chunks.json', w.Chunk)


# ---- paths that are not what they should be


def test_paths_that_cannot_be_read(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'a').symlink_to(tmp_path / 'b')
    (tmp_path / 'b').symlink_to(tmp_path / 'a')
    (tmp_path / 'file').touch()
    for path, words in (
        (tmp_path / 'pipe', 'a device or a pipe'),
        ('/dev/zero', 'a device or a pipe'),
        (tmp_path / 'a', 'circle'),
        (tmp_path / ('長' * 100), 'name is too long'),
        (tmp_path / 'file' / 'x', 'not a folder'),
        (tmp_path, 'is a folder'),
        (tmp_path / 'none', 'is missing'),
        ('a\0b', 'no name of a file'),
    ):
        with pytest.raises(w.CourseError, match=words):
            w.read_text(path)


def test_paths_that_cannot_be_written(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'a').symlink_to(tmp_path / 'a')
    (tmp_path / 'file').write_text('x')
    for path, words in (
        (tmp_path / 'pipe', 'a device or a pipe'),
        ('/dev/null', 'a device or a pipe'),
        (tmp_path / 'a', 'circle'),
        (tmp_path / ('長' * 100), 'name is too long'),
        (tmp_path / 'file' / 'x', 'file of this name is in the way|not a folder'),
        (tmp_path, 'a folder'),
    ):
        with pytest.raises(w.CourseError, match=words):
            w.write_text(path, 'y')
    assert (
        not os.path.isfile('/dev/null')
        and (tmp_path / 'file').read_text() == 'x'
        and (tmp_path / 'a').is_symlink()
    )


def test_a_link_is_followed_and_kept(tmp_path):
    (tmp_path / 'other').mkdir()
    (tmp_path / 'link.txt').symlink_to(tmp_path / 'other' / 'real.txt')
    w.write_text(tmp_path / 'link.txt', '一')
    w.write_text(tmp_path / 'link.txt', '二')
    assert (
        (tmp_path / 'link.txt').is_symlink()
        and (tmp_path / 'other' / 'real.txt').read_text() == '二'
        and os.listdir(tmp_path / 'other') == ['real.txt']
    )


def test_a_name_of_255_bytes_can_be_written(tmp_path):
    p = w.write_text(tmp_path / ('長' * 83 + '.jsonl')[:85], 'x')
    assert p.read_text() == 'x' and len(os.listdir(tmp_path)) == 1


def test_an_output_of_somebody_else_is_refused(tmp_path):
    def mine(r):
        return 'prediction' in r and 'key' in r['extra']

    def check(p, *inputs):
        w.own_output(p, mine, 'answer', inputs)

    own, q = tmp_path / 'own.jsonl', tmp_path / 'q.jsonl'
    w.write_jsonl(own, [dict(prediction='海氷', extra=dict(key='k'))])
    w.write_jsonl(q, [dict(question='海氷とは')])
    (tmp_path / 'empty').touch()
    (tmp_path / 'note.txt').write_text('覚え書き')
    (tmp_path / 'link').symlink_to(q)
    os.link(own, tmp_path / 'hard')
    check(own, q)
    check(tmp_path / 'new.jsonl')
    check(tmp_path / 'empty')
    for p in (q, tmp_path / 'link', tmp_path / 'note.txt'):
        with pytest.raises(w.CourseError, match='was not written by `climate-ft answer`'):
            check(p)
    for p in (own, tmp_path / 'hard'):
        with pytest.raises(w.CourseError, match='is what `climate-ft answer` reads'):
            check(p, own)


def test_errors_of_libraries_that_write_are_one_line(tmp_path):
    class SafetensorError(Exception):
        pass

    for e in (
        SafetensorError(
            'Error while serializing: I/O error: No space left on device (os error 28)'
        ),
        RuntimeError('[enforce fail at inline_container.cc:603] . unexpected pos 64 vs 0'),
    ):
        with pytest.raises(w.CourseError, match='no room is left'):
            with w.writing(tmp_path / 'model'):
                raise e
    with pytest.raises(ConnectionError):
        with w.writing(tmp_path / 'model'):
            raise ConnectionResetError(104, 'reset')


def test_the_umask_is_followed(tmp_path):
    d = tmp_path / 'model'
    d.mkdir(mode=0o700)
    (d / 'w').touch(mode=0o600)
    old = os.umask(0o027)
    try:
        w.follow_umask(d)
    finally:
        os.umask(old)
    assert (d.stat().st_mode & 0o777, (d / 'w').stat().st_mode & 0o777) == (0o750, 0o640)


def test_what_a_terminal_would_obey_is_spelled_out():
    assert (
        w.visible('\x1b[2J\u202e海\u3000氷\n\t\udc80\x9b')
        == '\\x1b[2J\\u202e海\u3000氷\n\t\\udc80\\x9b'
    )


# ---- one writer at a time

SECOND = (
    'import sys\nfrom climate_ft.workspace import *\nwith '
    'locked(Workspace(sys.argv[1]), "second"): print("in")'
)


def second(root, system):
    import subprocess
    import sys

    code = (
        SECOND
        if system
        else 'from climate_ft import lock\nlock._system_lock = lambda f: None\n' + SECOND
    )
    return subprocess.run(
        [sys.executable, '-c', code, str(root)], capture_output=True, text=True
    )


@pytest.mark.parametrize('system', [True, False])
def test_a_second_process_is_told_who_is_there(tmp_path, monkeypatch, system):
    if not system:
        monkeypatch.setattr(lock, '_system_lock', lambda f: None)
    with w.locked(w.Workspace(tmp_path), 'climate-ft run'):
        r = second(tmp_path, system)
        said = r.stderr.strip().splitlines()[-1]
        assert (
            r.returncode == 1
            and f'in use by process {os.getpid()} (climate-ft run) since' in said
            and '--out' in said
        )
    assert second(tmp_path, system).stdout == 'in\n' and os.listdir(tmp_path) == []


@pytest.mark.parametrize('system', [True, False])
def test_the_lock_of_a_killed_run_is_taken_over(tmp_path, monkeypatch, system):
    import signal
    import subprocess
    import sys

    code = SECOND.replace(
        'print("in")', '(print("in", flush=True), __import__("time").sleep(60))'
    )
    p = subprocess.Popen(
        [sys.executable, '-c', code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert p.stdout.readline() == 'in\n'
    if not system:
        monkeypatch.setattr(lock, '_system_lock', lambda f: None)
    with pytest.raises(w.CourseError, match=f'process {p.pid} '):
        with w.locked(w.Workspace(tmp_path)):
            pass
    p.send_signal(signal.SIGKILL)
    p.wait()
    p.stdout.close()
    assert (tmp_path / '.lock').exists()
    with w.locked(w.Workspace(tmp_path)):
        pass
    assert os.listdir(tmp_path) == []


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path):
    ws = w.Workspace(tmp_path)
    left = [
        ws.path('corpus').with_name('.corpus.txt.123.tmp'),
        ws.models / '.cpu-merged.ab12_d3e.tmp' / 'config.json',
        ws.models / 'cpu' / '.adapter.xyz01234.tmp' / 'a',
    ]
    kept = [
        tmp_path / '.editor.tmp',
        ws.models / '.Backup.tmp' / 'a',
        ws.data / '.answers_cpu_base.part',
        ws.models / 'cpu' / 'adapter_config.json',
        tmp_path / 'notes.tmp',
    ]
    for p in (*left, *kept):
        w.write_text(p, 'x')
    with w.locked(ws):
        pass
    assert (
        all(p.exists() for p in kept)
        and not any(p.exists() for p in left)
        and [p.name for p in ws.models.glob('.*')] == ['.Backup.tmp']
    )


def test_a_damaged_state_is_named(tmp_path):
    for text in ('[]', 'null', '{"shared": []}', '{"profiles": 3}', '{"scripts": {}}'):
        (tmp_path / 'run.json').write_text(text)
        with pytest.raises(w.CourseError, match=r'run\.json .*delete it'):
            w.read_state(w.Workspace(tmp_path))


def test_digest_of_a_folder_counts_names_and_contents(tmp_path):
    _a, b = w.write_text(tmp_path / 'd/a', '氷'), w.write_text(tmp_path / 'd/b', '雪')
    first = w.file_digest(tmp_path / 'd')
    b.rename(tmp_path / 'd/c')
    assert w.file_digest(tmp_path / 'd') != first
    (tmp_path / 'd/c').rename(b)
    w.write_text(tmp_path / 'd/.hidden', '')
    assert w.file_digest(tmp_path / 'd') == first


def test_the_lock_of_another_program_is_left_alone(tmp_path):
    (tmp_path / '.lock').write_text('held by a mail program')
    with pytest.raises(w.CourseError, match='lock of another program'):
        with w.locked(w.Workspace(tmp_path)):
            pass
    assert (tmp_path / '.lock').read_text() == 'held by a mail program'


@pytest.mark.parametrize('what', ['pipe', 'link', 'folder', 'device'])
def test_a_lock_that_is_no_file_is_not_written_to(tmp_path, what):
    "A link would empty what it points to, a pipe would wait"
    mine, lock = tmp_path / 'mine.json', tmp_path / 'ws/.lock'
    mine.write_text('{"pid": 1}')
    lock.parent.mkdir()
    make = dict(
        pipe=lambda: os.mkfifo(lock),
        link=lambda: lock.symlink_to(mine),
        folder=lock.mkdir,
        device=lambda: lock.symlink_to('/dev/zero'),
    )
    make[what]()
    with pytest.raises(w.CourseError, match='ws/.lock is the lock of another program'):
        with w.locked(w.Workspace(tmp_path / 'ws')):
            pass
    assert mine.read_text() == '{"pid": 1}' and os.path.lexists(lock)
