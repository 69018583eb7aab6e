"""The whole command on a GPU, from the PDF to the report, with a random-weight model of
Qwen3-8B's shape as base.

usage: python scripts/bench_run.py make MODELS TOKENIZER
       python scripts/bench_run.py run PROFILE MODELS/nf4 OUT.json [CAP_GIB] [OPTION …]

`make` stores the base in bf16 and, as the hub's bnb-4bit folders are, in NF4. `run` times
`climate-ft run` stage by stage; with CAP_GIB the process may use that much.
Memory is what PyTorch holds in the process of the command, which writes it down five times a
second, and half a GiB for the driver's own part; other programs may run on the card.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))
os.environ |= dict(HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1')

CAPPED = '''
import os, sys, threading, time, torch
def note():
    while True:
        with open(os.environ['HELD'], 'w') as f:
            f.write(str(torch.cuda.memory_reserved()))
        time.sleep(0.2)
threading.Thread(target=note, daemon=True).start()
cap = float(os.environ.get('CAP_GIB') or 0)
if cap:
    torch.cuda.set_per_process_memory_fraction(min(1., cap*2**30/torch.cuda.mem_get_info()[1]))
    info = torch.cuda.mem_get_info
    def capped(*a):
        total = int(cap*2**30)
        return max(0, min(info(*a)[0], total-torch.cuda.memory_reserved())), total
    torch.cuda.mem_get_info = capped
from climate_ft.cli import main
main()
'''


def used(held):
    "GiB that the command holds on its card, as it wrote into the file `held`"
    try:
        return int(held.read_text()) / 2**30 + 0.5
    except (OSError, ValueError):  # not written yet, or just being written
        return 0.0


def run(profile, base, out, cap='', *options):
    folder, peak, t = Path(tempfile.mkdtemp()) / 'run', {}, time.time()
    held = folder.with_name('held')
    cmd = [
        sys.executable,
        '-c',
        CAPPED,
        'run',
        '--profile',
        profile,
        '--base',
        base,
        '--out',
        str(folder),
        *options,
    ]
    p = subprocess.Popen(
        cmd,
        env={
            **os.environ,
            'PYTHONPATH': f"{REPO}:{os.environ.get('PYTHONPATH', '')}",
            'CAP_GIB': cap,
            'HELD': str(held),
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    stage, lines = ['start'], []

    def read():
        for l in p.stderr:
            print(l, end='', flush=True)
            lines.append(l.rstrip())
            if '/' in l[:5] and len(l.split()) > 1:
                stage[0] = l.split('/', 1)[1].split()[1]

    threading.Thread(target=read, daemon=True).start()
    while p.poll() is None:
        peak[stage[0]] = max(peak.get(stage[0], 0), used(held))
        time.sleep(0.2)
    state = (
        json.loads((folder / 'run.json').read_text())
        if (folder / 'run.json').is_file()
        else {}
    )
    import torch

    result = dict(
        profile=profile,
        options=options,
        cap_gib=float(cap or 0) or None,
        exit=p.returncode,
        seconds=round(time.time() - t, 1),
        machine=torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU',
        gib_on_the_card={k: round(v, 2) for k, v in peak.items()},
        state=state,
        last_lines=lines[-12:],
        report=(folder / 'report.html').is_file(),
        files=sorted(str(f.relative_to(folder)) for f in folder.rglob('*') if f.is_file())[
            :200
        ],
    )
    Path(out).write_text(json.dumps(result, ensure_ascii=False, indent=1) + '\n')
    print(
        'RESULT',
        json.dumps({k: result[k] for k in ('exit', 'seconds', 'gib_on_the_card', 'report')}),
        folder,
        flush=True,
    )


def make(models, tokenizer):
    sys.path.insert(0, str(REPO / 'scripts'))
    import bench_train

    bench_train.make(Path(models), tokenizer)


if __name__ == '__main__':
    dict(run=run, make=make)[sys.argv[1]](*sys.argv[2:])
