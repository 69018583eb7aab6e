"""Chapter 12b: wrong answers by cause, on records made by hand,
and the command on a workspace made by hand"""

import json
import pytest
from climate_ft.mistakes import CAUSES, describe, diagnose
from climate_ft.passages import REFUSAL
from climate_ft.workspace import Chunk, Workspace, write_json, write_jsonl

CHUNK, OTHER = 'doc-1', 'doc-2'
TEXT = (
    'だいち2号は2014年5月に打ち上げられた。'
    '搭載する合成開口レーダーはPALSAR-2と呼ばれる。分解能は3mである。'
)


def trained(question, output, chunk=CHUNK, **kw):
    return (
        dict(
            instruction=question,
            output=output,
            source_id=f'{chunk}.1',
            extra=dict(chunk=chunk),
        )
        | kw
    )


ROWS = [
    trained('だいち2号はいつ打ち上げられましたか。', '2014年です。'),
    trained('分解能が3mなのは何ですか。', '合成開口レーダーです。'),
    trained('海面水位は何年から上がっていますか。', '1993年です。', OTHER),
]


def asked(question, reference, tuned, passage=None, chunk=CHUNK, set='short', id='q', **kw):
    said = {'base': '?', 'tuned': tuned} | (
        {} if passage is None else {'tuned + passage': passage}
    )
    return (
        dict(
            id=id,
            set=set,
            question=question,
            reference=reference,
            source_id=f'{chunk}.1',
            chunk=chunk,
            predictions=said,
        )
        | kw
    )


def cause_of(a, how='from memory', given=None, rows=ROWS):
    f = diagnose([a], rows, given or {})[how]
    return next(iter(f['wrong'])) if f['wrong'] else f"right {f['right']} of {f['n']}"


@pytest.mark.parametrize(
    'question,reference,said,cause',
    [
        ('だいち2号はいつ打ち上げられたか。', '2014年', '2014年です。', 'right 1 of 1'),
        (
            'だいち2号はいつ打ち上げられたか。',
            '2014年',
            '2016年です。',
            'trained, not remembered',
        ),
        (
            '日本のレーダー衛星が軌道に乗ったのは何年か。',
            '2014年',
            '2016年です。',
            'asked by another topic',
        ),
        ('合成開口レーダーの分解能はいくつか。', '3m', '10mです。', 'reversed'),
        ('だいち2号の質量はいくつか。', '2,100kg', '3トンです。', 'never covered'),
        ('だいち2号はいつ打ち上げられたか。', '2014年', REFUSAL, 'refused wrongly'),
        ('だいち2号の質量はいくつか。', '2,100kg', REFUSAL, 'never covered'),
        ('だいち2号の分解能はいくつか。', '3m', '13mです。', 'reversed'),
    ],
)
def test_from_memory(question, reference, said, cause):
    assert cause_of(asked(question, reference, said)) == cause


def test_only_rows_about_the_same_part_count():
    a = asked('海面水位は何年から上がっていますか。', '1993年', '1980年です。')
    assert cause_of(a) == 'never covered'
    assert cause_of(a | dict(chunk=OTHER)) == 'trained, not remembered'
    a.pop('chunk')  # not known where it stands: every row counts
    assert cause_of(a) == 'trained, not remembered'


@pytest.mark.parametrize(
    'said,given,cause',
    [
        ('2014年です。', TEXT, 'right 1 of 1'),
        ('2016年です。', TEXT, 'passage not read'),
        (REFUSAL, TEXT, 'refused wrongly'),
        ('2016年です。', '別の話である。', 'passage not found'),
        (REFUSAL, '別の話である。', 'passage not found'),
        ('2016年です。', '12014年という数である。', 'passage not found'),
    ],
)
def test_with_passages(said, given, cause):
    a = asked('だいち2号はいつ打ち上げられたか。', '2014年', '2014年です。', said)
    assert cause_of(a, 'with passages', {('short', 'q'): given}) == cause


