"""Look at the finished site as a reader does, in headless Chromium: `make site-report` writes
one line a page to `results/site_pages.json`. The tests use the same functions."""

import json
import sys
import threading
import time
from contextlib import contextmanager
from functools import cache
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


@cache
def refs_of(text):
    return Refs(text)


def broken_links(site=SITE):
    """Every `page -> target` whose file or anchor is missing, and everything that a page
    loads from elsewhere"""
    refs, bad = {p: refs_of((site / p).read_text(encoding='utf-8')) for p in pages(site)}, []
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
# the Japanese pages have the structure of the English ones, which the tests compare: the
# accessibility check takes one of each template
JAPANESE = (
    'ja/index.html',
    'ja/00_first_hour.html',
    'ja/29_think_block.html',
    'ja/solutions/05_corpus.html',
    'ja/glossary.html',
    'ja/search.html',
)
SERIOUS = '''async () => (await axe.run(document, {resultTypes: ['violations']}))
  .violations.filter(v => ['serious', 'critical'].includes(v.impact))
  .map(v => [v, v.nodes[0]])
  .map(([v, n]) => `${v.id} (${v.nodes.length}): ${n.target} ${n.html.slice(0, 120)}`)'''


# without this, two fifths of the survey would go into painting what nobody sees; where the
# elements are, and how large, stays the same
UNSEEN = '''new MutationObserver((_, watch) => {
  if (!document.documentElement) return;
  document.documentElement.style.visibility = 'hidden';
  watch.disconnect();
}).observe(document, {childList: true})'''
SEEN = "document.documentElement.style.visibility = ''"
GONE = "document.documentElement.style.display = 'none'"


def reader(b, width=1400, theme='light'):
    "A reader's window"
    return b.new_context(viewport=dict(width=width, height=900), color_scheme=theme)


class Tab:
    "A tab that is led from page to page and notes what goes wrong on each"

    def __init__(self, ctx, base):
        self.base, self.wrong, self.got, self.pg = base, [], [], ctx.new_page()
        self.pg.add_init_script(UNSEEN)
        # no `route`: it would switch the browser's cache off
        self.pg.on('request', self.asked)
        self.pg.on('response', self.answered)
        self.pg.on('requestfailed', self.failed)
        self.pg.on('pageerror', lambda e: self.wrong.append(f'script: {e}'))
        self.pg.on('console', self.said)

    def asked(self, r):
        if not r.url.startswith((self.base, 'data:')):
            self.wrong.append(f'asks for {r.url}')

    def answered(self, r):
        self.got.append(int(r.headers.get('content-length', 0)))
        if r.status >= 400:
            self.wrong.append(f'{r.status}: {r.url}')

    def failed(self, r):
        "A file still on its way when the tab leaves the page (its icon, say) is no fault"
        if r.failure != 'net::ERR_ABORTED':
            self.wrong.append(f'failed: {r.url}')

    def said(self, m):
        if m.type in ('error', 'warning'):
            self.wrong.append(f'console: {m.text}')

    def look(self, path, axe=False):
        """Load a page on a phone and widen it to a desk: seconds, requests, bytes, and
        everything that is wrong with it"""
        self.pg.evaluate(GONE)  # the page before need not be laid out once more
        self.pg.set_viewport_size(dict(width=WIDTHS[0], height=900))
        self.wrong.clear()
        self.got.clear()
        t = time.time()
        self.pg.goto(self.base + path, wait_until='load')
        seconds = time.time() - t
        self.wrong += self.pg.evaluate(IMAGES)
        for w in WIDTHS:
            self.pg.set_viewport_size(dict(width=w, height=900))
            self.wrong += [f'at {w}: {x}' for x in self.pg.evaluate(OVERFLOW)]
        if axe:
            self.pg.evaluate(SEEN)
            self.pg.add_script_tag(path=AXE)
            self.wrong += self.pg.evaluate(SERIOUS)
        return dict(
            page=path,
            seconds=round(seconds, 2),
            requests=len(self.got),
            kilobytes=round(sum(self.got) / 1024),
            axe=bool(axe),
            wrong=list(dict.fromkeys(self.wrong)),
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


VOID = 'area base br col embed hr img input link meta source track wbr'.split()


class Kinds(HTMLParser):
    """What kinds of element a page has: each with its classes, role and type, inside an
    element with these"""

    def __init__(self, text):
        super().__init__()
        self.kinds, self.inside = set(), [None]
        self.feed(text)

    def handle_starttag(self, tag, attrs, closed=False):
        a = dict(attrs)
        classes = tuple(sorted((a.get('class') or '').split()))
        kind = tag, classes, a.get('role'), a.get('type')
        self.kinds.add((self.inside[-1], kind))
        if tag not in VOID and not closed:
            self.inside.append(kind)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs, closed=True)

    def handle_endtag(self, tag):
        at = [i for i, kind in enumerate(self.inside) if kind and kind[0] == tag]
        if at:
            del self.inside[at[-1] :]


def enough(kinds):
    """Few pages that together have every kind of element; `kinds`: page -> set. What is new
    on a page brings that page in"""
    left, out = set().union(*kinds.values()), []
    while left:
        out.append(max(sorted(kinds), key=lambda p: len(kinds[p] & left)))
        left -= kinds[out[-1]]
    return out


def survey(b, base, site=SITE):
    """Every page of both languages at both widths. The accessibility check, which takes most
    of the time and judges kinds of element, sees each kind on some page, in the light:
    contrast is part of it (the dark is looked at with the theme button)"""
    kinds = {p: Kinds((site / p).read_text(encoding='utf-8')).kinds for p in english(site)}
    chosen = {*enough(kinds), *JAPANESE} if AXE.exists() else ()
    tab = Tab(reader(b, WIDTHS[0]), base)
    return [tab.look(p, axe=p in chosen) for p in pages(site)]


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
