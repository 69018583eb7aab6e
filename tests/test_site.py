"""The site as a reader meets it. The build and the links need only Python;
what a browser must show is skipped where there is no Chromium."""

import html
import json
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urljoin
import pytest

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / 'site'))
pytest.importorskip('sphinx')
import bridge
import check
import draw
import translate

NOTEBOOKS = sorted(
    bridge.name(p)
    for p in bridge.NBS.glob('**/*.ipynb')
    if not {'.ipynb_checkpoints', 'ja'} & {*p.parts}
)
CHAPTERS = [n for n in NOTEBOOKS if n != 'index' and '/' not in n]
SIZE_MB, LANDING_KB = 30, 1024  # about 550 pages in two languages


def run(*args):
    return subprocess.run(
        [*map(str, args)], cwd=REPO, capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope='session')
def site():
    "The site in both languages, built once with warnings as errors"
    shutil.rmtree(check.SITE, ignore_errors=True)
    sphinx = [
        sys.executable,
        '-m',
        'sphinx',
        '-q',
        '-W',
        '--keep-going',
        '-c',
        'site',
        '_myst',
    ]
    for cmd in (
        [sys.executable, 'site/bridge.py'],
        [*sphinx, '_site', '-d', '_myst/.doctrees'],
        [*sphinx, '_site/ja', '-d', '_myst/.doctrees-ja', '-t', 'ja'],
    ):
        r = run(*cmd)
        assert r.returncode == 0, (r.stdout + r.stderr)[-3000:]
    return check.SITE


@pytest.fixture(scope='session')
def reading(site, chromium):
    "(browser, address of the site)"
    with check.serve(site) as base:
        yield chromium, base


@pytest.fixture(scope='session')
def axe():
    if not check.AXE.exists():
        if not shutil.which('npm'):
            pytest.skip('npm is not installed')
        subprocess.run(
            ['npm', 'ci', '--omit=dev', '--silent'], cwd=REPO / 'site', check=True, timeout=300
        )


def text(site, page):
    return (site / page).read_text(encoding='utf-8')


# ---- without a browser


def test_every_link_and_anchor_resolves(site):
    assert check.broken_links(site) == []


def test_a_broken_link_is_seen(tmp_path):
    (tmp_path / 'a.html').write_text(
        '<a href="b.html#x">b</a><a href="c.html">c</a><a href="#top">t</a><script '
        'src="https://example.org/x.js"></script><p id="top">'
    )
    (tmp_path / 'b.html').write_text('<p id="y">')
    assert check.broken_links(tmp_path) == [
        'a.html -> b.html#x (no such anchor)',
        'a.html -> c.html',
        'a.html loads https://example.org/x.js',
    ]


def test_size(site):
    assert sum(p.stat().st_size for p in site.glob('**/*') if p.is_file()) <= SIZE_MB * 10**6


def test_chapters_follow_each_other(site):
    nexts = {
        p: re.search(r'<link rel="next"[^>]*href="([^"]+)"', text(site, f'{p}.html'))
        for p in CHAPTERS
    }
    order = sorted(
        (p for p in CHAPTERS if int(p[:2]) < 20), key=lambda p: (p.split('_')[0], p)
    )
    assert [nexts[p][1] for p in order[:-1]] == [f'{p}.html' for p in order[1:]]


def test_every_notebook_page_launches_its_own_notebook_on_colab(site):
    cfg = bridge.CFG
    for n in NOTEBOOKS:
        assert (
            f'https://colab.research.google.com/github/{cfg.user}'
            f'/{cfg.repo}/blob/{cfg.branch}/nbs/{n}.ipynb' in text(site, f'{n}.html')
        ), n
        there = f'{n}.ipynb' if '/' in n else f'ja/{n}.ipynb'
        assert (bridge.NBS / there).is_file()
        assert f'/blob/{cfg.branch}/nbs/{there}' in text(site, f'ja/{n}.html'), n


