import json
import math
import os
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace
import pytest
import torch
from safetensors.torch import load_file
from climate_ft import profiles, train as T, trainer, trainlog
from climate_ft.preflight import SHAPES, base_shape, predict_memory
from climate_ft.workspace import CourseError, Workspace, read_json, read_jsonl, write_jsonl


def rows(n=8):
    return [
        dict(
            id=f'f{i}/base0',
            source_id=f'f{i}',
            instruction=f'観測値{i}について教えてください。',
            input='',
            output=f'観測値{i}は{i * 3}である。',
            kind='base',
            split='train',
        )
        for i in range(n)
    ]


def workspace(folder, train=None, dev=2):
    ws = Workspace(folder)
    write_jsonl(ws.path('splits') / 'train.jsonl', rows() if train is None else train)
    if dev:
        write_jsonl(ws.path('splits') / 'dev.jsonl', rows(dev))
    return ws


CFG = replace(
    T.get_profile('tiny'),
    name='t',
    epochs=4,
    batch_size=4,
    save_steps=2,
    max_facts=None,
    wordings=None,
    max_answer=None,
)  # 8 steps


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    ws = workspace(tmp_path_factory.mktemp('train'))
    said = []
    info = T.train(CFG, ws, progress=lambda f, m: said.append((f, m)))
    return ws, info, said


def weights(ws, name):
    from safetensors.torch import load_file

    return load_file(ws.models / name / 'adapter_model.safetensors')


def losses(ws, name):
    return [r['loss'] for r in read_jsonl(ws.logs / f'{name}.jsonl') if 'loss' in r]


class Stop(Exception):
    pass


def until(step, total=8):
    def progress(f, m):
        if f * total >= step:
            raise Stop

    return progress


# --- a healthy run


def test_a_run_leaves_adapter_settings_and_log(trained):
    ws, info, said = trained
    names = {p.name for p in (ws.models / 't').iterdir()}
    assert names == {
        'adapter_model.safetensors',
        'adapter_config.json',
        'train_config.json',
        'checkpoints',
    }
    saved = read_json(ws.models / 't/train_config.json')
    assert (
        saved['base'] == 'tiny'
        and saved['bits'] == 4
        and saved['sources'] == [f'f{i}' for i in range(8)]
        and saved['steps'] == 8
        and saved['layers'] == {'Linear4bit': 28}
    )
    assert 'auto' not in (saved['backend'], saved['dtype'], saved['layout'])
    log = read_jsonl(ws.logs / 't.jsonl')
    assert [r['step'] for r in log if 'loss' in r] == list(range(1, 9)) and [
        r['step'] for r in log if 'eval_loss' in r
    ] == [0, 2, 4, 6, 8]
    assert {
        'step',
        'loss',
        'grad_norm',
        'learning_rate',
        'tokens',
        'tokens_per_second',
        'memory_gib',
    } <= set(log[1])
    assert log[-2]['tokens'] == 4 * saved['tokens']
    assert said[0] == (0.0, 'load tiny') and said[-1][0] == 1.0 and 'grad_norm' in said[-1][1]


def test_what_is_saved_does_not_depend_on_the_order_of_a_set(trained):
    targets = read_json(trained[0].models / 't/adapter_config.json')['target_modules']
    assert targets == sorted(targets) and len(targets) == 7


def test_no_path_of_this_machine_is_saved(trained):
    ws, *_ = trained
    for f in ('adapter_config.json', 'train_config.json'):
        assert (
            str(os.path.expanduser('~')) not in (ws.models / 't' / f).read_text()
            and '/cache' not in (ws.models / 't' / f).read_text()
        )


def test_the_verdict_of_a_healthy_run(trained):
    ws, *_ = trained
    checks = T.verify_training(ws, 't')
    assert (
        len(checks) == 10
        and all(c['ok'] for c in checks)
        and T.describe(checks).count('\n') == 9
    )


