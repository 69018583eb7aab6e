"""Which training data makes the document usable? Gemma 3 270M on one GPU, one line per variant
of the data.

usage: python scripts/gpu_forms.py OUT.json VARIANT … [--base tiny] [--limit 8]
A variant is NAME[:key=value,…]; names are the entries of `VARIANTS`, keys those of
`TrainConfig`. `untrained` asks the base model, `model:folder=…` one that was trained before.
With `--forms FOLDER`, FOLDER/NAME.jsonl holds the forms of further variants, as
`scripts/mixes.py` writes them.

`scripts/gpu_eval.py base PARTS` makes the base model; `--base tiny` tries the script on a CPU.

What is asked: the hand-written questions (about trained and about held-out sections) from
memory, with the passage that retrieval finds, and with the best passage that does not hold the
answer; trained facts in new wording and facts of held-out sections, both ways; general
questions. What is counted: answers that contain the reference (a full sentence must be
contained whole; a quotation before the answer counts under `quoted` only), and refusals;
`read` are the wrong refusals that are right answers as soon as refusing is forbidden.

`curve` is the same for a model that refuses from another point on: `lean` is the logit of the
refusal's first token less the best other one, the model refuses above 0, and each line of
the curve has another limit in its place. A refusal below the limit gives way to what the
model says when that first token is forbidden.

With `--each`, every passage also stands in a prompt of its own ("passage alone"), and the
answer counts that leans least to the refusal. With `--only gold`, the sets that begin so are
asked with passages alone: less work for a machine without a GPU."""

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
from climate_ft.passages import CHARS, PASSAGES, QUOTED, REFUSAL, Retriever, context, found
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


def safe(spec):
    "A variant with its settings as a part of a file's name"
    return spec.translate(str.maketrans(':=,./', '_____'))


def forms(name, folder):
    "Rows of a variant"
    if folder and (folder / f'{name}.jsonl').is_file():
        return read_jsonl(folder / f'{name}.jsonl')
    if name not in VARIANTS:
        raise SystemExit(
            f'no variant {name}: neither {folder}/{name}.jsonl nor one of VARIANTS'
        )
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


def lacking(row, got):
    "The best passages that do not hold the answer"
    return [t for t in got if not right(t, row)][:PASSAGES]


def prompts(limit, each=False):
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
            wrong = lacking(r, got) if name != 'recall' else []
            for how, texts in (('passage', got[:PASSAGES]), ('wrong passage', wrong)):
                if texts:
                    top = context(texts)
                    out.append((name, how, r, top, right(top, r)))
                if each and name != 'recall':
                    out += [(name, f'{how} alone', r, t, right(t, r)) for t in texts]
    return out


def merged(answers):
    "Of the passages that stood alone, the answer that leans least to the refusal"
    res, best = [], {}
    for a in answers:
        if not a['how'].endswith('alone'):
            res.append(a)
            continue
        key = a['set'], a['how'], a['question']
        b = best.get(key, a)
        holds = a['holds'] or b['holds']
        best[key] = min(a, b, key=lambda x: x['lean']) | dict(holds=holds)
    return res + list(best.values())


def begun(tok, asked, said):
    "The prompts, up to where a refusal may begin: behind a quotation, if the answer has one"
    from climate_ft.prompts import prompt_ids

    res = []
    for (_, _, row, context, _), a in zip(asked, said):
        told = a[: len(a) - len(last_part(a))]
        more = tok(told, add_special_tokens=False)['input_ids']
        res.append([*prompt_ids(tok, question_of(row), context or ''), *more])
    return res


def leanings(net, word, ids, batch=64):
    "How far each prompt leans to the token `word` (see above)"
    import torch

    order, lean = sorted(range(len(ids)), key=lambda i: len(ids[i])), {}
    for b in (order[i : i + batch] for i in range(0, len(order), batch)):
        width = max(len(ids[i]) for i in b)
        x = torch.tensor([[0] * (width - len(ids[i])) + ids[i] for i in b])
        mask = torch.tensor([[0] * (width - len(ids[i])) + [1] * len(ids[i]) for i in b])
        place = (mask.cumsum(1) - 1).clamp(min=0)
        given = dict(input_ids=x, attention_mask=mask, position_ids=place)
        given = {k: v.to(net.device) for k, v in given.items()}
        with torch.inference_mode():
            last = net(**given, logits_to_keep=1).logits[:, -1].float().cpu().clone()
        rest = last.index_fill(1, torch.tensor([word]), -torch.inf).max(1).values
        lean |= dict(zip(b, (last[:, word] - rest).tolist()))
    return [round(lean[i], 2) for i in range(len(ids))]


def without(model, word, ids, new):
    "What is said when `word` is forbidden at first"
    from climate_ft.generate import _in_batches

    net, tok = model
    res = {}

    def done(i, tokens):
        res[i] = tok.decode(tokens, skip_special_tokens=True).strip()

    _in_batches(net, tok, ids, 64, new, done, dict(begin_suppress_tokens=[word]))
    return [res[i] for i in range(len(ids))]


