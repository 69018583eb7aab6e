"""Sphinx settings of the site; bridge.py has staged the pages in `_myst/`. Everything a
page needs comes with it: nothing is loaded from elsewhere."""

import hashlib
import json
import re
import shutil
import sys
from configparser import ConfigParser
from functools import cache
from html import unescape
from pathlib import Path
from docutils import nodes
from docutils.parsers.rst import Directive
from latex2mathml.converter import convert
from sphinx import addnodes, locale, search
from sphinx.errors import ExtensionError
from sphinx.search.en import SearchEnglish

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import translate

cp = ConfigParser(delimiters=['='])
cp.read(HERE.parent / 'settings.ini', encoding='utf-8')
cfg = cp['DEFAULT']

project, author, release, copyright = (
    cfg['title'],
    cfg['author'],
    cfg['version'],
    cfg['copyright'],
)
JA = tags.has('ja')  # noqa: F821 - Sphinx gives it to this file
language = 'ja' if JA else 'en'
locale_dirs, gettext_compact = [translate.MO], False
extensions = ['myst_nb', 'sphinx_copybutton']
templates_path = ['templates']
exclude_patterns = ['_build', '**.ipynb_checkpoints']

nb_execution_mode = 'off'  # outputs are the saved ones
nb_render_markdown_format = 'myst'
nb_merge_streams = True
myst_enable_extensions = translate.EXTENSIONS
myst_heading_anchors = 4
myst_links_external_new_tab = True

html_theme, html_title = 'sphinx_book_theme', project
html_static_path, html_css_files = ['static'], ['custom.css']
html_show_sphinx, html_use_index = False, False
html_search_scorer = str(HERE / 'scorer.js')
html_last_updated_fmt = None
html_baseurl = f"{cfg['doc_host']}{cfg['doc_baseurl']}/" + ('ja/' if JA else '')
html_favicon = 'static/favicon.svg'
html_theme_options = dict(
    repository_url=cfg['git_url'],
    repository_branch=cfg['branch'],
    path_to_docs=cfg['nbs_path'],
    use_repository_button=False,
    use_issues_button=False,
    use_download_button=True,
    show_toc_level=2,
    show_navbar_depth=1,
    launch_buttons=dict(
        colab_url='https://colab.research.google.com', notebook_interface='jupyterlab'
    ),
    icon_links=[
        dict(
            name='Source on GitHub',
            url=cfg['git_url'],
            icon='fa-solid fa-code-branch',
            type='fontawesome',
        )
    ],
    navbar_persistent=[],
    toc_title='このページの内容' if JA else 'On this page',
    article_header_end=['switch.html', 'article-header-buttons.html'],
)
html_context = dict(default_mode='auto')
html_math_renderer = 'mathml'


def js_search_ready():
    """Latin words are stemmed as Sphinx does; Japanese runs become pairs of characters, in
    the index and in the query, so that 降水量 is found in 日降水量の予測"""
    cjk = '\u3040-\u30ff\u3400-\u9fff々ー'

    def split(s):
        for w in re.findall(f'[{cjk}]+|[^\\W{cjk}]+', s):
            if re.match(f'[{cjk}]', w) and len(w) > 1:
                yield from (w[i : i + 2] for i in range(len(w) - 1))
            else:
                yield w

    js = '''
function splitQuery(query) {
  const cjk = "\\u3040-\\u30ff\\u3400-\\u9fff々ー";
  const word = new RegExp(`[${cjk}]+|[\\\\p{Letter}\\\\p{Number}_]+`, "gu");
  const edge = new RegExp(`(?<=[${cjk}])(?![${cjk}])|(?<![${cjk}])(?=[${cjk}])`, "u");
  const pairs = w => [...Array(w.length-1).keys()].map(i => w.slice(i, i+2));
  return (query.match(word) || []).flatMap(o => o.split(edge).flatMap(w =>
    new RegExp(`^[${cjk}]`).test(w) && w.length > 1 ? pairs(w) : w));
}
'''

    english = SearchEnglish({})

    class SearchBigram(SearchEnglish):
        js_splitter_code = js

        def split(self, s):
            return list(split(s))

        @staticmethod
        @cache
        def stem(word):
            return english.stem(word)

        def word_filter(self, w):
            return bool(re.match(f'[{cjk}]', w)) or super().word_filter(w)

    search.languages['en'] = search.languages['ja'] = SearchBigram


