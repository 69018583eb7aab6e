"""Which training data makes the document usable? Gemma 3 270M on one GPU, one line per variant
of the data.

usage: python scripts/gpu_forms.py OUT.json VARIANT … [--base tiny] [--limit 8]
A variant is NAME[:key=value,…]; names are the entries of `VARIANTS`, keys those of
`TrainConfig`. `untrained` asks the base model. With `--forms FOLDER`, FOLDER/NAME.jsonl holds
the forms of further variants, as `scripts/mixes.py` writes them.

`scripts/gpu_eval.py base PARTS` makes the base model; `--base tiny` tries the script on a CPU.

What is asked: the hand-written questions (about trained and about held-out sections) from
memory, with the passage that retrieval finds, and with the best passage that does not hold the
answer; trained facts in new wording and facts of held-out sections, both ways; general
questions. What is counted: answers that contain the reference (a full sentence must be
contained whole), and refusals."""

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from climate_ft.generate import (
    generate,
    load_for_inference,
    question_of,
    read_questions,
    ready,
    reference_of,
)
from climate_ft.metrics import contains_of
from climate_ft.passages import CHARS, PASSAGES, REFUSAL, Retriever, context, found
from climate_ft.workspace import (
    REPO,
    Chunk,
    Workspace,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)

FORMS, READ = ('short', 'definition', 'reverse'), ('passage', 'refusal')
VARIANTS = dict(
    untrained=(),
    pairs=(),
    short=FORMS,
    text=(*FORMS, 'cloze', 'text', 'casual'),
    passages=READ,
    right=('passage',),
    general=('general',),
    forms=(*FORMS, *READ),
    all=(*FORMS, 'cloze', 'text', 'casual', 'general', *READ),
)


def config(base, name, settings):
    from climate_ft.train import TrainConfig

    cfg = TrainConfig(
        name,
        base,
        4,
        'transformers',
        learning_rate=1e-3,
        scheduler='cosine',
        warmup=20,
        epochs=4,
        batch_size=32,
        accumulation=1,
        optimizer='adamw_torch',
        checkpointing='off',
        keep='last',
        tensorboard=False,
        forms=True,
        max_dev=0,
    )
    kinds = {f: type(getattr(cfg, f)) for f in settings}
    return replace(cfg, **{f: kinds[f](v) for f, v in settings.items()})


def forms(name, folder):
    "Rows of a variant"
    if name not in VARIANTS:
        return read_jsonl(folder / f'{name}.jsonl')
    rows = read_jsonl(REPO / 'data' / 'splits' / 'forms.jsonl')
    return [r for r in rows if r['kind'] in VARIANTS[name]]


def workspace(rows, limit):
    ws = Workspace(Path(tempfile.mkdtemp()))
    shutil.copytree(REPO / 'data' / 'splits', ws.path('splits'))
    write_jsonl(ws.path('splits') / 'forms.jsonl', rows[:limit])
    if limit:
        write_jsonl(
            ws.path('splits') / 'train.jsonl',
            read_jsonl(ws.path('splits') / 'train.jsonl')[:limit],
        )
    return ws, len(rows[:limit])


def accepted(row):
    return [reference_of(row), *((row.get('extra') or {}).get('variants') or [])]


def right(said, row):
    "Does the answer contain one of the accepted references?"
    return any(contains_of(said, ref) for ref in accepted(row))


def sets(limit):
    d = REPO / 'data' / 'splits'
    gold = read_questions(d / 'gold.jsonl')
    short = read_questions(d / 'short.jsonl')
    out = dict(
        short=short,
        gold_trained=[r for r in gold if r['extra']['seen']],
        gold_held_out=[r for r in gold if not r['extra']['seen']],
        recall=read_questions(d / 'recall.jsonl'),
        unseen=read_questions(d / 'unseen.jsonl'),
        general=read_questions(d / 'general.jsonl'),
    )
    return {k: v[:limit] for k, v in out.items()}


