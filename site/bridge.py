"""Stage the course for Sphinx, in `_myst/`: the notebooks of `nbs/` through nbdev's
processors, the API reference from the docstrings, and the index of error messages from the
labs and the code. Nothing in here is written by hand twice: `site/pages/` holds the only page
that is not generated."""

import ast
import base64
import inspect
import io
import json
import re
import shutil
import sys
from functools import cache, partial
from importlib import import_module
from pathlib import Path
import nbformat
import translate
from PIL import Image
from execnb.nbio import read_nb, mk_cell
from fastcore.docments import MarkdownRenderer
from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup
from nbdev.processors import (
    FrontmatterProc,
    add_links,
    clean_magics,
    hide_,
    hide_line,
    rm_header_dash,
    strip_ansi,
)
from nbdev.process import NBProcessor

CFG = get_config()
ROOT = CFG.config_path
NBS = ROOT / CFG.nbs_path.name
OUT = ROOT / '_myst'
BASE = f'{CFG.doc_host}{CFG.doc_baseurl}/'
BLOB = f'{CFG.git_url}/blob/{CFG.branch}'
HIDE = {'hide', 'default_exp'}
SETUP = (
    '# Colab setup'  # the first comment of the cell that scripts/insert_setup_cell.py writes
)
# what stands after two blanks or more goes on with the value above
option = re.compile(
    r'^#\|[ \t]?([\w-]+)[ \t]*:?[ \t]*(.*?(?:\n#\|[ \t]{2,}\S.*)*)[ \t]*$\n?', re.M
)
fence = re.compile(r'^(`{3,}|~{3,}).*?^\1`*\s*$', re.M | re.S)


def symbols():
    "Address that nbdev gives each symbol -> the symbol's full name"
    d = import_module(f'{CFG.lib_path.name}._modidx').d['syms']
    return {BASE + url: full for syms in d.values() for full, (url, _) in syms.items()}


def outside_code(f, s):
    "Apply `f` to the parts of the Markdown `s` that are not in a fence"
    out, end = [], 0
    for m in fence.finditer(s):
        out += [f(s[end : m.start()]), m[0]]
        end = m.end()
    return ''.join(out + [f(s[end:])])


def imported(cells):
    "The names that a notebook imports from the package, each with its module"
    code = '\n'.join(c.source for c in cells if c.cell_type == 'code')
    lists = re.findall(rf'^from {CFG.lib_path.name}\.(\w+) import (\([^)]*\)|.+)', code, re.M)
    return {n: m for m, names in lists for n in re.findall(r'\b\w+\b(?! as)', names)}


def meant(cells, module, syms):
    """Address that nbdev gives to a name -> the one that the notebook means. Where several
    modules have the name, that is its own, the one that it imports, or the one in Python:
    nbdev takes the first, often a command of the command line"""
    found, out, ours = {}, {}, imported(cells)
    for url, full in syms.items():
        found.setdefault(full.split('.', 2)[2], {})[full.split('.')[1]] = url
    for name, urls in found.items():
        python = [m for m in urls if m != 'cli']
        best = next(m for m in (module, ours.get(name), *python, *urls) if m in urls)
        if len(urls) > 1:
            out |= dict.fromkeys(urls.values(), urls[best])
    return out


def relink(s, syms, deep=0, same={}):
    """nbdev's documentation links become links into the API reference (`same`: see `meant`),
    links out of `nbs/` lead to the repository, callouts become admonitions"""

    def one(s):
        s = re.sub(
            r'\[([^]]+)\]\((' + re.escape(BASE) + r'[^\s)]+)\)',
            lambda m: (
                f'[{m[1]}](#{syms[same.get(m[2], m[2])].lower()})' if m[2] in syms else m[1]
            ),
            s,
        )
        s = re.sub(
            r'\]\((?:\.\./){%d}(?!\.\./)([^)]+)\)' % (deep + 1),
            lambda m: f']({BLOB}/{m[1]})',
            s,
        )
        return re.sub(r'^(:{3,})\s*\{\.callout-(\w+)[^}]*\}', r'\1{\2}', s, flags=re.M)

    return re.sub(r'^```\s*\{?mermaid\}?', '```{mermaid}', outside_code(one, s), flags=re.M)