def math(display):
    def visit(self, node):
        self.body.append(convert(node.astext(), display=display))
        raise nodes.SkipNode

    return visit


FRACTION = re.compile(r'(\d\.\d\d)\d+')  # of a pixel: two decimals are enough
NODE = re.compile(r'<g class="node default" id="flowchart-[\w-]+".*?</text></g></g></g>', re.S)


def linked(svg):
    "A diagram whose boxes that begin with the number of a chapter lead to it"
    stems = sorted(p.stem for p in (HERE.parent / 'nbs').glob('[0-9]*.ipynb'))
    pages = {stem.split('_')[0].lstrip('0'): stem for stem in reversed(stems)}

    def link(m):
        said = ' '.join(re.sub('<[^>]+>', ' ', m[0]).split())
        page = pages.get(said.split(' ')[0])
        return f'<a href="{page}.html">{m[0]}</a>' if page else m[0]

    # a picture with links is no single image to a screen reader
    return NODE.sub(link, svg).replace('role="img"', 'role="group"', 1)


class Mermaid(Directive):
    """A diagram drawn beforehand by `make diagrams`: no script on the page, and its colours
    follow the theme"""

    has_content = True

    def run(self):
        src, page = '\n'.join(self.content), self.state.document.settings.env.docname
        if JA and page in translate.finished():
            src = translate.relabelled(src, translate.speaker(page))
        svg = HERE / 'diagrams' / f'{hashlib.sha1(src.strip().encode()).hexdigest()[:12]}.svg'
        if not svg.exists():
            raise self.error(
                'a mermaid diagram has not been drawn: '
                f'run `make diagrams` and commit {svg.name}'
            )
        drawing = linked(FRACTION.sub(r'\1', svg.read_text(encoding='utf-8')))
        html = f'<div class="diagram" tabindex="0">{drawing}</div>'
        return [nodes.raw('', html, format='html')]


