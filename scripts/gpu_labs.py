"""What labs 21, 24 and 25 measure on a GPU: results/gpu_labs.json, about five minutes on an
H100.

    python scripts/gpu_labs.py --out results/gpu_labs.json
    python scripts/gpu_labs.py --dry --out out.json     tiny, on a CPU

Random weights in Qwen3-8B's exact shape; no download. Every part runs in a process of its own
with a time limit and saves what it has after each measurement, so that a part that fails or is
stopped costs only itself. Unsloth is needed for `unsloth4` and `compile`; without it they say
so."""

import argparse
import gc
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

warnings.filterwarnings('ignore')
os.environ.update(
    HF_HUB_OFFLINE='1',
    TRANSFORMERS_VERBOSITY='error',
    TQDM_DISABLE='1',
    TOKENIZERS_PARALLELISM='false',
    UNSLOTH_DISABLE_STATISTICS='1',
)
REPO, GiB = Path(__file__).resolve().parent.parent, 2**30
SEVEN = 'q_proj k_proj v_proj o_proj gate_proj up_proj down_proj'.split()
CAP = 15  # GiB, what a T4 leaves
FULL = dict(
    vocab_size=151936,
    hidden_size=4096,
    intermediate_size=12288,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    tie_word_embeddings=False,
)
TINY = dict(
    vocab_size=7680,
    hidden_size=64,
    intermediate_size=192,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    tie_word_embeddings=False,
)
LAYERS, THIN = (
    36,
    4,
)  # of the whole model; of the one for questions in which depth does not matter


class Saver:
    "Results of one part, written after every change"

    def __init__(self, path):
        self.path, self.d = Path(path), {}

    def __setitem__(self, k, v):
        self.d[k] = v
        tmp = self.path.with_suffix('.tmp')
        tmp.write_text(json.dumps(self.d))
        os.replace(tmp, self.path)
        print(f'  {k}: {json.dumps(v[-1] if k == "rows" else v)[:200]}', flush=True)

    def row(self, **kw):
        self['rows'] = self.d.get('rows', []) + [kw]


def cuda():
    import torch

    return torch.cuda.is_available()


def device():
    return 'cuda' if cuda() else 'cpu'


def sync():
    import torch

    if cuda():
        torch.cuda.synchronize()


def memory(kind='memory_allocated'):  # GiB
    import torch

    return round(getattr(torch.cuda, kind)() / GiB, 3) if cuda() else 0.0


def reset():
    import torch

    gc.collect()
    if cuda():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def cap(gib):
    import torch

    if cuda():
        torch.cuda.set_per_process_memory_fraction(
            min(1.0, gib * GiB / torch.cuda.get_device_properties(0).total_memory)
        )


def message(e):
    return f'{type(e).__name__}: {" ".join(str(e).split())[:600]}'


def seconds(f, n=10):
    f()
    sync()
    t = time.perf_counter()
    for _ in range(n):
        f()
    sync()
    return (time.perf_counter() - t) / n


def build(layers, a, dtype=None):
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    c = Qwen3Config(
        **(TINY if a.dry else FULL),
        num_hidden_layers=layers,
        max_position_embeddings=4096,
        rope_parameters=dict(rope_type='default', rope_theta=1e6),
        eos_token_id=1,
        pad_token_id=0,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(dtype or torch.bfloat16)
    with torch.device(device()):
        m = Qwen3ForCausalLM(c)
    torch.set_default_dtype(torch.float32)
    for n, p in m.named_parameters():  # three outlier channels, as trained models have them
        if n.endswith('layernorm.weight') and 'layers.' in n:
            p.data[[3, 7, 11]] = 30.0
    return m


def load(folder, bits, dtype=None, **kw):
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dt = dtype or (torch.bfloat16 if cuda() else torch.float32)
    q = {
        4: BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type='nf4',
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dt,
        ),
        8: BitsAndBytesConfig(load_in_8bit=True),
    }.get(bits)
    return AutoModelForCausalLM.from_pretrained(
        folder,
        quantization_config=q,
        dtype=dt,
        attn_implementation='sdpa',
        device_map={'': 0} if cuda() else None,
    )


def adapter(m):
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    return get_peft_model(
        m, LoraConfig(r=16, lora_alpha=16, target_modules=SEVEN, task_type='CAUSAL_LM')
    ).train()


