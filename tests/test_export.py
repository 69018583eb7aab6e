"""Chapter 13: the merged model answers like the adapter,
the wrong merges do not, and a failure leaves the old folder"""

import json
import pytest

pytest.importorskip('torch')
from climate_ft import export as X
from climate_ft.hub import write_cards
from climate_ft.workspace import CourseError, Workspace, read_json, write_json, write_jsonl

QUESTIONS = [
    f'{w}とは何ですか。'
    for w in '雪氷面 アルベド 衛星 気候変動 海面水位 温室効果ガス 二酸化炭素 '
    'SWOT CSA 降水 台風 森林 農業 防災 観測 海洋 大気 北極 南極 氷'.split()
]


@pytest.fixture(scope='module', params=[4, 8])
def ws(tmp_path_factory, request):
    import torch
    from peft import LoraConfig, get_peft_model
    from climate_ft.models import load_quantized

    ws = Workspace(tmp_path_factory.mktemp('export'))
    torch.manual_seed(0)
    net, _ = load_quantized('tiny', request.param, 'float32')
    get_peft_model(
        net,
        LoraConfig(
            r=8,
            lora_alpha=8,
            init_lora_weights=False,
            target_modules=['q_proj', 'v_proj', 'up_proj', 'down_proj'],
        ),
    ).save_pretrained(ws.models / 'toy')
    write_json(
        ws.models / 'toy' / 'train_config.json',
        dict(name='toy', base='tiny', bits=request.param, dtype='float32'),
    )
    write_jsonl(
        ws.path('splits') / 'recall.jsonl', [dict(question=q, answer='氷') for q in QUESTIONS]
    )
    return ws


def test_merge_is_complete_and_agrees(ws):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out, bits = (
        X.run_merge(ws, 'toy'),
        read_json(ws.models / 'toy' / 'train_config.json')['bits'],
    )
    p = read_json(out / 'parity.json')
    assert (
        p['n'] == 20
        and p['agree'] == (20 if bits == 4 else p['agree'])
        and len(p['differing']) == 20 - p['agree']
    )
    names = {f.name for f in out.iterdir()}
    assert {
        'model.safetensors',
        'tokenizer.json',
        'config.json',
        'generation_config.json',
    } <= names and not any(n.endswith(('.bin', '.pkl')) for n in names)
    tok = AutoTokenizer.from_pretrained(out)
    assert tok.chat_template and 'quantization_config' not in json.loads(
        (out / 'config.json').read_text()
    )
    assert (
        tok.convert_tokens_to_ids('<|im_end|>')
        in AutoModelForCausalLM.from_pretrained(out).generation_config.eos_token_id
    )
    assert not [f for f in ws.models.iterdir() if f.name.startswith('.')]


def test_weights_are_rounded_once_at_the_end(ws):
    import torch
    from safetensors.torch import load_file
    from climate_ft.generate import dequantize
    from climate_ft.models import load_quantized

    got, adapter = (
        load_file(X.merge(ws, 'toy', dtype='bfloat16') / 'model.safetensors'),
        load_file(ws.models / 'toy' / 'adapter_model.safetensors'),
    )
    base = dequantize(
        load_quantized(
            'tiny', read_json(ws.models / 'toy' / 'train_config.json')['bits'], 'float32'
        )[0]
    ).state_dict()

    def update(k):
        k = f"base_model.model.{k.removesuffix('.weight')}.lora_%s.weight"
        return adapter[k % 'B'] @ adapter[k % 'A'] if k % 'A' in adapter else 0

    assert len(got) > 28 and all(
        torch.equal(v, (base[k] + update(k)).bfloat16()) for k, v in got.items()
    )


def test_wrong_merges_change_answers(ws):
    c = X.changed(X.merge_variants(ws.models / 'toy', QUESTIONS, 12))
    if read_json(ws.models / 'toy' / 'train_config.json')['bits'] == 4:
        assert (
            c['dequantised base'] == 0
            and c['original base'] > 2
            and c['merged in low precision'] > 2
        )


def test_failed_merge_keeps_the_old_folder(ws, monkeypatch):
    out = X.merge(ws, 'toy')
    before = (out / 'config.json').stat().st_mtime_ns

    def full(*a, **k):
        raise OSError(28, 'No space left on device')

    import safetensors.torch

    monkeypatch.setattr(safetensors.torch, 'save_file', full)
    with pytest.raises(CourseError, match='no room is left'):
        X.merge(ws, 'toy')
    assert (out / 'config.json').stat().st_mtime_ns == before and not [
        f for f in ws.models.iterdir() if f.name.startswith('.')
    ]


def whole(ws, dtype='float32'):
    "The merge as PEFT does it on the whole model"
    from climate_ft.generate import load_model

    net, tok = load_model(ws.models / 'toy', quantized=False, dtype=dtype)
    return X.save_model(net, tok, ws.root / 'whole')


