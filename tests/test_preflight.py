import dataclasses
import sys
import types
import pytest
from climate_ft import hardware as H, preflight as P
from climate_ft.workspace import CourseError, REPO, read_json, read_jsonl, write_json

Q = P.SHAPES['qwen3-8b']


def test_the_shape_counts_what_the_model_has():
    from climate_ft.models import tiny_base
    from transformers import AutoModelForCausalLM

    s, model = P.read_shape(tiny_base()), AutoModelForCausalLM.from_pretrained(tiny_base())
    n = {k: p.numel() for k, p in model.named_parameters()}
    assert s.quantised == sum(v for k, v in n.items() if 'proj' in k)
    assert s.embeddings == sum(v for k, v in n.items() if 'embed' in k or 'lm_head' in k)
    from peft import LoraConfig, get_peft_model

    assert (
        s.lora(8)
        == get_peft_model(
            model, LoraConfig(r=8, target_modules=list(s.projections))
        ).get_nb_trainable_parameters()[0]
    )


def test_a_config_that_is_no_language_model(tmp_path):
    write_json(tmp_path / 'config.json', dict(hidden_size=8))
    with pytest.raises(CourseError, match="has no 'vocab_size'"):
        P.read_shape(tmp_path)


MEASURED = {
    n: r
    for n, r in read_json(REPO / 'results/gpu_training.json')['settings'].items()
    if 'setting' in r
}


@pytest.mark.parametrize('name,row', MEASURED.items(), ids=MEASURED)
def test_predicted_memory_against_measured(name, row):
    c, w = row['setting'], row['settled']
    own = c.get('fused', True)
    m = P.predict_memory(
        Q,
        c['bits'],
        16,
        row['pass_tokens'],
        c['checkpointing'],
        w['backend'],
        4 if w['dtype'] == 'float32' else 2,
        fused=own,
        own=own,
    )
    assert (
        abs(m.expected / row['peak_allocated_gib'] - 1) < 0.1
        and m.low <= row['peak_allocated_gib'] <= m.high
    )