@pytest.mark.parametrize(
    'damage,check',
    [
        (
            lambda w, log, info: [t.zero_() for k, t in w.items() if 'lora_B' in k][0],
            'every LoRA B moved',
        ),
        (
            lambda w, log, info: w[next(iter(w))].fill_(math.nan),
            'the weights are finite, the update smaller than its layer',
        ),
        (
            lambda w, log, info: info.update(update=1.5),
            'the weights are finite, the update smaller than its layer',
        ),
        (
            lambda w, log, info: [r for r in log if 'loss' in r][3].update(grad_norm=math.nan),
            'grad_norm is finite',
        ),
        (
            lambda w, log, info: [r.update(grad_norm=0.0) for r in log if 'loss' in r],
            'grad_norm is not zero',
        ),
        (
            lambda w, log, info: [r.update(loss=5.0) for r in log if 'loss' in r],
            'the loss fell',
        ),
        (lambda w, log, info: info.update(planned_steps=99), 'all steps were taken'),
        (
            lambda w, log, info: info.update(layers={'Linear': 28}),
            'the layers are in the precision asked for',
        ),
        (
            lambda w, log, info: info.update(trained_tokens=0),
            'answers are trained, prompts are not',
        ),
    ],
)
def test_each_illness_is_noticed(trained, tmp_path, damage, check):
    from safetensors.torch import save_file

    ws, *_ = trained
    sick = Workspace(tmp_path)
    shutil.copytree(
        ws.models / 't', sick.models / 't', ignore=shutil.ignore_patterns('checkpoints')
    )
    w, log, info = (
        weights(ws, 't'),
        read_jsonl(ws.logs / 't.jsonl'),
        read_json(ws.models / 't/train_config.json'),
    )
    damage(w, log, info)
    save_file(w, sick.models / 't/adapter_model.safetensors')
    write_jsonl(sick.logs / 't.jsonl', log)
    (sick.models / 't/train_config.json').write_text(json.dumps(info))
    assert check in [c['check'] for c in T.verify_training(sick, 't') if not c['ok']]


def test_packed_rows_train_like_padded_ones(trained, tmp_path):
    ws, *_ = trained
    other = workspace(tmp_path)
    T.train(
        replace(CFG, name='p', layout='padding_free', epochs=1, checkpointing='half'), other
    )
    assert (
        abs(losses(other, 'p')[0] - losses(ws, 't')[0]) < 1
        and T.verify_training(other, 'p')[5]['ok']
    )


@pytest.mark.parametrize('dev', [0, 2])
@pytest.mark.parametrize('layout', ['padded', 'padding_free'])
@pytest.mark.parametrize(
    'checkpointing,passes',
    [('off', [1, 1, 1, 1]), ('half', [1, 2, 1, 2]), ('on', [2, 2, 2, 2])],
)
def test_checkpointed_layers_are_computed_twice(
    tmp_path, monkeypatch, checkpointing, passes, layout, dev
):
    seen, load = [0] * 4, T.load_for_training

    def counted(*a):
        model, tok = load(*a)
        for i, l in enumerate(model.get_base_model().model.layers):

            def count(*_, i=i):
                seen[i] += torch.is_grad_enabled()  # not in an evaluation

            l.mlp.register_forward_pre_hook(count)
        return model, tok

    monkeypatch.setattr(T, 'load_for_training', counted)
    T.train(
        replace(CFG, name='c', layout=layout, checkpointing=checkpointing, max_steps=1),
        workspace(tmp_path, dev=dev),
    )
    assert seen == passes


@pytest.mark.parametrize('bits', [4, 8, 16])
def test_a_learning_rate_that_ruins_the_model_is_noticed(tmp_path, bits):
    ws, c = workspace(tmp_path, dev=0), replace(CFG, bits=bits)
    T.train(replace(c, name='wild', learning_rate=1.0), ws)
    assert [k['check'] for k in T.verify_training(ws, 'wild') if not k['ok']] == [
        'the weights are finite, the update smaller than its layer'
    ]
    assert (
        0
        < T.train(c, ws)['update']
        < 1
        < read_json(ws.models / 'wild/train_config.json')['update']
    )


# --- float16, whose loss is scaled


def _scaled(monkeypatch, scale, seen, **kw):
    "Let Accelerate scale the loss on a processor, as it does on a GPU"
    from accelerate import Accelerator

    def arguments(cfg, *a, **how):
        return plain(replace(cfg, dtype='float32'), *a, **how)

    def build(*a):
        t = make(*a)
        t.accelerator.scaler = torch.amp.GradScaler('cpu', init_scale=scale, **kw)
        t.accelerator.native_amp = True
        seen.append(t)
        return t

    plain, make = T.training_arguments, T.build_trainer
    monkeypatch.setattr(T, 'training_arguments', arguments)
    monkeypatch.setattr(T, 'build_trainer', build)
    monkeypatch.setattr(Accelerator, 'mixed_precision', 'fp16')


