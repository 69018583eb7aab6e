"""Where the time of a training step goes: the course's own dataset, eight examples a step,
packed.

usage: python scripts/profile_step.py MODEL_DIR OUT.json [STEPS]
        MODEL_DIR: a model in NF4, see scripts/bench_run.py make

Two trainings of one model. `recorded` runs as a training runs: wall time of a step without the
profiler, then some steps under it, with the kernels sorted by their names, the time in which
no kernel ran (gaps), and what the processor did meanwhile. `unrecorded` runs the same steps as
ordinary code, so that each kernel can be counted to the part of the program that asked for it.
Milliseconds are means over the profiled steps. Without a GPU the processor's own time is
counted instead."""

import gc
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPO), str(REPO / 'scripts')]
os.environ |= dict(
    HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1', TOKENIZERS_PARALLELISM='false'
)

PARTS = ('attention', 'dequantise', 'matmul', 'lora', 'loss', 'optimizer', 'other')
KINDS = dict(
    attention='flash|fmha|attention',
    dequantise='equantize|nf4',
    optimizer='kOptimizer|multi_tensor|Percentile|norm_kernel',
    matmul='gemm|cutlass|nvjet|xmma|cublas|wgmma',
    copy='[Mm]emcpy|[Mm]emset|copy',
)


def marked(f, name):
    "`f` in a range that the profiler names"
    from torch.profiler import record_function

    def call(*a, **kw):
        with record_function(f'part:{name}'):
            return f(*a, **kw)

    return call


@contextmanager
def marks(module, **names):
    "Functions of `module` in ranges while the block runs"
    before = {f: getattr(module, f) for f in names}
    for f, name in names.items():
        setattr(module, f, marked(before[f], name))
    try:
        yield
    finally:
        for f, old in before.items():
            setattr(module, f, old)


def part_of(event, r):
    "The part of the program that an operation belongs to"
    names, e = [], event
    while e is not None:
        names.append(e.name)
        e = e.cpu_parent
    for n in names:
        if n.startswith('part:') and n[5:] in PARTS:
            return n[5:]
    if any('flash' in n or 'scaled_dot_product' in n for n in names):
        return 'attention'
    if event.name in ('aten::mm', 'aten::addmm', 'aten::addmm_'):
        return (
            'lora'
            if any(r in s for s in event.input_shapes if isinstance(s, (list, tuple)))
            else 'matmul'
        )
    if any(n.startswith('Optimizer.step') for n in names):
        return 'optimizer'
    return 'lora' if any('LoraLinear' in n for n in names) else 'other'


def own_time(event, gpu):
    "Milliseconds of an operation without those that it called"
    return (event.self_device_time_total if gpu else event.self_cpu_time_total) / 1e3


def by_part(prof, r, steps, gpu):
    "Milliseconds a step of each part"
    from torch.autograd import DeviceType

    total = Counter({p: 0.0 for p in PARTS})
    for e in prof.events():
        if e.device_type == DeviceType.CPU and not e.name.startswith(('part:', 'host:')):
            total[part_of(e, r)] += own_time(e, gpu)
    return {p: round(t / steps, 3) for p, t in total.items()}


def busy(spans):
    "Length of the union of time spans"
    total, end = 0.0, float('-inf')
    for a, b in sorted(spans):
        total += max(0.0, b - max(a, end))
        end = max(end, b)
    return total


def kernels(prof, steps):
    "What ran on the GPU: by kind of kernel, the busy time, the gaps between kernels"
    from torch.autograd import DeviceType

    ran = [
        e
        for e in prof.events()
        if e.device_type == DeviceType.CUDA
        and not e.name.startswith(('part:', 'host:', 'ProfilerStep', 'Optimizer'))
    ]
    if not ran:
        return {}
    spans = sorted((e.time_range.start, e.time_range.end) for e in ran)
    kind = lambda n: next((k for k, p in KINDS.items() if re.search(p, n)), 'other')
    kinds, top, times = Counter(), Counter(), Counter()
    for e in ran:
        ms = (e.time_range.end - e.time_range.start) / 1e3 / steps
        kinds[kind(e.name)] += ms
        top[e.name[:90]] += ms
        times[e.name[:90]] += 1
    gaps = [(b[0] - a[1]) / 1e3 for a, b in zip(spans, spans[1:]) if b[0] > a[1]]
    whole = (max(b for _, b in spans) - spans[0][0]) / 1e3 / steps
    return dict(
        from_first_to_last_ms=round(whole, 2),
        busy_ms=round(busy(spans) / 1e3 / steps, 2),
        gaps_ms=round(whole - busy(spans) / 1e3 / steps, 2),
        gaps_longer_than_100_us=dict(
            number=round(sum(g > 0.1 for g in gaps) / steps, 1),
            ms=round(sum(g for g in gaps if g > 0.1) / steps, 2),
        ),
        launches=round(len(ran) / steps),
        kinds={k: round(t, 3) for k, t in kinds.most_common()},
        top=[(n, round(t, 3), round(times[n] / steps, 1)) for n, t in top.most_common(25)],
    )


