"""The full evaluation of chapter 12 on one GPU without a network: Gemma 3 270M on the whole
dataset in 4 and in 8 bits.

Here, `pack` writes .gpu/gguf.00 … (parts of 40 MB) and .gpu/eval_site.tar.xz (bm25s, fastcore,
gguf), and `collect` writes scores and intervals, results/evaluation_full_*.json and others:

    python scripts/gpu_eval.py pack
    python scripts/gpu_eval.py collect FILE

On the GPU machine, beside the site of packages that the other GPU scripts use, and with the
parts copied into one folder:

    mkdir -p $SITE && tar xJf .gpu/eval_site.tar.xz -C $SITE
    python scripts/gpu_eval.py base PARTS         joins, checks the hash, converts (1 minute)
    python scripts/gpu_eval.py run 4              trains, merges, answers every set (minutes);
                                                  `--epochs 1 --limit 40` to try it,
                                                  `--forms FILE` with the rows of mixes.py
    python scripts/gpu_eval.py run 8
    python scripts/gpu_eval.py variants           the wrong merges (1 minute)
    python scripts/gpu_eval.py speed [--tokenizer DIR] [--model DIR]
                                                  batches at Qwen3-8B's shape
    python scripts/gpu_eval.py agreement          answers one by one and in batches
                                                  (a CPU will do, in ten minutes)
    python scripts/gpu_eval.py pack-results $OUT  $OUT/gpu_eval.tar.xz and the adapters

Every step can be repeated; finished answers are kept in the workspace folder (--ws, default:
in the temporary folder)."""

import argparse
import json
import shutil
import sys
import tarfile
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from climate_ft.workspace import REPO, Workspace, read_json, write_json

PART = 40_000_000

BASE = 'gemma-3-270m'  # --base tiny tries the script on a CPU


SETTINGS = {}  # --set and --forms


def config(bits, epochs=5.0):
    from climate_ft.train import TrainConfig

    cfg = TrainConfig(
        f'{BASE.split("-")[0]}-{bits}bit',
        BASE,
        bits,
        'transformers',
        learning_rate=1e-3,
        scheduler='cosine',
        warmup=20,
        epochs=epochs,
        batch_size=32,
        accumulation=1,
        optimizer='adamw_torch',
        checkpointing='off',
        keep='last',
        tensorboard=False,
    )
    kinds = {f: type(getattr(cfg, f)) for f in SETTINGS}
    return replace(cfg, **{f: kinds[f](v) for f, v in SETTINGS.items()})


def plan(limit):
    from climate_ft.evaluation import SETS, Plan

    limits = dict(trained=200) if limit is None else {s: limit for s in SETS}
    return Plan(
        limits,
        max_new_tokens=128,
        batch_size=128,
        bertscore=False,
        resamples=2000,
    )


def say(**kw):
    print('RESULT', json.dumps(kw, ensure_ascii=False), flush=True)


def pack(o):
    from climate_ft.models import GEMMA, gemma_parts, join_parts

    out = REPO / '.gpu'
    out.mkdir(exist_ok=True)
    for f in out.glob('gguf.*'):
        f.unlink()
    with tempfile.TemporaryDirectory() as d:
        join_parts(gemma_parts(), Path(d) / 'm.gguf', GEMMA['sha256'])
        with open(Path(d) / 'm.gguf', 'rb') as f:
            for k in range(99):
                if not (b := f.read(PART)):
                    break
                (out / f'gguf.{k:02}').write_bytes(b)
    import bm25s
    import fastcore
    import gguf

    with tarfile.open(out / 'eval_site.tar.xz', 'w:xz') as t:
        for m in (bm25s, fastcore, gguf):
            site = Path(m.__file__).parent.parent
            for d in (site / m.__name__, *site.glob(f'{m.__name__}-*.dist-info')):
                t.add(d, d.name, filter=lambda i: None if '__pycache__' in i.name else i)
    for f in sorted(out.glob('gguf.*')) + [out / 'eval_site.tar.xz']:
        print(f.name, f.stat().st_size)