def prompts(limit):
    "(set, condition, row, passage, does the passage hold the answer)"
    find, out = (
        Retriever(
            [Chunk.fromdict(c) for c in read_json(REPO / 'data' / 'corpus_chunks.json')]
        ),
        [],
    )
    for name, rows in sets(limit).items():
        for r in rows:
            q = question_of(r)
            out.append((name, 'memory', r, None, False))
            if name == 'general':
                continue
            got = [t for _, t in found(q, find, 6)]
            top = context(got[:PASSAGES])
            out.append((name, 'passage', r, top, right(top, r)))
            wrong = (
                [t for t in got if not right(t, r)][:PASSAGES]
                if name.startswith('gold')
                else []
            )
            if wrong:
                out.append((name, 'wrong passage', r, context(wrong), False))
    return out


def ask(model, asked, new=96):
    net, tok = model
    said = generate(
        net,
        tok,
        [question_of(r) for _, _, r, _, _ in asked],
        [c or '' for *_, c, _ in asked],
        batch_size=128,
        max_new_tokens=new,
    )
    table, answers = {}, []
    for (name, how, row, context, holds), a in zip(asked, said):
        t = table.setdefault(
            f'{name} {how}', dict(n=0, right=0, refused=0, holds=0, refused_wrongly=0)
        )
        refused = REFUSAL.rstrip('。') in a
        for k, v in dict(
            n=1,
            right=right(a, row),
            refused=refused,
            holds=holds,
            refused_wrongly=refused and holds,
        ).items():
            t[k] += int(v)
        answers.append(
            dict(set=name, how=how, question=question_of(row), reference=accepted(row), said=a)
        )
    return table, answers


def one(spec, asked, base, limit, folder):
    import torch
    from climate_ft.train import train

    name, _, rest = spec.partition(':')
    settings = dict(s.split('=') for s in rest.split(',') if s)
    t, out = time.time(), dict(variant=name, settings=settings)
    if name == 'untrained':
        from climate_ft.models import load_quantized, resolve_base

        net, tok = load_quantized(resolve_base(base), int(settings.get('bits', 4)))
        model = ready(net), tok
    else:
        ws, out['rows'] = workspace(forms(name, folder), limit)
        cfg = config(base, spec.translate(str.maketrans(':=,.', '____')), settings)
        out['training'] = train(cfg, ws) and None
        out['train_seconds'] = round(time.time() - t, 1)
        model = load_for_inference(ws.models / cfg.name)
    t = time.time()
    out['table'], answers = ask(model, asked, 16 if limit else 96)
    out['answer_seconds'] = round(time.time() - t, 1)
    out['gib'] = (
        round(torch.cuda.max_memory_reserved() / 2**30, 1)
        if torch.cuda.is_available()
        else None
    )
    del model
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return out, answers


def main():
    import torch
    from importlib.metadata import version

    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument('out', type=Path)
    ap.add_argument('variants', nargs='+')
    ap.add_argument('--base', default='gemma-3-270m')
    ap.add_argument('--limit', type=int)
    ap.add_argument('--forms', type=Path, help='folder of further variants')
    o = ap.parse_args()
    asked = prompts(o.limit)
    result = dict(
        model=o.base,
        machine=torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU',
        passages=PASSAGES,
        passage_chars=CHARS,
        versions={k: version(k) for k in ('torch', 'transformers', 'peft', 'bitsandbytes')},
        runs=[],
    )
    for spec in o.variants:
        run, answers = one(spec, asked, o.base, o.limit, o.forms)
        result['runs'].append(run)
        print('RESULT', json.dumps(run, ensure_ascii=False), flush=True)
        write_json(o.out, result)
        write_jsonl(
            o.out.with_name(
                f"{o.out.stem}_{spec.translate(str.maketrans(':=,.', '____'))}.jsonl"
            ),
            answers,
        )


if __name__ == '__main__':
    main()