@pytest.mark.parametrize('optimizer', ['adamw_torch', 'sgd'])  # one vector; many matrices
def test_packed_steps_in_float16_are_those_of_float32(tmp_path, monkeypatch, optimizer):
    ws, seen = workspace(tmp_path, dev=0), []
    c = replace(CFG, layout='padding_free', batch_size=2, accumulation=2, max_steps=2)
    c = replace(c, optimizer=optimizer)
    T.train(replace(c, name='a', dtype='float32'), ws)
    _scaled(monkeypatch, 2.0**16, seen)
    T.train(replace(c, name='b', dtype='float16'), ws)
    a, b = ([r for r in read_jsonl(ws.logs / f'{n}.jsonl') if 'loss' in r] for n in ('a', 'b'))
    assert seen[0].model.get_base_model().lm_head.weight.dtype == torch.float16
    assert (seen[0].flat is None) == (optimizer == 'sgd')
    assert seen[0].accelerator.scaler.get_scale() == 2.0**16 and len(a) == len(b) == 2
    for x, y in zip(a, b):
        assert y['loss'] == pytest.approx(x['loss'], rel=0.01)
        assert y['grad_norm'] == pytest.approx(x['grad_norm'], rel=0.05)
        assert y['learning_rate'] == x['learning_rate']


@pytest.mark.parametrize(
    'layout,less,skipped,scale',
    [
        ('padding_free', 0.5, 3, 2.0**37),
        ('padding_free', 2.0**-24, 1, 2.0**16),
        ('padded', 2.0**-24, 1, 2.0**16),  # as Transformers does it
    ],
)
def test_a_step_that_overflows_is_skipped(tmp_path, monkeypatch, layout, less, skipped, scale):
    "The adapter, the learning rate and the moments stay; the scale comes down"
    ws, seen = workspace(tmp_path, dev=0), []
    _scaled(monkeypatch, 2.0**40, seen, backoff_factor=less)
    T.train(replace(CFG, layout=layout, dtype='float16', max_steps=3), ws)
    log = read_jsonl(ws.logs / 't.jsonl')
    assert seen[0].accelerator.scaler.get_scale() == scale
    assert [math.isfinite(r['grad_norm']) for r in log] == [k >= skipped for k in range(3)]
    rates = [max(0, k - skipped) * CFG.learning_rate / CFG.warmup for k in range(3)]
    assert [r['learning_rate'] for r in log] == pytest.approx(rates)
    w = weights(ws, 't')
    assert all(bool(v.isfinite().all()) for v in w.values())
    moved = any(bool(v.any()) for k, v in w.items() if 'lora_B' in k)
    verdict = {k['check']: k['ok'] for k in T.verify_training(ws, 't')}
    assert moved == verdict['grad_norm is finite'] == (skipped < 3)


# --- interrupted runs


@pytest.mark.parametrize('step', [3, 7])
def test_a_stopped_run_continues_bit_for_bit(trained, tmp_path, step):
    ws, *_ = trained
    other = workspace(tmp_path)
    with pytest.raises(Stop):
        T.train(CFG, other, progress=until(step))
    assert T.checkpoints(other.models / 't/checkpoints')[-1].name == f'checkpoint-{step - 1}'
    T.train(CFG, other)
    assert losses(other, 't') == losses(ws, 't')
    a, b = weights(ws, 't'), weights(other, 't')
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_the_end_of_an_epoch_has_its_own_checkpoint():
    "Saved before the dev loss of the epoch is asked, a continued run would never ask it"
    rows = trainlog._Rows()
    rows.ranks, rows.saved = trainlog.Ranks(), -math.inf
    assert [rows.late(SimpleNamespace(epoch=e)) for e in (0.625, 1.0, 1.25)] == [
        True,
        False,
        True,
    ]
    rows.saved = math.inf
    assert not rows.late(SimpleNamespace(epoch=0.625))


