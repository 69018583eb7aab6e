"""Training speed and memory of a random-weight model of Qwen3-8B's exact shape, every setting
through `climate_ft.train`.

usage: python scripts/bench_train.py all DIR OUT.json TOKENIZER_DIR [NAME ...]
       python scripts/bench_train.py list

`all` makes the model in DIR (22 GB) and runs the settings; with names only these, and what
OUT.json has of the others stays.

The rows are chats of log-normal length with completion-only labels; `dataset-4bit`, which runs
by name only, is three epochs of the course's own dataset. Each setting has a process of its
own; all of them import while the model is made, and take turns on the GPU. tokens/s is over
the steps after the third, without those in which a CUDA graph was recorded or the profiler ran
(`elapsed` has everything); steps are timed from one log entry to the next, after the GPU has
finished. Memory is PyTorch's peak, allocated and reserved, with the load of the model apart.
"""

import gc
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ |= dict(
    HF_HUB_OFFLINE='1',
    TRANSFORMERS_OFFLINE='1',
    UNSLOTH_DISABLE_STATISTICS='1',
    TOKENIZERS_PARALLELISM='false',
    PYTORCH_ALLOC_CONF='expandable_segments:True',
)
ORIGINAL = dict(
    bits=4,
    backend='unsloth',
    batch_size=2,
    accumulation=4,
    checkpointing='unsloth',
    layout='auto',
)
ORIGINAL8 = dict(ORIGINAL, bits=8, batch_size=1, accumulation=8, checkpointing='off')
SAME = dict(batch_size=8, accumulation=1)
OURS, OURS8 = (
    dict(o, backend='transformers', layout='padding_free', checkpointing='on', regroup=False)
    for o in (ORIGINAL, ORIGINAL8)
)
PACK = dict(layout='packed', accumulation=1)
GRADIENTS = (
    'graphs-4bit-same',
    'original-4bit',
    'fp32-4bit',
)  # the gradients of their first step are compared

SETTINGS = {
    'fp32-4bit': dict(OURS, **SAME, dtype='float32', graphs=False, max_steps=1),
    'cap-8gib-4bit': dict(OURS, max_steps=5, cap_gib=8),
    'graphs-4bit-same': dict(OURS, **SAME, checkpointing='off', max_steps=26),
    'unrecorded-4bit-same': dict(
        OURS, **SAME, checkpointing='off', graphs=False, max_steps=16
    ),
    'trl-4bit-same': dict(
        OURS, **SAME, backend='trl', layout='padded', checkpointing='off', max_steps=10
    ),
    'graphs-4bit-same-half': dict(OURS, **SAME, checkpointing='half', max_steps=22),
    'graphs-4bit-same-checkpointing': dict(OURS, **SAME, max_steps=22),
    'graphs-4bit-2x4': dict(OURS, max_steps=14),
    'graphs-4bit-packed-4': dict(
        OURS, **PACK, batch_size=4, checkpointing='off', max_steps=11
    ),
    'graphs-4bit-packed-8': dict(OURS, **PACK, batch_size=8, checkpointing='off', max_steps=9),
    'graphs-4bit-packed-8-checkpointing': dict(OURS, **PACK, batch_size=8, max_steps=6),
    'original-4bit': dict(ORIGINAL, max_steps=9),
    'unsloth-4bit-same': dict(
        ORIGINAL, **SAME, layout='padding_free', checkpointing='off', max_steps=11
    ),
    'original-8bit': dict(ORIGINAL8, max_steps=6),
    'graphs-8bit-same-checkpointing': dict(OURS8, **SAME, max_steps=20),
    'graphs-8bit-same': dict(OURS8, **SAME, checkpointing='off', max_steps=20),
    'graphs-8bit-2x4': dict(OURS8, batch_size=2, accumulation=4, max_steps=12),
    'cap-10gib-8bit': dict(OURS8, batch_size=2, accumulation=4, max_steps=12, cap_gib=10),
    'graphs-8bit-1x8': dict(OURS8, max_steps=10),
    'plain-4bit': dict(OURS, layout='padded', fused=False, max_steps=6),
    'cap-15gib-fp16': dict(ORIGINAL, dtype='float16', max_steps=5, cap_gib=15),
    'unsloth-4bit-same-checkpointing': dict(
        ORIGINAL, **SAME, layout='padding_free', max_steps=10
    ),
    'plain-8bit': dict(OURS8, layout='padded', fused=False, max_steps=5),
    'dataset-4bit': dict(OURS, **SAME, checkpointing='off', epochs=3, dataset=True),
}
PROFILED = (
    'graphs-4bit-same',
    'graphs-4bit-packed-4',
    'graphs-4bit-packed-8',
    'original-4bit',
)
ENV8 = dict(
    UNSLOTH_COMPILE_DISABLE='1', TORCH_COMPILE_DISABLE='1'
)  # the original's settings in 8 bits

