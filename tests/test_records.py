"""Every file that a stage or a user may hand on: what is wrong in it
is named by file and line, or left out where a kill may have cut it."""

import json
import shutil
import pytest
from climate_ft import pipeline as P
from climate_ft.workspace import (
    counted,
    CourseError,
    Workspace,
    read_state,
    write_json,
    write_jsonl,
    write_text,
)


def test_shapes_name_the_place():
    from numbers import Real
    from climate_ft.workspace import misfit

    shape = {'a': dict[str, list[{'n': int | None}]], 'b?': str | list[str], 'c?': Real}
    good = dict(a=dict(x=[dict(n=1), dict(n=None)]), c=float('nan'), more=[])
    assert misfit(good, shape) == '' and misfit({**good, 'b': ['x']}, shape) == ''
    for bad, words in (
        (dict(good, a=dict(x=[dict(n='1')])), 'a.x.1.n is a text where a whole number'),
        (dict(good, b=3), 'b is a whole number where a text or a list'),
        (dict(c=1), 'a is missing'),
        (None, 'is missing'),
        (dict(good, a=[1]), 'a is a list […] where an object'),
        (dict(good, c=10**400), 'c is a whole number where a number'),
        (dict(a=dict(x=[dict(n=10**16)])), 'a.x.1.n is a whole number where|out of range'),
    ):
        assert any(w in misfit(bad, shape) for w in words.split('|')), misfit(bad, shape)


def test_a_damaged_stage_record_is_none(tmp_path):
    ok = dict(status='finished', seconds=1.0, notes=['x'], outputs={})
    write_json(
        tmp_path / 'run.json',
        dict(
            shared=dict(
                a=ok,
                b={**ok, 'notes': 'x'},
                c={**ok, 'seconds': '3'},
                d=3,
                e={**ok, 'outputs': []},
            ),
            profiles=dict(t=None, u=dict(f=ok)),
            forced=dict(u=[1]),
        ),
    )
    ws = Workspace(tmp_path)
    assert list(read_state(ws, 't')) == ['a'] and list(read_state(ws, 'u')) == ['a', 'f']
    job = P.make_job(tmp_path, 'tiny', documents=False)
    job.cfg.name = 'u'
    assert P.State(job).forced == {}


@pytest.mark.parametrize(
    'tail',
    [
        '{"i": 2, "te',
        'garbage\n{"i": 2, "text": "c"}\n',
        '{"i": [2], "text": "c"}\n',
        '{"i": 2, "text": null}\n',
        '[3]\n',
        '\udcff\udcff\n',
        '{"i": 2, "text": "\\ud800"}\n',
        '[' * 9999 + '\n',
    ],
)
def test_a_cut_partial_file_keeps_what_is_whole(tmp_path, tail):
    from climate_ft.generate import PartialAnswers

    p = tmp_path / '.a.part'
    p.write_bytes(
        ('{"key": "k"}\n{"i": 0, "text": "海"}\n{"i": 1, "text": "b"}\n' + tail).encode(
            'utf-8', 'surrogateescape'
        )
    )
    with PartialAnswers(p, 'k') as a:
        assert a.done == {0: '海', 1: 'b'}
    p.write_text('null\n')
    with PartialAnswers(p, 'k') as a:
        assert a.done == {}


LOG = (
    '{"step": 1, "epoch": 0.5, "loss": 9.5, "grad_norm": 0.8, "learning_rate": '
    '0.0, "tokens": 455, "tokens_per_second": 1796.3, "memory_gib": 0.69}\n'
)


@pytest.mark.parametrize(
    'line,words',
    [
        ('garbage', 'line 2'),
        ('[1]', 'line 2'),
        ('{"step": "2"}', 'line 2: step is a text'),
        ('{"step": 2, "loss": 1}', 'grad_norm is missing'),
        ('{"loss": 1}', 'step is missing'),
        ('\x00', 'line 2'),
    ],
)
def test_a_damaged_training_log_is_named(tmp_path, line, words):
    from climate_ft.train import read_log

    ws = Workspace(tmp_path)
    write_text(ws.logs / 't.jsonl', LOG + line + '\n' + LOG)
    with pytest.raises(CourseError, match=words) as e:
        read_log(ws, 't')
    assert 't.jsonl' in str(e.value) and '--no-resume' in str(e.value)
    write_text(
        ws.logs / 't.jsonl', LOG + LOG.replace('0.8', 'NaN') + '{"step": 3, "lo'
    )  # a kill has cut the end
    assert [r['step'] for r in read_log(ws, 't')] == [1, 1]


@pytest.mark.parametrize(
    'change,words',
    [
        (dict(pages=[1], text=None), 'text is missing'),
        (dict(pages='1'), 'pages is a text'),
        (dict(page=None), 'page is missing'),
        (dict(level='2', page=1), 'level is a text'),
        (dict(role='body'), 'without pages'),
    ],
)
def test_a_damaged_block_is_named(tmp_path, change, words):
    from climate_ft.corpus import run_corpus

    ws = Workspace(tmp_path)
    write_json(
        ws.path('cleaned_blocks'),
        dict(
            blocks=[dict(text='海氷は白い。', doc='d', **{'role': 'body'} | change)]
            if 'text' not in change
            else [dict(doc='d', **change)]
        ),
    )
    with pytest.raises(CourseError, match=words) as e:
        run_corpus(ws)
    assert 'cleaned_blocks.json' in str(e.value) and 'climate-ft clean' in str(e.value)