def test_a_long_epoch_is_saved_within_and_continues_bit_for_bit(tmp_path, monkeypatch):
    "One epoch of eight steps; here every step comes too long after the last checkpoint"
    cfg = replace(CFG, epochs=1, batch_size=1, save_steps=0)
    whole, cut = workspace(tmp_path / 'whole'), workspace(tmp_path / 'cut')
    T.train(cfg, whole)
    folder = cut.models / 't/checkpoints'
    with pytest.raises(Stop):
        T.train(cfg, cut, progress=until(5))
    assert T.checkpoints(folder) == []
    monkeypatch.setattr(trainlog, 'SAVE_EVERY', -1)
    with pytest.raises(Stop):
        T.train(cfg, cut, progress=until(5))
    assert [p.name for p in T.checkpoints(folder)] == ['checkpoint-4']
    T.train(cfg, cut)
    assert losses(cut, 't') == losses(whole, 't')
    dev = [
        [r['step'] for r in read_jsonl(w.logs / 't.jsonl') if 'eval_loss' in r]
        for w in (whole, cut)
    ]
    assert dev == [[0, 8], [0, 8]]
    a, b = weights(whole, 't'), weights(cut, 't')
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_at_most_two_minutes_are_lost(monkeypatch):
    "A step takes 50 seconds: each third is followed by a checkpoint, which takes ten"
    from types import SimpleNamespace as N

    now = [0.0]
    monkeypatch.setattr(trainlog.time, 'perf_counter', lambda: now[0])
    log, saved = trainlog.log_callback(CFG, Workspace('unused')), []
    log.saved = 0.0
    for step in range(1, 9):
        now[0] += 50
        control = N(should_save=False)
        log.on_step_end(None, N(global_step=step, max_steps=8, epoch=step / 10), control)
        if control.should_save:
            saved.append(step)
            now[0] += 10
            log.on_save()
    assert saved == [3, 6]


def test_half_a_checkpoint_is_not_one(tmp_path):
    d = tmp_path / 'checkpoint-4'
    d.mkdir()
    for f in ('trainer_state.json', 'scheduler.pt', 'adapter_model.safetensors'):
        (d / f).touch()
    assert T.checkpoints(tmp_path) == []
    (d / 'optimizer.pt').touch()
    assert T.checkpoints(tmp_path) == [d]


def test_a_save_that_fails_leaves_the_older_checkpoint(tmp_path):
    from types import SimpleNamespace as N

    def trainer(step):
        return N(
            args=N(output_dir=str(tmp_path)), state=N(global_step=step, best_global_step=2)
        )

    def save(t, broken=False):
        d = os.path.join(t.args.output_dir, f'checkpoint-{t.state.global_step}')
        os.makedirs(d)
        for f in (
            'trainer_state.json',
            'optimizer.pt',
            'scheduler.pt',
            'adapter_model.safetensors',
        ):
            if broken and f == 'scheduler.pt':
                raise OSError(28, 'No space left on device')
            open(os.path.join(d, f), 'w').close()

    for step in (2, 4, 6):
        t = trainer(step)
        T.save_whole(t, lambda: save(t))
    assert [p.name for p in T.checkpoints(tmp_path)] == [
        'checkpoint-2',
        'checkpoint-6',
    ]  # the best and the latest
    t = trainer(8)
    with pytest.raises(CourseError, match='no room is left on the disk'):
        T.save_whole(t, lambda: save(t, broken=True))
    assert [p.name for p in T.checkpoints(tmp_path)] == [
        'checkpoint-2',
        'checkpoint-6',
    ] and t.args.output_dir == str(tmp_path)


def test_checkpoints_of_another_run_are_refused(tmp_path):
    folder = tmp_path / 'checkpoints'
    mark = dict(base='tiny', r=16, data='abc')
    assert T.resume_point(folder, mark, True) is None
    c = folder / 'checkpoint-3'
    c.mkdir()
    for f in (
        'trainer_state.json',
        'optimizer.pt',
        'scheduler.pt',
        'adapter_model.safetensors',
    ):
        (c / f).touch()
    assert T.resume_point(folder, mark, True) == str(c)
    with pytest.raises(
        CourseError,
        match='of another run .base tiny there, '
        'gemma-3-270m now.: train afresh with --no-resume',
    ):
        T.resume_point(folder, dict(mark, base='gemma-3-270m'), True)
    assert c.is_dir()
    assert T.resume_point(folder, mark, False) is None and not c.exists()


@pytest.fixture
def saved(tmp_path):
    "A folder with `checkpoint-3`, and what identifies its run"
    from types import SimpleNamespace as N

    folder, mark = tmp_path / 'checkpoints', dict(base='tiny', r=16)
    T.resume_point(folder, mark, True)

    def save():
        d = folder / 'saving/checkpoint-3'
        d.mkdir(parents=True)
        for f in FILES:
            (d / f).write_bytes(f.encode() * 100)

    T.save_whole(
        N(args=N(output_dir=str(folder)), state=N(global_step=3, best_global_step=3)), save
    )
    return folder, mark