def base(o):
    from climate_ft import models

    models.gemma_parts = lambda: sorted(Path(o.parts).glob('gguf.*'))
    t = time.time()
    print(models.gemma_base(lambda f, m: print(f'{f:.0%} {m}', flush=True)))
    say(step='base', seconds=round(time.time() - t, 1))


def progress(step):
    last = [0.0]

    def report(f, m=''):
        if time.time() - last[0] > 10:
            print(f'{step} {f:.0%} {m}', flush=True)
            last[0] = time.time()

    return report


def run(o):
    import torch
    from climate_ft.evaluation import run_answers
    from climate_ft.export import run_merge
    from climate_ft.train import train, verify_training

    ws, cfg = workspace(o), config(o.bits, o.epochs)
    times = {}

    def timed(name, f, *a, **kw):
        t = time.time()
        r = f(*a, progress=progress(name), **kw)
        times[name] = round(time.time() - t, 1)
        say(
            step=name,
            bits=o.bits,
            seconds=times[name],
            gib=round(torch.cuda.max_memory_allocated() / 2**30, 2)
            if torch.cuda.is_available()
            else None,
        )
        return r

    if not (ws.models / cfg.name / 'adapter_model.safetensors').is_file():
        timed('train', train, cfg, ws)
    for c in verify_training(ws, cfg.name):
        print('ok ' if c['ok'] else 'BAD', c['check'], c['detail'])
    if o.train_only:
        return
    if not (ws.models / f'{cfg.name}-merged' / 'parity.json').is_file():
        timed('merge', run_merge, ws, cfg.name, 40, 'float32')
    say(
        step='parity',
        bits=o.bits,
        **{
            k: v
            for k, v in read_json(ws.models / f'{cfg.name}-merged' / 'parity.json').items()
            if k != 'differing'
        },
    )
    timed('answers', run_answers, ws, cfg, plan=plan(o.limit))
    write_json(ws.root / f'times_{o.bits}.json', times)


def questions_of(ws, n):
    from climate_ft.evaluation import spread
    from climate_ft.generate import read_questions

    return spread(read_questions(ws.path('splits') / 'recall.jsonl'), n)


def variants(o):
    import torch
    from climate_ft.export import changed, merge_variants
    from climate_ft.generate import question_of
    from climate_ft.metrics import char_f1, exact

    ws, out = workspace(o), {}
    rows = questions_of(ws, 80)
    for bits in (4, 8):
        if not (ws.models / config(bits).name).is_dir():
            continue
        v = merge_variants(
            ws.models / config(bits).name,
            [question_of(r) for r in rows],
            max_new_tokens=64,
            batch_size=80,
            dtype='float32',
        )
        refs = [r['output'] for r in rows]
        out[f'{bits}bit'] = dict(
            changed=changed(v),
            char_f1={k: round(char_f1(a, refs)['char_f1'], 4) for k, a in v.items()},
            exact={k: round(exact(a, refs)['exact'], 4) for k, a in v.items()},
            examples=[
                dict(
                    question=question_of(rows[i]),
                    reference=refs[i],
                    **{k: a[i] for k, a in v.items()},
                )
                for i in range(0, 80, 8)
            ],
        )
        say(
            step='variants',
            bits=bits,
            **{k: out[f'{bits}bit'][k] for k in ('changed', 'char_f1', 'exact')},
        )
    parity = {
        f'{b}bit': {k: v for k, v in read_json(f).items() if k != 'differing'}
        for b in (4, 8)
        if (f := ws.models / f'{config(b).name}-merged' / 'parity.json').is_file()
    }
    write_json(
        ws.root / 'merge_variants.json',
        dict(
            model='Gemma 3 270M',
            machine=f'{torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"}, '
            'fp32',
            versions=versions(),
            questions=len(rows),
            max_new_tokens=64,
            changed=out.get('4bit', {}).get('changed', {}),
            runs=out,
            parity=parity,
        ),
    )


