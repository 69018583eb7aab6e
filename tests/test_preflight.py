import dataclasses, sys, types
import pytest
from climate_ft import preflight as P
from climate_ft.workspace import CourseError, REPO, read_json, read_jsonl, write_json

Q = P.SHAPES['qwen3-8b']

def test_the_shape_counts_what_the_model_has():
    from climate_ft.models import tiny_base
    from transformers import AutoModelForCausalLM
    s, model = P.read_shape(tiny_base()), AutoModelForCausalLM.from_pretrained(tiny_base())
    n = {k: p.numel() for k,p in model.named_parameters()}
    assert s.quantised == sum(v for k,v in n.items() if 'proj' in k)
    assert s.embeddings == sum(v for k,v in n.items() if 'embed' in k or 'lm_head' in k)
    from peft import LoraConfig, get_peft_model
    assert s.lora(8) == get_peft_model(model, LoraConfig(r=8, target_modules=list(s.projections))).get_nb_trainable_parameters()[0]

def test_a_config_that_is_no_language_model(tmp_path):
    write_json(tmp_path/'config.json', dict(hidden_size=8))
    with pytest.raises(CourseError, match="has no 'vocab_size'"): P.read_shape(tmp_path)

MEASURED = {n: r for n,r in read_json(REPO/'results/gpu_training.json')['settings'].items() if 'setting' in r}

@pytest.mark.parametrize('name,row', MEASURED.items(), ids=MEASURED)
def test_predicted_memory_against_measured(name, row):
    c, w = row['setting'], row['settled']
    own = c.get('fused', True)
    m = P.predict_memory(Q, c['bits'], 16, row['pass_tokens'], c['checkpointing'], w['backend'], 4 if w['dtype'] == 'float32' else 2, fused=own, own=own)
    assert abs(m.expected/row['peak_allocated_gib']-1) < .1 and m.low <= row['peak_allocated_gib'] <= m.high

@pytest.mark.parametrize('bits', [4, 8])
def test_predicted_memory_of_gemma_against_its_log(bits):
    steps = [r for r in read_jsonl(REPO/f'results/train_gemma-{bits}bit.jsonl') if 'loss' in r]
    most, peak = max(b['tokens']-a['tokens'] for a,b in zip(steps, steps[1:])), max(r['memory_gib'] for r in steps)
    m = P.predict_memory(P.SHAPES['gemma-3-270m'], bits, tokens=-(-most//256)*256, optimizer_bytes=8)
    assert abs(m.expected/peak-1) < .1 and m.low <= peak <= m.high

@pytest.mark.parametrize('base', ['tiny', 'gemma'])
def test_what_a_layer_keeps_without_fused_kernels(base):
    "Counted by PyTorch: what two layers save for the backward pass, less what one saves"
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, Qwen3Config, Qwen3ForCausalLM
    from climate_ft.fast import use_lora_linear
    shape = P.Shape(64, 128, 384, 1, 4, 2, 32, True, dict(tiny='qwen3', gemma='gemma3_text')[base])
    cls, config = (Gemma3ForCausalLM, Gemma3TextConfig) if base == 'gemma' else (Qwen3ForCausalLM, Qwen3Config)
    def kept(layers, n=128):
        net = cls(config(vocab_size=shape.vocab, hidden_size=shape.hidden, intermediate_size=shape.intermediate, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2, head_dim=32)).bfloat16()
        net = get_peft_model(net, LoraConfig(r=1, target_modules='all-linear'))
        use_lora_linear(net)
        weights, sizes = {p.untyped_storage().data_ptr() for p in net.parameters()}, {}
        def note(t): sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes(), t; return t
        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t): net(torch.arange(n)[None] % 64, use_cache=False)
        return sum(b for p,(b,_) in sizes.items() if p not in weights)/n
    assert abs((kept(2)-kept(1))/P.layer_bytes(shape, fused=False)-1) < .1

def test_memory_moves_the_right_way():
    def gib(**kw): return P.predict_memory(Q, **kw).expected
    assert gib(bits=4) < gib(bits=8) < gib(bits=16)
    assert gib(checkpointing='on') < gib(checkpointing='half') < gib(checkpointing='off')
    assert gib(tokens=1000) < gib(tokens=2000) and gib(r=16) < gib(r=64)
    m = P.predict_memory(Q)
    assert m.low < m.expected < m.high and abs(sum(m.parts.values())-m.expected) < .02

def test_a_step_is_arranged_for_the_memory():
    lengths = [100, 200, 300, 700]
    last = None
    for gib in (80, 24, 15, 8, 7.2):
        n, passes, c, m = P.arrange(Q, gib, 8, lengths)
        assert n*passes == 8 and m.high <= gib
        assert last is None or m.expected <= last
        last = m.expected
    assert P.arrange(Q, 5, 8, lengths) is None
    assert P.arrange(Q, 80, 6, lengths)[:2] == (6, 1)

def test_refusal_names_need_and_remedy():
    with pytest.raises(CourseError, match=r'needs about 8\.\d GiB and 2.0 are free: use less'): P.refuse('x', dataclasses.replace(P.predict_memory(Q, tokens=64), expected=8.1), 2., 'use less')

def test_an_upgraded_package_is_noticed(monkeypatch):
    monkeypatch.setitem(sys.modules, 'peft', types.SimpleNamespace(__version__='0.0.1'))
    assert 'peft' in P.stale()
    assert P.obstacles(dict(P.machine(), restart=['peft']))[0].startswith('restart Python: peft')

def test_the_compute_type_follows_the_processor(monkeypatch):
    monkeypatch.setattr(P, 'cpu_flags', lambda: {'avx2'})
    assert P.compute_dtype() == 'float32'
    monkeypatch.setattr(P, 'cpu_flags', lambda: {'avx512_bf16'})
    assert P.compute_dtype() == 'bfloat16'

def test_seeded_leaves_the_random_state():
    import torch
    torch.manual_seed(1); a = torch.rand(2)
    torch.manual_seed(1)
    with P.seeded(5): x = torch.rand(1)
    assert torch.equal(a, torch.rand(2))
    with P.seeded(5): assert torch.equal(x, torch.rand(1))

def test_the_report_is_json_and_text():
    import json
    r = json.loads(json.dumps(P.preflight()))
    assert r['profile'] in ('cpu', 'qwen3-8b-4bit') and {f['card'] for f in r['fits']} >= ({'T4'} if not r['machine']['gpus'] else set())
    assert 'Python' in P.describe(r)