FILES = (
    'trainer_state.json',
    'optimizer.pt',
    'scheduler.pt',
    'adapter_model.safetensors',
    'rng_state.pth',
)


@pytest.mark.parametrize('name', FILES)
@pytest.mark.parametrize('how', ['flip', 'cut', 'empty', 'gone'])
def test_a_damaged_file_of_a_checkpoint_is_named(saved, name, how):
    folder, mark = saved
    f = folder / 'checkpoint-3' / name
    assert T.resume_point(folder, mark, True) == str(f.parent)
    raw = f.read_bytes()
    if how == 'gone' and name != 'rng_state.pth':
        f.unlink()  # no checkpoint any more: begun afresh
        assert T.resume_point(folder, mark, True) is None and not f.parent.exists()
        return
    new = dict(flip=raw[:9] + bytes([raw[9] ^ 4]) + raw[10:], cut=raw[:50], empty=b'')
    f.unlink()
    if how in new:
        f.write_bytes(new[how])
    with pytest.raises(CourseError, match=rf'checkpoint-3 is damaged .{name}.: remove it'):
        T.resume_point(folder, mark, True)
    assert f.parent.is_dir()
    assert T.resume_point(folder, mark, False) is None and not f.parent.exists()


@pytest.mark.parametrize('note', ['', '{', '[]', '{"optimizer.pt": 3}', 'null'])
def test_a_note_of_a_checkpoint_that_cannot_be_read_is_named(saved, note):
    (saved[0] / 'checkpoint-3/files.json').write_text(note)
    with pytest.raises(CourseError, match=r'files.json.*train --no-resume'):
        T.resume_point(*saved, True)


@pytest.mark.parametrize(
    'name', ['checkpoint-x', 'checkpoint-', 'checkpoint--1', 'checkpoint-٣']
)
def test_a_folder_that_is_called_like_a_checkpoint_is_none(saved, name):
    folder, mark = saved
    shutil.copytree(folder / 'checkpoint-3', folder / name)
    assert T.resume_point(folder, mark, True) == str(folder / 'checkpoint-3')


def test_a_link_is_no_checkpoint_and_what_it_leads_to_is_kept(saved, tmp_path):
    folder, mark = saved
    away = (folder / 'checkpoint-3').rename(tmp_path / 'away')
    (folder / 'checkpoint-3').symlink_to(away)
    assert T.checkpoints(folder) == []
    assert T.resume_point(folder, mark, True) is None
    assert not (folder / 'checkpoint-3').is_symlink()
    assert (away / 'optimizer.pt').is_file()


@pytest.mark.parametrize('way', ['file', 'link'])
def test_what_is_in_the_way_of_a_checkpoint_is_replaced(tmp_path, way):
    from types import SimpleNamespace as N

    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    for name in ('saving', 'checkpoint-3'):
        if way == 'file':
            (tmp_path / name).write_text('x')
        else:
            (tmp_path / name).symlink_to(elsewhere)

    def save():
        (tmp_path / 'saving/checkpoint-3').mkdir(parents=True)
        (tmp_path / 'saving/checkpoint-3/optimizer.pt').touch()

    state = N(global_step=3, best_global_step=3)
    T.save_whole(N(args=N(output_dir=str(tmp_path)), state=state), save)
    assert (tmp_path / 'checkpoint-3/optimizer.pt').is_file()
    assert not (tmp_path / 'saving').exists() and list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    'how,words',
    [
        (dict(graphs=True), 'graphs is True: an NVIDIA GPU from 2020 on is needed'),
        (dict(targets=('lm_head',)), 'targets names lm_head, which cannot be adapted'),
        (dict(targets=('q_proj', 'lm_head')), 'targets names lm_head'),
    ],
)
def test_what_no_step_here_can_train_is_refused(tmp_path, monkeypatch, how, words):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(CourseError, match=words):
        T.train(replace(CFG, **how), workspace(tmp_path))


def test_a_run_continued_with_other_batches_takes_the_same_steps(tmp_path):
    whole, cut = (
        workspace(
            tmp_path / d,
            [dict(r, output='観測' * (1 + 5 * i % 12)) for i, r in enumerate(rows(12))],
            dev=0,
        )
        for d in 'ab'
    )
    c = replace(
        CFG, epochs=2, save_steps=1, bits=16, dtype='float32'
    )  # three steps in an epoch, cut after its first
    T.train(c, whole)
    with pytest.raises(Stop):
        T.train(c, cut, progress=until(2, 6))
    T.train(replace(c, batch_size=2, accumulation=2), cut)
    assert losses(cut, 't') == pytest.approx(losses(whole, 't'), rel=1e-3)


