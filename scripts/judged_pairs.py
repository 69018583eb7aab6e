"""Question pairs of three documents, to be judged by a reader: sensible, odd or nonsense.

python scripts/judged_pairs.py           writes the pairs to results/judged_pairs.json;
                                         judgements of unchanged pairs are kept
python scripts/judged_pairs.py print     shows them
"""

import re
import sys
from pathlib import Path
from climate_ft.corpus import build_corpus
from climate_ft.facts import corpus_facts
from climate_ft.forms import question_rows, sentence_forms
from climate_ft.pairs import base_pairs, rank, template_pairs
from climate_ft.precision import own_facts, own_forms
from climate_ft.workspace import REPO, read_json, write_json

DOCUMENTS = ('library', 'water', 'document_01')
EACH = 20
SEED = 'third'  # the rules were mended on the draws of two other seeds
OUT = REPO / 'results/judged_pairs.json'


def blocks_of(path):
    "Blocks of a document in Markdown: headings, items and paragraphs"
    out = []
    for l in Path(path).read_text(encoding='utf-8').splitlines():
        if m := re.match('(#+) (.*)', l):
            out.append(dict(role='heading', text=m[2], level=len(m[1])))
        else:
            role = 'list' if l.startswith('- ') else 'body'
            out.append(dict(role=role, text=l.removeprefix('- ')))
    return [b | dict(doc=Path(path).stem, pages=[1]) for b in out]


def chunks_of(name):
    if name == 'document_01':
        return build_corpus(read_json(REPO / 'documents/cleaned_blocks.json')['blocks'])
    return build_corpus(blocks_of(REPO / f'tests/assets/judged/{name}.md'))


def pairs_of(name):
    "Half from facts in one of their wordings, half from short questions, drawn by a seed"
    chunks, report = chunks_of(name), name == 'document_01'
    facts = [
        sorted(base_pairs(f) + template_pairs(f), key=lambda r: rank(SEED, r.id))[0]
        for f in (corpus_facts if report else own_facts)(chunks)
    ]
    asked = question_rows(chunks, ask=sentence_forms if report else own_forms)[0]
    short = {}
    for r in sorted(asked, key=lambda r: rank(SEED, r.id)):
        short.setdefault(r.source_id, r)  # one question of each sentence
    draw = lambda rows: sorted(rows, key=lambda r: rank(SEED, name, r.id))[: EACH // 2]
    return draw(facts) + draw(short.values())


def pairs():
    return [
        dict(document=name, question=r.instruction, answer=r.output)
        for name in DOCUMENTS
        for r in pairs_of(name)
    ]


def judged(rows, old):
    "The rows with the judgements that the same pairs had"
    known = {(r['question'], r['answer']): r for r in old}
    return [
        r | {'judged': '', 'why': ''} | known.get((r['question'], r['answer']), {})
        for r in rows
    ]


if __name__ == '__main__':
    old = read_json(OUT) if OUT.exists() else dict(pairs=[])
    rows = judged(pairs(), old['pairs'])
    if sys.argv[1:] == ['print']:
        for i, r in enumerate(rows):
            print(i, r['document'], r['judged'], r['question'], '→', r['answer'])
    else:
        kinds = ('sensible', 'odd', 'nonsense')
        counts = {j: sum(r['judged'] == j for r in rows) for j in kinds}
        write_json(OUT, old | dict(counts=counts, pairs=rows))
        print(counts)
