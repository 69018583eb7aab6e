"Chapter 13: the merged model answers like the adapter, the wrong merges do not, and a failure leaves the old folder"
import json
import pytest
pytest.importorskip('torch')
from climate_ft import export as X
from climate_ft.workspace import CourseError, Workspace, read_json, write_json, write_jsonl

QUESTIONS = [f'{w}とは何ですか。' for w in '雪氷面 アルベド 衛星 気候変動 海面水位 温室効果ガス 二酸化炭素 SWOT CSA 降水 台風 森林 農業 防災 観測 海洋 大気 北極 南極 氷'.split()]

@pytest.fixture(scope='module', params=[4, 8])
def ws(tmp_path_factory, request):
    import torch
    from peft import LoraConfig, get_peft_model
    from climate_ft.models import load_quantized
    ws = Workspace(tmp_path_factory.mktemp('export'))
    torch.manual_seed(0)
    net, _ = load_quantized('tiny', request.param, 'float32')
    get_peft_model(net, LoraConfig(r=8, lora_alpha=8, init_lora_weights=False, target_modules=['q_proj', 'v_proj', 'up_proj', 'down_proj'])).save_pretrained(ws.models/'toy')
    write_json(ws.models/'toy'/'train_config.json', dict(name='toy', base='tiny', bits=request.param, dtype='float32'))
    write_jsonl(ws.path('splits')/'recall.jsonl', [dict(question=q, answer='氷') for q in QUESTIONS])
    return ws

def test_merge_is_complete_and_agrees(ws):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    out, bits = X.run_merge(ws, 'toy'), read_json(ws.models/'toy'/'train_config.json')['bits']
    p = read_json(out/'parity.json')
    assert p['n'] == 20 and p['agree'] == (20 if bits == 4 else p['agree']) and len(p['differing']) == 20-p['agree']
    names = {f.name for f in out.iterdir()}
    assert {'model.safetensors', 'tokenizer.json', 'config.json', 'generation_config.json', 'README.md'} <= names and not any(n.endswith(('.bin', '.pkl')) for n in names)
    tok = AutoTokenizer.from_pretrained(out)
    assert tok.chat_template and 'quantization_config' not in json.loads((out/'config.json').read_text())
    assert tok.convert_tokens_to_ids('<|im_end|>') in AutoModelForCausalLM.from_pretrained(out).generation_config.eos_token_id
    card = (out/'README.md').read_text(encoding='utf-8')
    assert all(s in card for s in ('## Data', '## Limits', '## Licences', 'Apache-2.0', f"{p['agree']} of 20"))
    assert not [f for f in ws.models.iterdir() if f.name.startswith('.')]

def test_weights_are_rounded_once_at_the_end(ws):
    import torch
    from safetensors.torch import load_file
    from climate_ft.generate import dequantize
    from climate_ft.models import load_quantized
    got, adapter = load_file(X.merge(ws, 'toy', dtype='bfloat16')/'model.safetensors'), load_file(ws.models/'toy'/'adapter_model.safetensors')
    base = dequantize(load_quantized('tiny', read_json(ws.models/'toy'/'train_config.json')['bits'], 'float32')[0]).state_dict()
    def update(k):
        k = f"base_model.model.{k.removesuffix('.weight')}.lora_%s.weight"
        return adapter[k % 'B']@adapter[k % 'A'] if k % 'A' in adapter else 0
    assert len(got) > 28 and all(torch.equal(v, (base[k]+update(k)).bfloat16()) for k,v in got.items())

def test_wrong_merges_change_answers(ws):
    c = X.changed(X.merge_variants(ws.models/'toy', QUESTIONS, 12))
    if read_json(ws.models/'toy'/'train_config.json')['bits'] == 4: assert c['dequantised base'] == 0 and c['original base'] > 2 and c['merged in low precision'] > 2

def test_failed_merge_keeps_the_old_folder(ws, monkeypatch):
    out = X.merge(ws, 'toy')
    before = (out/'config.json').stat().st_mtime_ns
    def full(*a, **k): raise OSError(28, 'No space left on device')
    from transformers import Qwen3ForCausalLM
    monkeypatch.setattr(Qwen3ForCausalLM, 'save_pretrained', full)
    with pytest.raises(CourseError, match='no room is left'): X.merge(ws, 'toy')
    assert (out/'config.json').stat().st_mtime_ns == before and not [f for f in ws.models.iterdir() if f.name.startswith('.')]

def test_folder_without_adapter_is_refused(tmp_path):
    with pytest.raises(CourseError, match='holds no adapter'): X.run_merge(Workspace(tmp_path), 'cpu')

def test_card_shows_scores_with_intervals():
    r = dict(scores=dict(recall={m: dict(n=9, scores=dict(char_f1=v)) for m, v in (('base', .1), ('tuned', .9))}), differences=dict(recall={'tuned - base': dict(char_f1=[.8, .7, .85])}))
    card = X.model_card(dict(name='x', base='gemma-3-270m', bits=4), X.base_licence('gemma-3-270m'), 'data', r)
    assert '| recall | 9 | 0.100 | 0.900 | +0.800 [+0.700, +0.850] |' in card and 'Gemma Terms of Use' in card
