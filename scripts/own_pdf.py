"""How should a small model be trained on somebody's own two pages, if it may take minutes on a
laptop? Gemma 3 270M on one GPU, one line per recipe: results/own_pdf.json.

Here, make documents of two pages each and what the first stages find in them:

    python scripts/own_pdf.py make FOLDER [PDF:PAGE …]

There:

    python scripts/own_pdf.py run OUT.json FOLDER [RECIPE …] [--start ADAPTER] [--base tiny]

Without names of PDFs the documents are pages of the report; PAGE counts from 1. Every recipe
trains one model for each document, from the weights of ADAPTER if one is named. It is asked
the short questions that were held out and the hand-written questions about these pages: with
the passages that retrieval finds, and with the best passages that do not hold the answer.
`tokens` are those that the training reads in all its epochs, of one document in the mean;
they set the minutes on a processor."""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gpu_forms import counts, lacking, last_part, right
from climate_ft.generate import generate, load_for_inference, question_of, read_questions
from climate_ft.profiles import OWN
from climate_ft.passages import PASSAGES, Mix, Retriever, build_forms, context, found
from climate_ft.workspace import (
    QA,
    REPO,
    Chunk,
    Workspace,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)

PAGES = (2, 7, 16, 19)  # of the report, the first of two
CONTRAST = dict(contrast=True, refusals=0.5, refuse_topics=False)
READ, MIXED = dict(passage=100), dict(base=40, short=40, passage=100, refusal=10)
BOTH = READ | dict(refusal=25)
# a hundred rows in batches of 8 are 13 steps, of which 5 only warm up: smaller batches
ONCE, TWICE = dict(epochs=1, batch_size=2), dict(epochs=2, batch_size=2)
# rows of each kind, proportions of the forms, settings; no rows: the profile's own choice
RECIPES = dict(
    untrained=(None, {}, {}),
    own=(None, {}, OWN),  # what the `cpu` profile does
    today=(None, {}, dict(epochs=6)),
    today_2=(None, {}, dict(epochs=2)),
    today_1=(None, {}, dict(epochs=1)),
    small=(None, {}, dict(epochs=2, learning_rate=3e-4)),
    small_4=(None, {}, dict(epochs=4, learning_rate=3e-4)),
    read=(READ, CONTRAST, ONCE),
    read_2=(READ, CONTRAST, TWICE),
    read_50=(dict(passage=50), CONTRAST, ONCE),
    large_batch=(READ, CONTRAST, ONCE | dict(batch_size=8)),
    refuse=(BOTH, CONTRAST, ONCE),
    refuse_2=(BOTH, CONTRAST, TWICE),
    quote=(BOTH, CONTRAST | dict(quote=True), ONCE),
    quote_2=(BOTH, CONTRAST | dict(quote=True), TWICE),
    slow=(BOTH, CONTRAST, ONCE | dict(learning_rate=3e-4)),
    mixed=(MIXED, CONTRAST, TWICE),
)


def make(folder, *named):
    import fitz

    report = REPO / 'documents' / 'document_01.pdf'
    for k, spec in enumerate(named or [f'{report}:{a}' for a in PAGES]):
        source, _, a = spec.rpartition(':')
        pages, p = fitz.open(), Path(folder) / f'own_{k}.pdf'
        pages.insert_pdf(fitz.open(source), from_page=int(a) - 1, to_page=int(a))
        p.parent.mkdir(parents=True, exist_ok=True)
        pages.save(p)
        how = ['--pdf', p, '--profile', 'cpu', '--to', 'dataset', '--out', p.with_suffix('')]
        subprocess.run([sys.executable, '-m', 'climate_ft', 'run', *how], check=True)
        p.unlink()


def asked_of(ws, name):
    "The questions of a set, which another document may not have"
    p = ws.path('splits') / f'{name}.jsonl'
    return read_questions(p) if p.stat().st_size else []


