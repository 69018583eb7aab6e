"""Look at the finished site as a reader does, in headless Chromium: `make site-report` writes
one line a page to `results/site_pages.json`. The tests use the same functions."""

import json
import sys
import threading
import time
from contextlib import contextmanager
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlparse
from browser import browser

HERE = Path(__file__).parent
SITE = HERE.parent / '_site'
AXE = HERE / 'node_modules/axe-core/axe.min.js'
WIDTHS = 390, 1400


def pages(site=SITE):
    "Every page, the Japanese ones below `ja/`"
    return sorted(
        p.relative_to(site).as_posix()
        for p in site.glob('**/*.html')
        if '_static' not in p.parts
    )


def english(site=SITE):
    return [p for p in pages(site) if not p.startswith('ja/')]


@contextmanager
def serve(site=SITE):
    "The site on a free local port; yields its address"

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *a):
            super().__init__(*a, directory=str(site))

        def log_message(self, *a):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Quiet) as s:
        threading.Thread(target=s.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{s.server_port}/'
        s.shutdown()


# ---- links, without a browser


class Refs(HTMLParser):
    "The ids of a page, what it links to, and what it loads"

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if a.get('id'):
            self.ids.add(a['id'])
        if tag == 'a' and a.get('name'):
            self.ids.add(a['name'])
        if tag == 'a' and a.get('href'):
            self.links.add(a['href'])
        if (
            tag == 'link'
            and a.get('href')
            and a.get('rel')
            in (
                'stylesheet',
                'icon',
                'preload',
                'next',
                'prev',
                'search',
                'index',
                'alternate',
            )
        ):
            self.loads.add(a['href'])
        if tag in ('script', 'img', 'source', 'iframe') and a.get('src'):
            self.loads.add(a['src'])


def broken_links(site=SITE):
    """Every `page -> target` whose file or anchor is missing, and everything that a page
    loads from elsewhere"""
    refs, bad = {p: Refs((site / p).read_text(encoding='utf-8')) for p in pages(site)}, []
    for p, r in refs.items():
        for h in r.links | r.loads:
            if urlparse(h).scheme or h.startswith('//'):
                if h in r.loads and not h.startswith('data:'):
                    bad.append(f'{p} loads {h}')
                continue
            path, frag = urldefrag(urljoin('/' + p, h))
            to = unquote(path.split('?')[0]).lstrip('/')
            if to.endswith('/') or not to:
                to += 'index.html'
            if not (site / to).is_file():
                bad.append(f'{p} -> {h}')
            elif frag and to in refs and unquote(frag) not in refs[to].ids:
                bad.append(f'{p} -> {h} (no such anchor)')
    return sorted(bad)


# ---- in the browser

OVERFLOW = '''() => {
  const w = document.documentElement.clientWidth, out = [];
  const wide = document.documentElement.scrollWidth;
  if (wide > w + 1) out.push(`page is ${wide} wide on ${w}`);
  const scrolls = e => {
    for (; e && e !== document.body; e = e.parentElement)
      if (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX)) return true;
    return false };
  const looked = 'h1,h2,h3,h4,p,li,dt,dd,td,th,code,figcaption,img,svg';
  for (const e of document.querySelectorAll(`article :is(${looked})`)) {
    const r = e.getBoundingClientRect();
    if (r.width && r.right > w + 1 && !scrolls(e)) {
      const text = (e.textContent || e.src || '').trim().slice(0, 40);
      out.push(`${e.tagName} ends at ${Math.round(r.right)}: ${text}`);
    }
  }
  return out.slice(0, 5) }'''
IMAGES = '''() => [...document.images]
  .filter(i => !i.alt.trim() || (i.complete && !i.naturalWidth))
  .map(i => (i.alt.trim() ? 'not shown: ' : 'no alternative text: ') + i.src.slice(-60))'''
# the colours of code come from one style sheet: they are checked on one page of each kind
# (`WHOLE`), since that takes most of the time
WHOLE = (
    'index.html',
    '05_corpus.html',
    '29_think_block.html',
    'solutions/05_corpus.html',
    'api/text.html',
)
# the Japanese pages have the structure of the English ones, which the tests compare: one of
# each kind is looked at
JAPANESE = (
    'ja/index.html',
    'ja/00_first_hour.html',
    'ja/29_think_block.html',
    'ja/solutions/05_corpus.html',
    'ja/glossary.html',
    'ja/search.html',
)
SERIOUS = '''async whole => (await axe.run(
    whole ? document : {exclude: [['div.highlight pre']]}, {resultTypes: ['violations']}
  )).violations.filter(v => ['serious', 'critical'].includes(v.impact))
  .map(v => [v, v.nodes[0]])
  .map(([v, n]) => `${v.id} (${v.nodes.length}): ${n.target} ${n.html.slice(0, 120)}`)'''


def reader(b, width=1400, theme='light'):
    "A reader's window"
    return b.new_context(viewport=dict(width=width, height=900), color_scheme=theme)


def look(ctx, base, path, axe=False, whole=True):
    """Load one page on a phone and widen it to a desk: seconds, requests, bytes, and
    everything that is wrong with it; `whole`: the code too"""
    pg = ctx.new_page()
    wrong, got = [], []
    # no `route`: it would switch the browser's cache off
    pg.on(
        'request',
        lambda r: r.url.startswith((base, 'data:')) or wrong.append(f'asks for {r.url}'),
    )
    pg.on(
        'console',
        lambda m: m.type in ('error', 'warning') and wrong.append(f'console: {m.text}'),
    )
    pg.on('pageerror', lambda e: wrong.append(f'script: {e}'))
    pg.on('requestfailed', lambda r: wrong.append(f'failed: {r.url}'))
    pg.on(
        'response',
        lambda r: (
            got.append(int(r.headers.get('content-length', 0))),
            r.status >= 400 and wrong.append(f'{r.status}: {r.url}'),
        ),
    )
    t = time.time()
    pg.goto(base + path, wait_until='load')
    seconds = time.time() - t
    wrong += pg.evaluate(IMAGES)
    for w in WIDTHS:
        pg.set_viewport_size(dict(width=w, height=900))
        wrong += [f'at {w}: {x}' for x in pg.evaluate(OVERFLOW)]
    if axe:
        pg.add_script_tag(path=AXE)
        wrong += pg.evaluate(SERIOUS, whole)
    pg.close()
    return dict(
        page=path,
        seconds=round(seconds, 2),
        requests=len(got),
        kilobytes=round(sum(got) / 1024),
        wrong=list(dict.fromkeys(wrong)),
    )


def search(b, base, query):
    "The pages that the site's search finds, best first"
    pg = b.new_page()
    pg.goto(f'{base}search.html?q={query}')
    pg.wait_for_function(
        "/finished|matching|did not "
        "match|見つかり/.test(document.querySelector('#search-results')?.textContent || '')",
        timeout=20000,
    )
    pg.wait_for_timeout(300)
    found = pg.eval_on_selector_all(
        '#search-results ul.search > li a',
        'es => es.map(e => new URL(e.href).pathname.slice(1))',
    )
    pg.close()
    return found


def survey(b, base):
    """Every English page and a Japanese one of each kind at both widths, and the accessibility
    check of every chapter and of every fourth page that is generated alike, in the light:
    contrast is part of it (the dark is looked at with the theme button)"""
    ctx, alike = reader(b, WIDTHS[0]), ('solutions/', 'api/')

    def axe(i, p):
        return AXE.exists() and (i % 4 == 0 or p in WHOLE or not p.startswith(alike))

    return [
        look(ctx, base, p, axe=axe(i, p), whole=p in WHOLE)
        for i, p in enumerate([*english(), *JAPANESE])
    ]


if __name__ == '__main__':
    with serve() as base, browser() as b:
        rows = survey(b, base)
    out = dict(
        site_megabytes=round(
            sum(p.stat().st_size for p in SITE.glob('**/*') if p.is_file()) / 2**20, 1
        ),
        axe=AXE.exists(),
        pages=rows,
    )
    (HERE.parent / 'results/site_pages.json').write_text(
        json.dumps(out, indent=1, ensure_ascii=False) + '\n', encoding='utf-8'
    )
    for r in rows:
        print(
            f"{r['page']:36} {r['seconds']:5.2f} s {r['requests']:3} requests "
            f"{r['kilobytes']:5} kB  {'; '.join(r['wrong']) or 'ok'}"
        )
    sys.exit(any(r['wrong'] for r in rows))