def refuses(said):
    return REFUSAL.rstrip('。') in said


def last_part(said):
    "The answer behind a quotation"
    return said.rpartition(QUOTED)[2]


def answers_of(model, asked, new):
    "What is said to each prompt, and instead of a refusal"
    net, tok = model
    q, c = [question_of(r) for _, _, r, _, _ in asked], [c or '' for *_, c, _ in asked]
    said = generate(net, tok, q, c, batch_size=128, max_new_tokens=new)
    ids, word = begun(tok, asked, said), tok(REFUSAL, add_special_tokens=False)['input_ids'][0]
    lean, no = leanings(net, word, ids), [i for i, a in enumerate(said) if refuses(a)]
    instead = dict(zip(no, without(model, word, [ids[i] for i in no], new)))
    res = []
    for i, ((name, how, row, _, holds), a) in enumerate(zip(asked, said)):
        known = dict(set=name, how=how, question=question_of(row), reference=accepted(row))
        res.append(known | dict(holds=holds, lean=lean[i], said=a, instead=instead.get(i)))
        other = a if instead.get(i) is None else instead[i]
        res[-1] |= dict(
            right=right(last_part(a), row),
            quoted=right(a, row),
            right_instead=right(last_part(other), row),
        )
    return res


def counts(answers):
    "(set, condition) -> what is counted"
    table = {}
    for a in answers:
        t = table.setdefault(
            f"{a['set']} {a['how']}",
            dict(n=0, right=0, quoted=0, refused=0, holds=0, refused_wrongly=0, read=0),
        )
        refused = refuses(a['said'])
        wrongly = refused and a['holds']
        found = {k: a[k] for k in ('right', 'quoted', 'holds')}
        found |= dict(read=wrongly and a.get('right_instead', False))
        for k, v in (dict(n=1, refused=refused, refused_wrongly=wrongly) | found).items():
            t[k] += int(v)
    return table


def limited(answers, limit):
    "The answers of a model that refuses above `limit`"
    for a in answers:
        no = a['lean'] > limit
        said = REFUSAL if no else a['instead'] if refuses(a['said']) else a['said']
        yes = a['right_instead'] and not no
        yield a | dict(said=said, right=yes, quoted=yes)


LIMITS = sorted([*range(-8, 25, 2), 0.75])


def curve(answers, limits=LIMITS):
    "(limit, set and condition) -> right, refused, refused wrongly"
    read = [a for a in answers if a['how'] != 'memory' and a['set'] != 'recall']
    res = []
    for n in limits:
        table = counts(limited(read, n))
        keys = ('right', 'refused', 'refused_wrongly')
        res.append(dict(limit=n) | {k: [t[f] for f in keys] for k, t in table.items()})
    return res


def one(spec, asked, base, limit, folder, keep):
    import torch
    from climate_ft.train import train

    name, _, rest = spec.partition(':')
    settings = dict(s.split('=') for s in rest.split(',') if s)
    t, out = time.time(), dict(variant=name, settings=settings)
    if name == 'model':
        model = load_for_inference(Path(settings['folder']))
    elif name == 'untrained':
        from climate_ft.models import load_quantized, resolve_base

        net, tok = load_quantized(resolve_base(base), int(settings.get('bits', 4)))
        model = ready(net), tok
    else:
        ws, out['rows'] = workspace(forms(name, folder), limit)
        cfg = config(base, safe(spec), settings)
        out['training'] = train(cfg, ws) and None
        out['train_seconds'] = round(time.time() - t, 1)
        model = load_for_inference(ws.models / cfg.name)
        if keep:
            aside = shutil.ignore_patterns('checkpoints')
            shutil.copytree(ws.models / cfg.name, keep / cfg.name, ignore=aside)
    t = time.time()
    answers = answers_of(model, asked, 16 if limit else 160)
    answers = merged(answers)
    out['table'], out['curve'] = counts(answers), curve(answers)
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
    ap.add_argument('--each', action='store_true', help='every passage alone, too')
    ap.add_argument('--keep', type=Path, help='folder for the adapters')
    ap.add_argument('--only', help='sets and conditions that begin so, e.g. gold')
    o = ap.parse_args()
    asked = prompts(o.limit, o.each)
    if o.only:
        asked = [a for a in asked if f'{a[0]} {a[1]}'.startswith(o.only) and a[1] != 'memory']
    result = dict(
        model=o.base,
        machine=torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU',
        passages=PASSAGES,
        passage_chars=CHARS,
        versions={k: version(k) for k in ('torch', 'transformers', 'peft', 'bitsandbytes')},
        runs=[],
    )
    for spec in o.variants:
        run, answers = one(spec, asked, o.base, o.limit, o.forms, o.keep)
        result['runs'].append(run)
        print('RESULT', json.dumps(run, ensure_ascii=False), flush=True)
        write_json(o.out, result)
        write_jsonl(
            o.out.with_name(f'{o.out.stem}_{safe(spec)}.jsonl'),
            answers,
        )


if __name__ == '__main__':
    main()