def test_what_would_change_the_steps_is_not_continued():
    def mark(dev=(), **kw):
        return T._fingerprint(T.settle(replace(CFG, **kw)), [], dev)

    assert (
        mark(learning_rate=1e-3) != mark()
        and mark(dev=[dict(input_ids=[1], labels=[1])]) != mark()
    )
    for kw in (
        dict(layout='padding_free'),
        dict(batch_size=2),
        dict(warmup=1),
        dict(weight_decay=0.1),
        dict(beta2=0.9),
        dict(dropout=0.1),
    ):
        assert mark(**kw) != mark()
    assert mark(batch_size=2, accumulation=2, checkpointing='on', graphs=False) == mark()


@pytest.mark.parametrize(
    'change,named', [('learning_rate', 'learning_rate'), ('dev', 'dev'), ('train', 'data')]
)
def test_a_stopped_run_with_other_inputs_is_refused(tmp_path, change, named):
    ws = workspace(tmp_path)
    with pytest.raises(Stop):
        T.train(CFG, ws, progress=until(3))
    if change != 'learning_rate':
        write_jsonl(
            ws.path('splits') / f'{change}.jsonl',
            [dict(r, output='別の答え。') for r in rows(2)],
        )
    with pytest.raises(CourseError, match=f'of another run .*{named} '):
        T.train(replace(CFG, learning_rate=1e-3) if change == 'learning_rate' else CFG, ws)
    assert T.checkpoints(ws.models / 't/checkpoints')


# --- which adapter is kept


@pytest.mark.parametrize('keep', ['best', 'last'])
def test_the_adapter_that_is_kept_is_the_one_asked_for(tmp_path, keep):
    from safetensors.torch import load_file

    ws = workspace(tmp_path)
    write_jsonl(
        ws.path('splits') / 'dev.jsonl',
        [dict(r, output='まったく別の話である。') for r in rows(3)],
    )  # gets worse by training
    info = T.train(replace(CFG, keep=keep, epochs=8), ws)
    dev = {
        r['step']: r['eval_loss']
        for r in read_jsonl(ws.logs / 't.jsonl')
        if 'eval_loss' in r and r['step']
    }
    best = min(dev, key=dev.get)
    assert best < 16 and info['kept_step'] == (best if keep == 'best' else 16)
    kept = {
        n: load_file(ws.models / f't/checkpoints/checkpoint-{n}/adapter_model.safetensors')
        for n in (best, 16)
    }
    assert all(torch.equal(v, kept[info['kept_step']][k]) for k, v in weights(ws, 't').items())
    assert any(not torch.equal(kept[best][k], kept[16][k]) for k in kept[16])


# --- wrong input


@pytest.mark.parametrize(
    'train,message',
    [
        ([], 'train.jsonl is empty: make the dataset'),
        ([dict(prompt='a', completion='b')] * 3, 'no text in instruction and output'),
    ],
)
def test_wrong_datasets(tmp_path, train, message):
    ws = workspace(tmp_path, train)
    with pytest.raises(CourseError, match=message):
        T.train(CFG, ws)
    assert not ws.models.exists()


def test_a_damaged_dataset_keeps_the_earlier_adapter(trained, tmp_path):
    ws, *_ = trained
    other = workspace(tmp_path)
    shutil.copytree(ws.models, other.models)
    (other.path('splits') / 'train.jsonl').write_text('{"instruction": "a"')
    with pytest.raises(CourseError, match='damaged at line 1'):
        T.train(CFG, other, resume=False)
    assert all(torch.equal(v, weights(ws, 't')[k]) for k, v in weights(other, 't').items())


def test_long_rows_are_counted(tmp_path):
    ws = workspace(
        tmp_path, [*rows(4), dict(rows(1)[0], source_id='long', output='長い。' * 300)], dev=0
    )
    info = T.train(replace(CFG, name='l', max_length=64, max_steps=1), ws)
    assert info['too_long'] == 1 and '1 row over 64 tokens was left out' in T.describe(
        T.verify_training(ws, 'l')
    )


def test_a_loss_that_is_no_number_ends_the_run(tmp_path, monkeypatch):
    ws = workspace(tmp_path, dev=0)
    monkeypatch.setattr(trainer, 'head_loss', lambda net, h, y: h.sum() * math.nan)
    with pytest.raises(
        CourseError, match='the loss of t is nan at step 1: lower learning_rate'
    ):
        T.train(CFG, ws)


