import errno, json, os
import pytest
from climate_ft import workspace as w

def test_failed_write_keeps_the_old_file_and_leaves_no_litter(tmp_path):
    p = w.write_json(tmp_path/'data'/'a.json', {'年': 2024})
    with pytest.raises(TypeError): w.write_json(p, {'年': object()})
    assert w.read_json(p) == {'年': 2024} and os.listdir(p.parent) == ['a.json']

@pytest.mark.parametrize('code,words', [(errno.ENOSPC, 'no room is left'), (errno.EACCES, 'permission denied'), (errno.EROFS, 'read-only')])
def test_disk_errors_are_one_line(tmp_path, monkeypatch, code, words):
    def fail(*a): raise OSError(code, os.strerror(code))
    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(w.CourseError, match=words) as e: w.write_text(tmp_path/'a.txt', 'x')
    assert '\n' not in str(e.value) and str(tmp_path/'a.txt') in str(e.value) and os.listdir(tmp_path) == []

def test_other_os_errors_are_not_swallowed(tmp_path, monkeypatch):
    def fail(*a): raise OSError(errno.EIO, 'broken disk')
    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='broken disk'): w.write_text(tmp_path/'a.txt', 'x')

@pytest.mark.parametrize('cut', [3, 5, 12])
def test_damaged_json_names_file_and_line(tmp_path, cut):
    p = w.write_json(tmp_path/'d.json', [{'instruction': '海氷とは', 'output': '海水が凍ったもの'}])
    p.write_text(p.read_text()[:-cut])
    with pytest.raises(w.CourseError, match=r'd\.json is damaged at line \d+.*climate-ft dataset'): w.read_json(p, made_by='dataset')

def test_jsonl_rejects_a_line_that_is_no_object(tmp_path):
    (tmp_path/'a.jsonl').write_text('{"a":1}\n[1]\n')
    with pytest.raises(w.CourseError, match='a.jsonl line 2: a JSON object is needed, not list'): w.read_jsonl(tmp_path/'a.jsonl')

def test_shift_jis_is_named(tmp_path):
    (tmp_path/'sjis.txt').write_bytes('気候'.encode('shift_jis'))
    with pytest.raises(w.CourseError, match='sjis.txt is not UTF-8'): w.read_text(tmp_path/'sjis.txt')

def test_records_round_trip_through_json():
    pg = w.Page(1, 595.3, 841.9, '本文', [w.Block(1, (1, 2, 3, 4), '本文', 'body')], 'r')
    back = w.Page.fromdict(json.loads(json.dumps(pg.asdict())))
    assert back.blocks[0].text == '本文' and back.blocks[0].role == 'body' and back.doc == 'r'
    with pytest.raises(w.CourseError, match='incomplete'): w.QA.fromdict({'id': 'a'})

def test_root_is_found_from_below(tmp_path, monkeypatch):
    (tmp_path/'settings.ini').write_text(''); (tmp_path/'nbs'/'deep').mkdir(parents=True)
    monkeypatch.chdir(tmp_path/'nbs'/'deep')
    assert w.Workspace().root == tmp_path