def plain(s):
    "Markdown -> the sentence a screen reader can say"
    s = re.sub(
        r'!?\[([^]]*)\]\([^)]*\)', r'\1', re.sub(r'^\s*(#+|[-*>]|\d+\.)\s+', '', s, flags=re.M)
    )
    for mark in '`+', r'\*{1,3}', r'\${1,2}':
        s = re.sub(rf'{mark}(\S[^`*$]*?){mark}', r'\1', s)
    s = re.sub(r'(?<!\w)_{1,3}(\S.*?)(?<=\S)_{1,3}(?!\w)', r'\1', s)  # not inside a name
    return ' '.join(s.split())


def alt_text(opts, before, ends=r'(?<=[.:。])\s+'):
    """What a picture shows: `fig-alt` or `fig-cap` if the author gave one, otherwise the
    last sentence written before it"""
    if t := opts.get('fig-alt') or opts.get('fig-cap'):
        return ' '.join(t.replace('\n#|', ' ').split()).strip('"\'')
    return (
        re.split(ends, plain(fence.sub('', before)).strip())[-1].rstrip(':：')
        or 'Plot made by the code above'
    )


def box(name, md, deep):
    fence = ':' * deep
    return f'{fence}{{container}} {name}\n{md}\n{fence}\n'


def landing(md):
    "What the landing page prints first: its links as buttons, answers as cards"
    if md.startswith('[Read'):
        here = md.replace(f']({BASE}00_first_hour.html)', '](00_first_hour.ipynb)')
        return box('ways', here, 3)
    cards = re.compile(r'^\*\*.+?\*\*\n(?:.*\n)*?- the report says: .*\n+', re.M)
    if not (found := cards.findall(md)):
        return md
    return box('cards', ''.join(box('card', c, 3) for c in found), 4) + cards.sub('', md)


@cache
def small(png):
    "The base64 of a picture, with a palette where that is shorter: plots have few colours"
    out = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert('RGB').quantize(
        64, dither=Image.Dither.NONE
    ).save(out, 'PNG', optimize=True)
    return min(png, base64.b64encode(out.getvalue()).decode(), key=len)


def shrink(outputs):
    for o in outputs:
        if 'image/png' in (d := o.get('data', {})):
            d['image/png'] = small(''.join(d['image/png']).replace('\n', ''))
    return outputs


def is_test(node):
    "Is it an assertion or a call such as `test_eq(…)`?"
    call = node.value if isinstance(node, ast.Expr) else None
    name = getattr(getattr(call, 'func', None), 'id', '')
    return isinstance(node, ast.Assert) or name.startswith('test_')


def defined(body):
    "The names that statements give to something, in order"
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (n.id for t in node.targets for n in ast.walk(t) if hasattr(n, 'id'))


def folded(code, exported, outputs):
    """What a reader sees instead of a cell until it is opened, or nothing: imports, code that
    goes into the package, and tests stand behind the text and do not interrupt it"""
    try:
        body = ast.parse(code).body
    except SyntaxError:  # a command of the shell
        return ''
    if all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in body):
        return 'Imports'
    if exported:
        names = [n for n in dict.fromkeys(defined(body)) if n != '_all_'] or ['…']
        return 'In the package: ' + ', '.join(names[:5] + ['…'] * (len(names) > 5))
    said = [node for node in body if isinstance(node, (ast.Expr, ast.Assert))]
    return 'Tests' if said and not outputs and all(map(is_test, said)) else ''


def is_table(s):
    "Does the text have columns that wrapping would spoil?"
    return (
        sum(len(l) > 100 and len(re.findall(r'\S {2,}(?=\S)', l)) > 2 for l in s.splitlines())
        > 1
    )