def test_variants_are_right_and_general_questions_are_left_out():
    assert (
        cause_of(asked('何年か。', '2014年', '平成26年です。', variants=['平成26年']))
        == 'right 1 of 1'
    )
    assert diagnose([asked('日本の首都は。', '東京', '大阪', set='general')], ROWS, {}) == {}


def test_every_cause_has_a_remedy_in_the_text():
    wrong = [dict(set='short', question='問い', accepted=['正'], prediction='誤\n答')]
    text = describe({'from memory': dict(n=9, right=2, wrong={c: wrong for c in CAUSES})})
    assert text.startswith('from memory: 2 of 9 right') and '誤 答' in text
    for c, (_, remedy) in CAUSES.items():
        assert f'1  {c}: ' in text and remedy in text


@pytest.fixture
def workspace(tmp_path):
    "A finished run of two questions; the answers of the tuned model are wrong both times"
    ws = Workspace(tmp_path / 'ws')
    write_json(
        ws.path('corpus_chunks'),
        [
            Chunk(CHUNK, 'doc', ['衛星'], TEXT, [1], 0, len(TEXT)).asdict(),
            Chunk(
                OTHER, 'doc', ['海'], '海面水位は1993年から上がっている。', [2], 0, 18
            ).asdict(),
        ],
    )
    write_jsonl(ws.path('splits') / 'train.jsonl', ROWS[:1])
    passage_row = trained(
        'だいち2号の質量はいくつですか。', '2,100kgです。', input='質量は2,100kgである。'
    )
    write_jsonl(ws.path('splits') / 'forms.jsonl', ROWS[1:] + [passage_row])
    questions = [
        ('だいち2号はいつ打ち上げられたか。', '2014年'),
        ('だいち2号の質量はいくつか。', '2,100kg'),
    ]
    for c in ('base', 'tuned', 'base_passage', 'tuned_passage'):
        rows = [
            dict(
                question=q,
                prediction='不明です。',
                reference=r,
                source_id=f'{CHUNK}.1',
                set='short',
                model=c,
                extra=dict(id=f's{i}', chunk=CHUNK),
            )
            for i, (q, r) in enumerate(questions)
        ]
        write_jsonl(ws.data / f'answers_tiny_{c}.jsonl', rows)
    return ws


def test_the_command(workspace, cft):
    r = cft('diagnose', '--profile', 'tiny', '--out', workspace.root, '--json')
    assert r.returncode == 0, r.stderr
    found = {
        how: {c: len(w) for c, w in f['wrong'].items()}
        for how, f in json.loads(r.stdout).items()
    }
    assert found == {
        'from memory': {
            'trained, not remembered': 1,
            'never covered': 1,
        },  # a row with a passage teaches no fact
        'with passages': {'passage not read': 1, 'passage not found': 1},
    }
    text = cft('diagnose', '--profile', 'tiny', '--out', workspace.root).stdout
    assert 'with passages: 0 of 2 right' in text and 'remedy: ' in text


def test_only_trained_sources_count(workspace, cft):
    folder = workspace.models / 'tiny'
    folder.mkdir(parents=True)
    (folder / 'train_config.json').write_text(json.dumps(dict(sources=[f'{OTHER}.1'])))
    r = cft('diagnose', '--profile', 'tiny', '--out', workspace.root, '--json')
    assert list(json.loads(r.stdout)['from memory']['wrong']) == ['never covered']


def test_without_answers_one_line_names_the_command(workspace, cft):
    (workspace.data / 'answers_tiny_tuned.jsonl').unlink()
    r = cft('diagnose', '--profile', 'tiny', '--out', workspace.root)
    assert r.returncode == 2 and r.stdout == ''
    (line,) = r.stderr.strip().splitlines()
    assert 'answers_tiny_tuned.jsonl' in line and '`climate-ft answers` makes it' in line