@pytest.mark.parametrize(
    'change,message',
    [
        (dict(bits=5), 'bits is 5: choose 4, 8, 16'),
        (dict(layout='rows'), "layout is 'rows'"),
        (dict(checkpointing='yes'), "checkpointing is 'yes'"),
        (
            dict(layout='packed', backend='trl'),
            'needs the unsloth backend',
        ),
    ],
)
def test_wrong_settings(change, message):
    with pytest.raises(CourseError, match=message):
        T.settle(replace(CFG, **change))


@pytest.mark.parametrize(
    'layout,backend,lengths,free',
    [
        ('packed', 'transformers', [100] * 9, 20),
        ('padded', 'unsloth', [100, 700], 9),
        ('padding_free', 'transformers', [90, 700], 9),
    ],
)
def test_what_a_refusal_recommends_is_not_refused(layout, backend, lengths, free):
    cfg = replace(
        T.get_profile('qwen3-8b-4bit'),
        backend=backend,
        dtype='bfloat16',
        layout=layout,
        batch_size=8,
        accumulation=1,
        checkpointing='off',
        regroup=False,
    )
    with pytest.raises(CourseError, match='set batch_size to') as e:
        T.fit_memory(cfg, SHAPES['qwen3-8b'], lengths, free)
    batch, accumulation, way = re.search(
        r'batch_size to (\d+), accumulation to (\d+) and checkpointing to (\w+)', str(e.value)
    ).groups()
    better = replace(
        cfg, batch_size=int(batch), accumulation=int(accumulation), checkpointing=way
    )
    assert (
        way == ('unsloth' if backend == 'unsloth' else 'on')
        and T.fit_memory(better, SHAPES['qwen3-8b'], lengths, free) == better
    )


def test_spare_memory_is_what_the_steps_leave():
    cfg = replace(
        T.get_profile('qwen3-8b-4bit'),
        backend='transformers',
        dtype='bfloat16',
        layout='padding_free',
        graphs=True,
        batch_size=8,
        accumulation=1,
        checkpointing='off',
    )
    shape, lengths = SHAPES['qwen3-8b'], [96] * 50  # 768 tokens a step

    def spare(free, **kw):
        return T.spare_memory(replace(cfg, **kw), shape, lengths, free)

    need = predict_memory(shape, tokens=768, checkpointing='off', fused=True)
    assert spare(20.0) == pytest.approx(19 - need.high + need.parts['weights'])
    assert spare(25.0) - spare(20.0) == pytest.approx(5)
    assert spare(20.0, checkpointing='on') > spare(20.0) > spare(20.0, layout='packed')
    assert spare(1.5) < 0


def test_settings_that_a_backend_does_not_have_are_settled(monkeypatch):
    assert (
        T.settle(T.get_profile('qwen3-8b-8bit')).checkpointing == 'off'
        and T.settle(replace(CFG, checkpointing='unsloth')).checkpointing == 'on'
    )
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: (9, 0))
    monkeypatch.setattr(profiles, 'compute_dtype', lambda: 'bfloat16')
    assert T.settle(CFG).graphs and not T.settle(replace(CFG, dropout=0.1)).graphs


def test_training_a_finished_run_again_changes_nothing_it_recorded(trained):
    ws, info, _ = trained
    again = T.train(CFG, ws)
    assert {k: again[k] for k in ('pass_tokens', 'seconds', 'steps')} == {
        k: info[k] for k in ('pass_tokens', 'seconds', 'steps')
    } and info['pass_tokens'] > 0


def test_what_cannot_fit_is_refused_before_loading(tmp_path, monkeypatch):
    ws = workspace(tmp_path)
    monkeypatch.setattr(T, 'free_memory', lambda: 2**20)
    monkeypatch.setattr(T, 'load_for_training', lambda *a: pytest.fail('the model was loaded'))
    with pytest.raises(
        CourseError,
        match=r'tiny in 4 bits with batches of 4 needs about .* are free: '
        r'choose a smaller base model',
    ):
        T.train(CFG, ws)