def name(path):
    return path.relative_to(NBS).with_suffix('').as_posix()


def head(path):
    """What the other pages say about a notebook: number, title, description, module, and
    the error messages it answers"""
    cells = read_nb(path).cells
    md = next(
        c.source
        for c in cells
        if c.cell_type == 'markdown' and re.search(r'^# ', c.source, re.M)
    )
    one = lambda pat, s: (re.search(pat, s, re.M) or [None, ''])[1].strip()
    return dict(
        stem=name(path),
        number=one(r'^(\d+\w*?)_', path.stem),
        title=one(r'^# (.*)', md),
        description=one(r'^> (.*)', md),
        messages=messages(cells),
        module=one(r'^#\|\s*default_exp\s+(\w+)', '\n'.join(c.source for c in cells[:4])),
    )


def drop_last_header(cell):
    """A heading that ends in a dash is not for readers; the summary that stands in the same
    cell is"""
    if cell.cell_type == 'markdown':
        cell.source = re.sub(r'\n+#+ [^\n]* -\s*$', '', cell.source)


def stage(path, head, syms):
    """One notebook as MyST-NB reads it: title back in place, directives obeyed and gone,
    pictures with alternative text"""
    proc = NBProcessor(
        path,
        procs=[
            FrontmatterProc,
            strip_ansi,
            hide_line,
            drop_last_header,
            rm_header_dash,
            hide_,
            clean_magics,
            add_links,
        ],
    )
    proc.nb.path_ = path
    dirs = {c.id: set(c.directives_) for c in proc.nb.cells}
    # nbdev drops the lines on which a directive goes on
    whole = {c['id']: ''.join(c['source']) for c in json.loads(path.read_text())['cells']}
    same, deep = meant(proc.nb.cells, head['module'], syms), head['stem'].count('/')
    proc.process()
    cells, before = [mk_cell(f"# {head['title']}\n\n*{head['description']}*", 'markdown')], ''
    for c in proc.nb.cells:
        s = ''.join(c.source or '')
        if (
            c.cell_type == 'raw'
            or not s.strip()
            or dirs.get(c.get('id'), set()) & HIDE
            or s.startswith(SETUP)
        ):
            continue
        if c.cell_type == 'markdown':
            before = s
            if (
                re.search('^## Exercises', s, re.M)
                and (NBS / 'solutions' / path.name).exists()
            ):
                c.source = s = f"{s}\n\n[Worked solutions](solutions/{path.name})"
            cells.append(mk_cell(relink(s, syms, deep, same), 'markdown'))
            continue
        opts = dict(option.findall(whole.get(c.get('id'), s)))
        body = option.sub('', s).strip('\n')
        if not body.strip() or opts.get('include') == 'false':
            continue
        fold = folded(body, 'export' in dirs.get(c.get('id'), ()), c.outputs)
        tags = [
            t
            for t, on in {
                'remove-input': opts.get('echo') == 'false',
                'remove-output': opts.get('output') == 'false',
                'hide-input': fold,
                'scroll-output': any(
                    is_table(''.join(o.get('text') or o.get('data', {}).get('text/plain', '')))
                    for o in c.outputs
                ),
            }.items()
            if on
        ]
        if 'gpu' in dirs.get(c.get('id'), ()):
            cells.append(
                mk_cell(
                    '*Runs on a GPU; the output below is the saved one of such a run.*',
                    'markdown',
                )
            )
        new = mk_cell(body)
        new.outputs = shrink([o for o in c.outputs if o.get('name') != 'stderr'])
        new.metadata = dict(tags=tags) if tags else {}
        if fold:
            new.metadata['mystnb'] = dict(code_prompt_show=fold)
        if any(
            'image/png' in o.get('data', {}) or 'image/svg+xml' in o.get('data', {})
            for o in new.outputs
        ):
            new.metadata.setdefault('mystnb', {})['image'] = dict(alt=alt_text(opts, before))
            new.metadata['alt_from_prose'] = not (opts.get('fig-alt') or opts.get('fig-cap'))
        cells.append(new)
    nb = dict(
        cells=cells,
        metadata=dict(
            kernelspec=dict(name='python3', display_name='Python 3', language='python')
        ),
        nbformat=4,
        nbformat_minor=5,
    )
    for o in (o for c in cells if head['stem'] == 'index' for o in c.get('outputs', ())):
        if md := o.get('data', {}).get('text/markdown'):
            o['data']['text/markdown'] = landing(''.join(md))
    for i, c in enumerate(nb['cells']):
        c = nb['cells'][i] = {
            k: v
            for k, v in dict(c).items()
            if k in ('cell_type', 'source', 'metadata', 'outputs')
        }
        c.update(id=f'c{i}', metadata=c.get('metadata') or {})
        if c['cell_type'] == 'code':
            c.update(execution_count=None, outputs=c.get('outputs') or [])
    (OUT / f"{head['stem']}.ipynb").write_text(
        json.dumps(nb, ensure_ascii=False), encoding='utf-8'
    )


