"Sphinx settings of the site; bridge.py has staged the pages in `_myst/`. Everything a page needs comes with it: nothing is loaded from elsewhere."

import hashlib
import json
import re
import shutil
from configparser import ConfigParser
from pathlib import Path
from docutils import nodes
from docutils.parsers.rst import Directive
from latex2mathml.converter import convert
from sphinx import search
from sphinx.errors import ExtensionError
from sphinx.search.en import SearchEnglish

HERE = Path(__file__).parent
cp = ConfigParser(delimiters=['='])
cp.read(HERE.parent / 'settings.ini', encoding='utf-8')
cfg = cp['DEFAULT']

project, author, release, copyright = (
    cfg['title'],
    cfg['author'],
    cfg['version'],
    cfg['copyright'],
)
language = 'en'
extensions = ['myst_nb', 'sphinx_copybutton']
templates_path = ['templates']
exclude_patterns = ['_build', '**.ipynb_checkpoints']

nb_execution_mode = 'off'  # outputs are the saved ones
nb_render_markdown_format = 'myst'
nb_merge_streams = True
myst_enable_extensions = [
    'dollarmath',
    'amsmath',
    'colon_fence',
    'deflist',
    'attrs_inline',
    'attrs_block',
    'tasklist',
]
myst_heading_anchors = 4
myst_links_external_new_tab = True

html_theme, html_title = 'sphinx_book_theme', project
html_static_path, html_css_files = ['static'], ['custom.css']
html_show_sphinx, html_use_index = False, False
html_last_updated_fmt = None
html_baseurl = f"{cfg['doc_host']}{cfg['doc_baseurl']}/"
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
    toc_title='On this page',
)
html_context = dict(default_mode='auto')
html_math_renderer = 'mathml'


def js_search_ready():
    "Latin words are stemmed as Sphinx does; Japanese runs become pairs of characters, in the index and in the query, so that 降水量 is found in 日降水量の予測"
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
  return (query.match(new RegExp(`[${cjk}]+|[\\\\p{Letter}\\\\p{Number}_]+`, "gu")) || []).flatMap(o =>
    o.split(new RegExp(`(?<=[${cjk}])(?![${cjk}])|(?<![${cjk}])(?=[${cjk}])`, "u")).flatMap(w =>
      new RegExp(`^[${cjk}]`).test(w) && w.length > 1 ? [...Array(w.length-1).keys()].map(i => w.slice(i, i+2)) : w));
}
'''

    class SearchBigram(SearchEnglish):
        js_splitter_code = js

        def split(self, s):
            return list(split(s))

        def word_filter(self, w):
            return bool(re.match(f'[{cjk}]', w)) or super().word_filter(w)

    search.languages['en'] = SearchBigram


def math(display):
    def visit(self, node):
        self.body.append(convert(node.astext(), display=display))
        raise nodes.SkipNode

    return visit


class Mermaid(Directive):
    "A diagram drawn beforehand by `make diagrams`: no script on the page, and its colours follow the theme"

    has_content = True

    def run(self):
        src = '\n'.join(self.content)
        svg = HERE / 'diagrams' / f'{hashlib.sha1(src.strip().encode()).hexdigest()[:12]}.svg'
        if not svg.exists():
            raise self.error(
                f'a mermaid diagram has not been drawn: run `make diagrams` and commit {svg.name}'
            )
        return [
            nodes.raw(
                '',
                f'<div class="diagram" tabindex="0">{svg.read_text(encoding="utf-8")}</div>',
                format='html',
            )
        ]


def finish(app, exc):
    "The theme's download button takes `_sources/NAME.ipynb`: put the notebook that runs there. Then drop what no page needs"
    out = Path(app.outdir)
    if exc or app.builder.name != 'html':
        return
    for stem, s in json.loads((Path(app.srcdir) / 'downloads.json').read_text()).items():
        (out / '_sources' / f'{stem}.ipynb').write_text(s, encoding='utf-8')
    for p in out.glob('_static/**/*.map'):
        p.unlink()
    shutil.rmtree(
        out / '_static/locales', ignore_errors=True
    )  # the theme's own words, already set in English
    (out / '_static/scripts/fontawesome.js').write_text('// the style sheet draws the icons\n')
    for p in out.glob('**/*.html'):  # two gaps in the theme's accessible names
        s = p.read_text(encoding='utf-8').replace(
            '<summary><span class="toctree-toggle"',
            '<summary aria-label="Pages below"><span class="toctree-toggle"',
        )
        p.write_text(
            re.sub(
                r'(<button class="btn search-button-field[^>]*?)\s*aria-label="Search"',
                r'\1',
                s,
            ),
            encoding='utf-8',
        )
    used = set(
        re.findall(
            r'fa-[\w-]+', ''.join(p.read_text(encoding='utf-8') for p in out.glob('**/*.html'))
        )
    )
    css = out / '_static/styles/pydata-sphinx-theme.css'
    css.write_text(
        re.sub(
            r'(?<=\})\.(fa-[\w-]+)\{--fa:[^}]*\}',
            lambda m: m[0] if m[1] in used else '',
            css.read_text(encoding='utf-8'),
        ),
        encoding='utf-8',
    )


def setup(app):
    js_search_ready()
    app.add_html_math_renderer('mathml', (math('inline'), None), (math('block'), None))
    app.add_directive('mermaid', Mermaid)
    app.connect('build-finished', finish)
