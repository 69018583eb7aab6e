"""The Japanese notebooks `nbs/ja/NAME.ipynb`, from the English ones and their catalogues:
`make notebooks-ja`. Prose is translated; code is the same, byte for byte; outputs are left
out, since the notebook makes them again. `--check` only says which are not in step."""

import json
import re
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / 'site'))
import translate

NBS = REPO / 'nbs'
OUT = NBS / 'ja'
STAY = 'solutions/'  # not translated: a link to one leads out of the folder


def moved(md):
    """The links of a notebook, right one folder deeper: to a chapter stays, since it is in
    Japanese too"""

    def one(m):
        to = m[1]
        out = to.startswith(('../', 'images/', STAY))
        return f'](../{to})' if out else m[0]

    return re.sub(r'\]\((?!\w+:|#)([^)\s]+)\)', one, md)


def japanese(path, memory):
    "The text of the Japanese notebook of an English one"
    nb = json.loads(path.read_text(encoding='utf-8'))
    say = translate.speaker(path.stem, memory)
    for c in nb['cells']:
        if c['cell_type'] == 'markdown':
            md = translate.translated(''.join(c['source']), say)
            c['source'] = moved(md).splitlines(True)
        elif c['cell_type'] == 'code':
            c.update(outputs=[], execution_count=None)
    return json.dumps(nb, ensure_ascii=False, indent=1, sort_keys=True) + '\n'


def wanted():
    "Path -> text of every Japanese notebook; of finished pages only"
    memory, names = translate.known(), set(translate.finished())
    found = [p for p in sorted(NBS.glob('*.ipynb')) if p.stem in names]
    return {OUT / p.name: japanese(p, memory) for p in found}


def out_of_step(want):
    "The names of those that are missing, old, or of no notebook"
    have = {p: p.read_text(encoding='utf-8') for p in OUT.glob('*.ipynb')}
    return sorted(p.name for p in want.keys() | have.keys() if want.get(p) != have.get(p))


def main(check):
    want = wanted()
    names = out_of_step(want)
    if check:
        sys.exit(f'run make notebooks-ja: {", ".join(names)}' if names else 0)
    OUT.mkdir(exist_ok=True)
    for n in names:
        if OUT / n in want:
            (OUT / n).write_text(want[OUT / n], encoding='utf-8')
        else:
            (OUT / n).unlink()
    print(f'{len(want)} Japanese notebooks, {len(names)} written')


if __name__ == '__main__':
    main('--check' in sys.argv)
