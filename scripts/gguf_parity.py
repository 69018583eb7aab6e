"""Does a GGUF file answer as the merged model does? Every kind, with and without importance,
on 80 trained questions and 40 others: results/gguf_parity.json. Continues where it stopped, as
long as the folder WORK is kept.

    python scripts/gguf_parity.py runs/demo/models/cpu-merged WORK

The run's own folder has the rows and the corpus. `--kinds` and `--others` ask for less.
"""

import argparse
import platform
from pathlib import Path
import torch
from climate_ft.generate import load_model
from climate_ft.llamacpp import calibration, convert, gguf_parity, importance
from climate_ft.llamacpp import merged_answers, quantise
from climate_ft.report import versions
from climate_ft.train import TrainConfig, select_rows
from climate_ft.workspace import REPO, Workspace, read_json, read_jsonl, write_json

TOKENS = 64  # compared length of an answer
KINDS = ('f16', 'q8_0', 'q4_k_m', 'q4_k_m, importance')


def questions_of(train, adapter):
    "80 questions that were trained, and 40 about other facts"
    saved = read_json(adapter / 'train_config.json')
    cfg = TrainConfig(
        **{k: v for k, v in saved.items() if k in TrainConfig.__dataclass_fields__}
    )
    rows = read_jsonl(train)
    chosen = select_rows(rows, cfg)
    known = {r['source_id'] for r in chosen}
    others = {r['source_id']: r['instruction'] for r in rows if r['source_id'] not in known}
    return list(dict.fromkeys(r['instruction'] for r in chosen))[:80], list(
        dict.fromkeys(others.values())
    )[:40]


def make(kind, folder, work, seen):
    "The GGUF file of one kind, made once"
    f = work / f"{kind.replace(', ', '_')}.gguf"
    if f.is_file():
        return f
    tmp = f.with_suffix('.part')
    if kind in ('f16', 'q8_0'):
        convert(folder, tmp, kind)
        return tmp.rename(f)
    make('f16', folder, work, seen)
    if kind == 'q4_k_m':
        quantise(work / 'f16.gguf', tmp)
    else:
        net, tok = load_model(folder)
        quantise(work / 'f16.gguf', tmp, importance(net.eval(), tok, **seen))
    return tmp.rename(f)


def options():
    "The command line"
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('folder', type=Path, help='A merged model of Gemma 3 270M in its run.')
    ap.add_argument('work', type=Path)
    ap.add_argument('--kinds', nargs='+', default=KINDS)
    ap.add_argument('--others', type=int, default=40)
    ap.add_argument('--about', default='the cpu profile')
    ap.add_argument('--out', type=Path, default=REPO / 'results' / 'gguf_parity.json')
    return ap.parse_args()


def started(given, seen, asked):
    "The result so far"
    if given.out.is_file():
        return read_json(given.out)
    return dict(
        model=f'Gemma 3 270M, tuned by {given.about} and merged',
        trained=len(asked['trained']),
        others=len(asked['others']),
        max_new_tokens=TOKENS,
        calibration={k: len(v) for k, v in seen.items()},
        machine=f'{torch.get_num_threads()} thread(s), {platform.machine()}',
        versions=versions(),
        files=[],
    )


def main():
    given = options()
    folder, work, ws = given.folder, given.work, Workspace(given.folder.parent.parent)
    work.mkdir(parents=True, exist_ok=True)
    adapter = folder.with_name(folder.name.removesuffix('-merged'))
    trained, others = questions_of(ws.path('splits') / 'train.jsonl', adapter)
    asked = dict(trained=trained, others=others[: given.others])
    every = [q for qs in asked.values() for q in qs]
    if not (work / 'expected.json').is_file():
        write_json(work / 'expected.json', merged_answers(folder, every, TOKENS))
    expected, seen = read_json(work / 'expected.json'), calibration(ws, folder)
    result = started(given, seen, asked)
    done = {f['kind'] for f in result['files']}
    for kind in [k for k in given.kinds if k not in done]:
        p = gguf_parity(make(kind, folder, work, seen), folder, every, expected, TOKENS)
        wrong = {d['question'] for d in p['differing']}
        agree = {k: sum(q not in wrong for q in qs) for k, qs in asked.items()}
        result['files'].append(dict(p, kind=kind, agree=agree, differing=p['differing'][:20]))
        print(kind, p['bytes'], p['prompts'], agree, p['tokens_per_second'], flush=True)
        write_json(given.out, result)


if __name__ == '__main__':
    main()