TEXT = (
    '気候変動の監視には人工衛星による長期の地球観測が欠かせない。'
    '雪氷面はアルベドが高く、融解が進むと陸面や海面が露出して太陽放射の吸収が増える。'
    '温室効果ガスの濃度は全球で上昇を続けており、'
    '各国の宇宙機関は協力して観測網を維持している。'
)


def rows(n=1024, seed=0):
    "Alpaca rows whose answers have log-normal lengths of 40 to 700 characters"
    rng = random.Random(seed)

    def text(k):
        return ''.join(rng.choice(TEXT) for _ in range(k))

    return [
        dict(
            instruction=text(20) + 'について教えてください。',
            input='',
            output=text(int(min(700, max(40, rng.lognormvariate(5.0, 0.7))))),
            source_id=str(i),
        )
        for i in range(n)
    ]


def make(folder, tokenizer):
    "A bf16 model with random weights, and the same in NF4"
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        BitsAndBytesConfig,
        Qwen3Config,
        Qwen3ForCausalLM,
    )

    cfg = Qwen3Config(
        vocab_size=151936,
        hidden_size=4096,
        intermediate_size=12288,
        num_hidden_layers=36,
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
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device('cuda'):
        model = Qwen3ForCausalLM(cfg)
    tok = AutoTokenizer.from_pretrained(tokenizer)
    model.save_pretrained(folder / 'bf16', max_shard_size='4GB')
    tok.save_pretrained(folder / 'bf16')
    del model
    q = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type='nf4',
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder / 'bf16', quantization_config=q, dtype=torch.bfloat16, device_map={'': 0}
    )
    model.save_pretrained(folder / 'nf4')
    tok.save_pretrained(folder / 'nf4')
    del model
    gc.collect()
    torch.cuda.empty_cache()


def one(folder, name):
    "Train one setting; what was seen"
    import torch
    import climate_ft.train as t
    from climate_ft import fast
    from climate_ft.workspace import Workspace, read_jsonl, write_jsonl

    setting = dict(SETTINGS[name])
    cap, gradients, dataset = (
        setting.pop('cap_gib', None),
        name in GRADIENTS,
        setting.pop('dataset', False),
    )
    torch.cuda.set_per_process_memory_fraction(
        cap * 2**30 / torch.cuda.get_device_properties(0).total_memory if cap else 1.0
    )
    ws = Workspace(folder / ('course' if dataset else 'ws'))
    if dataset:
        ws.path('splits').parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(
            Path(__file__).parents[1] / 'data/splits', ws.path('splits'), dirs_exist_ok=True
        )
        (ws.path('splits') / 'dev.jsonl').unlink()
    elif not (ws.path('splits') / 'train.jsonl').is_file():
        write_jsonl(ws.path('splits') / 'train.jsonl', rows())
    cfg = t.TrainConfig(
        name=name,
        base=str(folder / ('nf4' if setting['bits'] == 4 else 'bf16')),
        tensorboard=False,
        keep='last',
        save_steps=10**6,
        **dict(warmup=2) | setting,
    )
    GB, seen, plain_load = 2**30, {}, t.load_for_training

    def load(*a):
        r = plain_load(*a)
        seen.update(
            load_peak_gib=torch.cuda.max_memory_allocated() / GB,
            resident_gib=torch.cuda.memory_allocated() / GB,
            load_seconds=time.time() - t0,
        )
        if gradients:
            same_adapter(r[0])
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return r

    t.load_for_training = load
    if gradients and cfg.graphs is None:
        first_step_replayed(fast.PackedStep)
    torch.cuda.reset_peak_memory_stats()
    prof, hook = watch(
        name in PROFILED, folder / f'{name}.grads.pt' if gradients else None, cfg.max_steps
    )
    t0 = time.time()
    try:
        info = t.train(cfg, ws, resume=False)
    finally:
        t.load_for_training = plain_load
        hook.remove()
    log = [r for r in read_jsonl(ws.logs / f'{name}.jsonl') if 'loss' in r]
    steps = [
        (b['tokens'] - a['tokens'], (b['tokens'] - a['tokens']) / b['tokens_per_second'])
        for a, b in zip(log, log[1:])
        if b['step'] > 3 and a.get('recordings') == b.get('recordings')
    ]
    if prof:
        steps = [
            s
            for s, b in zip(
                steps,
                [
                    b
                    for a, b in zip(log, log[1:])
                    if b['step'] > 3 and a.get('recordings') == b.get('recordings')
                ],
            )
            if b['step'] < cfg.max_steps - 3
        ]
    r = dict(
        setting=setting,
        cap_gib=cap,
        settled={k: info[k] for k in ('backend', 'dtype', 'layout', 'graphs')},
        layers=info['layers'],
        pass_tokens=info['pass_tokens'],
        steps=info['steps'],
        rows=info['rows'],
        tokens=log[-1]['tokens'],
        train_seconds=info['seconds'],
        tokens_per_second=round(sum(n for n, _ in steps) / sum(s for _, s in steps))
        if steps
        else None,
        step_seconds=[round(s, 3) for _, s in steps],
        step_tokens=[n for n, _ in steps],
        recordings=log[-1].get('recordings'),
        most_tokens=max(
            b['tokens'] - a['tokens'] for a, b in zip([dict(tokens=0)] + log, log)
        ),
        **{k: round(v, 2) for k, v in seen.items()},
        peak_allocated_gib=round(torch.cuda.max_memory_allocated() / GB, 2),
        peak_reserved_gib=round(torch.cuda.max_memory_reserved() / GB, 2),
        losses=[round(r['loss'], 4) for r in log],
        grad_norms=[round(r['grad_norm'], 4) for r in log],
        elapsed=round(time.time() - t0, 1),
        device=torch.cuda.get_device_name(),
    )
    if prof:
        r['profile'] = summary(prof)
    return r


