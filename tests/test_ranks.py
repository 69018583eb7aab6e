"""Training in two processes: the same steps as in one,
continued, written once; and what is refused."""

from dataclasses import replace
import pytest
from climate_ft import ranks as R, train as T
from ranks_worker import CFG, Stop
from climate_ft.workspace import CourseError, Workspace, read_json, read_jsonl, write_jsonl

ROWS = [
    dict(
        id=f'f{i}/base0',
        source_id=f'f{i}',
        instruction=f'観測値{i}について教えてください。',
        input='',
        output=f'観測値{i}は{i * 3}である。' * (1 + i % 3),
        kind='base',
        split='train',
    )
    for i in range(11)
]


def workspace(folder, rows=ROWS):
    ws = Workspace(folder)
    write_jsonl(ws.path('splits') / 'train.jsonl', rows)
    write_jsonl(ws.path('splits') / 'dev.jsonl', ROWS[:5])
    return ws


def column(ws, key):
    return [r[key] for r in read_jsonl(ws.logs / 't.jsonl') if key in r]


def weights(ws):
    from safetensors.torch import load_file

    return load_file(ws.models / 't/adapter_model.safetensors')


def same(one, two):
    for key in ('loss', 'grad_norm', 'eval_loss'):
        assert column(two, key) == pytest.approx(column(one, key), rel=1e-3), key
    assert column(two, 'step') == column(one, 'step') and column(
        two, 'learning_rate'
    ) == column(one, 'learning_rate')
    a, b = weights(one), weights(two)
    assert (
        max((a[k] - b[k]).abs().max() for k in a)
        < 1e-3
        < max(v.abs().max() for v in b.values())
    )


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    "What tests/ranks_worker.py leaves; it ends with an error"
    out = tmp_path_factory.mktemp('two')
    for name in ('packed', 'padded', 'odd'):
        workspace(out / name)
    with pytest.raises(CourseError, match='^one line$'):
        R.launch('tests.ranks_worker', [out], 2)
    return out


def test_two_processes_take_the_steps_of_one_and_continue(two, tmp_path):
    one, ws = workspace(tmp_path), Workspace(two / 'packed')
    T.train(replace(CFG, layout='padding_free'), one)
    same(one, ws)
    assert column(ws, 'tokens') == column(one, 'tokens') and all(
        c['ok'] for c in T.verify_training(ws, 't')
    )
    assert read_json(ws.models / 't/train_config.json')['gpus'] == 2 and list(
        ws.models.glob('*')
    ) == [ws.models / 't']
    assert {p.name for p in (ws.models / 't').iterdir()} == {
        'adapter_model.safetensors',
        'adapter_config.json',
        'train_config.json',
        'checkpoints',
    }


def test_three_examples_for_two_processes(two, tmp_path):
    one = workspace(tmp_path)
    T.train(replace(CFG, batch_size=3), one)
    same(one, Workspace(two / 'odd'))


def test_a_run_begun_by_two_is_finished_by_one(two, tmp_path):
    one, ws = workspace(tmp_path), Workspace(two / 'padded')
    assert [c.name for c in T.checkpoints(ws.models / 't/checkpoints')] == ['checkpoint-2']
    T.train(CFG, one)
    assert 'gpus' not in T.train(CFG, ws)
    same(one, ws)


def test_what_one_process_refuses_all_refuse(two):
    said = [read_json(two / f'refused{r}.json') for r in (0, 1)]
    assert said[0] == said[1] and 'learning_rate 0.02 there, 1.0 now' in said[0]


def test_the_command_starts_processes_and_stops_them(tmp_path):
    ws, seen = workspace(tmp_path), []

    def progress(f, m):
        seen.append(f)
        if f > 0.45:
            raise Stop  # the second step is saved before the third is told

    with pytest.raises(Stop):
        T.train_distributed(CFG, ws, 2, progress=progress)
    assert seen[0] == 0 and seen[1:] == pytest.approx(
        [(k + 1) / 6 for k in range(len(seen) - 1)]
    )
    assert T.checkpoints(ws.models / 't/checkpoints')


def test_wrong_settings_are_named_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(T, 'launch', lambda *a: pytest.fail('started'))
    with pytest.raises(CourseError, match='unsloth backend trains on one GPU'):
        T.train_distributed(replace(CFG, backend='unsloth'), workspace(tmp_path), 2)


def test_a_process_that_dies_is_reported():
    with pytest.raises(RuntimeError, match='No module named'):
        R.launch('climate_ft.nowhere', [], 2)


def test_shares_have_every_example_once():
    tokens = [90, 20, 60, 70, 30, 50, 40, 80, 10]
    for ranks, batch, passes in ((2, 2, 2), (3, 1, 3), (2, 3, 2)):
        sampler = T.LengthSampler(tokens, 8, 1, ranks=ranks, batch=batch, passes=passes)
        order = list(sampler)
        assert len(order) == len(sampler) == 2 * ranks * batch * passes
        assert sorted(k for k in order if k < 9) == list(range(9)) and set(order) <= set(
            range(10)
        )
        whole = [set(s) for s in T.LengthSampler(tokens, 8, 1).steps()]
        n = ranks * batch * passes
        assert [set(order[i : i + n]) - {9} for i in (0, n)] == whole


def test_a_step_is_divided_and_filled_up():
    def parts(b, a, n):
        c = T.share(replace(CFG, batch_size=b, accumulation=a), n)
        return c.batch_size, c.accumulation

    assert [parts(2, 4, 2), parts(8, 1, 2), parts(1, 8, 3), parts(2, 4, 16)] == [
        (2, 2),
        (4, 1),
        (1, 3),
        (1, 1),
    ]


def test_the_trainer_stays_on_one_device(monkeypatch, tmp_path):
    args = T.training_arguments(T.settle(CFG), tmp_path, tmp_path, False)
    monkeypatch.setattr(
        type(args),
        '__post_init__',
        lambda self, was=type(args).__post_init__: (was(self), setattr(self, '_n_gpu', 2))[0],
    )
    assert T.training_arguments(T.settle(CFG), tmp_path, tmp_path, False).n_gpu == 1


def test_one_process_is_started_without_a_launcher_and_tells_its_error(tmp_path):
    python, *command = R._command(1, tmp_path, 'climate_ft.train', ['a', tmp_path])
    assert command == ['-m', 'climate_ft.train', 'a', str(tmp_path)]
    assert 'accelerate.commands.launch' in R._command(2, tmp_path, 'm', [])
    with pytest.raises(CourseError, match='is empty: make the dataset'):
        T.train_distributed(CFG, workspace(tmp_path, rows=[]), 1)
