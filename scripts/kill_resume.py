"""Kill a training run with SIGKILL at random moments and while a checkpoint is being written;
compare with an uninterrupted run.

usage: python scripts/kill_resume.py OUT.json [profile=tiny] [kills=5] [bits=4] [seed=0]

Each run is killed, started again until it ends, and its adapter and log compared with those of
the run that was left alone."""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from climate_ft.workspace import REPO, Workspace, read_json, read_jsonl, write_json

CHILD = """
import sys, time
from dataclasses import replace
from climate_ft import train as t, trainer
from climate_ft.workspace import Workspace
profile, root, name, bits, slow = sys.argv[1:]
if slow == 'slow':                                    # dwell inside a half-written checkpoint
    from pathlib import Path
    plain = trainer.save_whole
    def save_whole(run, save, *ranks):
        def half():
            save()
            next(Path(run.args.output_dir).glob('checkpoint-*/optimizer.pt')).write_bytes(b'half')
            (Path(run.args.output_dir).parent/'writing').touch()
            time.sleep(60)
        plain(run, half if run.state.global_step >= 9 else save, *ranks)
    trainer.save_whole = save_whole
cfg = replace(t.get_profile(profile), name=name, bits=int(bits), save_steps=3)
t.train(cfg, Workspace(root))
"""


def start(profile, root, name, bits, slow=''):
    return subprocess.Popen(
        [sys.executable, '-c', CHILD, profile, str(root), name, str(bits), slow],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def steps_of(ws, name):
    f = ws.logs / f'{name}.jsonl'
    try:
        return [r for r in read_jsonl(f) if 'loss' in r] if f.is_file() else []
    except Exception:
        return []  # the last line may be half-written while we look


def kill_when(p, ready, limit=300):
    t0 = time.time()
    while p.poll() is None and time.time() - t0 < limit:
        if ready():
            p.send_signal(signal.SIGKILL)
            p.wait()
            return True
        time.sleep(0.01)
    return False


def compare(ws, name):
    "Largest difference of an adapter weight, and of a logged loss, to the uninterrupted run"
    from safetensors.torch import load_file

    a, b = (load_file(ws.models / n / 'adapter_model.safetensors') for n in ('whole', name))
    x, y = (steps_of(ws, n) for n in ('whole', name))
    return max((a[k] - b[k]).abs().max().item() for k in a), max(
        abs(r['loss'] - s['loss']) for r, s in zip(x, y)
    ) if len(x) == len(y) else None


def main(out, profile='tiny', kills=5, bits=4, seed=0):
    rng, rows = random.Random(seed), []
    with tempfile.TemporaryDirectory() as d:
        ws = Workspace(d)
        shutil.copytree(REPO / 'data/splits', ws.path('splits'))
        assert start(profile, d, 'whole', bits).wait() == 0
        total = len(steps_of(ws, 'whole'))
        for k in range(kills + 1):
            name, during = f'killed{k}', k == kills
            step = total // 2 if during else rng.randrange(1, total)
            if during:
                ready = lambda: (ws.models / name / 'checkpoints/writing').exists()
            else:
                pause = rng.random() * 0.2

                def ready():
                    return len(steps_of(ws, name)) >= step and (time.sleep(pause) or True)

            assert kill_when(start(profile, d, name, bits, 'slow' if during else ''), ready), (
                'the run ended before it was killed'
            )
            left = sorted(
                p.name for p in (ws.models / name / 'checkpoints').iterdir() if p.is_dir()
            )
            logged = len(steps_of(ws, name))
            (ws.models / name / 'checkpoints/writing').unlink(missing_ok=True)
            assert start(profile, d, name, bits).wait() == 0
            weights, losses = compare(ws, name)
            rows.append(
                dict(
                    killed='while a checkpoint was written'
                    if during
                    else f'after step {logged}',
                    found=', '.join(left) or 'nothing',
                    adapter_difference=weights,
                    loss_difference=losses,
                )
            )
            print(rows[-1], flush=True)
    write_json(out, dict(profile=profile, bits=bits, steps=total, save_steps=3, runs=rows))


if __name__ == '__main__':
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(
        sys.argv[1],
        **{k: int(v) if v.isdigit() else v for k, v in (a.split('=') for a in sys.argv[2:])},
    )
