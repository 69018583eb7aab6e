"""What strangers bring: folders with code, with missing or foreign weights,
damaged files; one line each, and nothing of theirs runs"""

import ast
import io
import json
import os
import random
import shutil
import subprocess
import sys
import pytest

pytest.importorskip('torch')
from climate_ft import generate as G, metrics, models as M, shards
from climate_ft.export import merge
from climate_ft.workspace import (
    REPO,
    CourseError,
    Workspace,
    read_json,
    write_json,
    write_jsonl,
)

QUESTION = '雪氷面のアルベドとは何ですか。'


@pytest.fixture(scope='module')
def small():
    return M.tiny_base(64, 2)


@pytest.fixture(scope='module')
def tuned(tmp_path_factory, small):
    "An adapter of the small model, as training leaves it"
    import torch
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp('tuned') / 'models/toy'
    torch.manual_seed(0)
    lora = LoraConfig(
        r=4,
        lora_alpha=4,
        init_lora_weights=False,
        target_modules=['q_proj', 'down_proj'],
        task_type='CAUSAL_LM',
    )
    get_peft_model(M.load_quantized(small, 16, 'float32')[0], lora).save_pretrained(folder)
    write_json(
        folder / 'train_config.json',
        dict(name='toy', base=str(small), bits=16, dtype='float32'),
    )
    return folder


def edit(path, **kw):
    write_json(path, read_json(path) | kw)


def answer(folder):
    net, tok = G.load_for_inference(folder)
    return G.generate(net, tok, [QUESTION], max_new_tokens=2)


def said(call, *args):
    "The line of the `CourseError` that a call ends in"
    with pytest.raises(CourseError) as e:
        call(*args)
    assert str(e.value).count('\n') == 0 and len(str(e.value)) < 700
    return str(e.value)


# ---- foreign code


def plant(folder, marker, name='config.json', **config):
    "Let the folder ask for code of its own, which leaves a file"
    (folder / 'mine.py').write_text(f'''
open({str(marker)!r}, 'w').write('ran')
from transformers import Qwen3Config as Config, Qwen3ForCausalLM as Model
from transformers import Qwen2Tokenizer as Tokenizer
''')
    auto = dict(
        AutoConfig='mine.Config',
        AutoModelForCausalLM='mine.Model',
        AutoModel='mine.Model',
        AutoTokenizer=['mine.Tokenizer', 'mine.Tokenizer'],
    )
    edit(folder / name, auto_map=auto, **config)
    return folder


PLANTS = dict(
    unknown=dict(model_type='mine'),
    known={},
    tokenizer=dict(name='tokenizer_config.json', tokenizer_class='Mine'),
    nested=dict(text_config=dict(auto_map=dict(AutoConfig='mine.Config'))),
)


@pytest.mark.parametrize('way', ['alone', 'base', 'encoder', 'tokenizer', 'skeleton'])
@pytest.mark.parametrize('how', PLANTS)
def test_foreign_code_never_runs_and_nothing_is_asked(
    small, tuned, tmp_path, monkeypatch, how, way
):
    marker, d = (
        tmp_path / 'marker',
        plant(shutil.copytree(small, tmp_path / 'm'), tmp_path / 'marker', **PLANTS[how]),
    )
    if way == 'base':
        a = shutil.copytree(tuned, tmp_path / 'a')
        edit(a / 'train_config.json', base=str(d))
        edit(a / 'adapter_config.json', base_model_name_or_path=str(d))
    calls = dict(
        alone=lambda: answer(d),
        base=lambda: answer(a),
        encoder=lambda: metrics.bert_rows(['氷'], ['雪'], d),
        tokenizer=lambda: M.load_tokenizer(d),
        skeleton=lambda: shards.skeleton(d),
    )
    monkeypatch.setattr('sys.stdin', io.StringIO('y\n' * 9))
    assert 'asks for program code of its own (auto_map), which is never run' in said(
        calls[way]
    )
    assert not marker.exists() and sys.stdin.read() == 'y\n' * 9