def host(prof, steps):
    """Milliseconds a step that the processor spent in
    each piece of the training loop, waiting included"""
    total = Counter()
    for e in prof.events():
        if e.name.startswith('host:') and e.cpu_time_total:
            total[e.name[5:]] += e.cpu_time_total / 1e3 / steps
    return {k: round(t, 3) for k, t in total.most_common()}


def watch_host(trainer):
    "Name the pieces of the training loop"
    from torch.profiler import record_function

    names = dict(
        get_batch_samples='fetch batches',
        training_step='step',
        _clip_grad_norm='clip',
        _maybe_log_save_evaluate='log and save',
    )
    for f, name in names.items():

        def call(*a, f=getattr(trainer, f), name=name, **kw):
            with record_function(f'host:{name}'):
                return f(*a, **kw)

        setattr(trainer, f, call)


def profiled(trainer, first, last):
    """A callback that profiles the steps after `first` up to `last`,
    and times those before without it"""
    import torch
    from torch.profiler import ProfilerActivity, profile
    from transformers import TrainerCallback

    gpu = torch.cuda.is_available()
    wait = torch.cuda.synchronize if gpu else lambda: None

    class Profile(TrainerCallback):
        prof = profile(
            activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * gpu,
            record_shapes=True,
        )
        marks = {}

        def on_step_end(self, args, state, control, **kw):
            if state.global_step in (first // 2, first, last):
                wait()
                self.marks[state.global_step] = time.perf_counter(), int(trainer.seen)
            if state.global_step == first:
                watch_host(trainer)
                self.prof.start()
            if state.global_step == last:
                self.prof.stop()
                control.should_training_stop = True

    return Profile()


def run(base, folder, graphs, first, last):
    "One training; the profile, and the plain wall time of a step"
    import torch
    import climate_ft.fast as fast
    import climate_ft.train as T
    from bench_gpus import workspace
    from transformers import AutoTokenizer

    ws = workspace(folder, 'course')
    layout = 'auto' if torch.cuda.is_available() else 'padding_free'
    cfg = T.settle(
        T.TrainConfig(
            name='profile',
            base=str(base),
            batch_size=8,
            accumulation=1,
            warmup=2,
            max_steps=last + 1,
            graphs=graphs,
            layout=layout,
            checkpointing='off',
            tensorboard=False,
            save_steps=10**6,
        )
    )
    d = T.training_data(cfg, ws, AutoTokenizer.from_pretrained(base))
    trainer = T.build_trainer(cfg, ws, d)
    watch = profiled(trainer, first, last)
    trainer.add_callback(watch)
    with marks(fast, expand='dequantise', packed_attention='attention', head_loss='loss'):
        if not graphs:
            fast.use_packed_attention(trainer.model.get_base_model())  # the marked one
        trainer.train()
    (t0, n0), (t1, n1) = watch.marks[first // 2], watch.marks[first]
    plain = dict(
        wall_ms=round((t1 - t0) / (first - first // 2) * 1e3, 2),
        tokens=round((n1 - n0) / (first - first // 2), 1),
        tokens_per_second=round((n1 - n0) / (t1 - t0)),
    )
    recordings = len(trainer.step.graphs)
    return (
        watch.prof,
        plain,
        dict(
            recordings=recordings,
            settled={k: getattr(cfg, k) for k in ('backend', 'dtype', 'layout', 'graphs')},
            r=cfg.r,
        ),
    )


def main(base, out, steps='10'):
    import torch
    from climate_ft.preflight import versions

    gpu, n = torch.cuda.is_available(), int(steps)
    result = dict(
        about=__doc__.split('\n')[0],
        device=torch.cuda.get_device_name() if gpu else 'CPU',
        versions=versions(),
        profiled_steps=n,
    )
    for name, graphs, first in (('recorded', None, 100), ('unrecorded', False, 20)):
        first = first if gpu else 4
        with tempfile.TemporaryDirectory() as d:
            prof, plain, how = run(Path(base).resolve(), d, graphs, first, first + n)
        result[name] = dict(
            how, without_profiler=plain, gpu=kernels(prof, n), processor_ms=host(prof, n)
        )
        if name == 'unrecorded':
            result[name]['parts_ms'] = by_part(prof, how['r'], n, gpu)
        Path(out).write_text(json.dumps(result, indent=1, default=str) + '\n')
        del prof
        gc.collect()
        if gpu:
            torch.cuda.empty_cache()
    for name in ('recorded', 'unrecorded'):
        r = result[name]
        print(
            name,
            r['without_profiler'],
            {k: v for k, v in r['gpu'].items() if k != 'top'},
            r['processor_ms'],
            r.get('parts_ms', ''),
        )


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