def batch(m, b, n):
    import torch

    ids = torch.randint(10, 7000, (b, n), generator=torch.Generator().manual_seed(b * n)).to(
        device()
    )
    return dict(input_ids=ids, labels=ids)


def trained(m):
    return [p for p in m.parameters() if p.requires_grad]


# parts ---------------------------------------------------------------------------------------


def machine(out, a):
    import torch
    from importlib.metadata import PackageNotFoundError, version

    def v(p):
        try:
            return version(p)
        except PackageNotFoundError:
            return None

    out['gpu'] = torch.cuda.get_device_name() if cuda() else None
    out['memory_gib'] = (
        round(torch.cuda.get_device_properties(0).total_memory / GiB, 1) if cuda() else None
    )
    out['versions'] = {
        p: v(p)
        for p in 'torch transformers peft trl bitsandbytes unsloth unsloth_zoo triton'.split()
    }
    out['python'] = sys.version.split()[0]


def make(out, a):
    "The two models on disk"
    from transformers import AutoTokenizer

    tok = (
        a.work.parent / 'tok'
        if (a.work.parent / 'tok').is_dir()
        else REPO / 'climate_ft' / 'assets' / 'tiny_qwen3_tokenizer'
    )
    for name, layers in (
        ('thin', THIN if not a.dry else 2),
        ('full', LAYERS if not a.dry else 2),
    ):
        if (a.work / name / 'config.json').is_file():
            continue  # e.g. a link to what scripts/bench_train.py made
        t = time.time()
        m = build(layers, a)
        m.save_pretrained(a.work / name, max_shard_size='4GB')
        AutoTokenizer.from_pretrained(tok).save_pretrained(a.work / name)
        out[name] = dict(
            layers=layers,
            parameters=sum(p.numel() for p in m.parameters()),
            seconds=round(time.time() - t, 1),
        )
        del m
        reset()


def load16(out, a):
    "16-bit weights under the cap"
    out['cap_gib'] = CAP
    cap(CAP)
    t = time.time()
    try:
        load(a.work / 'full', 16)
        out['outcome'] = 'loaded'
    except Exception as e:
        out['outcome'] = message(e)
    reset()  # what people try first: free everything, and again
    try:
        load(a.work / 'full', 16)
        out['again'] = 'loaded'
    except Exception as e:
        out['again'] = message(e)
    out['seconds'], out['peak_gib'] = round(time.time() - t, 1), memory('max_memory_allocated')


def step(m, b, n, amp=False):
    """Peak of one forward and backward pass above what was there before,
    for all of it and without the output layer"""
    import torch

    got = {}
    for name in ('backbone', 'all'):
        m.zero_grad(set_to_none=True)
        reset()
        before, x = memory(), batch(m, b, n)
        t = time.perf_counter()
        with torch.autocast(device(), torch.bfloat16, enabled=amp):
            if name == 'all':
                loss = m(**x, use_cache=False).loss
            else:
                loss = (
                    m.get_base_model()
                    .model(input_ids=x['input_ids'], use_cache=False)
                    .last_hidden_state.float()
                    .pow(2)
                    .mean()
                )
        loss.backward()
        sync()
        got[name] = round(memory('max_memory_allocated') - before, 3)
        if name == 'all':
            got['seconds'] = round(time.perf_counter() - t, 3)
    m.zero_grad(set_to_none=True)
    return got


SHAPES = [(1, 512), (1, 1024), (1, 2048), (2, 2048), (4, 2048)]


def pieces(out, m, a, variants):
    "Adapter, optimizers, then the peaks of `variants` (checkpointing, batch, tokens)"
    import torch
    import bitsandbytes as bnb

    out['weights_gib'], out['load_peak_gib'] = memory(), memory('max_memory_allocated')
    m = adapter(m)
    if cuda():
        m.enable_input_require_grads()
    out['adapter_gib'] = round(memory() - out.d['weights_gib'], 3)
    for name, make_opt in dict(
        adamw_torch=torch.optim.AdamW, adamw_8bit=bnb.optim.AdamW8bit
    ).items():
        if name == 'adamw_8bit' and not cuda():
            continue
        m.zero_grad(set_to_none=True)
        reset()
        base = memory()
        for p in trained(m):
            p.grad = torch.zeros_like(p)
        grads = memory() - base
        opt = make_opt(trained(m), lr=1e-6)
        opt.step()
        out[name] = dict(
            gradients_gib=round(grads, 3), states_gib=round(memory() - base - grads, 3)
        )
        del opt
        m.zero_grad(set_to_none=True)
    for ck, b, n in variants:
        if ck:
            m.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs=dict(use_reentrant=False)
            )
        else:
            m.gradient_checkpointing_disable()
        try:
            got = step(m, b, n)
        except Exception as e:
            got = dict(error=message(e))
            m.zero_grad(set_to_none=True)
            reset()
        out.row(checkpointing=bool(ck), batch=b, tokens=n, **got)
    return m