def test_the_command_refuses_it_too(small, tmp_path):
    d = plant(shutil.copytree(small, tmp_path / 'm'), tmp_path / 'marker', model_type='mine')
    r = subprocess.run(
        [
            sys.executable,
            '-m',
            'climate_ft.cli',
            'ask',
            QUESTION,
            '--from-memory',
            '--model',
            d,
        ],
        input='y\ny\n',
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(REPO)},
    )
    assert (
        r.returncode == 2
        and r.stdout == ''
        and 'auto_map' in r.stderr
        and 'Traceback' not in r.stderr
    )
    assert not (tmp_path / 'marker').exists()


def test_an_adapter_names_no_modules_to_import(tuned, tmp_path):
    a = shutil.copytree(tuned, tmp_path / 'a')
    edit(a / 'adapter_config.json', megatron_config={'x': 1}, megatron_core='mine')
    assert 'megatron_config' in said(answer, a)


@pytest.mark.parametrize(
    'lora',
    [
        dict(target_modules='(.+)+!'),
        dict(target_modules='.*.*.*.*.*.*x'),
        dict(rank_pattern={'(.|a)*!': 4}),
        dict(alpha_pattern={'a': 4, '(.+){1,99}!': 4}),
        dict(exclude_modules=['(.+)+!']),
        dict(layers_pattern='(.+)+!', layers_to_transform=[0]),
        dict(layer_replication=[[0, 2]] * 3000),
        dict(init_lora_weights='pissa'),  # changes the base
    ],
)
def test_a_setting_that_never_ends_or_changes_the_base_is_not_tried(
    tuned, tmp_path, monkeypatch, lora
):
    import peft

    monkeypatch.setattr(
        peft.LoraConfig, 'from_pretrained', lambda *a: pytest.fail('was tried')
    )
    a = shutil.copytree(tuned, tmp_path / 'a')
    edit(a / 'adapter_config.json', **lora)
    assert f'({next(iter(lora))} is' in said(M.load_lora, a)


UNSLOTH = (
    r'(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?'
    r'(?:k_proj|q_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:k_proj|q_proj)))'
)


def test_a_pattern_that_ends_is_tried(tuned, tmp_path):
    a = shutil.copytree(tuned, tmp_path / 'a')
    edit(a / 'adapter_config.json', target_modules=UNSLOTH)
    assert M.load_lora(a).target_modules == UNSLOTH


@pytest.mark.parametrize(
    'how',
    [
        'owner/kernel',
        'owner/kernel:f',
        'flash_attention_2',
        'paged|sdpa',
        {'': 'owner/kernel'},
    ],
)
def test_a_kernel_of_the_hub_is_foreign_code_too(small, tmp_path, how):
    d = shutil.copytree(small, tmp_path / 'm')
    for key in ('attn_implementation', '_attn_implementation'):
        edit(d / 'config.json', text_config={key: how})
        assert 'asks for program code of its own (attn_impl' in said(M.load_weights, d)
        edit(d / 'config.json', text_config={key: 'sdpa'})
        M.refuse_code(d)
    from transformers.integrations import hub_kernels

    assert not hub_kernels._kernels_enabled


def test_every_load_says_no_to_code_and_pickle():
    """In the text of the package:
    what comes from a folder is loaded without code, weights as safetensors"""
    for f in sorted((REPO / 'climate_ft').glob('*.py')):
        for c in ast.walk(ast.parse(f.read_text())):
            if not (
                isinstance(c, ast.Call)
                and isinstance(c.func, ast.Attribute)
                and c.func.attr == 'from_pretrained'
            ):
                continue
            owner, given = (
                ast.unparse(c.func.value),
                {k.arg: ast.unparse(k.value) for k in c.keywords},
            )
            if owner in ('GenerationConfig', 'LoraConfig', 'PeftModel'):
                continue  # they take no code
            assert given.get('trust_remote_code') == 'False', f'{f.name}: {ast.unparse(c)}'
            if owner in ('auto', 'AutoModelForCausalLM', 'AutoModel'):
                assert given.get('use_safetensors') == 'True', f'{f.name}: {ast.unparse(c)}'


# ---- missing and foreign weights


def weights(f, change):
    from safetensors.torch import load_file, save_file

    save_file(change(load_file(f)), f, dict(format='pt'))


def less(w):
    return {k: v for k, v in w.items() if 'layers.1.' not in k}


