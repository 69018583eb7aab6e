"""The Japanese edition. The notebooks stay English; `site/locale/ja/PAGE.po` holds a
translation for each paragraph, heading, list item, table cell, alternative text and box of a
diagram of a page, in gettext's format, read and written by Babel.

    make translations PAGE=02_extract    # begin or update a chapter, and say what is missing
    make translations                    # update every catalogue and report on all pages

`bridge.py` applies the catalogues twice: as .mo files that Sphinx reads for `/ja/`, and to the
Markdown itself for the README and the notebooks to take away, which Sphinx does not make. Both
take the same words from the same place."""

import json
import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import denormalize, read_po, write_po
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

ROOT = Path(__file__).resolve().parent.parent
LANG = 'ja'
LOCALE = ROOT / 'site/locale' / LANG
FINISHED = LOCALE / 'finished.txt'  # the pages that are shown in Japanese
STAGE = ROOT / '_myst'
MO = '.locale'  # below the staged pages
HEADER = '''msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"
"Language: ja\\n"

'''
MAY_LACK = 0.02  # of a finished page
EXTENSIONS = [
    'dollarmath',
    'amsmath',
    'colon_fence',
    'deflist',
    'attrs_inline',
    'attrs_block',
    'tasklist',
]
CJK = r'[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]'


# ---- the prose of a page


@cache
def parser():
    return create_md_parser(MdParserConfig(enable_extensions=set(EXTENSIONS)), RendererHTML)


def prose(md):
    """(first line, line after the last, text) of every piece of prose in Markdown, as Sphinx
    will see it"""
    for t in parser().parse(md):
        if t.type == 'inline' and t.content.strip():
            yield *t.map, t.content
        if t.type == 'colon_fence':
            for a, b, s in prose(t.content):
                yield a + t.map[0] + 1, b + t.map[0] + 1, s


def toctree(md):
    "Captions and titles of the tables of contents in Markdown"
    for block in re.findall(r'^```\{toctree\}\n(.*?)^```', md, re.M | re.S):
        yield from re.findall(r'^:caption: (.+)', block, re.M)
        yield from re.findall(r'^([^:].*) <\S+>$', block, re.M)


MERMAID = re.compile(r'^```\s*\{?mermaid\}?\s*\n(.*?)^```\s*$', re.M | re.S)
LABEL = re.compile(r'(?<=\[)((?:\d+ )?)([^][()]+)(?=\])')  # number of a chapter, words


def labels(md):
    "What stands in the boxes of the diagrams in Markdown"
    return [words for src in MERMAID.findall(md) for _, words in LABEL.findall(src)]


def relabelled(src, say):
    "The source of a diagram with what `say` has for the words in its boxes"
    return LABEL.sub(lambda m: m[1] + (say(m[2]) or m[2]), src)


def key(text):
    "A piece of prose as Sphinx looks it up: on one line"
    return text.replace('\n', ' ').strip()


API = re.compile(r'\[(`[^`]+`)\]\((#[^)\s]+)\)')
BEFORE = {'Lab: ': 'ラボ：', 'Solutions: ': '解答例：'}  # of titles
AROUND = [
    re.compile(p)
    for p in (
        r'(\d+\w? · |Lab: |Solutions: )(.+)()',
        r'(\*)([^*]+)(\*)',
        r'(!?\[)([^][]+)(\]\([^()\s]+\))',
    )
]


def core(text):
    """What a translator sees of a piece of prose, and a function that puts a translation
    back in its place. Links into the reference are taken out, other addresses become
    numbers, and what only surrounds the words is left away, so that a title is one message
    in its chapter, in a link and in a table of contents."""
    api = {m[1]: m[0] for m in API.finditer(text)}
    msg, around, targets = API.sub(r'\1', key(text)), [], []
    while m := next((m for p in AROUND if (m := p.fullmatch(msg))), None):
        around.append((m[1], m[3]))
        msg = m[2]

    def number(m):
        if m[1] not in targets:
            targets.append(m[1])
        return f']({targets.index(m[1]) + 1})'

    msg = re.sub(r'\]\(([^()\s]+)\)', number, msg)

    def restore(s):
        s = re.sub(r'\]\((\d+)\)', lambda m: f']({targets[int(m[1]) - 1]})', s)
        s = re.sub(r'(?<!`)`[^`]+`(?!`)', lambda m: api.get(m[0], m[0]), s)
        for before, after in reversed(around):
            s = BEFORE.get(before, before) + s + after
        return s

    return msg, restore


def is_prose(msg):
    "Are there words to translate, besides code, formulas and Japanese?"
    return bool(re.search('[A-Za-z]{2}', re.sub(r'(`+).+?\1|\$[^$]+\$|<[^>]+>', '', msg)))