# names, punctuation and operators in code have the colour of all code, and a word of code in
# a paragraph needs no mark inside its own: they were a quarter of a page
PLAIN = re.compile(r'<span class="(?:n|nn|p|w|o|pre)">([^<]*)</span>')
# the colour of a word in code hangs on its class, whatever the element: the shortest serves
TOKEN = re.compile(r'<span class="([a-z]{1,2}\d?)">([^<]*)</span>')
# no rule of a style sheet asks for the language of a block of code
LANGUAGE = re.compile(r'(?<=highlight-)(?:python|myst-ansi)(?= notranslate">)')
# the parts of a string have one colour, and imported names that of all code
SAME = dict(sa='s1', si='s1')
STRING = re.compile(r'(?:<i class=s1>[^<]*</i>){2,}')
# no rule of a style sheet asks what kind of page a link leads to
LEADS = re.compile(r'<span class="std std-(?:doc|ref)">((?:[^<]|<(?!/?span))*)</span>')
# MyST-NB says the same twice, for open and closed, and gives both a third name
FOLD = re.compile(
    r'<details class="admonition hide above-input">\s*<summary[^>]*>\s*'
    r'<p class="collapsed[^>]*>(.*?)</p>.*?</summary>',
    re.S,
)
UNUSED = re.compile(
    '|'.join(
        (
            r'<!--(?!\[).*?-->',
            r'<div class="sidebar-primary-item">\s*<div id="ethical-ad-.*?</div>\s*</div>',
            r'<div class="pst-async-banner-revealer.*?</aside>\s*</div>',
            r'<div class="footer-item">\s*</div>',
            r'<li><a href="[./]*_sources/api/.*?</li>',  # see `tidy`
            r' data-bs-placement="\w+"| data-bs-toggle="tooltip"',
            r'(?<= class=")docutils (?=literal)| docutils container(?=")',
            r'(?<= class="docutils literal) notranslate(?=")',
            r'<span></span>',
            r'(?<= class=")reference internal (?=nav-link)',
            # what `_blank` and a style sheet mean without it
            r' rel="(?:noreferrer ?|noopener ?)+"(?= target="_blank")',
            r'(?<=<link rel="stylesheet") type="text/css"',
            r'(?<=<a) class="reference (?:in|ex)ternal"',
            # the contents again, for paper only
            r'<div id="jb-print-toc">(?:(?!<div id="searchbox).)*?</nav>\s*</div>',
            r'<link rel="preload" as="script"[^>]*>',
            r'<script defer src="[^"]*/fontawesome\.js[^"]*"></script>\s*',  # see `tidy`
            r' data-cfasync="false"',  # for pages behind Cloudflare
            r'(?<=\?digest=.{6})\w+',
            r'(?<=\?v=[0-9a-f]{4})[0-9a-f]{4}(?=")',
            r'(?<=mystnb\.[0-9a-f]{4})[0-9a-f]{60}(?=\.css)',  # see `tidy`
            r'(?<=/>)<meta name="viewport" content="width=device-width, initial-scale=1" />',
            r' (?=/>)',
            r'<script>DOCUMENTATION_OPTIONS\.search_as_you_type = false;</script>\s*',
        )
    ),
    re.S,
)
# between these the browser shows no space
BLOCK = 'div|ul|ol|li|p|section|nav|table|thead|tbody|tr|td|th|head|meta|link|footer|main|h\\d'
BETWEEN = re.compile(rf'(</?(?:{BLOCK})\b[^>]*>)\n(?=</?(?:{BLOCK})\b)')
VERBATIM = re.compile(r'(<(pre|script|style|textarea|svg|iframe)\b.*?</\2>)', re.S)


def lean(s):
    """A page without marks that change nothing and without blank lines and indentation of
    the templates"""
    s = LEADS.sub(r'\1', PLAIN.sub(r'\1', LANGUAGE.sub('', UNUSED.sub('', s))))
    s = TOKEN.sub(lambda m: f'<i class={SAME.get(m[1], m[1])}>{m[2]}</i>', s)
    s = STRING.sub(lambda m: f'<i class=s1>{re.sub("</?i[^>]*>", "", m[0])}</i>', s)
    s = FOLD.sub(r'<details class="fold"><summary>\1</summary>', s)
    parts = VERBATIM.split(s)
    for i in range(0, len(parts), 3):
        parts[i] = BETWEEN.sub(r'\1', re.sub(r'[ \t]*\n\s*', '\n', parts[i]))
    for i in range(1, len(parts), 3):
        if parts[i + 1] in ('script', 'style'):
            parts[i] = re.sub(r'\s*\n\s*', '\n', parts[i])
    del parts[2::3]  # the name of the element
    return ''.join(parts)


# the theme's name of this button is that of another part of the page
SEARCH = re.compile(
    r'(<button class="btn search-button-field[^>]*?)\s*aria-label="(?:Search|検索)"'
)


def tidy(out):
    "Drop files that no page needs"
    # what the reference is made from, between two steps of the build
    shutil.rmtree(out / '_sources/api', ignore_errors=True)
    # MyST-NB leaves it beside each language's pages: inside the site for the Japanese ones
    shutil.rmtree(out.parent / 'jupyter_execute', ignore_errors=True)
    for p in out.glob('_static/**/*.map'):
        p.unlink()
    # the theme's own words, already set in English
    shutil.rmtree(out / '_static/locales', ignore_errors=True)
    for p in out.glob('_static/mystnb.*.css'):
        p.rename(p.with_name(f'{p.name[:11]}.css'))
    # the style sheet draws the icons
    (out / '_static/scripts/fontawesome.js').unlink(missing_ok=True)