def download(path, say=None):
    """The notebook to take away: everything that runs is there, the directives are not, nor
    the outputs, which stand on the page, nor the ids of cells, which format 4.4 does not have;
    `say` translates its prose"""
    nb = nbformat.read(path, as_version=4)
    cells = []
    for c in nb.cells:
        c.source = option.sub('', c.source).strip('\n')
        if c.cell_type == 'code':
            c.update(outputs=[], execution_count=None)
        if not c.source or 'nbdev_export()' in c.source or re.fullmatch(r'#+ .* -', c.source):
            continue
        if say and c.cell_type == 'markdown':
            c.source = translate.translated(c.source, say)
        c.pop('id', None)
        cells.append(c)
    nb.cells, nb.nbformat_minor = cells, 4
    return json.dumps(nb, ensure_ascii=False, separators=(',', ':'))


# ---- index of error messages


def messages(cells):
    "The error messages that a lab answers: the code spans of its line **Messages:**"
    for c in cells:
        if c.cell_type == 'markdown' and (
            m := re.search(r'^\*\*Messages:?\*\*:?(.*?)(?:\n\n|\Z)', c.source, re.M | re.S)
        ):
            return [
                a or b
                for a, b in re.findall(r'``\s?(.+?)\s?``|`([^`]+)`', ' '.join(m[1].split()))
            ]
    return []


def course_errors(py):
    """Every message of a `CourseError` in a module, with the parts that vary in capitals,
    and the function that raises it"""

    def text(o):
        if isinstance(o, ast.Constant):
            return str(o.value)
        if isinstance(o, ast.JoinedStr):
            return ''.join(text(v) for v in o.values)
        if isinstance(o, ast.BinOp):
            return text(o.left) + text(o.right)
        if isinstance(o, ast.FormattedValue):
            names = [
                n.attr if isinstance(n, ast.Attribute) else n.id
                for n in ast.walk(o.value)
                if isinstance(n, (ast.Attribute, ast.Name))
            ]
            return (names[0] if names else 'value').strip('_').upper()
        return '…'

    for f in ast.parse(py.read_text(encoding='utf-8')).body:
        for c in ast.walk(f):
            if (
                isinstance(c, ast.Call)
                and getattr(c.func, 'id', '') == 'CourseError'
                and c.args
            ):
                t = ' '.join(text(c.args[0]).split())
                if len(t.strip('…')) > 12:
                    yield t, getattr(f, 'name', '')


def short(t):
    return re.sub(r'^Lab:\s*', '', t)


def code(s):
    return f'`` {s} ``' if '`' in s else f'`{s}`'