@pytest.mark.parametrize(
    'extra,words',
    [
        (dict(variants='海'), 'list of texts'),
        (dict(id=['a']), 'text or a whole number'),
        (dict(id='a', nll=[1]), 'two numbers'),
        (dict(id='a', nll=['x', 1]), 'extra.nll.1'),
        ({}, 'extra.id is missing'),
        (dict(id='a', chunk=['b']), 'extra.chunk'),
    ],
)
def test_a_damaged_answer_is_named(tmp_path, extra, words):
    from climate_ft.evaluation import answers_path, load_answers

    ws = Workspace(tmp_path)
    write_jsonl(
        answers_path(ws, 't', 'base'),
        [
            dict(
                question='問',
                prediction='答',
                reference='答',
                source_id='s',
                set='recall',
                extra=extra,
            )
        ],
    )
    with pytest.raises(CourseError, match=words) as e:
        load_answers(ws, 't')
    assert 'line 1' in str(e.value) and 'answers_t_base.jsonl' in str(e.value)


def test_a_file_that_lacks_answers_is_named(tiny_run, tmp_path):
    from climate_ft.evaluation import load_answers

    shutil.copytree(tiny_run / 'data', tmp_path / 'data')
    p = tmp_path / 'data/answers_tiny_tuned.jsonl'
    lines = p.read_text().splitlines(True)
    for kept in (len(lines) - 1, 0):
        p.write_text(''.join(lines[:kept]))
        lost = counted(len(lines) - kept, 'answer')
        words = f'tuned.jsonl lacks {lost} that answers_tiny_base.jsonl'
        with pytest.raises(CourseError, match=words):
            load_answers(Workspace(tmp_path), 'tiny')


@pytest.mark.parametrize(
    'row,words',
    [
        (dict(prediction='海\0氷', reference='海氷'), 'NUL'),
        (dict(prediction='海', reference=['海氷', '氷\0']), 'NUL'),
        (
            dict(prediction='海', reference='海氷', extra=dict(variants='海氷')),
            'list of texts',
        ),
        (dict(prediction='海', reference='海氷', id=[1]), '"id"'),
    ],
)
def test_what_no_answer_holds_is_not_scored(tmp_path, row, words):
    from climate_ft.metrics import score_file

    p = write_jsonl(tmp_path / 'a.jsonl', [dict(prediction='海', reference='海氷'), row])
    with pytest.raises(CourseError, match=words) as e:
        score_file(p)
    assert 'a.jsonl line 2' in str(e.value)


def test_nulls_score_as_nothing(tmp_path):
    from climate_ft.metrics import score_file

    p = write_jsonl(
        tmp_path / 'a.jsonl',
        [dict(prediction='海', reference='海氷', extra=None, variants=None, source_id=None)]
        * 2,
    )
    assert score_file(p)['scores']['exact'] == 0


@pytest.mark.parametrize(
    'value', [[], None, 'x', 3, {}, {'scores': []}, {'scores': {'recall': {'base': 3}}}]
)
def test_damaged_files_of_a_run_name_what_makes_them(tmp_path, value):
    from climate_ft.dataset import read_report
    from climate_ft.evaluation import read_results
    from climate_ft.train import read_info

    ws = Workspace(tmp_path)
    for path, read, by in (
        (ws.path('dataset_report'), lambda p: read_report(ws), 'dataset'),
        (ws.path('evaluation'), read_results, 'evaluate'),
        (ws.models / 't/train_config.json', lambda p: read_info(ws, 't'), 'train'),
    ):
        write_json(path, value)
        with pytest.raises(CourseError, match=f'climate-ft {by}') as e:
            read(path)
        assert path.name in str(e.value)


def test_an_empty_corpus_is_named(tmp_path):
    from climate_ft.asking import searcher

    ws = Workspace(tmp_path)
    write_json(ws.path('corpus_chunks'), [])
    with pytest.raises(CourseError, match='holds no passages: run `climate-ft corpus` again'):
        searcher(ws)


@pytest.mark.parametrize('name', ['train.jsonl', 'forms.jsonl'])
@pytest.mark.parametrize('row', [dict(a=1), dict(source_id='a', instruction='b', output=3)])
def test_foreign_rows_in_a_split_are_named(tmp_path, name, row):
    "By what explains mistakes, and by what counts the work of a run"
    from dataclasses import replace
    from climate_ft.evaluation import Plan
    from climate_ft.mistakes import trained_rows
    from climate_ft.planning import workload
    from climate_ft.profiles import PROFILES

    good, ws = dict(source_id='a', instruction='b', output='c'), Workspace(tmp_path)
    for f in ('train.jsonl', 'forms.jsonl'):
        write_jsonl(ws.path('splits') / f, [good, row] if f == name else [good])
    cfg, plan = replace(PROFILES['tiny'], forms=True), Plan()
    for read in (
        lambda: trained_rows(ws, 't'),
        lambda: workload(cfg, plan, ws.path('splits')),
    ):
        with pytest.raises(CourseError, match=f'{name} line 2.*climate-ft dataset'):
            read()


def test_finished_files_fit_their_shapes(tiny_run):
    from climate_ft import dataset, evaluation, train

    ws = Workspace(tiny_run)
    assert (
        dataset.told(dataset.read_report(ws))
        and evaluation.read_results(ws.path('evaluation'))
        and train.read_info(ws, 'tiny')
        and train.read_log(ws, 'tiny')
    )
    assert evaluation.load_answers(ws, 'tiny') and dataset.load_rows(ws, 'gold')
