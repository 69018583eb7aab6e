"""Forms of the report's training sections in several mixes, for `scripts/gpu_forms.py`.

usage: python scripts/mixes.py FOLDER NAME[:key=value,…] …  e.g. `default fewer:refusals=0.05`
Keys are those of `climate_ft.passages.Mix`, values are numbers (0 and 1 for no and yes);
FOLDER/NAME.jsonl is written. `practice=PATH` adds questions about other texts
(`practice_rows` of chapter 05f), up to `practice_most`, the share `practice_refusals` of them
refused. With `again=3` the rows of the report stand there three times, the practice once, for
one epoch in the place of three."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from climate_ft.dataset import split_sections, unit_of, write_rows
from climate_ft.generate import read_questions
from climate_ft.passages import Mix, build_forms, practice_files, practice_rows
from climate_ft.workspace import QA, REPO, Chunk, read_json

SEED = 42  # of the committed splits
PRACTICE = dict(most=int, refusals=float)  # of `practice_rows`


def main(folder, *specs):
    chunks = [Chunk.fromdict(c) for c in read_json(REPO / 'data' / 'corpus_chunks.json')]
    sides = split_sections(chunks, SEED)
    known = [c for c in chunks if sides[unit_of(c)] == 'train']
    splits = REPO / 'data' / 'splits'
    pairs = [QA.fromdict(r) for r in read_questions(splits / 'train.jsonl')]
    exam = [r for s in ('gold', 'general') for r in read_questions(splits / f'{s}.jsonl')]
    asked = [q for r in exam for q in (r['instruction'], r['extra'].get('question2')) if q]
    for spec in specs:
        name, _, rest = spec.partition(':')
        given = dict(s.split('=') for s in rest.split(',') if s)
        files = practice_files(given.pop('practice', None))
        again = int(given.pop('again', 1))
        how = {k: f for k, f in PRACTICE.items() if f'practice_{k}' in given}
        how = {k: f(given.pop(f'practice_{k}')) for k, f in how.items()}
        mix = Mix(**{k: type(getattr(Mix, k))(float(v)) for k, v in given.items()})
        rows, _, report = build_forms(known, pairs, asked, SEED, mix)
        # the training adds the pairs itself, once
        rows = rows * again + pairs * (again - 1)
        if files:
            rows += practice_rows(files, asked, seed=SEED, quote=mix.quote, **how)
        write_rows(Path(folder) / f'{name}.jsonl', rows)
        print(name, given, report['rows'], report['kinds'], flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