def chosen(ws, take, mix):
    "The rows of a recipe, from all that can be made of the document"
    chunks = [Chunk.fromdict(c) for c in read_json(ws.path('corpus_chunks'))]
    d = ws.path('splits')
    pairs = [QA.fromdict(r) for r in read_questions(d / 'train.jsonl')]
    exam = [r for s in ('gold', 'general') for r in asked_of(ws, s)]
    out = {r['instruction'] for r in asked_of(ws, 'short')}
    asked = [q for r in exam for q in (r['instruction'], r['extra'].get('question2')) if q]
    rows, _, _ = build_forms(chunks, pairs, asked, 42, Mix(**mix))
    rows, res = [vars(r) for r in [*pairs, *rows] if r.instruction not in out], []
    for kind, n in take.items():
        fit = [r for r in rows if r['kind'] == kind]
        if kind in ('passage', 'refusal'):  # short answers, and prompts as they are asked
            fit = [
                r
                for r in fit
                if 250 < len(r['input']) < 650 and len(r['extra']['answer']) < 40
            ]
        random.Random(42).shuffle(fit)
        res += fit[:n]
    return res


def trained(ws, name, base, start, take, mix, settings):
    "A model of the recipe; what the training read"
    from climate_ft.train import get_profile, train

    cfg = replace(get_profile('cpu'), name=name, base=base, max_dev=0, tensorboard=False)
    cfg = replace(cfg, **{'start': start} | settings)
    if take is None and 'forms' not in settings:
        cfg = replace(cfg, forms=True, max_forms=200)
    elif take is None:
        cfg = replace(cfg, start=start or cfg.start)
    else:
        write_jsonl(ws.path('splits') / 'train.jsonl', chosen(ws, take, mix))
        cfg = replace(cfg, max_facts=None, wordings=None, max_answer=None)
    info = train(cfg, ws)
    return load_for_inference(ws.models / name), info


def prompts(ws):
    "(set, condition, row, passages, do they hold the answer)"
    find = Retriever([Chunk.fromdict(c) for c in read_json(ws.path('corpus_chunks'))])
    for name in ('short', 'gold'):
        for r in asked_of(ws, name):
            got = [t for _, t in found(question_of(r), find, 6)]
            top, wrong = context(got[:PASSAGES]), lacking(r, got)
            yield name, 'passage', r, top, right(top, r)
            if wrong:
                yield name, 'wrong passage', r, context(wrong), False


def answers_of(model, asked):
    q, c = [question_of(r) for _, _, r, _, _ in asked], [c for *_, c, _ in asked]
    said = generate(*model, q, c, batch_size=128, max_new_tokens=96)
    for (name, how, row, _, holds), a in zip(asked, said):
        told = dict(right=right(last_part(a), row), quoted=right(a, row))
        yield dict(set=name, how=how, question=question_of(row), holds=holds, said=a) | told


def untrained(base, start):
    "The base model, or with an adapter of other documents"
    from climate_ft.generate import ready
    from climate_ft.models import load_adapter, load_quantized, resolve_base

    net, tok = load_quantized(resolve_base(base), 4)
    return ready(load_adapter(net, start) if start else net), tok


def one(name, folder, base, start):
    "A recipe on every document"
    take, mix, settings = RECIPES[name]
    answers, tokens, t = [], [], time.time()
    documents = sorted(p for p in Path(folder).iterdir() if (p / 'data').is_dir())
    for p in documents:
        ws = Workspace(Path(tempfile.mkdtemp()))
        shutil.copytree(p / 'data', ws.data, dirs_exist_ok=True)
        if name == 'untrained':
            model = untrained(base, start)
        else:
            model, info = trained(ws, name, base, start, take, mix, settings)
            tokens.append(info['tokens'] * settings['epochs'])
        answers += answers_of(model, list(prompts(ws)))
        shutil.rmtree(ws.root)
    out = dict(recipe=name, rows=take, settings=settings, documents=len(documents))
    out |= dict(tokens=round(sum(tokens) / len(documents)), seconds=round(time.time() - t))
    return out | dict(table=counts(answers)), answers


def run(out, folder, *names, base='gemma-3-270m', start=''):
    out = Path(out)
    runs = []
    for name in names or RECIPES:
        got, answers = one(name, folder, base, start)
        runs.append(got)
        print('RESULT', json.dumps(got, ensure_ascii=False), flush=True)
        write_json(out, dict(model=base, start=Path(start).name, runs=runs))
        write_jsonl(out.with_name(f'{out.stem}_{name}.jsonl'), answers)


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument('what', choices=['make', 'run'])
    ap.add_argument('given', nargs='+')
    ap.add_argument('--start', default='')
    ap.add_argument('--base', default='gemma-3-270m')
    o = ap.parse_args()
    if o.what == 'make':
        make(*o.given)
    else:
        run(*o.given, base=o.base, start=o.start)


if __name__ == '__main__':
    main()