@pytest.mark.parametrize('bits', [4, 8])
def test_predicted_memory_of_gemma_against_its_log(bits):
    steps = [
        r for r in read_jsonl(REPO / f'results/train_gemma-{bits}bit.jsonl') if 'loss' in r
    ]
    most, peak = (
        max(b['tokens'] - a['tokens'] for a, b in zip(steps, steps[1:])),
        max(r['memory_gib'] for r in steps),
    )
    m = P.predict_memory(
        P.SHAPES['gemma-3-270m'], bits, tokens=-(-most // 256) * 256, optimizer_bytes=8
    )
    assert abs(m.expected / peak - 1) < 0.1 and m.low <= peak <= m.high


@pytest.mark.parametrize('pieces', [False, True])
@pytest.mark.parametrize('base', ['tiny', 'gemma'])
def test_what_a_layer_keeps_without_fused_kernels(base, pieces):
    "Counted by PyTorch: what two layers save for the backward pass, less what one saves"
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, Qwen3Config, Qwen3ForCausalLM
    from climate_ft.fast import use_lora_linear, use_packed_attention

    shape = P.Shape(
        64, 128, 384, 1, 4, 2, 32, True, dict(tiny='qwen3', gemma='gemma3_text')[base]
    )
    cls, config = (
        (Gemma3ForCausalLM, Gemma3TextConfig)
        if base == 'gemma'
        else (Qwen3ForCausalLM, Qwen3Config)
    )

    def kept(layers, n=128):
        net = cls(
            config(
                vocab_size=shape.vocab,
                hidden_size=shape.hidden,
                intermediate_size=shape.intermediate,
                num_hidden_layers=layers,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=32,
            )
        ).bfloat16()
        net = get_peft_model(net, LoraConfig(r=1, target_modules='all-linear'))
        use_lora_linear(net)
        how = dict(borders=torch.tensor([0, n // 2, n])) if pieces else {}
        if pieces:
            use_packed_attention(net.get_base_model())
        weights, sizes = {p.untyped_storage().data_ptr() for p in net.parameters()}, {}

        def note(t):
            sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes(), t
            return t

        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            net(torch.arange(n)[None] % 64, use_cache=False, **how)
        return sum(b for p, (b, _) in sizes.items() if p not in weights) / n

    want = P.layer_bytes(shape, fused=False, pieces=pieces)
    assert abs((kept(2) - kept(1)) / want - 1) < 0.1


def test_memory_moves_the_right_way():
    def gib(**kw):
        return P.predict_memory(Q, **kw).expected

    assert gib(bits=4) < gib(bits=8) < gib(bits=16)
    assert gib(checkpointing='on') < gib(checkpointing='half') < gib(checkpointing='off')
    assert gib(tokens=1000) < gib(tokens=2000) and gib(r=16) < gib(r=64)
    m = P.predict_memory(Q)
    assert m.low < m.expected < m.high and abs(sum(m.parts.values()) - m.expected) < 0.02


def test_a_step_is_arranged_for_the_memory():
    lengths = [100, 200, 300, 700]
    last = None
    for gib in (80, 24, 15, 8, 7.2):
        n, passes, c, m = P.arrange(Q, gib, 8, lengths)
        assert n * passes == 8 and m.high <= gib
        assert last is None or m.expected <= last
        last = m.expected
    assert P.arrange(Q, 5, 8, lengths) is None
    assert P.arrange(Q, 80, 6, lengths)[:2] == (6, 1)


def test_refusal_names_need_and_remedy():
    with pytest.raises(CourseError, match=r'needs about 8\.\d GiB and 2.0 are free: use less'):
        P.refuse(
            'x',
            dataclasses.replace(P.predict_memory(Q, tokens=64), expected=8.1),
            2.0,
            'use less',
        )


def test_an_upgraded_package_is_noticed(monkeypatch):
    monkeypatch.setitem(sys.modules, 'peft', types.SimpleNamespace(__version__='0.0.1'))
    assert 'peft' in P.stale()
    assert P.obstacles(dict(P.machine(), restart=['peft']))[0].startswith(
        'restart Python: peft'
    )


def test_the_compute_type_follows_the_processor(monkeypatch):
    monkeypatch.setattr(H, 'cpu_flags', lambda: {'avx2'})
    assert P.compute_dtype() == 'float32'
    monkeypatch.setattr(H, 'cpu_flags', lambda: {'avx512_bf16'})
    assert P.compute_dtype() == 'bfloat16'


def test_seeded_leaves_the_random_state():
    import torch

    torch.manual_seed(1)
    a = torch.rand(2)
    torch.manual_seed(1)
    with P.seeded(5):
        x = torch.rand(1)
    assert torch.equal(a, torch.rand(2))
    with P.seeded(5):
        assert torch.equal(x, torch.rand(1))


def test_the_report_is_json_and_text():
    import json

    r = json.loads(json.dumps(P.preflight()))
    assert r['profile'] in ('cpu', 'qwen3-8b-4bit') and {f['card'] for f in r['fits']} >= (
        {'T4'} if not r['machine']['gpus'] else set()
    )
    assert 'Python' in P.describe(r)


# Every stage, not only the training


def test_the_adapters_memory_is_that_of_its_tensors():
    "Weights, gradients and AdamW's two states of a real adapter, to the byte"
    import torch
    from climate_ft.models import tiny_base
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(tiny_base())
    net = get_peft_model(net, LoraConfig(r=8, target_modules=list(Q.projections)))
    params = [p for p in net.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(params)
    net(torch.arange(8)[None]).logits.sum().backward()
    opt.step()
    states = [t for s in opt.state.values() for k, t in s.items() if k != 'step']
    held = sum(t.nbytes for t in (*params, *(p.grad for p in params), *states))
    shape = P.read_shape(tiny_base())
    assert P.adapter_bytes(shape, 8, 8) == held
    assert P.predict_memory(Q, r=16, optimizer_bytes=8).parts['adapter'] == round(
        P.adapter_bytes(Q, 16, 8) / P.GiB, 2
    )
    assert P.adapter_bytes(Q, 16, targets=('q_proj',)) == Q.layers * 16 * (4096 + 4096) * 10


def test_the_cache_is_that_of_a_real_model():
    import torch
    from climate_ft.models import tiny_base
    from transformers import AutoModelForCausalLM

    net, shape = AutoModelForCausalLM.from_pretrained(tiny_base()), P.read_shape(tiny_base())
    cache = net(torch.ones(3, 11, dtype=torch.long), use_cache=True).past_key_values
    held = sum(t.nbytes for l in cache.layers for t in (l.keys, l.values))
    assert held == 3 * 11 * P.cache_bytes(shape, 4)


def test_known_names_and_their_shapes(tmp_path):
    from climate_ft.models import tiny_base

    assert P.base_shape('tiny')[0] == P.read_shape(tiny_base())
    assert P.base_shape('unsloth/Qwen3-8B-bnb-4bit') == (Q, 4) and P.base_shape(
        'Qwen/Qwen3-8B'
    ) == (Q, 16)
    assert P.base_shape('tokyotech-llm/Qwen3-Swallow-8B-RL-v0.2') == (Q, 16)
    assert P.known_shape('somebody/Qwen3-80B') is None
    sizes = {k: (s.quantised + s.embeddings) / 1e9 for k, s in P.SHAPES.items()}
    assert [
        round(sizes[k], 2) for k in ('qwen3-8b', 'qwen3-4b', 'qwen3-1.7b', 'gemma-3-270m')
    ] == [8.19, 4.02, 1.72, 0.27]


def test_a_base_that_is_not_there(tmp_path, monkeypatch):
    import huggingface_hub

    for name in ('nothing', str(tmp_path / 'none'), '~/models/mine', 'a/b/c'):
        with pytest.raises(CourseError, match='neither a folder nor a model of the hub'):
            P.base_shape(name)
    with pytest.raises(CourseError, match='config.json is missing'):
        P.base_shape(tmp_path)

    class RepositoryNotFoundError(Exception):
        pass

    def refuse(*a):
        raise RepositoryNotFoundError('404')

    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', refuse)
    with pytest.raises(
        CourseError, match='the hub has no model owner/mine: check the spelling'
    ):
        P.base_shape('owner/mine')

    def offline(*a):
        raise OSError('no network')

    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', offline)
    with pytest.raises(CourseError, match=r'owner/mine could not be looked up \(OSError\)'):
        P.base_shape('owner/mine')


def test_an_incomplete_download_is_named(tmp_path):
    import shutil
    from climate_ft.models import tiny_base

    shutil.copytree(tiny_base(), tmp_path / 'm')
    (tmp_path / 'm/model.safetensors').unlink()
    write_json(
        tmp_path / 'm/model.safetensors.index.json',
        dict(
            weight_map={
                'a': 'model-00001-of-00002.safetensors',
                'b': 'model-00002-of-00002.safetensors',
            }
        ),
    )
    (tmp_path / 'm/model-00001-of-00002.safetensors').write_bytes(b'')
    with pytest.raises(
        CourseError, match='is incomplete, model-00002-of-00002.safetensors is missing'
    ):
        P.base_shape(tmp_path / 'm')


def _gpu(gib, name='NVIDIA H100 80GB HBM3', capability='9.0', **kw):
    gpu = dict(name=name, capability=capability, memory_gib=gib, free_gib=gib - 1)
    return (
        dict(
            gpus=[gpu],
            dtype='bfloat16',
            cores=8,
            free_memory_gib=60.0,
            disk_free_gib=200.0,
            versions=dict(unsloth=None),
        )
        | kw
    )


def _stages(profile, m):
    from climate_ft.evaluation import settings_of

    cfg, plan = settings_of(profile)
    return {r['stage']: r for r in P.predict_run(P.base_shape(cfg.base)[0], cfg, plan, m)}


def test_every_stage_is_predicted_and_fits_the_cards_of_the_readme():
    for m in (P.card('T4'), P.card('L4'), _gpu(8.0, 'NVIDIA GeForce RTX 4060', '8.9')):
        rows = _stages('qwen3-8b-4bit', m)
        assert list(rows) == ['base', 'extract', 'train', 'answer', 'evaluate', 'merge']
        for n, r in rows.items():
            assert (
                r['memory'].low < r['memory'].expected < r['memory'].high <= r['free_gib']
            ), (m['gpus'], n)


def test_small_cards_answer_on_the_quantised_base_and_merge_file_by_file():
    t4, big = _stages('qwen3-8b-4bit', P.card('T4')), _stages('qwen3-8b-4bit', _gpu(79.2))
    assert (
        'adapter on the 4-bit base' in t4['answer']['how']
        and '16-bit weights' in big['answer']['how']
    )
    assert (
        t4['merge']['where'] == big['merge']['where'] == 'memory'
        and 'file by file' in t4['merge']['how']
    )
    assert t4['merge']['disk_gb'] == big['merge']['disk_gb'] == pytest.approx(16.38, abs=0.01)
    assert (
        P.merge_memory(Q).high < 9 < 15 < P.answer_memory(Q, slots=1).low
    )  # never the whole model


def test_minutes_hold_what_was_measured():
    """The whole dataset, three epochs, took 289 s on an H100;
    the cpu profile what its results say"""
    low, high = _stages('qwen3-8b-4bit', _gpu(79.2))['train']['minutes']
    assert low <= 289 / 60 <= high
    cpu = read_json(REPO / 'data/evaluation_results.json')['training']
    here = dict(gpus=[], dtype='float32', cores=2, free_memory_gib=16.0, versions={})
    r = _stages('cpu', here)['train']
    assert r['minutes'][0] <= cpu['seconds'] / 60 <= r['minutes'][1]
    assert r['memory'].low <= cpu['memory_gib'] <= r['memory'].high


def test_a_card_that_is_not_in_the_table_gets_no_minutes():
    r = _stages('qwen3-8b-4bit', _gpu(24.0, 'Some Card 7'))
    assert (
        r['train']['minutes'] is None
        and r['answer']['minutes'] is None
        and r['train']['memory'].high < 23
    )
    assert P.card_speed('NVIDIA L40S') != P.card_speed('NVIDIA L4') and P.card_speed(
        'Tesla T4'
    )[1] == pytest.approx(320 / 3350)


@pytest.mark.parametrize(
    'stage,m',
    [('train', _gpu(5.0)), ('answer', _gpu(7.5)), ('merge', _gpu(8.0, free_memory_gib=3.0))],
)
def test_a_stage_that_cannot_fit_is_refused_with_its_name(stage, m, tmp_path):
    from climate_ft.evaluation import Plan
    from climate_ft.train import get_profile

    cfg = get_profile('qwen3-8b-4bit')
    plan = Plan(batch_size=1, max_new_tokens=60000) if stage == 'answer' else Plan()
    with pytest.raises(
        CourseError,
        match=rf'^{stage} with unsloth/Qwen3-8B-bnb-4bit '
        r'\(.*\) needs about \d+\.\d GiB .* free: ',
    ):
        P.check_run(cfg, plan, tmp_path, stages=[stage], m=m)


def test_no_room_for_base_and_merged_copy(tmp_path, monkeypatch):
    import shutil
    import types
    from climate_ft.evaluation import Plan
    from climate_ft.train import get_profile

    monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(shutil, 'disk_usage', lambda d: types.SimpleNamespace(free=20e9))
    cfg = get_profile('qwen3-8b-4bit')
    with pytest.raises(
        CourseError,
        match=r'has 20.0 GB free and this run needs 23.\d '
        r'GB there \(base model 6.1, merged copy 16.4\)',
    ):
        P.check_run(cfg, Plan(), tmp_path / 'run', m=_gpu(79.2))
    P.check_run(
        cfg, Plan(), tmp_path / 'run', stages=['train', 'answer', 'evaluate'], m=_gpu(79.2)
    )  # without the copy there is room
    assert not list(tmp_path.iterdir())


def test_nothing_is_imported_or_loaded_to_check_a_run(tmp_path):
    "Without torch, whose import alone takes seconds, when the machine is given"
    import subprocess

    code = (
        "import sys, climate_ft.preflight as P\nfrom types import SimpleNamespace as S\n"
        "from climate_ft.train import get_profile\n"
        "p = S(limits={}, passages=(), passage_chars=0, "
        "max_new_tokens=8, batch_size=1, bertscore=False)\n"
        "P.check_run(get_profile('tiny'), p, '.', m=dict(gpus=[], "
        "dtype='float32', cores=1, free_memory_gib=9., versions={}))\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    r = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**__import__('os').environ, 'PYTHONPATH': str(REPO)},
    )
    assert r.returncode == 0, r.stderr[-800:]


def test_the_report_names_every_stage():
    import json
    from climate_ft.evaluation import settings_of

    r = json.loads(json.dumps(P.preflight('tiny', *settings_of('tiny'))))
    assert [s['stage'] for s in r['stages']] == [
        'base',
        'extract',
        'train',
        'answer',
        'evaluate',
        'merge',
    ] and all(s['ok'] for s in r['stages'])
    assert 'Profile tiny on this machine' in P.describe(r)


def test_a_disk_without_room_stands_among_the_obstacles(monkeypatch):
    from climate_ft.evaluation import settings_of

    def full(*a):
        raise CourseError('no room here')

    monkeypatch.setattr(P, 'check_room', full)
    assert P.preflight('tiny', *settings_of('tiny'))['obstacles'][-1] == 'no room here'