def test_profiles_keep_the_recipe():
    for name in ('qwen3-8b-4bit', 'qwen3-8b-8bit', 'qwen3-swallow-8b-4bit', 'qwen3-1.7b-4bit'):
        c = T.get_profile(name)
        assert (
            c.r,
            c.alpha,
            c.dropout,
            c.learning_rate,
            c.epochs,
            c.max_length,
            c.seed,
            c.optimizer,
            c.batch_size * c.accumulation,
        ) == (16, 16, 0, 2e-4, 3, 2048, 42, 'adamw_8bit', 8) and c.targets == T.SEVEN
    with pytest.raises(CourseError, match='no profile'):
        T.get_profile('qwen')
    assert T.TrainConfig.fromdict(json.loads(json.dumps(c.asdict()))) == c


def test_every_profile_keeps_the_last_step_and_has_its_own_name():
    assert all(c.keep == 'last' and c.name == n for n, c in T.PROFILES.items())
    small = T.get_profile('qwen3-1.7b-4bit')
    shape, bits = base_shape(small.base)
    assert (
        bits == 4
        and predict_memory(shape, tokens=8 * 225, bits=4, checkpointing='on', fused=True).high
        < 6
    )
    assert base_shape(T.get_profile('qwen3-swallow-8b-4bit').base) == (SHAPES['qwen3-8b'], 16)


def test_limits_keep_whole_facts():
    data = [
        dict(
            source_id=f's{i}',
            instruction=f'質問{j} 雪氷面' if i == 7 else f'質問{j}',
            output='答え' * (1 + i),
        )
        for i in range(10)
        for j in range(4)
    ]
    c = replace(CFG, max_facts=3, wordings=2, max_answer=16, topics=('雪氷面',))
    chosen = T.select_rows(data, c)
    assert (
        len(chosen) == 6
        and len({r['source_id'] for r in chosen}) == 3
        and 's7' in {r['source_id'] for r in chosen}
    )
    assert all(len(r['output']) <= 16 for r in chosen) and chosen == T.select_rows(
        data, c
    ) != T.select_rows(data, replace(c, seed=1))


def test_a_limited_training_has_one_answer_for_a_fact():
    data = [
        dict(
            source_id=f's{i}',
            instruction=f'質問{j}',
            output=f'答え{i}は大きい。' if j != 1 else f'答え{i}は大きいです。',
        )
        for i in range(6)
        for j in range(4)
    ]
    chosen = T.select_rows(data, replace(CFG, max_facts=4, wordings=3))
    assert len(chosen) == 12 and not [
        r for r in chosen if r['output'].endswith('です。')
    ]  # three wordings, none of them polite
    assert {r['instruction'] for r in chosen} == {'質問0', '質問2', '質問3'}
    assert (
        T.select_rows(data, replace(CFG, max_facts=None, wordings=None, max_answer=None))
        == data
    )


def test_the_sampler_depends_on_seed_and_epoch_only():
    s = T.LengthSampler([3, 9, 1, 7, 5] * 5, 4, 42)
    a = list(s)
    s.set_epoch(1)
    b = list(s)
    s.set_epoch(0)
    assert (
        sorted(a) == list(range(25))
        and a == list(s) != b
        and list(T.LengthSampler([3, 9, 1, 7, 5] * 5, 4, 43)) != a
    )


def test_a_training_goes_on_from_the_weights_of_another_adapter(trained, tmp_path):
    ws = trained[0]
    start = ws.models / 't'
    first = T.settle(replace(CFG, name='next', start=str(start), r=3, alpha=9))
    assert (first.r, first.alpha) == (CFG.r, CFG.alpha)  # those of the adapter
    net, _ = T.load_for_training(first)
    saved = {
        k.replace('.weight', '.default.weight'): v
        for k, v in load_file(start / 'adapter_model.safetensors').items()
    }
    mine = {k: p for k, p in net.named_parameters() if p.requires_grad}
    assert mine.keys() == saved.keys()
    assert all(torch.equal(mine[k].cpu(), saved[k].float()) for k in mine)
    fresh, _ = T.load_for_training(T.settle(replace(CFG, name='next')))
    assert not any(p.any() for k, p in fresh.named_parameters() if 'lora_B' in k)
    marks = [T._fingerprint(replace(CFG, start=s), [], []) for s in ('', str(start))]
    assert marks[0] != marks[1]


def test_an_adapter_that_does_not_fit_is_no_start(tmp_path):
    with pytest.raises(CourseError, match='adapter_config.json is missing'):
        T.settle(replace(CFG, start=str(tmp_path)))
    cfg = T.settle(replace(CFG, start='reading'))  # of Gemma, not of the tiny base
    assert (cfg.r, cfg.alpha) == (8, 8)
    with pytest.raises(CourseError):
        T.load_for_training(cfg)