def more(w):
    return w | {
        'model.layers.7.mlp.up_proj.weight': w['model.layers.0.mlp.up_proj.weight'].clone()
    }


def renamed(w):
    return {k.replace('model.', 'transformer.'): v for k, v in w.items()}


@pytest.mark.parametrize('key', ['num_labels', 'num_hidden_layers'])
@pytest.mark.parametrize('encoder', [False, True])
def test_a_count_without_end_takes_no_memory(small, tmp_path, monkeypatch, key, encoder):
    from transformers import AutoConfig

    monkeypatch.setattr(
        AutoConfig, 'from_pretrained', lambda *a, **kw: pytest.fail('was tried')
    )
    d = shutil.copytree(small, tmp_path / 'm')
    edit(d / 'config.json', text_config={key: 10**9})
    assert 'layers or labels without end' in said(M.load_weights, d, encoder)


@pytest.mark.parametrize('bits', [4, 8])
def test_weights_that_are_not_in_4_or_8_bits_as_the_folder_says(small, tmp_path, bits):
    d = shutil.copytree(small, tmp_path / 'm')
    how = {'quant_method': 'bitsandbytes', f'load_in_{bits}bit': True}
    edit(d / 'config.json', quantization_config=how)
    assert 'in 4 or 8 bits, and they are not' in said(M.load_weights, d)


def test_bytes_behind_the_last_weight_are_damage(small, tmp_path):
    d = shutil.copytree(small, tmp_path / 'm')
    with open(d / 'model.safetensors', 'ab') as f:
        f.write(b'\0')
    assert 'incomplete or damaged' in said(M.check_model_folder, d)


@pytest.mark.parametrize(
    'change,message',
    [
        (less, '11 weights are missing from .*the first is model.layers.1.input_layernorm'),
        (renamed, '25 weights are missing'),
        (
            more,
            '1 weight of another model is in .*model.layers.7.mlp.up_proj',
        ),
    ],
)
def test_a_model_without_a_weight_does_not_answer(small, tmp_path, change, message):
    d = shutil.copytree(small, tmp_path / 'm')
    weights(d / 'model.safetensors', change)
    with pytest.raises(CourseError, match=message):
        answer(d)
    for bits in (4, 16):
        with pytest.raises(CourseError, match=message):
            M.load_quantized(d, bits)


def test_weights_of_another_size_are_named(small, tmp_path):
    d = shutil.copytree(small, tmp_path / 'm')
    weights(
        d / 'model.safetensors',
        lambda w: w | {'model.norm.weight': w['model.norm.weight'][:-1].clone()},
    )
    assert 'cannot be loaded' in said(answer, d)


@pytest.mark.parametrize('kind', M.TINY_KINDS)
def test_tied_and_whole_models_of_each_family_load(tmp_path, kind):
    assert len(answer(M.tiny_family(kind, tmp_path / 'm'))) == 1


def first_layer(w):
    return {k: v for k, v in w.items() if '.layers.0.' in k}


def foreign(w):
    return {k.replace('q_proj', 'x_proj'): v for k, v in w.items()}


def short(w):
    return {k: v[:-1].clone() if 'lora_A' in k else v for k, v in w.items()}


ADAPTERS = [
    (lambda w: {}, '8 weights are missing'),
    (first_layer, '4 weights are missing from .*layers.1.mlp.down_proj.lora_A'),
    (foreign, '4 weights are missing'),
    (lambda w: w | {'x': w[min(w)].clone()}, '1 weight of another model is in'),
    (short, 'cannot be loaded|of another model'),
]


@pytest.mark.parametrize('change,message', ADAPTERS)
def test_an_adapter_without_its_weights_does_not_answer(tuned, tmp_path, change, message):
    ws = Workspace(tmp_path)
    a = shutil.copytree(tuned, ws.models / 'toy')
    weights(a / 'adapter_model.safetensors', change)
    with pytest.raises(CourseError, match=message):
        answer(a)
    with pytest.raises(CourseError, match=message):
        merge(ws, 'toy')
    assert [p.name for p in ws.models.iterdir()] == ['toy']


