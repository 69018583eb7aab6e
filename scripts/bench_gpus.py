"""One training on one GPU and on several: tokens a second, and whether the losses are the
same.

usage: python scripts/bench_gpus.py MODEL_DIR OUT.json [GPUS]
        GPUS: processes to compare with one, all GPUs if left out

MODEL_DIR is a folder of a model stored in NF4, such as `scripts/bench_run.py make` builds with
random weights. Two works: `course`, the course's own dataset with eight examples a step, and
`long`, 32 examples of 225 tokens a step. tokens/s is over the steps after the tenth in which
no CUDA graph was recorded; `wall_seconds` has everything, loading included. Each training runs
in processes of its own. The trainings on one GPU run side by side, each on a card of its own.
Without a GPU it runs on the processor, which shows that it works."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPO), str(REPO / 'scripts')]
os.environ |= dict(
    HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1', TOKENIZERS_PARALLELISM='false'
)
os.environ.setdefault('NCCL_NVLS_ENABLE', '0')
WORKS = dict(
    course=dict(batch_size=8, accumulation=1, max_steps=150),
    long=dict(batch_size=32, accumulation=1, max_steps=40),
)


def workspace(folder, work):
    "A workspace with the training split of `work`, without dev rows"
    from bench_train import rows
    from climate_ft.workspace import Workspace, write_jsonl

    ws = Workspace(folder)
    f = ws.path('splits') / 'train.jsonl'
    if work == 'long':
        write_jsonl(f, rows(1280))
    else:
        f.parent.mkdir(parents=True)
        shutil.copy(REPO / 'data/splits/train.jsonl', f)
    return ws


def config(base, work, layout):
    from climate_ft.train import TrainConfig

    return TrainConfig(
        name='bench',
        base=str(Path(base).resolve()),
        warmup=2,
        keep='last',
        tensorboard=False,
        save_steps=10**6,
        layout=layout,
        checkpointing='off',
        **WORKS[work],
    )


def alone(cfg, ws, card):
    "Train on one GPU, the `card`-th of those to be seen, in a process of its own"
    f = ws.root / 'config.json'
    f.write_text(json.dumps(cfg.asdict()))
    cards = os.environ.get('CUDA_VISIBLE_DEVICES', '0,1,2,3,4,5,6,7').split(',')
    path = os.pathsep.join(filter(None, (str(REPO), os.environ.get('PYTHONPATH'))))
    env = {**os.environ, 'PYTHONPATH': path, 'CUDA_VISIBLE_DEVICES': cards[card]}
    r = subprocess.run(
        [sys.executable, '-m', 'climate_ft.train', str(f), str(ws.root)],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if r.returncode:
        raise RuntimeError(r.stderr[-4000:])


def steady(log):
    "Tokens a second over the steps after the tenth that recorded nothing"
    spans = [
        (b['tokens'] - a['tokens'], b['tokens_per_second'])
        for a, b in zip(log, log[1:])
        if b['step'] > 10 and a.get('recordings') == b.get('recordings')
    ]
    seconds = sum(n / speed for n, speed in spans)
    return round(sum(n for n, _ in spans) / seconds) if seconds else None


def one(base, work, gpus, layout, card=0):
    from climate_ft.train import train_distributed
    from climate_ft.workspace import read_json, read_jsonl

    with tempfile.TemporaryDirectory() as d:
        ws, cfg, t0 = workspace(d, work), config(base, work, layout), time.time()
        alone(cfg, ws, card) if gpus == 1 else train_distributed(cfg, ws, gpus)
        wall = round(time.time() - t0, 1)
        log = [r for r in read_jsonl(ws.logs / 'bench.jsonl') if 'loss' in r]
        info = read_json(ws.models / 'bench/train_config.json')
    return dict(
        work=work,
        gpus=gpus,
        tokens_per_second=steady(log),
        wall_seconds=wall,
        train_seconds=info['seconds'],
        device=info['device'],
        settled={k: info[k] for k in ('backend', 'dtype', 'layout', 'graphs')},
        tokens=log[-1]['tokens'],
        recordings=log[-1].get('recordings'),
        memory_gib=max(r['memory_gib'] for r in log),
        losses=[round(r['loss'], 4) for r in log],
        grad_norms=[round(r['grad_norm'], 4) for r in log],
    )


def compare(a, b):
    "The second against the first"
    faster = (
        b['tokens_per_second'] / a['tokens_per_second']
        if a['tokens_per_second'] and b['tokens_per_second']
        else None
    )
    apart = [abs(x - y) / x for x, y in zip(a['losses'], b['losses'])]
    return dict(
        times=faster and round(faster, 3),
        largest_relative_loss_difference=round(max(apart), 5),
        mean_relative_loss_difference=round(sum(apart) / len(apart), 5),
    )


def main(base, out, gpus=None, works=''):
    import torch
    from climate_ft.preflight import versions

    gpu, cards = torch.cuda.is_available(), torch.cuda.device_count()
    n, layout = int(gpus or cards or 2), 'auto' if gpu else 'padding_free'
    result = dict(
        about=__doc__.split('\n')[0],
        model=Path(base).name,
        cards=cards,
        versions=versions(),
        runs=[],
        compared={},
    )

    def keep(run):
        print(
            run['work'],
            {k: v for k, v in run.items() if k not in ('losses', 'grad_norms')},
            flush=True,
        )
        result['runs'].append(run)
        Path(out).write_text(json.dumps(result, indent=1) + '\n')
        return run

    names = works.split(',') if works else list(WORKS)
    with ThreadPoolExecutor(max(1, min(cards, len(names)))) as pool:
        single = [
            pool.submit(one, base, work, 1, layout, i % max(1, cards))
            for i, work in enumerate(names)
        ]
        single = [keep(f.result()) for f in single]
    for work, first in zip(names, single):
        result['compared'][work] = compare(first, keep(one(base, work, n, layout)))
        print(work, result['compared'][work], flush=True)
        Path(out).write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