def test_downloads_run_and_hold_no_directives(site):
    for n in NOTEBOOKS:
        assert f'_sources/{n}.ipynb' in text(site, f'{n}.html')
        cells = json.loads(text(site, f'_sources/{n}.ipynb'))['cells']
        code = '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'code')
        assert not any(c.get('outputs') for c in cells)
        assert '#|' not in code and 'nbdev_export()' not in code, n
        hidden = [
            bridge.option.sub('', ''.join(c['source'])).strip()
            for c in json.loads((REPO / f'nbs/{n}.ipynb').read_text())['cells']
            if '#| hide\n' in ''.join(c['source'])
        ]
        assert all(h in code for h in hidden if 'nbdev_export()' not in h), (
            n
        )  # not on the page, but needed to run


def test_pages_show_no_directives_and_no_setup_cell(site):
    for n in NOTEBOOKS:
        s = re.sub(r'<[^>]+>', '', text(site, f'{n}.html'))
        assert '#| ' not in s and bridge.SETUP not in s, n


def test_a_description_may_take_several_lines():
    cell = '#| echo: false\n#| fig-alt: A bar,\n#|   (half) as long: 3.\n#| notest\nplot(x)\n'
    opts = dict(bridge.option.findall(cell))
    assert bridge.alt_text(opts, '') == 'A bar, (half) as long: 3.'
    assert bridge.option.sub('', cell) == 'plot(x)\n' and opts['echo'] == 'false'
    for n in NOTEBOOKS:
        for c in json.loads((REPO / f'nbs/{n}.ipynb').read_text())['cells']:
            s = ''.join(c['source'])
            if c['cell_type'] == 'code' and 'fig-alt:' in s:
                assert len(bridge.alt_text(dict(bridge.option.findall(s)), '')) > 30, (n, s)


def test_whole_descriptions_stand_on_the_pages(site):
    for n in NOTEBOOKS:
        page, cells = (
            text(site, f'{n}.html'),
            json.loads((REPO / f'nbs/{n}.ipynb').read_text()),
        )
        for c in cells['cells']:
            s = ''.join(c['source'])
            drawn = any('image/png' in o.get('data', {}) for o in c.get('outputs', ()))
            if c['cell_type'] == 'code' and 'fig-alt:' in s and drawn:
                alt = bridge.alt_text(dict(bridge.option.findall(s)), '')
                assert alt in html.unescape(page), (n, alt)


def test_a_picture_described_by_prose_keeps_the_names_in_it():
    prose = '`page_blocks` gives **roles**; `clean_pages` takes *out* _furniture_, $x_1$ too.'
    said = 'page_blocks gives roles; clean_pages takes out furniture, x_1 too.'
    assert bridge.alt_text({}, f'First.\n\n{prose}') == said


def test_a_name_of_several_modules_leads_to_the_one_meant():
    syms = bridge.symbols()
    url = {full: u for u, full in syms.items()}

    def target(full, code, module=''):
        cell = bridge.mk_cell(code)
        same = bridge.meant([cell], module, syms)
        link = bridge.relink(f"[`x`]({url[f'climate_ft.{full}']})", syms, same=same)
        return link.removeprefix('[`x`](#climate_ft.').removesuffix(')')

    assert (
        target('modelcommands.merge', 'from climate_ft.export import changed, merge')
        == 'export.merge'
    )
    inner = 'from climate_ft.export import (\n    changed,\n    merge,\n)'
    assert target('modelcommands.merge', inner) == 'export.merge'
    assert target('modelcommands.merge', '1') == 'export.merge'
    assert target('modelcommands.merge', '1', 'modelcommands') == 'modelcommands.merge'
    assert target('ocr.render', 'from climate_ft.prompts import render') == 'prompts.render'
    assert target('ocr.render', '1', 'ocr') == 'ocr.render'
    assert target('export.changed', '1') == 'export.changed'


def test_chapters_end_with_summary_and_exercises(site):
    for n in CHAPTERS:
        assert 'id="summary"' in text(site, f'{n}.html') and 'id="exercises"' in text(
            site, f'{n}.html'
        ), n


