"""A seeded part of `scripts/attack.py`:
every input ends with status 0, or in one line with status 2"""

import importlib.util
import os
import random
import shutil
import pytest

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
spec = importlib.util.spec_from_file_location('attack', f'{REPO}/scripts/attack.py')
A = importlib.util.module_from_spec(spec)
spec.loader.exec_module(A)


def test_seeded_lines_are_handled(tmp_path):
    "Strange files, paths and options for the commands that load no model"
    for k in range(40):
        argv, what = A.hostile_line(
            random.Random(f'line-{k}'), tmp_path / 'none', tmp_path / f'{k}'
        )
        if argv[0] == 'compare':
            continue  # five extractors in worker processes
        how, said = A.call(argv, 60, tmp_path)
        assert how == 'handled', (k, what, said)


LIGHT = {'clean', 'corpus', 'report', 'evaluate'}


def test_seeded_damage_is_handled(tmp_path, tiny_run, monkeypatch):
    "Files of a finished run, damaged between the stages"
    monkeypatch.setattr(
        A,
        'READERS',
        {
            f: tuple(c for c in by if c in LIGHT)
            for f, by in A.READERS.items()
            if LIGHT & set(by)
        },
    )
    for k in range(15):
        argv, what = A.damaged_file(random.Random(f'damage-{k}'), tiny_run, tmp_path / f'{k}')
        how, said = A.call(argv, 60, tmp_path)
        shutil.rmtree(tmp_path / f'{k}')
        assert how == 'handled', (k, what, said)


def test_the_same_seed_is_the_same_attack(tmp_path):
    for d in 'ab':
        (tmp_path / d).mkdir()
        (tmp_path / d / 'f').write_text('[{"a": [1, "海"]}, 2]')
    done = [A.damage(random.Random(7), tmp_path / d / 'f') for d in 'ab']
    assert (
        done[0] == done[1]
        and (tmp_path / 'a/f').read_bytes() == (tmp_path / 'b/f').read_bytes()
    )


def test_a_traceback_is_seen(monkeypatch):
    from climate_ft import metrics

    monkeypatch.setattr(metrics, 'score_file', lambda *a, **k: 1 / 0)
    how, said = A.call(['score', 'a.jsonl'])
    assert how == 'traceback' and 'ZeroDivisionError' in said