def test_a_base_without_a_weight_is_not_merged(small, tuned, tmp_path):
    ws, d = Workspace(tmp_path), shutil.copytree(small, tmp_path / 'm')
    edit(shutil.copytree(tuned, ws.models / 'toy') / 'train_config.json', base=str(d))
    weights(
        d / 'model.safetensors', lambda w: {k: v for k, v in w.items() if 'layernorm' not in k}
    )
    assert '4 weights are missing' in said(merge, ws, 'toy')


@pytest.mark.parametrize('head', [None, 'BertForMaskedLM', 'BertLMHeadModel', 'BertModel'])
def test_an_encoder_does_not_answer(small, tmp_path, head):
    import transformers

    cfg = transformers.BertConfig(
        vocab_size=8000,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
    )
    d = shutil.copytree(small, tmp_path / 'm')
    for f in ('model.safetensors', 'generation_config.json', 'config.json'):
        (d / f).unlink()
    getattr(transformers, head or 'BertLMHeadModel')(cfg).save_pretrained(d)
    if not head:
        edit(d / 'config.json', architectures=None)
    assert 'is not a model that continues a text' in said(answer, d)


def test_a_tokenizer_that_ends_nothing_is_refused(small, tmp_path):
    d = shutil.copytree(small, tmp_path / 'm')
    edit(d / 'tokenizer_config.json', eos_token=None)
    assert 'has no token that ends a text' in said(answer, d)


def test_a_tokenizer_of_another_model_is_refused(small, tmp_path):
    d = shutil.copytree(small, tmp_path / 'm')
    weights(
        d / 'model.safetensors',
        lambda w: (
            w | {'model.embed_tokens.weight': w['model.embed_tokens.weight'][:640].clone()}
        ),
    )
    edit(d / 'config.json', vocab_size=640, eos_token_id=None, pad_token_id=None)
    (d / 'generation_config.json').unlink()
    assert 'has 7,638 tokens and the model knows 640' in said(answer, d)


# ---- damaged files


def spots(value, path=()):
    "The places in a JSON value, as keys from the top"
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for k, v in [*items][:60]:
        yield from ((*path, k), *spots(v, (*path, k)))


def mistyped(raw, rng):
    "JSON with one value of another type"
    value = json.loads(raw)
    *up, last = rng.choice([*spots(value)])
    at = value
    for k in up:
        at = at[k]
    at[last] = rng.choice([None, [], {}, '', 'x', -1, 0, 10**30, 1.5, True, [None], {'x': []}])
    return json.dumps(value).encode()


DAMAGES = dict(
    gone=None,
    empty=lambda b, r: b'',
    null=lambda b, r: b'null',
    list=lambda b, r: b'[]',
    object=lambda b, r: b'{}',
    text=lambda b, r: b'"x"',
    cut=lambda b, r: b[: r.randrange(1, len(b))],
    binary=lambda b, r: bytes(r.randrange(256) for _ in range(200)),
    utf16=lambda b, r: '{"a": 1}'.encode('utf-16'),
    flipped=lambda b, r: (
        b[: (i := r.randrange(len(b)))] + bytes([b[i] ^ 1 << r.randrange(8)]) + b[i + 1 :]
    ),
    mistyped=mistyped,
)


def targets(small, tuned):
    "Each file of a model and of an adapter"
    whole = [(small, f.name) for f in sorted(small.iterdir())] + [
        (small, 'model.safetensors.index.json')
    ]
    return whole + [
        (tuned, f.name)
        for f in sorted(tuned.iterdir())
        if f.is_file() and f.name != 'README.md'
    ]


def damage(source, name, how, rng, folder):
    "A copy of the folder with one file damaged"
    d = shutil.copytree(source, folder)
    f = d / name
    if name.endswith('index.json'):
        write_json(
            f,
            dict(
                metadata={},
                weight_map=dict.fromkeys(
                    M.tensor_shapes(d / 'model.safetensors'), 'model.safetensors'
                ),
            ),
        )
    if how == 'gone':
        f.unlink()
    else:
        f.write_bytes(DAMAGES[how](f.read_bytes(), rng))
    return d


def outcome(d):
    "answers, refused, or the error that should not have come through"
    try:
        answer(d)
    except CourseError as e:
        return 'refused' if '\n' not in str(e) else repr(e)
    except Exception as e:
        return repr(e)
    return 'answers'


def hows(name):
    return [h for h in DAMAGES if h != 'mistyped' or name.endswith('.json')]


