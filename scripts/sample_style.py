"""A hundred style conversions of sentences of the report, for a reader: 60 into ですます, 40
into である.

    python scripts/sample_style.py [--seed 7]

It prints number, direction, source and output, separated by tabs. What a
reader said about them stands in results/style_judgement.json."""

import argparse
from climate_ft.corpus import load_corpus
from climate_ft.dataset import rank
from climate_ft.facts import corpus_facts, wh_question
from climate_ft.pairs import POLITE, TEMPLATES, polite_answer
from climate_ft.style import to_plain
from climate_ft.workspace import REPO, Workspace


def sample(seed=7):
    facts = sorted(
        corpus_facts(load_corpus(Workspace(REPO))[1]), key=lambda f: rank(seed, f.id)
    )
    polite = [
        ('ですます', f.answer, polite_answer(f.answer))
        for f in facts
        if f.how != 'heading' and polite_answer(f.answer)
    ][:60]
    asked = [q for f in facts if (q := wh_question(f))][:20] + [
        t.format(s=f.subject) for f, t in zip(facts, TEMPLATES * 4)
    ]
    return polite + [('である', q, to_plain(q)) for q in asked[:40]]


if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--seed', type=int, default=7)
    for i, r in enumerate(sample(ap.parse_args().seed), 1):
        print(i, *r, sep='\t')