def same(a, b):
    from safetensors.torch import load_file

    a, b = (
        {k: v for f in d.glob('*.safetensors') for k, v in load_file(f).items()}
        for d in (a, b)
    )
    return a.keys() == b.keys() and all(
        v.dtype == b[k].dtype and v.equal(b[k]) for k, v in a.items()
    )


def with_adapter(root, base, bits, dtype='float32', **lora):
    "A workspace with a random adapter, as a training in `dtype` leaves it"
    import torch
    from peft import LoraConfig, get_peft_model
    from climate_ft.models import load_quantized, quiet

    ws = Workspace(root)
    torch.manual_seed(0)
    with quiet():
        net = get_peft_model(
            load_quantized(base, bits, dtype)[0],
            LoraConfig(
                **dict(r=4, lora_alpha=8, init_lora_weights=False, target_modules='all-linear')
                | lora
            ),
        )
        net.save_pretrained(ws.models / 'toy')
    write_json(
        ws.models / 'toy' / 'train_config.json',
        dict(name='toy', base=str(base), bits=bits, dtype=dtype),
    )
    return ws


def quantised_on_disk(folder, bits):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from climate_ft.models import quiet, tiny_base

    form = (
        dict(load_in_4bit=True, bnb_4bit_quant_type='nf4', bnb_4bit_use_double_quant=True)
        if bits == 4
        else dict(load_in_8bit=True)
    )
    with quiet():
        AutoModelForCausalLM.from_pretrained(
            tiny_base(), dtype=torch.bfloat16, quantization_config=BitsAndBytesConfig(**form)
        ).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_base()).save_pretrained(folder)
    return folder


@pytest.mark.parametrize('bits', [4, 8])
@pytest.mark.parametrize('kind', ['stored', 'tiny', 'qwen2', 'gemma2', 'mistral'])
def test_tensor_by_tensor_gives_the_bits_of_the_whole_model(tmp_path, kind, bits):
    from climate_ft.models import tiny_family

    dtype = 'bfloat16' if kind == 'gemma2' else 'float32'
    base = (
        'tiny'
        if kind == 'tiny'
        else quantised_on_disk(tmp_path / 'base', bits)
        if kind == 'stored'
        else tiny_family(kind, tmp_path / 'base')
    )
    ws = with_adapter(tmp_path / 'ws', base, bits, dtype)
    out, want = X.merge(ws, 'toy', dtype), whole(ws, dtype)
    assert same(out, want)
    for f in ('config.json', 'generation_config.json', 'tokenizer_config.json'):
        assert (out / f).read_text() == (want / f).read_text()


def test_a_base_quantised_on_disk_is_merged_with_parity(tmp_path):
    ws = with_adapter(tmp_path / 'ws', quantised_on_disk(tmp_path / 'base', 4), 4)
    X.merge(ws, 'toy')
    assert X.check_parity(ws, 'toy', QUESTIONS[:4], 8)['agree'] == 4


def test_files_are_bounded_and_indexed(tmp_path, monkeypatch):
    from climate_ft import shards as S

    ws = with_adapter(tmp_path, 'tiny', 4)
    want = whole(ws)
    monkeypatch.setattr(S.merge_tensors, '__defaults__', (1e6, None))
    out = X.merge(ws, 'toy')
    files = sorted(out.glob('*.safetensors'))
    assert (
        len(files) > 3
        and files[0].name == f'model-00001-of-{len(files):05}.safetensors'
        and same(out, want)
    )
    largest = 7680 * 128 * 4  # bytes of the embedding, a file of its own
    assert (
        max(f.stat().st_size for f in files) < largest + 1e4
        and sum(f.stat().st_size > 1.01e6 for f in files) == 1
    )
    from climate_ft.generate import load_model

    net, _ = load_model(out)  # Transformers reads the index
    assert net.model.embed_tokens.weight.shape == (7680, 128)


@pytest.mark.parametrize(
    'lora',
    [
        dict(use_dora=True),
        dict(use_rslora=True),
        dict(rank_pattern={'q_proj': 2}),
        dict(modules_to_save=['lm_head'], target_modules=['q_proj']),
    ],
)
def test_other_forms_of_lora_are_merged_as_peft_does(tmp_path, lora):
    ws = with_adapter(tmp_path, 'tiny', 4, **lora)
    assert same(X.merge(ws, 'toy'), whole(ws))


def test_no_room_for_the_answers_is_said_on_the_card(ws, monkeypatch):
    from climate_ft import preflight

    monkeypatch.setattr(preflight, 'free_memory', lambda: 1e6)
    assert read_json(X.run_merge(ws, 'toy') / 'parity.json') == dict(n=0)
    write_cards(ws, 'toy')
    assert 'were not compared: the machine had no room' in (
        ws.models / 'toy-merged' / 'README.md'
    ).read_text(encoding='utf-8')


def test_folder_without_adapter_is_refused(tmp_path):
    with pytest.raises(CourseError, match='holds no adapter'):
        X.run_merge(Workspace(tmp_path), 'cpu')