def test_pictures_have_a_palette_and_wide_tables_scroll():
    import base64
    import io
    from PIL import Image

    out = io.BytesIO()
    Image.linear_gradient('L').convert('RGB').rotate(30).save(out, 'PNG')
    png = base64.b64encode(out.getvalue()).decode()
    assert Image.open(io.BytesIO(base64.b64decode(bridge.small(png)))).mode == 'P' and len(
        bridge.small(png)
    ) < len(png)
    row = 'recall: base' + ' ' * 20 + '    '.join(['0.123 [0.100, 0.200]'] * 4)
    assert (
        bridge.is_table(f'{row}\n{row}')
        and not bridge.is_table(row)
        and not bridge.is_table('長い文が二つ。' * 60 + '\n' + '長い文が二つ。' * 60)
    )


def test_solutions_are_reached_from_their_chapter(site):
    for n in NOTEBOOKS:
        if n.startswith('solutions/'):
            assert f'href="{n}.html"' in text(site, f'{Path(n).name}.html'), n


def test_errors_page_leads_from_each_message_to_its_lab(site):
    import html

    page = html.unescape(re.sub(r'</?(code|span|pre)[^>]*>', '', text(site, 'errors.html')))
    heads = [bridge.head(p) for p in (REPO / 'nbs').glob('2*.ipynb')]
    for h in heads:
        assert h['messages'], f"{h['stem']} has no **Messages:** line"
        assert f'{h["stem"]}.html' in page
        for m in h['messages']:
            assert ' '.join(m.split()) in page, m
    assert (
        any(
            'no trained model yet' in m
            for m, _ in bridge.course_errors(REPO / 'climate_ft/terminal.py')
        )
        and 'there is no trained model yet' in page
    )


def test_messages_are_read_from_code_spans():
    from execnb.nbio import mk_cell

    cells = [
        mk_cell('# Lab', 'markdown'),
        mk_cell("**Messages:** `a 'b'`, ``c `d` e``\n\nThis lab", 'markdown'),
    ]
    assert bridge.messages(cells) == ["a 'b'", 'c `d` e']


def test_course_errors_show_what_varies_in_capitals(tmp_path):
    (tmp_path / 'm.py').write_text(
        "def f(path, n):\n    raise CourseError(f'{path.name} has no page {n}: "
        "name one of its pages')\n"
    )
    assert list(bridge.course_errors(tmp_path / 'm.py')) == [
        ('NAME has no page N: name one of its pages', 'f')
    ]


def test_api_documents_every_public_function(site):
    from importlib import import_module

    for p in (REPO / 'climate_ft').glob('[a-z]*.py'):
        m = import_module(f'climate_ft.{p.stem}')
        if not (site / f'api/{p.stem}.html').exists():
            continue
        s = text(site, f'api/{p.stem}.html')
        for n in m.__all__:
            o = getattr(m, n)
            if callable(o) and getattr(o, '__module__', '') == m.__name__:
                assert (
                    f'id="climate-ft-{p.stem}-{n.lower().replace("_", "-").strip("-")}"' in s
                ), f'{p.stem}.{n}'


def test_every_diagram_is_drawn():
    assert set(draw.diagrams()) == {p.stem for p in draw.OUT.glob('*.svg')}, (
        'run `make diagrams`'
    )


def test_readme_is_what_the_index_says():
    r = run(sys.executable, 'scripts/build_readme.py', '--check')
    assert r.returncode == 0, r.stderr


def test_fork_changes_settings_only():
    "The addresses of settings.ini stand nowhere else but in what is generated from it"
    cfg = bridge.CFG
    tracked = run('git', 'ls-files').stdout.splitlines()
    made = ('settings.ini', 'README.md', 'README.ja.md', 'climate_ft/_modidx.py', 'nbs/')
    assert [
        f
        for f in tracked
        if not f.startswith(made)
        and (p := REPO / f).is_file()
        and p.suffix in ('.py', '.md', '.yml', '.css', '.html', '.toml', '.cff', '')
        and cfg.git_url in p.read_text(encoding='utf-8', errors='ignore')
    ] == []


def article(site, page):
    return text(site, page).split('<article', 1)[1].split('</article>')[0]