def speed(o):
    "Random weights never end an answer, so every one has exactly `new` tokens"
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM
    from climate_ft.generate import generate, question_of, ready
    from climate_ft.models import TINY_TOKENIZER, load_quantized

    ws, new, result = workspace(o), 64, {}
    tok = AutoTokenizer.from_pretrained(o.tokenizer or TINY_TOKENIZER)

    def shape():
        torch.set_default_dtype(torch.bfloat16)
        with torch.device('cuda'):
            m = Qwen3ForCausalLM(
                Qwen3Config(
                    vocab_size=151936,
                    hidden_size=4096,
                    intermediate_size=12288,
                    num_hidden_layers=36,
                    num_attention_heads=32,
                    num_key_value_heads=8,
                    head_dim=128,
                    tie_word_embeddings=False,
                )
            )
        torch.set_default_dtype(torch.float32)
        return m

    questions = [question_of(r) for r in questions_of(ws, 256)]

    def rate(net, n, batch):
        generate(net, tok, questions[:batch], batch_size=batch, max_new_tokens=4)
        torch.cuda.synchronize()
        t = time.time()
        generate(
            net, tok, questions[:n], batch_size=batch, max_new_tokens=new, min_new_tokens=new
        )
        torch.cuda.synchronize()
        return round(n * new / (time.time() - t), 1)

    def rates(net):
        return dict(
            one_by_one=rate(net, 6, 1),
            **{f'batch_{b}': rate(net, b, b) for b in (8, 16, 32, 64, 128)},
        )

    net = ready(shape())
    result['bf16'] = rates(net)
    say(
        step='speed',
        weights='bf16',
        **result['bf16'],
        gib=round(torch.cuda.max_memory_allocated() / 2**30, 1),
    )
    del net
    torch.cuda.empty_cache()
    if o.model:
        net = ready(load_quantized(o.model, 4)[0])
        result['nf4'] = rates(net)
        say(step='speed', weights='nf4', **result['nf4'])
        del net
        torch.cuda.empty_cache()
    write_json(
        ws.root / 'bench_generate_gpu.json',
        dict(
            model="Qwen3-8B's shape, random weights, bf16",
            machine=torch.cuda.get_device_name(),
            max_new_tokens=new,
            batch_size=32,
            one_by_one=result['bf16']['one_by_one'],
            batched=result['bf16']['batch_32'],
            rates=result,
            versions=versions(),
        ),
    )


def agreement(o):
    "Are the answers of a batch those of one by one?"
    import torch
    from climate_ft.generate import generate, load_for_inference, question_of

    ws, n, r = workspace(o), 64, {}
    questions = [question_of(q) for q in questions_of(ws, n)]
    for dtype in ('float32', 'bfloat16'):
        net, tok = load_for_inference(ws.models / f'{config(4).name}-merged', dtype=dtype)
        one, many = (
            generate(net, tok, questions, batch_size=b, max_new_tokens=48) for b in (1, 32)
        )
        r[dtype] = dict(
            same=sum(a == b for a, b in zip(one, many)),
            first_difference=next(
                (dict(one_by_one=a, batch=b) for a, b in zip(one, many) if a != b), None
            ),
        )
        say(step='agreement', dtype=dtype, same=r[dtype]['same'])
    write_json(
        ws.root / 'agreement_generate.json',
        dict(
            model='Gemma 3 270M, tuned and merged',
            machine=torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU',
            questions=n,
            batch_size=32,
            max_new_tokens=48,
            dtypes=r,
            versions=versions(),
        ),
    )


def versions():
    from importlib.metadata import version

    return {k: version(k) for k in ('torch', 'transformers', 'peft', 'bitsandbytes')}


def workspace(o):
    ws = Workspace(o.ws or Path(tempfile.gettempdir()) / 'eval_ws')
    if not ws.path('splits').is_dir():
        shutil.copytree(REPO / 'data' / 'splits', ws.path('splits'))
        shutil.copy(REPO / 'data' / 'corpus_chunks.json', ws.data)
    if getattr(o, 'forms', None):
        shutil.copy(o.forms, ws.path('splits') / 'forms.jsonl')
    return ws


