"""Does a GGUF file answer as the merged model does? Every kind, with and without importance,
on 80 trained questions and 40 others: results/gguf_parity.json. Continues where it stopped, as
long as the folder WORK is kept.

    python scripts/gguf_parity.py runs/demo/models/cpu-merged data/splits/train.jsonl WORK
"""

import platform
import sys
from pathlib import Path
import torch
from climate_ft.generate import load_model
from climate_ft.llamacpp import convert, gguf_parity, importance, merged_answers, quantise
from climate_ft.report import versions
from climate_ft.train import TrainConfig, select_rows
from climate_ft.workspace import REPO, read_json, read_jsonl, write_json

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


def make(kind, folder, work, texts):
    "The GGUF file of one kind, made once"
    f = work / f"{kind.replace(', ', '_')}.gguf"
    if f.is_file():
        return f
    tmp = f.with_suffix('.part')
    if kind in ('f16', 'q8_0'):
        convert(folder, tmp, kind)
    elif kind == 'q4_k_m':
        quantise(work / 'f16.gguf', tmp)
    else:
        net, tok = load_model(folder)
        quantise(work / 'f16.gguf', tmp, importance(net.eval(), tok, texts))
    return tmp.rename(f)


def main(folder, train, work):
    folder, work, out = Path(folder), Path(work), REPO / 'results' / 'gguf_parity.json'
    work.mkdir(parents=True, exist_ok=True)
    trained, others = questions_of(
        train, folder.with_name(folder.name.removesuffix('-merged'))
    )
    asked = trained + others
    if not (work / 'expected.json').is_file():
        write_json(work / 'expected.json', merged_answers(folder, asked, TOKENS))
    expected = read_json(work / 'expected.json')
    texts = [c['text'] for c in read_json(REPO / 'data' / 'corpus_chunks.json')[::8]]
    result = (
        read_json(out)
        if out.is_file()
        else dict(
            model='Gemma 3 270M, tuned by the cpu profile and merged',
            trained=len(trained),
            others=len(others),
            max_new_tokens=TOKENS,
            calibration=len(texts),
            machine=f'{torch.get_num_threads()} thread(s), {platform.machine()}',
            versions=versions(),
            files=[],
        )
    )
    for kind in KINDS[len(result['files']) :]:
        p = gguf_parity(make(kind, folder, work, texts), folder, asked, expected, TOKENS)
        wrong = {d['question'] for d in p['differing']}
        agree = {
            k: sum(q not in wrong for q in qs)
            for k, qs in (('trained', trained), ('others', others))
        }
        result['files'].append(dict(p, kind=kind, agree=agree, differing=p['differing'][:20]))
        print(kind, p['bytes'], p['prompts'], agree, p['tokens_per_second'], flush=True)
        write_json(out, result)


if __name__ == '__main__':
    main(*sys.argv[1:])