def finish(app, exc):
    """The theme's download button takes `_sources/NAME.ipynb`: put the notebook that runs
    there. Then drop what no page needs"""
    out = Path(app.outdir)
    if exc or app.builder.name != 'html':
        return
    for f in ('downloads.json', *(['downloads_ja.json'] if JA else [])):
        for stem, s in json.loads((Path(app.srcdir) / f).read_text()).items():
            (out / '_sources' / f'{stem}.ipynb').write_text(s, encoding='utf-8')
    tidy(out)
    pages = {
        p: frame(out, p, lean(SEARCH.sub(r'\1', p.read_text(encoding='utf-8'))))
        for p in [*out.glob('**/*.html')]
        if p.parent.name != '_static' and (JA or 'ja' not in p.relative_to(out).parts)
    }
    drop_icons(out / '_static/styles/pydata-sphinx-theme.css', pages.values())
    if JA:
        say_found(out / '_static/translations.js')
    excerpts(out / '_static/searchtools.js')
    same = share(out) if JA else ()
    for p, s in pages.items():
        p.write_text(in_words(s, same) if JA else s, encoding='utf-8')


FRAME = re.compile(r' srcdoc="([^"]{30000,})"')


def frame(out, page, s):
    """A whole document inside a page becomes a file, which both languages show"""

    def file(m):
        doc = unescape(m[1])
        name = f'{hashlib.sha1(doc.encode()).hexdigest()[:12]}.html'
        (out / '_static' / name).write_text(doc, encoding='utf-8')
        return f' src="{"../" * (len(page.relative_to(out).parts) - 1)}_static/{name}"'

    return FRAME.sub(file, s)


def drop_icons(css, pages):
    "Take the icons that no page shows out of the style sheet, and a font of none"
    used = set(re.findall(r'fa-[\w-]+', ''.join(pages)))
    if 'fa-brands' not in used:
        for p in css.parent.parent.glob('vendor/fontawesome/webfonts/fa-brands*'):
            p.unlink()
    icon = re.compile(r'(?<=\})\.(fa-[\w-]+)\{--fa:[^}]*\}')
    s = icon.sub(lambda m: m[0] if m[1] in used else '', css.read_text(encoding='utf-8'))
    css.write_text(s, encoding='utf-8')


THEME = {  # the words of the theme that its Japanese lacks
    'Color mode': '配色',
    'System Settings': 'システムの設定',
    'Icon Links': 'リンク',
    'Main': 'メイン',
    'Page': 'ページ',
    'Search...': '検索',
    'Launch interactive content': 'ノートブックを実行',
    'Launch on Colab': 'Colabで開く',
    'Colab logo': 'Colab',
    'Source on GitHub': 'GitHubのソース',
    'Toggle primary sidebar': '目次の表示を切り替え',
    'Toggle secondary sidebar': 'このページの内容の表示を切り替え',
    'Link to this heading': 'この見出しへのリンク',
}


MAIN = '\'[role="main"]\''  # what the search of Sphinx takes for the text of a page
# Sphinx has an empty string here
FOUND = '検索が終わりました。${resultCount}ページ見つかりました。'


def say_found(js):
    s = js.read_text(encoding='utf-8')
    end = re.search(r'found one page matching the search query\.": \[\s*(?="")', s).end()
    js.write_text(s[:end] + f'"{FOUND}"' + s[end + 2 :], encoding='utf-8')


def excerpts(js):
    "What the search shows of a page comes from its article, not from the buttons above it"
    s = js.read_text(encoding='utf-8')
    assert s.count(MAIN) == 1, 'the search of Sphinx has changed'
    js.write_text(s.replace(MAIN, '"article"'), encoding='utf-8')