def pieces(page, alt_text=None, say=None):
    """Every piece of prose of a staged page, in order. An alternative text that was taken
    from the sentence before its picture is no message of its own; with `say`, it comes as
    (the English, the last sentence of the Japanese)"""
    if page.suffix == '.md':
        md = page.read_text(encoding='utf-8')
        return [*(s for _, _, s in prose(md)), *labels(md)]
    out, before = [], ''
    for c in json.loads(page.read_text(encoding='utf-8'))['cells']:
        if c['cell_type'] == 'markdown':
            before = c['source']
            out += [*toctree(before), *(s for _, _, s in prose(before)), *labels(before)]
            continue
        alt = c['metadata'].get('mystnb', {}).get('image', {}).get('alt')
        if alt and not c['metadata'].get('alt_from_prose'):
            out.append(alt)
        elif alt and say:
            out.append((key(alt), alt_text(translated(before, say))))
        for o in c['outputs']:
            out += [
                s for _, _, s in prose(''.join(o.get('data', {}).get('text/markdown', '')))
            ]
    return out


def pages(stage=STAGE):
    """Name -> file of every staged page that is written by people; the reference comes from
    docstrings and stays English"""
    found = [*stage.glob('**/*.ipynb'), *stage.glob('*.md'), *stage.glob('solutions/*.md')]
    return {p.relative_to(stage).with_suffix('').as_posix(): p for p in sorted(found)}


def messages(page):
    "What there is to translate on a staged page, each message once"
    return list(dict.fromkeys(m for s in pieces(page) if is_prose(m := core(s)[0])))


# ---- catalogues


def po(name):
    return LOCALE / f'{name}.po'


def old_english(m):
    """Take the English that a translation was made for out of an entry's comments, among which
    Babel leaves it"""
    old = [c[1:].strip() for c in m.user_comments if c.startswith('|')]
    m.user_comments = [c for c in m.user_comments if not c.startswith('|')]
    if m.fuzzy and old:
        m.previous_id = [denormalize('\n'.join(old).removeprefix('msgid '))]


def load(name):
    if not po(name).exists():
        return Catalog(locale=LANG)
    with po(name).open('rb') as f:
        cat = read_po(f, locale=LANG)
    for m in cat:
        old_english(m)
    return cat


def known():
    "Every translation there is, whatever page it is for: English -> Japanese"
    out = {}
    for p in sorted(LOCALE.glob('**/*.po')):
        cat = load(p.relative_to(LOCALE).with_suffix('').as_posix())
        for m in [*cat.obsolete.values(), *cat]:
            if m.id and m.string and not m.fuzzy:
                out[m.id] = m.string
    return out


def merge(name, msgs, memory):
    """Bring the catalogue of a page up to date. A paragraph that has moved here from
    another page brings its translation; one that was changed keeps its old translation,
    marked `fuzzy`, beside the old English."""
    cat, template = load(name), Catalog(locale=LANG)
    for m in msgs:
        template.add(m)
    before = {m.id: m.previous_id for m in cat}
    cat.update(template, update_creation_date=False)
    for m in cat:
        if m.fuzzy and not m.previous_id:
            m.previous_id = before.get(m.id, [])
        if m.id and (m.fuzzy or not m.string) and m.id in memory:
            m.string, m.previous_id = memory[m.id], []
            m.flags.discard('fuzzy')
    po(name).parent.mkdir(parents=True, exist_ok=True)
    with po(name).open('wb') as f:
        f.write(HEADER.encode())
        write_po(f, cat, width=0, no_location=True, include_previous=True, omit_header=True)


def finished():
    return FINISHED.read_text(encoding='utf-8').split() if FINISHED.exists() else []


def parts(s):
    "What must be the same in a message and its translation"
    out = Counter()
    for t in parser().parseInline(s)[0].children:
        if t.type in ('code_inline', 'math_inline', 'html_inline'):
            out[t.type, t.content] += 1
        if t.type in ('link_open', 'image'):
            out[t.type, t.attrs.get('href') or t.attrs.get('src')] += 1
    return out


def faults(msg, s):
    "What is wrong with the form of a translation"
    if parts(msg) != parts(s):
        diff = (parts(msg) - parts(s)) + (parts(s) - parts(msg))
        yield 'not the same code, formulas and links: ' + ', '.join(str(k[1]) for k in diff)
    text = [t.content for t in parser().parseInline(s)[0].children if t.type == 'text']
    if any('*' in t for t in text) and '*' not in msg.replace('**', ''):
        yield 'asterisks that mark nothing: move punctuation out of the emphasis'
    if (m := re.search(f'\\n|{CJK}\\s+{CJK}', s)) and m[0] not in msg:
        yield f'a space or a line break inside Japanese: {m[0]!r}'
    if (m := re.search(r'[ぁ-ヶ一-鿿][,.!?;:](?![\w/])', s)) and m[0] not in msg:
        yield f'Latin punctuation after Japanese: {m[0]!r}'