@pytest.mark.parametrize('top', ['', 'ja/'])
def test_the_landing_page_opens_with_ways_in_and_answers(site, top):
    head = article(site, f'{top}index.html').split('<h2>')[0]
    ways = re.search(r'<div class="ways">.*?</div>', head, re.S)[0]
    cfg = bridge.CFG
    lesson = f'{"ja/" if top else ""}00_first_hour.ipynb'
    assert re.findall(r'href="([^"]+)"', ways) == [
        '00_first_hour.html',
        f'{cfg.git_url}/blob/{cfg.branch}/nbs/{lesson}'.replace(
            'https://github.com', 'https://colab.research.google.com/github'
        ),
        '#two-commands',
    ]
    saved = json.loads((REPO / 'data/evaluation_results.json').read_text())['answers']
    said = {a['question']: a['predictions'] for a in saved}
    cards = re.findall(r'<div class="card">.*?</ul>', head, re.S)
    for card in cards:
        question = unescape(re.search('<strong>(.*?)</strong>', card)[1])
        answers = words(f'<article>{card}</article>')
        assert re.sub(r'\s', '', said[question]['tuned']) in answers
        assert re.sub(r'\s', '', said[question]['base'])[:40] in answers
    assert len(cards) == 2 and 'Gemma 3 270M' in head


@pytest.mark.parametrize('top', ['', 'ja/'])
def test_the_diagram_of_the_path_leads_to_the_chapters(site, top):
    page = article(site, f'{top}index.html')
    label = '図：' if top else 'Diagram: '
    svg = re.search(rf'<svg aria-label="{label}.*?</svg>', page, re.S)
    boxes = re.findall(r'<a href="(\d\d)_\w+\.html">(.*?)</a>', svg[0])
    found = [(n, re.sub('<[^>]+>', ' ', said).split()[0]) for n, said in boxes]
    assert sorted(int(n) for n, _ in found) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    assert all(int(a) == int(b) for a, b in found)


def test_a_diagram_speaks_the_language_of_the_page(site):
    for page, en, ja in (
        ('index', 'Merge and export', 'マージと書き出し'),
        ('14_pipeline', 'merged model', 'マージ済みモデル'),
    ):
        for top, there, absent in (('', en, ja), ('ja/', ja, en)):
            drawing = re.search(
                '<div class="diagram".*?</div>', article(site, f'{top}{page}.html'), re.S
            )
            said = re.sub(r'\s+', ' ', re.sub('<[^>]+>', '', drawing[0]))
            assert there in said and absent not in said


def test_what_stands_behind_the_text_is_folded():
    export = 'def f():\n    return g\n\n\nA, B = 1, 2'
    assert bridge.folded(export, True, []) == 'In the package: f, A, B'
    assert bridge.folded('import os\nfrom re import sub', False, []) == 'Imports'
    assert bridge.folded('def f():\n    pass', False, []) == ''
    assert bridge.folded('x = f()\ntest_eq(x, 1)\nassert x', False, []) == 'Tests'
    assert bridge.folded('x = f()\ntest_eq(x, 1)\nx', False, []) == ''
    assert bridge.folded('test_eq(f(), 1)', False, ['printed']) == ''
    assert bridge.folded('!ls', False, []) == ''


def test_folded_code_is_named_in_the_language_of_the_page(site):
    for top, names in (
        ('', ['Imports', 'In the package']),
        ('ja/', ['インポート', 'パッケージ']),
    ):
        folds = re.findall(
            '<details class="fold"><summary>(.*?)</summary>',
            article(site, f'{top}02_extract.html'),
        )
        assert folds and all(
            any(f.startswith(n) for n in names + ['テスト', 'Tests']) for f in folds
        )
        assert {n for n in names if any(f.startswith(n) for f in folds)} == set(names)


def test_lettered_chapters_show_in_the_sidebar_while_their_number_is_read(site):
    def listed(page):
        nav = re.search(r'<nav class="bd-links.*?</nav>', text(site, page), re.S)[0]
        return set(re.findall(r'href="(?:\.\./)?([^"]+)"', nav))

    plain = {f'{n}.html' for n in CHAPTERS if not re.match(r'\d+[a-z]', n)}
    behind = {f'{n}.html' for n in CHAPTERS if n.startswith('02') and n != '02_extract'}
    assert listed('index.html') >= plain and not listed('index.html') & behind
    for page in ('02_extract.html', '02b_health.html'):
        assert listed(page) | {page} >= plain | behind
    assert 'api/extract.html' not in listed('02_extract.html')