def memory4(out, a):
    "4-bit: loads under the cap and trains there; then what each setting costs without a cap"
    cap(CAP)
    t = time.time()
    m = load(a.work / 'full', 4)
    out['load_seconds'] = round(time.time() - t, 1)
    shapes = [(1, 32), (2, 32)] if a.dry else SHAPES
    m = pieces(out, m, a, [])
    m.gradient_checkpointing_enable(gradient_checkpointing_kwargs=dict(use_reentrant=False))
    try:
        out['under_cap'] = step(m, *shapes[0 if a.dry else 2]) | dict(
            batch=1, tokens=shapes[0 if a.dry else 2][1]
        )
    except Exception as e:
        out['under_cap'] = dict(error=message(e))
    m.gradient_checkpointing_disable()
    b, n = shapes[-1 if a.dry else 3]
    try:
        out['under_cap_off'] = step(m, b, n) | dict(batch=b, tokens=n)
    except Exception as e:
        out['under_cap_off'] = dict(error=message(e), batch=b, tokens=n)
        m.zero_grad(set_to_none=True)
    cap(1000)
    reset()
    for ck in (True, False):
        if ck:
            m.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs=dict(use_reentrant=False)
            )
        else:
            m.gradient_checkpointing_disable()
        for b, n in shapes:
            if not ck and b * n > 4096:
                continue
            try:
                got = step(m, b, n)
            except Exception as e:
                got = dict(error=message(e))
                m.zero_grad(set_to_none=True)
                reset()
            out.row(checkpointing=ck, batch=b, tokens=n, **got)
    b, n = shapes[0 if a.dry else 2]
    out['autocast'] = step(m, b, n, True) | dict(checkpointing=False, batch=b, tokens=n)


def memory8(out, a):
    "8-bit: the same, fewer shapes"
    cap(CAP)
    t = time.time()
    m = load(a.work / 'full', 8)
    out['load_seconds'] = round(time.time() - t, 1)
    cap(1000)
    pieces(
        out,
        m,
        a,
        [(True, 1, 32)] if a.dry else [(True, 1, 2048), (False, 1, 512), (False, 1, 1024)],
    )


def unsloth4(out, a):
    "Unsloth's checkpointing, and none, at the course's batch"
    from unsloth import FastLanguageModel

    t = time.time()
    m, _ = FastLanguageModel.from_pretrained(
        str(a.work / 'full'), max_seq_length=2048, load_in_4bit=True, dtype=None
    )
    out['load_seconds'], out['weights_gib'] = round(time.time() - t, 1), memory()
    m = FastLanguageModel.get_peft_model(
        m,
        r=16,
        lora_alpha=16,
        lora_dropout=0,
        target_modules=SEVEN,
        bias='none',
        use_gradient_checkpointing='unsloth',
        random_state=42,
    )
    for ck in ('unsloth', False):
        FastLanguageModel.for_training(m, use_gradient_checkpointing=bool(ck))
        for b, n in ((2, 32),) if a.dry else ((1, 2048), (2, 2048)):
            got = {}
            try:
                for _ in range(2):  # the first pass compiles
                    m.zero_grad(set_to_none=True)
                    reset()
                    before = memory()
                    t = time.perf_counter()
                    m(**batch(m, b, n)).loss.backward()
                    sync()
                    got = dict(
                        all=round(memory('max_memory_allocated') - before, 3),
                        seconds=round(time.perf_counter() - t, 3),
                    )
            except Exception as e:
                got = dict(error=message(e))
            out.row(checkpointing=ck or 'off', batch=b, tokens=n, **got)