WORDS = re.compile(
    '((?:title|aria-label|placeholder|alt)=")(' + '|'.join(map(re.escape, THEME)) + ')"'
)
FOLDS = {
    'Imports': 'インポート',
    'Tests': 'テスト',
    'In the package: ': 'パッケージのコード：',
}
FOLDED = re.compile(f'(<details class="fold"><summary>)({"|".join(FOLDS)})')
LOAD = re.compile(r'((?:href|src)=")((?:\.\./)*)(_\w+/[^"?#]+)')


COLAB = re.compile(r'(colab\.research\.google\.com/github/[^"]*/nbs/)(\w+)(?=\.ipynb)')


def in_words(s, same):
    """A Japanese page in the theme's Japanese words, with what is the `same` from the English
    and the way to the Japanese notebooks"""
    done = translate.finished()
    s = COLAB.sub(lambda m: m[1] + ('ja/' if m[2] in done else '') + m[2], s)
    s = LOAD.sub(lambda m: m[1] + ('../' if m[3] in same else '') + m[2] + m[3], s)
    s = FOLDED.sub(lambda m: f'{m[1]}{FOLDS[m[2]]}', s)
    return WORDS.sub(lambda m: f'{m[1]}{THEME[m[2]]}"', s)


def share(out):
    """What is the same in the English site is not kept twice: the Japanese pages load it
    from there. Returns the addresses of what is gone"""
    same = set()
    for p in out.glob('_*/**/*'):
        rel, en = p.relative_to(out), out.parent / p.relative_to(out)
        if p.is_file() and en.is_file() and p.read_bytes() == en.read_bytes():
            same.add(rel.as_posix())
            p.unlink()
    return same


NOTE = 'このページはまだ日本語になっていません。本文は英語のまま表示しています。'


def in_japanese(app, doctree):
    """Alternative texts, which Sphinx does not look up; and an unfinished page says so and
    is marked as English"""
    name = app.env.docname
    words, _ = locale.init([Path(app.srcdir) / translate.MO], 'ja', name)
    for img in doctree.findall(nodes.image):
        img['alt'] = words.gettext(img.get('alt', '')) if img.get('alt') else ''
    top = next(doctree.findall(nodes.section), None)
    finished = json.loads((Path(app.srcdir) / 'finished.json').read_text())  # as it was staged
    if name in finished or top is None:
        return
    note = nodes.note('', nodes.paragraph('', NOTE), classes=['language-ja', 'untranslated'])
    top['classes'].append('language-en')
    for n in top[:2]:
        if re.search(translate.CJK, n.astext()):
            n['classes'].append('language-ja')
    top.insert(2, note)


def contents(app, name, template, context, doctree):
    """What the sidebar shows: (caption, [(title, page, pages below)]) of each table of
    contents, and the pages below one, such as the lettered chapters behind a number, only
    while it or one of them is read. The theme's own way copies the whole tree for each page,
    which took more than half of a build"""
    env = app.env

    def titled(pages):
        return [(title or env.titles[p].astext(), p) for title, p in pages]

    def around(pages):
        "Of a long list, which its own page shows whole, the pages near the one that is read"
        at = pages.index(name) if name in pages else None
        return [] if at is None else [('', p) for p in pages[max(at - 4, 0) : at + 5]]

    def part(t):
        groups = []
        for title, p in t['entries']:
            if groups and re.match(r'\d+[a-z]_', p):
                groups[-1].append((title, p))
            else:
                groups.append([(title, p)])
        for first, *below in groups:
            below += around(env.toctree_includes.get(first[1], []))
            here = name in (first[1], *(p for _, p in below))
            yield *titled([first])[0], titled(below) if here else []

    tables = env.master_doctree.findall(addnodes.toctree)
    context['contents'] = [(t['caption'], list(part(t))) for t in tables]


def setup(app):
    js_search_ready()
    if JA:
        app.connect('doctree-read', in_japanese)
    app.add_html_math_renderer('mathml', (math('inline'), None), (math('block'), None))
    app.add_directive('mermaid', Mermaid)
    app.connect('build-finished', finish, priority=990)
    app.connect('html-page-context', contents)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