def attacks(small, tuned, seed, n):
    "n damages, drawn with a seed"
    rng = random.Random(seed)
    every = [(s, name, h) for s, name in targets(small, tuned) for h in hows(name)]
    rng.shuffle(every)
    for k in range(n):
        yield (*every[k % len(every)], random.Random(f'{seed}/{k}'))


def test_damaged_files_are_one_line(small, tuned, tmp_path):
    got = []
    for k, (source, name, how, rng) in enumerate(attacks(small, tuned, 15, 50)):
        got.append((name, how, outcome(damage(source, name, how, rng, tmp_path / str(k)))))
        shutil.rmtree(tmp_path / str(k))
    assert [g for g in got if g[2] not in ('answers', 'refused')] == []
    assert sum(g[2] == 'refused' for g in got) > 30


# ---- prompts beyond the context

LONG = '雪氷面のアルベドは高い。' * 400


def test_a_long_passage_is_cut_at_a_sentence_and_said(small, capsys):
    net, tok = G.load_for_inference(small)
    assert G.context_size(net) == 2048
    ids, whole = G.fit_prompt(tok, QUESTION, LONG, 1000)
    text = tok.decode(ids)
    assert (
        not whole
        and 980 < len(ids) <= 1000
        and '。<|im_end|>' in text
        and text.startswith(f'<|im_start|>user\n{QUESTION}\n\n雪氷面の')
    )
    assert G.fit_prompt(tok, QUESTION, '雪' * 3000, 1000)[0] is not None
    got = G.generate(
        net,
        tok,
        [QUESTION, QUESTION, '雪' * 3000],
        [LONG, '', ''],
        max_new_tokens=2,
        numbers=[4, 5, 9],
    )
    assert (
        got[2] == ''
        and got[0]
        and got[1] == G.generate(net, tok, [QUESTION], max_new_tokens=2)[0]
    )
    a, b = capsys.readouterr().err.splitlines()
    assert (
        a == f'climate-ft: question 4 ({QUESTION[:20]} …) does '
        'not fit into 2,046 tokens: its passage was shortened'
    )
    assert b.startswith('climate-ft: question 9 (雪雪') and b.endswith(
        'it is too long and gets no answer'
    )


def test_the_answer_stays_within_the_context_too(tmp_path):
    from climate_ft.prompts import encode

    net, tok = G.load_for_inference(M.tiny_family('llama', tmp_path / 'm'))
    sizes, forward = [], net.forward
    net.forward = lambda *a, **kw: (
        sizes.append(kw['attention_mask'].shape[-1]) or forward(*a, **kw)
    )
    G.generate(
        net, tok, [QUESTION], [LONG], max_new_tokens=900, min_new_tokens=200, eos_token_id=None
    )
    assert 450 < max(sizes) < G.context_size(net) == 512


def test_a_single_question_that_is_too_long_is_refused(small):
    assert 'does not fit into 1,920 tokens' in said(
        G.generate, *G.load_for_inference(small), ['雪' * 3000]
    )


def test_a_row_of_a_file_is_named_by_its_number(small, tmp_path, capsys):
    rows = [dict(question='氷。'), dict(question='雪' * 3000)]
    G.answer_rows(
        lambda: G.load_for_inference(small),
        rows,
        tmp_path / 'a.jsonl',
        'm',
        'k',
        max_new_tokens=2,
    )
    assert 'question 2 (雪雪' in capsys.readouterr().err


def test_rows_beyond_the_context_are_not_trained(tmp_path):
    from climate_ft import train as T
    from climate_ft.ranks import Ranks

    ws, base = Workspace(tmp_path), M.tiny_family('llama', tmp_path / 'm')
    rows = [
        dict(source_id='s', instruction='氷とは', input='', output='水' * n, split='train')
        for n in (3, 600)
    ]
    write_jsonl(ws.path('splits') / 'train.jsonl', rows)
    cfg = T.settle(T.TrainConfig('t', str(base), checkpointing='off'), 1, 'llama')
    d, mine, _ = T.prepare(cfg, ws, False, Ranks())
    assert (
        cfg.max_length == mine.max_length == 2048
        and d['long'] == [1]
        and len(d['examples']) == 1
    )