def state(name, page):
    "(messages, translated, outdated, [fault]) of a page, against the English as it is now"
    cat, msgs = load(name), messages(page)
    got = {m: cat.get(m) for m in msgs}
    done = {m: e.string for m, e in got.items() if e and e.string and not e.fuzzy}
    outdated = sum(bool(e and e.string and e.fuzzy) for e in got.values())
    wrong = [f'{name}.po: {f}\n    {m[:90]}' for m, s in done.items() for f in faults(m, s)]
    return len(msgs), len(done), outdated, wrong


def problems(stage=STAGE):
    "One line for each finished page that may not be published as it stands"
    here, out = pages(stage), []
    for name in finished():
        if name not in here:
            out.append(f'{FINISHED.name} names {name}, which is no page')
            continue
        n, done, outdated, wrong = state(name, here[name])
        if n - done > MAY_LACK * n:
            out.append(
                f'{name}: of {n} messages {outdated} are outdated and '
                f'{n - done - outdated} are missing in Japanese; '
                f'run `make translations PAGE={name}` and translate them'
            )
        out += wrong
    return out


# ---- what is made of them


def speaker(name, memory=None):
    "A function: a piece of prose -> its Japanese, or None"
    own = {m.id: m.string for m in load(name) if m.id and m.string and not m.fuzzy}
    own = (memory or {}) | own

    def say(text):
        msg, restore = core(text)
        return restore(own[msg]) if msg in own else None

    return say


def translated(md, say):
    """Markdown with every piece of prose replaced by what `say` has for it; all else stays,
    letter for letter"""
    md = MERMAID.sub(lambda m: m[0].replace(m[1], relabelled(m[1], say)), md)
    lines, at, gone = md.split('\n'), {}, set()
    for a, b, text in prose(md):
        first = text.split('\n')[0]
        i = lines[a].find(first, at.get(a, 0))
        if i < 0:  # a bar in a table cell
            first = first.replace('|', '\\|')
            i = lines[a].index(first, at.get(a, 0))
        new = say(text) or text
        if new == text:
            at[a] = i + len(first)
            continue
        lines[a] = lines[a][:i] + new + lines[a][i + len(first) :]
        at[a] = i + len(new)
        gone |= set(range(a + 1, a + 1 + text.count('\n')))
    return '\n'.join(l for i, l in enumerate(lines) if i not in gone)


def compiled(name, page, alt_text, memory):
    """The catalogue that Sphinx reads for a page: of an unfinished page, its title and what it
    is about"""
    full = name in finished()
    say, cat = speaker(name, memory), Catalog(locale=LANG)
    got = pieces(page, alt_text, say) if full else pieces(page)[:2]
    for s in got:
        en, ja = s if isinstance(s, tuple) else (key(s), say(s))
        if ja and ja != en and en not in cat:
            cat.add(en, ja)
    return cat


def compile_all(alt_text, stage=STAGE):
    "Write the .mo files beside the staged pages; returns what forbids publishing"
    memory = known()
    for name, page in pages(stage).items():
        mo = stage / MO / LANG / 'LC_MESSAGES' / f'{name}.mo'
        mo.parent.mkdir(parents=True, exist_ok=True)
        with mo.open('wb') as f:
            write_mo(f, compiled(name, page, alt_text, memory))
    (stage / 'finished.json').write_text(json.dumps(finished()))
    return problems(stage)


def report(names, here):
    total = Counter()
    print(f"{'page':36} messages translated outdated missing")
    for name in names:
        n, done, outdated, wrong = state(name, here[name])
        total.update(n=n, done=done, outdated=outdated)
        mark = 'finished' if name in finished() else ''
        print(
            f'{name:36} {n:8} {done / max(n, 1):9.0%} {outdated:9} {n - done - outdated:7}  '
            f'{mark}'
        )
        print(*wrong, sep='\n', end='\n' if wrong else '')
    print(f"{'all':36} {total['n']:8} {total['done'] / max(total['n'], 1):9.0%}")


def main(*names):
    here = pages()
    if bad := [n for n in names if n not in here]:
        sys.exit(
            f'no such page: {", ".join(bad)}; the pages are those of nbs/, such as 02_extract'
        )
    memory = known()
    for name in names or [n for n in here if po(n).exists()]:
        merge(name, messages(here[name]), memory)
    report(names or here, here)


if __name__ == '__main__':
    main(*sys.argv[1:])
