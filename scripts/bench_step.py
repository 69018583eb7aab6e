"""What shortens a training step of the course's own dataset, one change at a time, and where
the time of the recorded step goes: results/bench_step.json.

usage: python scripts/bench_step.py MODEL_DIR OUT.json [BITS]
        MODEL_DIR: a model in NF4, or in bf16 for 8 bits, see scripts/bench_run.py make

Eight examples a step, packed into one row. Milliseconds are means of the steps 71 to 170,
timed without a profiler after the GPU has finished; each way trains the same examples from the
same adapter. `profile` is that of scripts/profile_step.py. Without a GPU a few steps show that
the script works."""

import gc
import json
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPO), str(REPO / 'scripts')]
from profile_step import by_part, host, kernels, run as profiled_run

WAYS = {
    'each operation started by Python': dict(graphs=False, bucket=256, keep=False),
    'the step recorded': dict(graphs=None, bucket=256, keep=False),
    'rows filled to 128 tokens': dict(graphs=None, bucket=128, keep=False),
    'expanded weights kept': dict(graphs=None, bucket=256, keep=True),
    'both': dict(graphs=None, bucket=128, keep=True),
}


def trainer_of(base, folder, bits, graphs, bucket, keep, last):
    "A trainer of the course that steps as asked"
    import climate_ft.train as T
    from bench_gpus import workspace
    from transformers import AutoTokenizer

    ws = workspace(folder, 'course')
    cfg = T.TrainConfig(name='step', base=str(base), bits=bits, batch_size=8, accumulation=1)
    more = dict(warmup=2, max_steps=last + 1, checkpointing='off', tensorboard=False)
    for k, v in (more | dict(graphs=graphs, save_steps=10**6)).items():
        setattr(cfg, k, v)
    cfg = T.settle(cfg)
    stay = T.use_spare_memory
    T.use_spare_memory = stay if keep else lambda *a: 0
    try:
        data = T.training_data(cfg, ws, AutoTokenizer.from_pretrained(base))
        trainer = T.build_trainer(cfg, ws, data)
    finally:
        T.use_spare_memory = stay
    if hasattr(trainer.data_collator, 'bucket'):
        trainer.data_collator.bucket = bucket
    return trainer


def timed(trainer, first, last):
    "Milliseconds and tokens of a step, and the losses at both ends"
    import torch
    from transformers import TrainerCallback

    marks, gpu = {}, torch.cuda.is_available()

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, **kw):
            if state.global_step in (first, last):
                if gpu:
                    torch.cuda.synchronize()
                marks[state.global_step] = time.perf_counter(), int(trainer.seen)

    trainer.add_callback(Watch())
    trainer.train()
    (t0, n0), (t1, n1) = marks[first], marks[last]
    losses = [h['loss'] for h in trainer.state.log_history if 'loss' in h]
    return dict(
        ms=round((t1 - t0) / (last - first) * 1e3, 1),
        tokens=round((n1 - n0) / (last - first), 1),
        losses=[round(l, 4) for l in losses[:3] + losses[-3:]],
    )


def profile(base, n):
    "Kernels, gaps and the parts of the program, as scripts/profile_step.py finds them"
    import torch

    gpu, out = torch.cuda.is_available(), {}
    for name, graphs, first in (('recorded', None, 100), ('unrecorded', False, 20)):
        first = first if gpu else 2
        with tempfile.TemporaryDirectory() as d:
            prof, plain, how = profiled_run(base, d, graphs, first, first + n)
        out[name] = dict(how, without_profiler=plain, gpu=kernels(prof, n))
        out[name]['processor_ms'] = host(prof, n)
        if not graphs and name == 'unrecorded':
            out[name]['parts_ms'] = by_part(prof, how['r'], n, gpu)
    return out


def main(base, out, bits='4'):
    import torch
    from climate_ft.preflight import versions

    gpu, base = torch.cuda.is_available(), Path(base).resolve()
    first, last = (70, 170) if gpu else (1, 3)
    result = dict(
        about=__doc__.split('\n\n')[0].replace('\n', ' '),
        device=torch.cuda.get_device_name() if gpu else 'CPU',
        versions=versions(),
        bits=int(bits),
        ways={},
    )
    for name, way in WAYS.items():
        with tempfile.TemporaryDirectory() as d:
            trainer = trainer_of(base, d, int(bits), **way, last=last)
            result['ways'][name] = timed(trainer, first, last)
        del trainer
        gc.collect()
        if gpu:
            torch.cuda.empty_cache()
        print(name, result['ways'][name], flush=True)
        Path(out).write_text(json.dumps(result, indent=1) + '\n')
    result['profile'] = profile(base, 10 if gpu else 1)
    Path(out).write_text(json.dumps(result, indent=1, default=str) + '\n')


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