def test_the_reference_leads_to_chapters_and_to_lines_of_the_code(site):
    page = text(site, 'api/answers.html')
    assert 'href="../10c_answers.html"' in page and 'LNone' not in page
    line = int(re.search(r'climate_ft/answers\.py#L(\d+)', page)[1])
    code = (REPO / 'climate_ft/answers.py').read_text().splitlines()
    assert code[line - 1].startswith('def model_key(')
    assert 'Call self as a function' not in page


# ---- in Chromium


def test_every_page_is_whole(reading, axe):
    """At the widths of a phone and of a desk: no error, nothing from elsewhere,
    no text cut off, pictures described, no serious accessibility violation"""
    rows = check.survey(*reading)
    assert {r['page'] for r in rows} >= {f'{n}.html' for n in NOTEBOOKS} | {
        'errors.html',
        'glossary.html',
        'search.html',
        'api/index.html',
    }
    assert [(r['page'], w) for r in rows for w in r['wrong']] == []
    assert [r['page'] for r in rows] == check.pages(check.SITE)
    assert {r['page'] for r in rows if r['axe']} > {'index.html', *check.JAPANESE}
    assert max(r['kilobytes'] for r in rows if r['page'] == 'index.html') <= LANDING_KB


@pytest.mark.parametrize(
    'html,wrong',
    [
        ('<img src="x.svg">', 'no alternative text'),
        ('<script src="https://example.org/x.js"></script>', 'asks for'),
        ('<script>oops()</script>', 'script:'),
        (
            '<article><p style="white-space:nowrap">'
            + 'とても長い一行' * 60
            + '</p></article>',
            'wide',
        ),
        ('<button></button>', 'button-name'),
        (
            '<div class="highlight"><pre style="background:#fff;color:#eee">code</pre></div>',
            'color-contrast',
        ),
    ],
)
def test_what_a_page_may_get_wrong_is_seen(reading, axe, tmp_path, html, wrong):
    (tmp_path / 'x.html').write_text(
        '<!doctype html><html lang="en" data-theme="light"><link '
        f'rel="icon" href="data:,"><title>x</title><main>{html}</main>'
    )
    (tmp_path / 'x.svg').write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    )
    with check.serve(tmp_path) as base:
        assert wrong in ' '.join(
            check.Tab(reading[0].new_context(), base).look('x.html', axe=True)['wrong']
        )


class Slow(BaseHTTPRequestHandler):
    "Pages, a file that never comes, and one whose connection breaks off"

    go_on = threading.Event()

    def do_GET(self):
        if self.path == '/never.png':
            self.go_on.wait(60)
        if self.path.endswith('.png'):
            return
        self.send_response(200)
        self.send_header('Content-Type', 'text/html')
        self.end_headers()
        self.wfile.write(
            {
                '/leaves.html': b"""<link rel="icon" href="data:,"><script>
                onload = () => { new Image().src = 'never.png' }</script>""",
                '/next.html': b'<link rel="icon" href="data:,">',
                '/broken.html': b'<link rel="icon" href="data:,"><img alt="x" src="x.png">',
            }.get(self.path, b'')
        )

    def log_message(self, *a):
        pass


def test_a_file_on_its_way_when_the_tab_goes_on_is_no_fault_and_one_that_breaks_off_is(
    reading,
):
    with ThreadingHTTPServer(('127.0.0.1', 0), Slow) as s:
        threading.Thread(target=s.serve_forever, daemon=True).start()
        tab = check.Tab(reading[0].new_context(), f'http://127.0.0.1:{s.server_port}/')
        with tab.pg.expect_event('request', lambda r: r.url.endswith('never.png')):
            tab.look('leaves.html')
        with tab.pg.expect_event('requestfailed'):
            assert tab.look('next.html')['wrong'] == []
        assert f'failed: {tab.base}x.png' in tab.look('broken.html')['wrong']
        Slow.go_on.set()
        s.shutdown()


