"""Tokens a second one by one and in batches, and whether the answers agree. Writes
results/bench_generate_cpu.json.

Measured on one thread in CPU seconds, the best of several passes: other programs on the
machine then change the result little.

usage: python scripts/bench_generate.py [MODEL_FOLDER] [--batch 16] [--also 4 8 32]
        [--questions 32] [--new 48] [--repeat 2] [--out FILE]
The default model is Gemma 3 270M as the cpu profile uses it. A GPU is measured by
scripts/gpu_eval.py."""

import argparse
import platform
import time
from importlib.metadata import version
from pathlib import Path
from climate_ft.generate import generate, load_for_inference, question_of, read_questions
from climate_ft.workspace import REPO, write_json


def tokens_per_second(model, tok, questions, batch_size, new, repeat):
    "Rate, answers and CPU seconds of the fastest of `repeat` passes"

    def once():
        t = time.process_time()
        answers = generate(model, tok, questions, batch_size=batch_size, max_new_tokens=new)
        return time.process_time() - t, answers

    seconds, answers = min((once() for _ in range(repeat)), key=lambda r: r[0])
    return (
        sum(len(tok(a, add_special_tokens=False).input_ids) for a in answers) / seconds,
        answers,
        seconds,
    )


def cpu():
    info = Path('/proc/cpuinfo')
    names = (
        [
            l.split(':')[1].strip()
            for l in info.read_text().splitlines()
            if l.startswith('model name')
        ]
        if info.exists()
        else []
    )
    return names[0] if names else platform.machine()


def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('model', nargs='?')
    ap.add_argument('--batch', type=int, default=16)
    ap.add_argument(
        '--also',
        type=int,
        nargs='*',
        default=[4, 8, 32],
        help='batch sizes that are only timed',
    )
    ap.add_argument('--questions', type=int, default=32)
    ap.add_argument('--new', type=int, default=48)
    ap.add_argument('--repeat', type=int, default=2)
    ap.add_argument('--out', type=Path, default=REPO / 'results' / 'bench_generate_cpu.json')
    o = ap.parse_args()
    import torch

    torch.set_num_threads(1)
    if not o.model:
        from climate_ft.models import gemma_base

        o.model = gemma_base()
    model, tok = load_for_inference(o.model)
    questions = [
        question_of(r) for r in read_questions(REPO / 'documents' / 'gold_questions.jsonl')
    ][: o.questions]
    generate(model, tok, questions[:1], max_new_tokens=4)  # warm up
    few = questions[: max(4, o.questions // 4)]
    alone, single, t1 = tokens_per_second(model, tok, few, 1, o.new, o.repeat)
    batched, together, t2 = tokens_per_second(model, tok, questions, o.batch, o.new, o.repeat)
    rates = {
        1: alone,
        o.batch: batched,
        **{b: tokens_per_second(model, tok, questions, b, o.new, o.repeat)[0] for b in o.also},
    }
    write_json(
        o.out,
        dict(
            model=Path(o.model).name,
            machine=f'one core of {cpu()}, fp32',
            versions={k: version(k) for k in ('torch', 'transformers')},
            questions=len(questions),
            max_new_tokens=o.new,
            batch_size=o.batch,
            one_by_one=round(alone, 2),
            batched=round(batched, 2),
            ratio=round(batched / alone, 2),
            tokens_per_second={b: round(r, 2) for b, r in sorted(rates.items())},
            seconds=dict(
                batched=round(t2, 1), one_by_one=round(t1, 1), one_by_one_questions=len(few)
            ),
            same_answers=f'{sum(a == b for a, b in zip(single, together))} of {len(few)}',
        ),
    )
    print(o.out.read_text())


if __name__ == '__main__':
    main()