def first_step_replayed(step):
    "Let the first step be computed twice, so that its gradients come from a recording"
    plain, first = step.__call__, [True]

    def call(self, b, items):
        if first:
            first.clear()
            plain(self, b, items)
            for p in self.params:
                p.grad = None
        return plain(self, b, items)

    step.__call__ = call


def same_adapter(model):
    "The same random adapter whatever the backend; B is not zero, so that A has a gradient too"
    import torch

    g = torch.Generator().manual_seed(1)
    for p in model.parameters():
        if p.requires_grad:
            p.data.copy_(torch.randn(p.shape, generator=g) * 0.02)


def watch(profiled, gradients, last):
    """A hook before each optimizer step:
    profile the GPU in two late steps, or keep the gradients of the first"""
    import torch
    from torch.optim.optimizer import register_optimizer_step_pre_hook
    from torch.profiler import ProfilerActivity, profile

    prof, n = profile(activities=[ProfilerActivity.CUDA]) if profiled else None, [0]
    if prof:
        prof.wall = [0.0, 0.0]

    def hook(optimizer, *_):
        opt = getattr(optimizer, 'optimizer', optimizer)
        if hasattr(optimizer, 'optimizer'):
            return
        n[0] += 1
        if prof and n[0] in (last - 3, last - 1):
            torch.cuda.synchronize()
            prof.wall[n[0] == last - 1] = time.time()
            (prof.start if n[0] == last - 3 else prof.stop)()
        if gradients and n[0] == 1:
            torch.save(
                [p.grad.float().cpu() for g in opt.param_groups for p in g['params']],
                gradients,
            )

    return prof, register_optimizer_step_pre_hook(hook)


ABOUT = (
    'scripts/bench_train.py all: random weights of the exact shape of Qwen3-8B, '
    '1,024 chats of 225 tokens on average (84 % trained), '
    'one setting after the other in one run on one machine'
)


def machine():
    import torch
    from climate_ft.preflight import versions

    return dict(device=torch.cuda.get_device_name(), versions=versions())


KINDS = dict(
    attention='flash|fmha',
    matmul='gemm|cutlass|nvjet|xmma|cublas|wgmma',
    dequantise='equantize|nf4',
    optimizer='kOptimizer|multi_tensor|Percentile',
    copy='[Mm]emcpy|[Mm]emset|copy',
)


def summary(prof, steps=2):
    "GPU milliseconds an optimizer step by kind of kernel, against the wall time"
    kernels = sorted(
        (
            (k.key, k.self_device_time_total / 1e3 / steps, k.count / steps)
            for k in prof.key_averages()
            if k.self_device_time_total
        ),
        key=lambda k: -k[1],
    )

    def kind(key):
        return next((k for k, p in KINDS.items() if re.search(p, key)), 'other')

    return dict(
        wall_ms=round((prof.wall[1] - prof.wall[0]) * 1e3 / steps, 1),
        busy_ms=round(sum(k[1] for k in kernels), 1),
        launches=round(sum(k[2] for k in kernels)),
        kinds={
            o: round(sum(ms for key, ms, _ in kernels if kind(key) == o), 2)
            for o in (*KINDS, 'other')
        },
        top=[(key[:80], round(ms, 3), round(c)) for key, ms, c in kernels[:25]],
    )


