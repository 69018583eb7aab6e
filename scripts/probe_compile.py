"""Does torch.compile survive an 8-bit matrix product? One row of results/compile_versions.json
for the interpreter that runs this.

Needs torch and bitsandbytes only, and a C++ compiler, so that it also runs where the course
does not:
    python3.11 -m venv old && old/bin/pip install torch==2.8.0 bitsandbytes==0.48.1
    old/bin/python scripts/probe_compile.py
Which environment variables a release of Unsloth reads:
    python scripts/probe_compile.py --reads unsloth==2026.10.9 unsloth_zoo==2026.10.9
"""

import argparse
import json
import logging
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / 'results' / 'compile_versions.json'
NAMES = 'UNSLOTH_DISABLE_TORCH_COMPILE', 'UNSLOTH_COMPILE_DISABLE', 'TORCH_COMPILE_DISABLE'


def products(device):
    "Two functions of an input: the product as training calls it, and the operator below it"
    import torch
    import bitsandbytes.functional as F
    from bitsandbytes.autograd._functions import MatMul8bitLt, MatmulLtState

    torch.manual_seed(0)
    W = torch.randn(64, 32)
    CB, SCB, _ = F.int8_vectorwise_quant(W.half().to(device))

    def training(x, threshold):
        s = MatmulLtState()
        s.CB, s.SCB, s.threshold, s.has_fp16_weights, s.is_training = (
            CB,
            SCB,
            threshold,
            False,
            True,
        )
        return MatMul8bitLt.apply(x * 1.0, CB, None, None, s)

    def operator(x, threshold):
        x = x.flatten(0, 1)
        CA, SCA, cols = torch.ops.bitsandbytes.int8_vectorwise_quant(x.half(), threshold)
        return torch.ops.bitsandbytes.int8_mixed_scaled_mm(x, CA, CB, SCA, SCB, cols, None)

    return dict(training=training, operator=operator)


def outcome(f, threshold, outlier, capture, device):
    import torch

    torch._dynamo.reset()
    torch._dynamo.config.capture_dynamic_output_shape_ops = capture
    torch.manual_seed(1)
    x = torch.randn(2, 5, 32, device=device)
    if outlier:
        x[0, 0, 3] = outlier
    x.requires_grad_(f.__name__ == 'training')
    try:
        y = torch.compile(lambda x: f(x, threshold), dynamic=True)(x)
        if f.__name__ == 'training':
            y.sum().backward()
    except Exception as e:
        return f'{type(e).__name__}: {str(e).splitlines()[0]}'
    return 'ok'


def probe(device='cpu'):
    "All cases in this interpreter"
    import torch
    import bitsandbytes

    logging.getLogger('bitsandbytes.autograd._functions').setLevel(logging.ERROR)
    rows = [
        dict(call=n, threshold=t, outlier=o, capture=c, outcome=outcome(f, t, o, c, device))
        for n, f in products(device).items()
        for t, o, c in ((6.0, 0, True), (6.0, 20, True), (6.0, 20, False), (0.0, 20, True))
        if t or n == 'training'
    ]
    return dict(
        torch=torch.__version__.split('+')[0],
        bitsandbytes=bitsandbytes.__version__,
        python=platform.python_version(),
        device=device,
        rows=rows,
    )


def reads(spec):
    "How often each variable stands in the package `spec`, and in how many of its files"
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(
            [sys.executable, '-m', 'pip', 'download', '-q', '--no-deps', '-d', d, spec],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        z = zipfile.ZipFile(next(Path(d).glob('*.whl')))
        src = [z.read(n).decode('utf8', 'ignore') for n in z.namelist() if n.endswith('.py')]
    return dict(
        package=spec,
        files=len(src),
        **{n: sum(len(re.findall(rf'\b{n}\b', s)) for s in src) for n in NAMES},
    )


if __name__ == '__main__':
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument('--reads', nargs='+', metavar='PACKAGE==VERSION', default=[])
    p.add_argument('--device', default='cpu')
    p.add_argument('--out', type=Path, default=OUT)
    a = p.parse_args()
    saved = json.loads(a.out.read_text()) if a.out.is_file() else dict(runs=[], reads=[])
    if a.reads:
        saved['reads'] = sorted(
            [r for r in saved['reads'] if r['package'] not in a.reads]
            + [reads(s) for s in a.reads],
            key=lambda r: r['package'],
        )
    else:
        new = probe(a.device)
        key = lambda r: (r['torch'], r['bitsandbytes'], r['device'])
        saved['runs'] = sorted(
            [r for r in saved['runs'] if key(r) != key(new)] + [new], key=key
        )
        for r in new['rows']:
            print(r)
    a.out.write_text(json.dumps(saved, indent=1) + '\n')