def errors_page(pages, mods):
    labs = [p for p in pages if p['messages']]
    out = [
        '# Errors and their labs',
        '*Find the message you see, or a part of it; the browser\'s search finds it too.*',
        'Each lab makes the failure happen, explains it, '
        'and shows the repair and how to know that it holds. What stands in capitals varies.',
    ]
    if labs:
        out += ['## Messages of libraries, and symptoms without a message']
    for p in labs:
        out += [
            f"### [{short(p['title'])}]({p['stem']}.ipynb)",
            p['description'],
            '\n'.join(f'- {code(m)}' for m in p['messages']),
        ]
    out += [
        '## Messages of this package',
        'The command line prints these in one line and ends with exit status 2; '
        'earlier files stay as they were.',
    ]
    for m, p in mods.items():
        es = sorted(set(course_errors(ROOT / CFG.lib_path.name / f'{m}.py')))
        if es:
            out += [
                f"### [{p['title']}]({p['stem']}.ipynb)",
                '\n'.join(f'- {code(t)}' for t, _ in es),
            ]
    return '\n\n'.join(out) + '\n'


# ---- API reference


def entry(full, obj, name, level, look):
    "One symbol: heading with a target, signature, docstring and parameters, source"
    src = (look.code(full) or '').split('#')[0]
    if src:
        src += f'#L{inspect.getsourcelines(obj)[1]}'
    doc = MarkdownRenderer(obj, name=name, title_level=level)._repr_markdown_()
    doc = re.sub(r'\*Call self as a function\.\*\s*', '', doc)  # it has no docstring
    return f"({full.lower()})=\n{'#' * level} `{name}`\n\n{doc}\n" + (
        f'\n[source]({src})\n' if src else ''
    )


def api_page(mod, page, look):
    "Reference of one module, and the names it documents"
    m, out, seen = import_module(f'{CFG.lib_path.name}.{mod}'), [], set()
    full = f'{CFG.lib_path.name}.{mod}'
    names = [
        full + '.' + n
        for n in m.__all__
        if callable(getattr(m, n, None)) and getattr(getattr(m, n), '__module__', full) == full
    ]
    mine = [k for k in import_module(f'{CFG.lib_path.name}._modidx').d['syms'].get(full, {})]
    for f in names:
        for k in [f] + [
            o for o in mine if o.startswith(f + '.') and not o.split('.')[-1].startswith('_')
        ]:
            obj = m
            for part in k.removeprefix(full + '.').split('.'):
                obj = getattr(obj, part, None)
            if obj is None or k.lower() in seen:
                continue
            if isinstance(obj, property):
                obj = obj.fget
            if not callable(obj):
                continue
            seen.add(k.lower())
            out.append(entry(k, obj, k.removeprefix(full + '.'), 2 + (k != f), look))
    return (
        f"# `{full}`\n\n*{page['description']}*\n\n"
        f"Exported by [{page['title']}](../{page['stem']}.ipynb).\n\n" + '\n'.join(out),
        seen,
    )


# ---- everything

GROUPS = [
    ('Start here', lambda n: n < 2),
    ('PDF to text', lambda n: 2 <= n < 6),
    ('Text to model', lambda n: 6 <= n < 10),
    ('Model to knowledge', lambda n: 10 <= n < 14),
    ('All in one command', lambda n: 14 <= n < 20),
    ('Troubleshooting', lambda n: 20 <= n < 40 and n != 30),
    ('Going further', lambda n: n == 30 or n >= 40),
]


def label(page, later=None):
    """Number and title; a lesson that shares its number with the page behind it shows its
    title alone"""
    shared = later and later['number'] == page['number']
    return (
        short(page['title'])
        if shared
        else f"{re.sub('^0(?=.)', '', page['number'])} · {short(page['title'])}"
    )


def toctrees(pages):
    for caption, want in GROUPS:
        ps = [p for p in pages if p['number'] and want(int(p['number'][:2]))]
        es = [f"{label(p, later)} <{p['stem']}>" for p, later in zip(ps, [*ps[1:], None])]
        if caption == 'Troubleshooting':
            es = ['Errors and their labs <errors>'] + es
        if es:
            yield caption, es
    yield (
        'Reference',
        ['Solutions <solutions/index>', 'Glossary <glossary>', 'API <api/index>'],
    )