def kinds_of(html):
    return check.Kinds(html).kinds


def test_the_accessibility_check_sees_every_kind_of_element():
    kinds = dict(
        a=kinds_of('<p><i class="x">1</i></p><img><p>2</p>'),
        b=kinds_of('<p>1</p><img/><p><i class="x">2</i></p><ul><li>3</ul>'),
        c=kinds_of('<ul><li>1<li>2</ul>'),
        d=kinds_of('<div><i class="x">1</i></div>'),
    )
    assert len(kinds['a']) == 3 and kinds['a'] < kinds['b']
    assert check.enough(kinds) == ['b', 'd', 'c']
    assert check.enough({**kinds, 'e': kinds_of('<i class="y" role="note">')})[-1] == 'e'


@pytest.mark.parametrize(
    'query,page',
    [
        ('降水量', '01a_layout.html'),
        ('雪氷面', '12_evaluation.html'),
        ('QLoRA', '08_train.html'),
        ('grad_norm', '24_grad_norm_zero.html'),
    ],
)
def test_search_finds_the_page(reading, site, query, page):
    found = check.search(*reading, query)
    assert page in found
    assert query.lower() in text(site, found[0]).lower()


@pytest.mark.parametrize('query,lab', [('NaN', '24_'), ('out of memory', '21_')])
def test_search_shows_labs_first_and_lines_of_the_article(reading, query, lab):
    b, base = reading
    assert check.search(b, base, query)[0].startswith(lab)
    pg = b.new_page()
    pg.goto(f'{base}search.html')
    found = pg.evaluate(
        '''() => fetch('24_grad_norm_zero.html').then(r => r.text())
        .then(t => Search.htmlToText(t, '').trim())'''
    )
    title = bridge.head(REPO / 'nbs/24_grad_norm_zero.ipynb')['title']
    assert found.startswith(title.replace('`', ''))
    pg.close()


@pytest.mark.parametrize('page', ['index.html', 'ja/index.html'])
def test_the_largest_piece_of_the_landing_page_is_text_that_is_there_at_once(reading, page):
    b, base = reading
    pg = check.reader(b).new_page()
    pg.goto(base + page)
    tag, inside = pg.evaluate(
        '''() => new Promise(done => new PerformanceObserver(list => {
        const e = list.getEntries().at(-1).element;
        done([e.tagName, Boolean(e.closest('article'))]) }).observe(
        {type: 'largest-contentful-paint', buffered: true}))'''
    )
    assert (tag, inside) in {('P', True), ('LI', True), ('EM', True)}
    first = pg.evaluate('performance.getEntriesByType("resource").map(e => e.name)')
    assert not [n for n in first if n.endswith('searchindex.js')]
    pg.close()


@pytest.mark.parametrize('page', ['08_train.html', '05b_facts.html', '01a_layout.html'])
def test_code_does_not_scroll_sideways_on_a_desk(reading, page):
    b, base = reading
    pg = check.reader(b, 1400).new_page()
    pg.goto(base + page)
    wide = pg.evaluate(
        '''() => { document.querySelectorAll('details').forEach(d => d.open = true);
        return [...document.querySelectorAll('div.cell_input pre')].filter(
        p => p.scrollWidth > p.clientWidth + 1).map(p => p.textContent.slice(0, 60)) }'''
    )
    assert wide == []
    pg.close()


def test_search_finds_japanese_inside_words(reading, site):
    "As many pages as hold the string, and nothing for a string that none holds"
    found = check.search(*reading, '数値予報モデル')
    assert set(found) >= {
        p
        for p in check.english(site)
        if '数値予報モデル'
        in re.sub(
            r'<[^>]+>', '', text(site, p).split('<article', 1)[-1].split('</article>')[0]
        )
    }
    assert check.search(*reading, '驚髯鬱') == []