def fragment(out, a):
    """Half of the memory is free and no block fits; with the default allocator,
    or with expandable segments (set by the parent)"""
    import torch

    out['allocator'] = os.environ.get('PYTORCH_ALLOC_CONF', 'default')
    if not cuda():
        out['skipped'] = 'needs a GPU'
        return
    torch.zeros(1, device='cuda')
    base = memory('memory_reserved')
    cap(base + 4)
    mib = 2**20
    blocks = []
    try:
        while len(blocks) < 60:
            blocks.append(torch.empty(64 * mib, dtype=torch.uint8, device='cuda'))
    except torch.OutOfMemoryError:
        pass
    out['blocks'] = len(blocks)
    del blocks[::2]
    out['state'] = dict(allocated=memory(), reserved=memory('memory_reserved'))
    try:
        torch.empty(192 * mib, dtype=torch.uint8, device='cuda')
        out['request_192_mib'] = 'ok'
    except torch.OutOfMemoryError as e:
        out['request_192_mib'] = message(e)
    blocks = None
    cap(1000)
    reset()
    g = torch.Generator().manual_seed(0)
    peak = 0  # training steps of changing length: 36 kept states and one large logit block
    for _ in range(60):
        n = int(torch.randint(100, 2048, (1,), generator=g))
        keep = [
            torch.empty(n * 4096 * 14, dtype=torch.uint8, device='cuda') for _ in range(36)
        ]
        logits = torch.empty(n * 151936 * 4, dtype=torch.uint8, device='cuda')
        peak = max(peak, memory())
        del keep, logits
    out['varying_lengths'] = dict(
        peak_allocated_gib=peak, reserved_gib=memory('memory_reserved')
    )


def fragment_default(out, a):
    fragment(out, a)


def fragment_expandable(out, a):
    fragment(out, a)


def matmul8(out, a):
    "Backward of an 8-bit product against fp32"
    import torch
    import bitsandbytes.functional as F
    from bitsandbytes.autograd._functions import MatMul8bitLt, MatmulLtState

    logging.getLogger('bitsandbytes.autograd._functions').setLevel(logging.ERROR)

    def error(x, y):
        return round(float((x.float() - y.float()).norm() / y.float().norm()), 6)

    c = TINY if a.dry else FULL
    h, i = c['hidden_size'], c['intermediate_size']
    for k, n in ((h, h), (h, i), (i, h)):
        for outlier in (0, 60):
            torch.manual_seed(0)
            W, x, dy = (
                torch.randn(*s, device=device()) * f
                for s, f in (
                    ((n, k), k**-0.5),
                    ((2, 512 if cuda() else 16, k), 1),
                    ((2, 512 if cuda() else 16, n), 1),
                )
            )
            if outlier:
                x[..., 3] *= outlier
            s = MatmulLtState()
            s.CB, s.SCB, _ = F.int8_vectorwise_quant(W.half())
            s.threshold, s.has_fp16_weights, s.is_training = 6.0, False, True
            dt = torch.bfloat16 if cuda() else torch.float32
            xq = x.to(dt, copy=True).requires_grad_()
            y = MatMul8bitLt.apply(xq, s.CB, None, None, s)
            y.backward(dy.to(dt))
            xb = x.to(dt, copy=True).requires_grad_()
            yb = xb @ W.to(dt).T
            yb.backward(dy.to(dt))
            Wq = s.CB.float() * s.SCB[:, None] / 127
            out.row(
                shape=f'{k} to {n}',
                outlier=outlier,
                forward=error(y, x @ W.T),
                backward=error(xq.grad, dy @ W),
                backward_dequantised=error(xq.grad, dy @ Wq),
                forward_16bit=error(yb, x @ W.T),
                backward_16bit=error(xb.grad, dy @ W),
                zero=int((xq.grad == 0).sum()),
                finite=bool(xq.grad.isfinite().all()),
                int8_ms=round(
                    1e3
                    * seconds(lambda: MatMul8bitLt.apply(xq.detach(), s.CB, None, None, s)),
                    3,
                ),
                bf16_ms=round(1e3 * seconds(lambda: xb.detach() @ W.to(dt).T), 3),
            )