def line(n, r):
    p = r.get('profile', {})
    return (
        f"{n:34} {r.get('tokens_per_second') or 'FAILED':>7} tokens/s  peak "
        f"{r.get('peak_allocated_gib', ''):>6} / {r.get('peak_reserved_gib', ''):>6} GiB, "
        f"load {r.get('load_peak_gib', ''):>6}, tokens {r.get('most_tokens', '')}, "
        f"{r.get('recordings') or 0} recordings, {r.get('load_seconds', 0):.0f} "
        f"of {r.get('elapsed', 0):.0f} s  {r.get('error', '')[-700:]}"
        + (
            f"\n    {p['wall_ms']} ms wall, {p['busy_ms']} busy, "
            f"{p['launches']} launches, {p['kinds']}"
            if p
            else ''
        )
    )


def group(folder, k, names):
    "The settings of one process, when it is its turn"
    if SETTINGS[names[0]]['backend'] == 'unsloth':
        import unsloth
    import torch
    import trl
    import peft
    import bitsandbytes
    import traceback
    import climate_ft.train

    (folder / f'ready{k}').touch()
    while not (folder / f'turn{k}').exists():
        time.sleep(0.05)
    for n in names:
        try:
            r = one(folder, n)
        except BaseException as e:
            r = dict(error=''.join(traceback.format_exception(e))[-2500:])
        (folder / f'{n}.json').write_text(json.dumps(r))
        print(line(n, r), flush=True)
        gc.collect()
        torch.cuda.empty_cache()


def differences(folder):
    """Relative distance of the gradients of one batch
    of eight examples, over all adapter weights"""
    import torch

    g = {
        n: torch.cat([x.flatten().cuda() for x in torch.load(f)])
        for n in ('original', 'graphs', 'fp32')
        if (
            f := next((folder / f'{g}.grads.pt' for g in GRADIENTS if g.startswith(n)))
        ).exists()
    }
    return {
        f'{a} to {b}': ((g[a] - g[b]).norm() / g[b].norm()).item()
        for a, b in (('graphs', 'original'), ('graphs', 'fp32'), ('original', 'fp32'))
        if a in g and b in g
    }


def said(out):
    "What Unsloth reported in a run"
    lines = [l.strip() for l in out.read_text().splitlines() if l.startswith('Unsloth: ')]
    return dict(messages=list(dict.fromkeys(lines))) if lines else {}


def run(folder, out, tokenizer, names):
    "All settings; a failure is recorded and does not stop the others"
    folder.mkdir(parents=True, exist_ok=True)
    t0, groups = time.time(), {}
    kept = (
        json.loads(out.read_text())
        if names and out.is_file()
        else dict(gradients={}, settings={})
    )
    seen = kept['gradients']
    for n in names or [n for n in SETTINGS if n != 'dataset-4bit']:
        groups[n] = [n]
    for f in (
        *folder.glob('turn*'),
        *folder.glob('ready*'),
        *(folder / f'{n}.json' for n in groups),
    ):
        f.unlink(missing_ok=True)
    ps = [
        subprocess.Popen(
            [sys.executable, __file__, 'group', str(folder), str(k), *ns],
            env=os.environ | (ENV8 if key == 'original-8bit' else {}),
            stderr=open(folder / f'log{k}', 'w'),
            stdout=open(folder / f'out{k}', 'w'),
        )
        for k, (key, ns) in enumerate(groups.items())
    ]
    if not (folder / 'nf4/config.json').exists():
        make(folder, tokenizer)
    print(f'model made after {time.time() - t0:.0f} s', flush=True)
    for k, (p, ns) in enumerate(zip(ps, groups.values())):
        while not (folder / f'ready{k}').exists() and p.poll() is None:
            time.sleep(0.05)
        print(f'turn of {ns[0]} after {time.time() - t0:.0f} s', flush=True)
        (folder / f'turn{k}').touch()
        try:
            p.wait(300 if SETTINGS[ns[0]].get('dataset') else 120)
        except subprocess.TimeoutExpired:
            p.kill()
        print(
            (folder / f'out{k}').read_text()[-6000:]
            or (folder / f'log{k}').read_text()[-1500:],
            flush=True,
        )
        results = {
            n: json.loads(f.read_text()) | said(folder / f'out{i}')
            if (f := folder / f'{n}.json').is_file()
            else dict(error='not finished')
            for i, ns in enumerate(groups.values())
            for n in ns
        }
        out.write_text(
            json.dumps(
                dict(
                    about=ABOUT,
                    **machine(),
                    seconds=round(time.time() - t0),
                    gradients=differences(folder) if ns[0] in GRADIENTS else seen,
                    settings=kept['settings'] | results,
                ),
                indent=1,
            )
            + '\n'
        )
        seen = json.loads(out.read_text())['gradients']
    print(seen)


if __name__ == '__main__':
    match sys.argv[1:]:
        case ['all', folder, out, tokenizer, *names]:
            run(Path(folder), Path(out), tokenizer, names)
        case ['group', folder, k, *names]:
            group(Path(folder), k, names)
        case ['list']:
            print('\n'.join(SETTINGS))
        case _:
            sys.exit(__doc__)