@pytest.mark.parametrize('width', check.WIDTHS)
def test_theme_and_menu(reading, width):
    b, base = reading
    pg = check.reader(b, width).new_page()
    pg.goto(base + '02_extract.html')

    def theme():
        return pg.evaluate(
            '[document.documentElement.dataset.theme, '
            'getComputedStyle(document.body).backgroundColor]'
        )

    seen = []
    for mode in ('dark', 'light'):
        pg.locator('button.theme-switch-button:visible').click()
        pg.locator(f'button.theme-change-button[data-mode={mode}]:visible').click()
        seen.append(theme())
    assert [t for t, _ in seen] == ['dark', 'light'] and seen[0][1] != seen[1][1]
    pg.reload()
    assert theme() == seen[1], 'the choice is forgotten'
    nav = pg.locator('.bd-sidebar-primary nav a[href="06_dataset.html"]').first
    was = nav.is_visible()
    pg.locator('button.primary-toggle:visible').first.click()
    pg.wait_for_timeout(600)
    assert nav.is_visible() != was or pg.locator('#pst-primary-sidebar-modal').is_visible()
    if width < 500:
        pg.locator(
            '#pst-primary-sidebar-modal a[href="06_dataset.html"], '
            '.bd-sidebar-primary a[href="06_dataset.html"]'
        ).first.click()
        pg.wait_for_url('**/06_dataset.html')
    pg.close()


def test_a_lesson_that_shares_its_number_shows_its_title_alone():
    pages = [
        dict(number=n, stem=f'{n}_{t}', title=t, messages=[])
        for n, t in (
            ('00', 'hour'),
            ('00', 'workspace'),
            ('00a', 'text'),
            ('01', 'preflight'),
            ('20', 'Lab: pdf'),
        )
    ]
    got = dict(bridge.toctrees(pages))
    assert got['Start here'] == [
        'hour <00_hour>',
        '0 · workspace <00_workspace>',
        '0a · text <00a_text>',
        '1 · preflight <01_preflight>',
    ]
    assert got['Troubleshooting'][1] == '20 · pdf <20_Lab: pdf>'


# ---- in Japanese


def words(html):
    "The text of a page, without any space: what a reader sees, however lines are wrapped"
    body = html.split('<article', 1)[-1].split('</article>')[0]
    return re.sub(r'\s', '', unescape(re.sub(r'<[^>]+>', '', body)))


def same_in_both(page, html):
    """What must be equal in both languages: where a page leads, its anchors, and its code
    with what it printed"""
    # the parts of a diagram are named after its words, which are those of the language
    ids = {i for i in check.refs_of(html).ids if not re.match('d[0-9a-f]{12}(_|$)', i)}
    html = re.sub(r'<a class="btn btn-sm language-switch".*?</a>', '', html, flags=re.S)
    html = html.replace('/nbs/ja/', '/nbs/')  # each language has its notebooks
    top = '/ja/' if page.startswith('ja/') else '/'
    links = Counter(
        urljoin('/' + page, unescape(h)).replace(top, '/', 1)
        for h in re.findall(r'<a\s[^>]*?href="([^"]*)"', html)
    )
    return dict(links=links, ids=ids, code=re.findall(r'<pre>.*?</pre>', html, re.S))


def test_every_page_has_its_twin_with_the_same_code_links_and_anchors(site):
    ja = [p for p in check.pages(site) if p.startswith('ja/')]
    assert ja == [f'ja/{p}' for p in check.english(site)]
    for p in check.english(site):
        en, other = (same_in_both(q, text(site, q)) for q in (p, f'ja/{p}'))
        assert {k: en[k] == other[k] for k in en} == dict(links=True, ids=True, code=True), p


def test_switch_leads_to_the_same_page(site):
    for p in check.english(site):
        for page, to, lang in ((p, f'/ja/{p}', 'en'), (f'ja/{p}', f'/{p}', 'ja')):
            s = text(site, page)
            m = re.search(r'class="btn btn-sm language-switch"[^>]*href="([^"]+)"', s)
            assert urljoin(f'/{page}', m[1]) == to
            assert re.search('<html[^>]* lang="(..)"', s)[1] == lang