def grads8(out, a):
    "Adapter gradients of the thin model in each precision, against fp32"
    import torch

    ref = None
    for name, bits, dt in (
        ('fp32', 16, torch.float32),
        ('bf16', 16, torch.bfloat16),
        ('8-bit', 8, None),
        ('4-bit', 4, None),
    ):
        m = adapter(load(a.work / 'thin', bits, dt))
        g = torch.Generator().manual_seed(1)
        for n, p in m.named_parameters():
            if 'lora_B' in n:
                p.data = (torch.randn(p.shape, generator=g) * 0.01).to(p)
        loss = m(**batch(m, 1, 32 if a.dry else 512)).loss
        loss.backward()
        now = {
            n: p.grad.float().flatten().cpu()
            for n, p in m.named_parameters()
            if p.requires_grad
        }
        ref = ref or now
        cos = [
            float(torch.nn.functional.cosine_similarity(now[n], ref[n], dim=0)) for n in ref
        ]
        out.row(
            precision=name,
            loss=round(loss.item(), 4),
            grad_norm=round(float(torch.cat([*now.values()]).norm()), 5),
            tensors=len(now),
            none=sum(p.grad is None for p in trained(m)),
            zero=sum(not bool(v.any()) for v in now.values()),
            cosine_min=round(min(cos), 4),
            cosine_median=round(statistics.median(cos), 4),
        )
        del m, loss
        reset()


def fp16(out, a):
    "Loss scale that half precision survives: from PyTorch's 65536 down, the adapter in fp32"
    import torch

    m = adapter(load(a.work / 'thin', 16, torch.float16))
    for scale in (2.0**24, 2.0**20, 2.0**16, 2.0**12, 1.0):
        m.zero_grad(set_to_none=True)
        loss = m(**batch(m, 1, 32 if a.dry else 512)).loss
        (loss * scale).backward()
        g = [p.grad for p in trained(m)]
        out.row(
            scale=scale,
            loss=round(loss.item(), 4),
            not_finite=sum(not bool(v.isfinite().all()) for v in g),
            zero=sum(not bool(v.any()) for v in g),
            tensors=len(g),
        )


def probe(out, a):
    "scripts/probe_compile.py on this machine"
    sys.path.insert(0, str(REPO / 'scripts'))
    from probe_compile import probe

    out['run'] = probe(device())


def compile_run(out, a):
    "The thin model in 8-bit through Unsloth, as the environment says"
    os.chdir(
        tempfile.mkdtemp(dir=a.work)
    )  # Unsloth writes its generated code into the current folder
    os.environ['TORCHINDUCTOR_CACHE_DIR'] = os.path.join(os.getcwd(), 'inductor')
    from unsloth import FastLanguageModel
    import torch

    m, tok = FastLanguageModel.from_pretrained(
        str(a.work / 'thin'),
        max_seq_length=2048,
        load_in_4bit=False,
        load_in_8bit=True,
        dtype=None,
    )
    from collections import Counter

    out['layers'] = dict(
        Counter(
            type(x).__name__
            for x in m.modules()
            if type(x).__name__ in ('Linear8bitLt', 'Linear4bit')
        )
    )
    m = FastLanguageModel.get_peft_model(
        m,
        r=16,
        lora_alpha=16,
        lora_dropout=0,
        target_modules=SEVEN,
        bias='none',
        use_gradient_checkpointing=False,
        random_state=42,
    )
    opt = torch.optim.AdamW(trained(m), lr=2e-4)
    m.train()
    reset()
    g = torch.Generator().manual_seed(0)
    times, losses, norms = [], [], []
    for k in range(4 if a.dry else 24):
        n = (
            int(torch.randint(16, 32, (1,), generator=g))
            if a.dry
            else int(torch.randint(100, 700, (1,), generator=g))
        )
        sync()
        t = time.perf_counter()
        loss = m(**batch(m, 1, n)).loss
        loss.backward()
        norms.append(round(float(torch.nn.utils.clip_grad_norm_(trained(m), 1.0)), 4))
        opt.step()
        opt.zero_grad()
        sync()
        times.append(round(time.perf_counter() - t, 4))
        losses.append(round(loss.item(), 4))
        if k in (0, 3):
            out['seconds'] = times
    out['seconds'], out['losses'], out['grad_norms'], out['peak_gib'] = (
        times,
        losses,
        norms,
        memory('max_memory_allocated'),
    )