def pack_results(o):
    ws = workspace(o)
    keep = [
        *ws.data.glob('answers_*.jsonl'),
        *ws.logs.glob('*.jsonl'),
        *ws.models.glob('*/train_config.json'),
        *ws.models.glob('*/adapter_config.json'),
        *ws.models.glob('*/parity.json'),
        *ws.root.glob('*.json'),
    ]
    with tarfile.open(Path(o.out) / 'gpu_eval.tar.xz', 'w:xz') as t:
        for f in keep:
            t.add(f, f.relative_to(ws.root))
    for f in ws.models.glob('*/adapter_model.safetensors'):
        shutil.copy(f, Path(o.out) / f'{f.parent.name}.safetensors')
    print([f.name for f in Path(o.out).iterdir()])


def collect(o):
    from climate_ft.evaluation import CONDITIONS, answers_path, describe, run_evaluate

    ws = Workspace(o.ws or tempfile.mkdtemp())
    with tarfile.open(o.file) as t:
        t.extractall(ws.root, filter='data')
    for d in ws.models.glob('*bit'):  # the adapters lie beside the file
        if (f := Path(o.file).with_name(f'{d.name}.safetensors')).is_file():
            shutil.copy(f, d / 'adapter_model.safetensors')
    for f in [
        f
        for n in ('merge_variants', 'bench_generate_gpu', 'agreement_generate')
        if (f := ws.root / f'{n}.json').is_file()
    ]:
        write_json(o.dest / 'results' / f.name, read_json(f))
    for bits in (4, 8):
        if not answers_path(ws, config(bits).name, 'tuned').is_file():
            continue
        for c in CONDITIONS:
            answers_path(
                ws, config(bits).name, c
            ).touch()  # one that was not asked has no rows
        r = run_evaluate(ws, config(bits), plan=plan(None), progress=progress(f'{bits} bits'))
        if o.about:
            r['about'] = o.about
        if (t := ws.root / f'times_{bits}.json').is_file():
            r['training']['times'] = read_json(t)
        p = ws.models / f'{config(bits).name}-merged' / 'parity.json'
        if p.is_file():
            r['parity'] = {k: v for k, v in read_json(p).items() if k != 'differing'}
        name = f'evaluation_{o.name}_{bits}bit.json'
        write_json(o.dest / 'results' / name, r)
        if o.name == 'full':
            log = f'{config(bits).name}.jsonl'
            shutil.copy(ws.logs / log, o.dest / 'results' / f'train_{log}')
        print(describe(r), f'\n-> results/{name}')


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sub = ap.add_subparsers(required=True)

    def command(name, f, *args):
        p = sub.add_parser(name)
        p.set_defaults(f=f)
        p.add_argument('--ws')
        p.add_argument('--base', default=BASE)
        p.add_argument(
            '--share',
            type=float,
            default=1.0,
            help='of the GPU memory, to run two side by side',
        )
        for a, kw in args:
            p.add_argument(a, **kw)

    command('pack', pack)
    command('base', base, ('parts', {}))
    command(
        'run',
        run,
        ('bits', dict(type=int, choices=(4, 8))),
        ('--epochs', dict(type=float, default=5.0)),
        ('--limit', dict(type=int)),
        ('--forms', dict(help='rows of scripts/mixes.py')),
        ('--train-only', dict(action='store_true')),
        ('--set', dict(action='append', default=[], metavar='KEY=VALUE')),
    )
    command('variants', variants)
    command('speed', speed, ('--tokenizer', {}), ('--model', {}))
    command('agreement', agreement)
    command('pack-results', pack_results, ('out', {}))
    command(
        'collect',
        collect,
        ('file', {}),
        ('--about', dict(help='a remark for the results file')),
        ('--name', dict(default='full', help='results/evaluation_NAME_*bit.json')),
        ('--dest', dict(type=Path, default=REPO)),
    )
    o = ap.parse_args()
    globals()['BASE'] = o.base
    SETTINGS.update(s.split('=', 1) for s in getattr(o, 'set', []))
    if getattr(o, 'forms', None):
        SETTINGS['forms'] = True
    if o.share < 1:
        import torch

        torch.cuda.set_per_process_memory_fraction(o.share)
    o.f(o)


if __name__ == '__main__':
    main()
