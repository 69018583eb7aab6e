"""Can the course's smallest model be a teacher? Gemma 3 270M behind `climate-ft serve`
(chapter 13c) is asked about some chunks of the report, and every pair is checked:
results/teacher.json.

    python scripts/teacher.py WORK_FOLDER [CHUNKS]

The work folder keeps the replies: the same command continues after an interruption."""

import platform
import sys
import threading
import time
from pathlib import Path
import torch
from climate_ft.corpus import load_corpus
from climate_ft.models import GEMMA, gemma_parts, join_parts
from climate_ft.report import versions
from climate_ft.serve import Served
from climate_ft.teacher import Replies, Teacher, fault, pairs_of, teach
from climate_ft.workspace import REPO, Workspace, write_json

CONTEXT, TOKENS, PAIRS = 4096, 500, 3  # of a conversation; of a reply; asked for


def examples(work, chunks, t):
    "Every pair with what becomes of it, in the order of the chunks"
    from climate_ft.teacher import _key, prompt_of

    known = Replies(work.data / 'teacher.jsonl').known
    for c in chunks:
        try:
            pairs = pairs_of(known[_key(t, prompt_of(c, t.pairs))]['text'])
        except (KeyError, ValueError):
            continue
        for p in pairs:
            row = {k: str(p.get(k, '')) for k in ('question', 'answer', 'quote')}
            yield dict(chunk=c.id, why=fault(p, c), **row)


def main(folder, n=12):
    work, out = Workspace(folder), REPO / 'results' / 'teacher.json'
    gguf = Path(folder) / 'gemma.gguf'
    gguf.parent.mkdir(parents=True, exist_ok=True)
    if not gguf.is_file():
        join_parts(gemma_parts(), gguf, GEMMA['sha256'])
    chunks = [c for c in load_corpus(Workspace(REPO))[1] if 200 < len(c.text) < 500]
    chunks = chunks[:: max(1, len(chunks) // int(n))][: int(n)]
    served = Served(gguf, port=8631, context=CONTEXT)
    threading.Thread(target=served.wait, daemon=True).start()
    how = dict(pairs=PAIRS, workers=2, timeout=600.0, max_tokens=TOKENS)
    t = Teacher(f'{served.url}/v1', 'gemma', **how)
    t0 = time.perf_counter()
    rows, report = teach(work, chunks, t, lambda f, m='': print(m, flush=True))
    result = dict(
        model='Gemma 3 270M (base, Q4_K_M), as llama.cpp serves it',
        machine=f'{torch.get_num_threads()} thread(s), {platform.machine()}',
        versions=versions(),
        seconds=round(time.perf_counter() - t0, 1),
        report=report,
        kept=[dict(question=r.instruction, answer=r.output, **r.extra) for r in rows],
        examples=list(examples(work, chunks, t)),
    )
    write_json(out, result)
    served.close()
    print(report)


if __name__ == '__main__':
    main(*sys.argv[1:])