VARIANTS = {
    'on': {},
    'UNSLOTH_DISABLE_TORCH_COMPILE': dict(UNSLOTH_DISABLE_TORCH_COMPILE='1'),
    'UNSLOTH_COMPILE_DISABLE': dict(UNSLOTH_COMPILE_DISABLE='1'),
    'TORCH_COMPILE_DISABLE': dict(TORCH_COMPILE_DISABLE='1'),
}
# name -> function, seconds at most, environment
PARTS = dict(
    machine=(machine, 60, {}),
    make=(make, 150, {}),
    load16=(load16, 60, {}),
    memory4=(memory4, 120, {}),
    memory8=(memory8, 90, {}),
    unsloth4=(unsloth4, 150, {}),
    matmul8=(matmul8, 60, {}),
    grads8=(grads8, 60, {}),
    fp16=(fp16, 60, {}),
    fragment_default=(fragment_default, 40, {}),
    fragment_expandable=(
        fragment_expandable,
        40,
        dict(
            PYTORCH_ALLOC_CONF='expandable_segments:True',
            PYTORCH_CUDA_ALLOC_CONF='expandable_segments:True',
        ),
    ),
    probe=(probe, 90, {}),
    **{f'compile {k}': (compile_run, 120, v) for k, v in VARIANTS.items()},
)
ALONE, LANES = (
    ['machine', 'make'],
    [
        ['load16', 'memory4', 'memory8', 'unsloth4'],
        ['matmul8', 'grads8', 'fp16', 'fragment_default', 'fragment_expandable', 'probe'],
    ],
)


def start(name, a):
    f = a.work / f'{name.replace(" ", "_")}.json'
    f.unlink(missing_ok=True)
    cmd = [
        sys.executable,
        __file__,
        '--part',
        name,
        '--work',
        str(a.work),
        '--out',
        str(f),
    ] + ['--dry'] * a.dry
    print(f'{name} starts at {time.time() - a.t0:.0f} s', flush=True)
    return (
        f,
        subprocess.Popen(
            cmd,
            env={**os.environ, **PARTS[name][2]},
            stdout=sys.stdout,
            stderr=open(f.with_suffix('.err'), 'w'),
        ),
        time.time(),
    )


def finish(name, f, p, t, results, a, timeout):
    "Wait for a part, at most `timeout` seconds; True if it is over"
    try:
        rc = p.wait(timeout)
    except subprocess.TimeoutExpired:
        if time.time() - t < PARTS[name][1] * (20 if a.dry else 1):
            return False
        p.kill()
        p.wait()
        rc = 'stopped at the time limit'
    d = json.loads(f.read_text()) if f.is_file() else {}
    if rc:
        d['failed'] = rc if isinstance(rc, str) else f.with_suffix('.err').read_text()[-1500:]
    results[name] = d | dict(part_seconds=round(time.time() - t, 1))
    tmp = a.out.with_suffix('.tmp')
    tmp.write_text(json.dumps(results, indent=1) + '\n')
    os.replace(tmp, a.out)
    print(f'{name} {"failed" if rc else "done"} in {time.time() - t:.0f} s', flush=True)
    return True


def run(lanes, results, a):
    "Parts of each lane one after the other, the lanes side by side"
    lanes, now = [list(l) for l in lanes], {}
    while lanes := [l for l in lanes if l]:
        for i, l in enumerate(lanes):
            if l[0] not in now:
                if time.time() - a.t0 > a.budget:
                    results[l[0]] = dict(failed='no time left')
                    l.pop(0)
                    continue
                now[l[0]] = start(l[0], a)
            if finish(l[0], *now[l[0]], results, a, 0.2):
                l.pop(0)


if __name__ == '__main__':
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument('--out', type=Path, required=True)
    p.add_argument('--dry', action='store_true')
    p.add_argument(
        '--budget', type=float, default=420, help='seconds after which no part starts'
    )
    p.add_argument('--only', nargs='*', help='names of parts')
    p.add_argument('--work', type=Path, default=Path(tempfile.gettempdir()) / 'gpu_labs')
    p.add_argument('--part', help=argparse.SUPPRESS)
    a = p.parse_args()
    a.t0 = time.time()
    a.work.mkdir(parents=True, exist_ok=True)
    if a.part:
        sys.stdout.reconfigure(line_buffering=True)
        PARTS[a.part][0](Saver(a.out), a)
    else:
        a.out.parent.mkdir(parents=True, exist_ok=True)
        results = json.loads(a.out.read_text()) if a.out.is_file() and a.only else {}
        keep = lambda names: [n for n in names if not a.only or n in a.only or n in ALONE]
        run([keep(ALONE)], results, a)
        run([keep(l) for l in LANES], results, a)
        compiles = keep([n for n in PARTS if n.startswith('compile')])
        run([compiles], results, a)  # timed: one after the other
        results['total_seconds'] = round(time.time() - a.t0, 1)
        a.out.write_text(json.dumps(results, indent=1) + '\n')
        print('total', results['total_seconds'], 's')