def speakers(nbs):
    "(name, what translates its prose) of the notebooks that are finished in Japanese"
    for n in map(name, nbs):
        if n in translate.finished():
            yield n, translate.speaker(n)


def japanese():
    "The catalogues for Sphinx; stops if a finished page is not in step with its English"
    last = partial(alt_text, {}, ends=r'(?<=[。：])(?=.)')
    if bad := translate.compile_all(last, OUT):
        sys.exit('\n'.join(bad))


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / 'api').mkdir(parents=True)
    (OUT / 'solutions').mkdir()
    syms, look = symbols(), NbdevLookup()
    nbs = sorted(NBS.glob('*.ipynb'), key=lambda p: (p.stem.split('_')[0], p.stem)) + sorted(
        NBS.glob('solutions/*.ipynb')
    )
    heads = {p: head(p) for p in nbs}
    mods = {
        h['module']: h
        for h in heads.values()
        if (ROOT / CFG.lib_path.name / f"{h['module']}.py").exists()
    }
    api = {m: api_page(m, h, look) for m, h in mods.items()}
    shown = set().union(*(names for _, names in api.values()))
    syms = {url: full for url, full in syms.items() if full.lower() in shown}
    for m, (s, _) in api.items():
        (OUT / f'api/{m}.md').write_text(relink(s, syms, deep=1), encoding='utf-8')
    for p in nbs:
        stage(p, heads[p], syms)
    pages, solved = (
        [h for h in heads.values() if ('/' in h['stem']) == deep] for deep in (False, True)
    )
    (OUT / 'downloads.json').write_text(json.dumps({name(p): download(p) for p in nbs}))
    (OUT / 'downloads_ja.json').write_text(
        json.dumps({n: download(NBS / f'{n}.ipynb', say) for n, say in speakers(nbs)})
    )
    rows = [
        f"| [`{m}`]({m}.md) | {h['description']} | [{h['title']}](../{h['stem']}.ipynb) |"
        for m, h in mods.items()
    ]
    (OUT / 'api/index.md').write_text(
        '# API reference\n\n*Every public function and class, with its parameters, '
        'from the docstrings.*\n\n| module | what it is for | chapter |\n|---|---|---|\n'
        + '\n'.join(rows)
        + '\n\n```{toctree}\n:hidden:\n'
        + '\n'.join(mods)
        + '\n```\n',
        encoding='utf-8',
    )
    rows = [f"- [{h['title']}]({Path(h['stem']).name}.ipynb)" for h in solved]
    (OUT / 'solutions/index.md').write_text(
        '# Solutions\n\n*Worked solutions of the exercises; the tests run them.*\n\n'
        + '\n'.join(rows)
        + '\n\n```{toctree}\n:hidden:\n'
        + '\n'.join(Path(h['stem']).name for h in solved)
        + '\n```\n',
        encoding='utf-8',
    )
    (OUT / 'errors.md').write_text(errors_page(pages, mods), encoding='utf-8')
    for p in (ROOT / 'site/pages').glob('*.md'):
        shutil.copy(p, OUT)
    tocs = '\n\n'.join(
        f'```{{toctree}}\n:hidden:\n:caption: {c}\n' + '\n'.join(es) + '\n```'
        for c, es in toctrees(pages)
    )
    idx = OUT / 'index.ipynb'
    nb = json.loads(idx.read_text(encoding='utf-8'))
    nb['cells'].append(dict(cell_type='markdown', id='toctree', metadata={}, source=tocs))
    idx.write_text(json.dumps(nb, ensure_ascii=False), encoding='utf-8')
    print(f'{len(pages)} notebooks, {len(mods)} modules staged in {OUT.name}/')


if __name__ == '__main__':
    main()
    if '--stage-only' not in sys.argv:
        japanese()