def spoken(md):
    "What a reader sees of a piece of prose, without spaces; formulas aside"
    got = translate.parser().parseInline(md)[0].children
    return re.sub(
        r'\s', '', ''.join(t.content for t in got if t.type in ('text', 'code_inline'))
    )


def test_finished_pages_say_in_japanese_all_that_is_translated(site):
    assert 'index' in translate.finished()
    lettered = ''.join(
        words(text(site, f'ja/{n}.html').split('<article')[0])
        for n in CHAPTERS
        if re.match(r'\d+[a-z]_', n)
    )
    for name in translate.finished():
        say, html = translate.speaker(name), text(site, f'ja/{name}.html')
        head, body = html.split('<article', 1)
        seen = words('<article' + head) + words(html) + re.sub(r'\s', '', unescape(body))
        seen += lettered if name == 'index' else ''  # its tables of contents
        for s in translate.pieces(translate.pages()[name]):
            ja = say(s)
            assert not ja or '$' in ja or spoken(ja) in seen, (name, ja)


def test_other_pages_say_that_they_are_in_english(site):
    "Title and purpose of a chapter are Japanese everywhere; the note is on no finished page"
    note = 'このページはまだ日本語になっていません'
    for p in check.english(site):
        s = text(site, f'ja/{p}')
        here = p.removesuffix('.html') in translate.finished() or p == 'search.html'
        marked = bool(re.search('<section[^>]* lang="en"', s))
        assert (note in s, marked) == (not here, not here), p
    titles = {n: bridge.head(REPO / f'nbs/{n}.ipynb')['title'] for n in CHAPTERS}
    say = translate.speaker('index')
    for n, t in titles.items():
        assert f'{say(t)}<a class="headerlink"' in text(site, f'ja/{n}.html'), n


def test_japanese_gains_no_spaces_where_the_source_wraps(site):
    for name in translate.finished():
        body = text(site, f'ja/{name}.html').split('<article', 1)[1].split('</article>')[0]
        for p in re.findall(r'<(?:p|h\d)>(.*?)</(?:p|h\d)>', body, re.S):
            if p in text(site, f'{name}.html'):  # an example of the text itself
                continue
            p = re.sub(r'<[^>]+>', '', p)
            spaces = re.findall('[ぁ-ヶ一-鿿、。]\\s+[ぁ-ヶ一-鿿]', p)
            assert not [m for m in spaces if m not in text(site, f'{name}.html')], p


def test_downloads_of_finished_chapters_are_in_japanese_with_the_same_code(site):
    for name in set(NOTEBOOKS) & set(translate.finished()):
        en, ja = (
            json.loads(text(site, f'{d}_sources/{name}.ipynb'))['cells'] for d in ('', 'ja/')
        )
        assert [c['cell_type'] for c in en] == [c['cell_type'] for c in ja]
        for a, b in zip(en, ja):
            same = a['source'] == b['source']
            assert (
                same
                if a['cell_type'] == 'code'
                else (same or re.search('[ぁ-ヶ一-鿿]', ''.join(b['source'])))
            )
        assert ja != en


def test_search_in_japanese_finds_japanese_pages(reading):
    b, base = reading
    assert 'ja/00_first_hour.html' in check.search(b, base + 'ja/', 'パッセージ')
    assert 'パッセージ' not in words(text(check.SITE, '00_first_hour.html'))


@pytest.mark.parametrize('width', check.WIDTHS)
def test_the_switch_stays_at_the_place(reading, width):
    b, base = reading
    pg = check.reader(b, width).new_page()
    pg.goto(base + '00_first_hour.html#after-training')
    pg.locator('a.language-switch:visible').click()
    pg.wait_for_url('**/ja/00_first_hour.html#after-training')
    assert pg.locator('#after-training h2').inner_text().startswith('学習後')
    ems = pg.evaluate(
        '''() => { const p = document.querySelector('#one-page p');
        return p.getBoundingClientRect().width / parseFloat(getComputedStyle(p).fontSize) }'''
    )
    assert ems <= 42
    pg.locator('a.language-switch:visible').click()
    pg.wait_for_url('**/00_first_hour.html#after-training')
    pg.close()
