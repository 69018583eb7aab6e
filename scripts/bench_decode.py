"""How fast answers come at Qwen3-8B's shape, in slots (chapter 09a) and by Transformers'
`generate`.

usage: python scripts/bench_decode.py MODELS OUT.json
        MODELS holds bf16/ and nf4/, as scripts/bench_train.py makes them
       python scripts/bench_decode.py tiny OUT.json       tries the script on a CPU

Random weights never end an answer, so every answer has exactly `NEW` tokens; prompts have
about 40. The agreement is counted on a model of the same width with four layers, whose weights
are scaled so that it babbles: every difference shows. tokens/s is that of a whole call,
prompts included, after one call that warms up."""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import torch
from climate_ft.decode import decode, faster
from climate_ft.generate import question_of, read_questions, ready
from climate_ft.models import load_quantized, quiet, resolve_base
from climate_ft.prompts import render
from climate_ft.workspace import REPO, write_json

NEW, CUDA = 128, torch.cuda.is_available()


def prompts_of(tok, n):
    rows = read_questions(REPO / 'data' / 'splits' / 'recall.jsonl')
    texts = [render(tok, question_of(rows[i % len(rows)])) for i in range(n)]
    return [tok(t, add_special_tokens=False).input_ids for t in texts]


def wait():
    if CUDA:
        torch.cuda.synchronize()


def by_generate(net, prompts, new, pad=0):
    width = max(map(len, prompts))
    x = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=net.device)
    mask = torch.tensor(
        [[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=net.device
    )
    with torch.inference_mode():
        out = net.generate(
            input_ids=x,
            attention_mask=mask,
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            pad_token_id=pad,
        )
    return out[:, width:].tolist()


def rate(f, n, new):
    f()
    wait()
    t = time.perf_counter()
    f()
    wait()
    return round(n * new / (time.perf_counter() - t), 1)


def rates(net, tok, sizes, new, slow):
    out = {}
    for n in sizes:
        p = prompts_of(tok, n)
        out[f'slots_{n}'] = rate(lambda: decode(net, p, [-1], new, n), n, new)
        if n in slow:
            out[f'generate_{n}'] = rate(lambda: by_generate(net, p, new), n, new)
        print(n, out, flush=True)
    out['gib'] = round(torch.cuda.max_memory_reserved() / 2**30, 2) if CUDA else None
    return out


def babbler(tok, dtype, width=4096, layers=4):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    heads = width // 128
    c = Qwen3Config(
        vocab_size=(len(tok) + 127) // 128 * 128,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 4),
        head_dim=128,
        tie_word_embeddings=False,
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    return ready(Qwen3ForCausalLM(c).to(dtype).to('cuda' if CUDA else 'cpu').eval())


def agreement(tok, n=64, new=48):
    out, p = {}, prompts_of(tok, n)
    for dtype in (torch.float32, torch.bfloat16):
        net = babbler(tok, dtype, *((4096, 4) if CUDA else (256, 2)))
        one = [by_generate(net, [q], new)[0] for q in p]
        for k, many in dict(
            slots=decode(net, p, [-1], new, 32),
            generate_32=[
                a for i in range(0, n, 32) for a in by_generate(net, p[i : i + 32], new)
            ],
        ).items():
            out[f'{str(dtype)[6:]} {k}'] = dict(
                same=sum(a == b for a, b in zip(one, many)), n=n
            )
        del net
        if CUDA:
            torch.cuda.empty_cache()
    print('agreement with one by one:', out, flush=True)
    return out


def main(models, out):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tiny, result, new = models == 'tiny', {}, NEW if CUDA else 8
    folder = {k: resolve_base('tiny') if tiny else Path(models) / k for k in ('bf16', 'nf4')}
    tok = AutoTokenizer.from_pretrained(folder['bf16'])
    result['agreement'] = agreement(tok, *((64, 48) if CUDA else (6, 8)))
    with quiet():
        net = AutoModelForCausalLM.from_pretrained(
            folder['bf16'],
            dtype=torch.bfloat16 if CUDA else torch.float32,
            device_map={'': 0} if CUDA else None,
        )
    result['bf16'] = rates(ready(net), tok, (1, 32, 128), new, (32, 128))
    del net
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    from peft import LoraConfig, get_peft_model

    with quiet():
        net = get_peft_model(
            load_quantized(folder['nf4'], 4)[0],
            LoraConfig(r=16, lora_alpha=16, target_modules='all-linear'),
        ).eval()
    if CUDA:
        faster(net)
    result['nf4 with adapter'] = rates(net, tok, (32, 128), new, ())
    from importlib.metadata import version

    write_json(
        out,
        dict(
            model="Qwen3-8B's shape, random weights" if not tiny else 'tiny',
            machine=torch.cuda.get_device_name() if CUDA else 'CPU',
            new_tokens=new,
            versions={
                k: version(k) for k in ('torch', 'transformers', 'peft', 'bitsandbytes')
            },
            **result,
        ),
    )


if __name__ == '__main__':
    main(*sys.argv[1:])
