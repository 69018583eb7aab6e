"""A random model of Qwen3-8B's shape through the course's GGUF export: size, fields, prompts
and one answer of each file: results/gguf_big.json. Its words mean nothing; what is shown is
that files of this size are made, opened and asked. Needs 60 GB of memory and of disk
(`--layers 2`: a sixth). Continues where it stopped, as long as the folder WORK is kept.

usage: python scripts/gguf_big.py [--layers N] [--kinds q8_0 q4_k_m] [--out FILE] WORK
"""

import argparse
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
import torch
from climate_ft.export import save_model
from climate_ft.llamacpp import (
    ask_gguf,
    export_gguf,
    gguf_template,
    open_gguf,
    same_prompts,
    weights,
)
from climate_ft.models import TINY_TOKENIZER, load_tokenizer
from climate_ft.workspace import REPO, read_jsonl, write_json

SHAPE = dict(
    vocab_size=151936,
    hidden_size=4096,
    intermediate_size=12288,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    max_position_embeddings=40960,
    rope_parameters=dict(rope_type='default', rope_theta=1e6),
    tie_word_embeddings=False,
    bos_token_id=None,
    eos_token_id=151645,
    pad_token_id=151643,
)
CARD = '---\nlanguage: ja\n---\n# big\n## Licences\nRandom weights.\n'


def make(folder, layers):
    "A merged model with random weights in bf16"
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device('cuda' if torch.cuda.is_available() else 'cpu'):
        net = Qwen3ForCausalLM(Qwen3Config(num_hidden_layers=layers, **SHAPE))
    torch.set_default_dtype(torch.float32)
    save_model(net, AutoTokenizer.from_pretrained(TINY_TOKENIZER), folder)
    (folder / 'README.md').write_text(CARD, encoding='utf-8')


def fields_of(gguf, tok):
    "What the head of the file says, and the kinds of its tensors"
    from gguf import GGUFReader

    r = GGUFReader(gguf)
    said = {k: f.contents() for k, f in r.fields.items() if 'tokenizer.ggml' not in k}
    kinds = [t.tensor_type.name for t in r.tensors]
    return dict(
        name=said['general.name'],
        licence=said['general.license.name'],
        languages=said['general.languages'],
        layers=said['qwen3.block_count'],
        context=said['qwen3.context_length'],
        template_is_the_models=said['tokenizer.chat_template'] == gguf_template(tok),
        tensors={k: kinds.count(k) for k in sorted(set(kinds))},
    )


def timed(seconds, name, f, *args, **more):
    "The result of `f`; how long it took goes into `seconds`"
    t = time.perf_counter()
    result = f(*args, **more)
    seconds[name] = round(time.perf_counter() - t, 1)
    print(f'{name}: {seconds[name]} s', flush=True)
    return result


def one(folder, kind, work, asked):
    "The folder of one kind, looked at from all sides"
    seconds = {}
    out = timed(seconds, f'export {kind}', export_gguf, folder, kind, work / kind)
    gguf, tok = next(out.glob('*.gguf')), load_tokenizer(folder)
    size = gguf.stat().st_size
    found = dict(kind=kind, bytes=size, bits_a_weight=round(8 * size / weights(folder), 2))
    found |= fields_of(gguf, tok)
    found['files'] = sorted(f.name for f in out.iterdir())
    server = timed(seconds, 'open', open_gguf, gguf, threads=os.cpu_count())
    found['prompts'] = timed(seconds, 'prompts', same_prompts, server, tok, asked)
    answer = timed(seconds, 'answer', ask_gguf, server, asked[0], 8)
    speed = answer['tokens'] / max(answer['seconds'], 1e-9)
    found |= dict(tokens=answer['tokens'], tokens_per_second=round(speed, 1))
    return found | dict(seconds=seconds)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--layers', type=int, default=36)
    ap.add_argument('--kinds', nargs='+', default=['q8_0', 'q4_k_m'])
    ap.add_argument('--out', type=Path, default=REPO / 'results' / 'gguf_big.json')
    ap.add_argument('work', type=Path)
    given, seconds = ap.parse_args(), {}
    folder = given.work / 'models' / 'big-merged'
    if not folder.is_dir():
        timed(seconds, 'make', make, folder, given.layers)
    gold = read_jsonl(REPO / 'documents' / 'gold_questions.jsonl')
    asked = [r['question'] for r in gold[:10]]
    result = dict(
        about='random weights, shape of Qwen3-8B',
        weights=weights(folder),
        layers=given.layers,
        cores=os.cpu_count(),
        machine=platform.machine(),
        versions={n: version(n) for n in ('torch', 'transformers', 'gguf', 'xllamacpp')},
        seconds=seconds,
        files=[],
    )
    for kind in given.kinds:
        result['files'].append(one(folder, kind, given.work, asked))
        write_json(given.out, result)


if __name__ == '__main__':
    main()
