"""Draw every mermaid diagram of the notebooks once: `make diagrams`. The SVGs are committed
under the hash of their source, so that building the site needs no browser and no node, and a
page no script. Colours become CSS variables, so that a diagram follows the theme."""

import hashlib
import json
import re
import sys
from pathlib import Path
import translate
from browser import browser

HERE = Path(__file__).parent
OUT = HERE / 'diagrams'
# stand-in colour -> variable of custom.css
COLOURS = {
    '#010101': '--d-text',
    '#020202': '--d-line',
    '#030303': '--d-node',
    '#040404': '--d-group',
    '#050505': '--d-page',
    '#060606': '--d-border',
}
text, line, node, group, page, border = COLOURS
THEME = dict(
    fontFamily='system-ui, sans-serif',
    fontSize='15px',
    primaryColor=node,
    primaryTextColor=text,
    primaryBorderColor=border,
    lineColor=line,
    textColor=text,
    mainBkg=node,
    nodeBorder=border,
    nodeTextColor=text,
    secondaryColor=group,
    secondaryTextColor=text,
    secondaryBorderColor=border,
    tertiaryColor=group,
    tertiaryTextColor=text,
    tertiaryBorderColor=border,
    clusterBkg=group,
    clusterBorder=border,
    titleColor=text,
    edgeLabelBackground=page,
    actorBkg=node,
    actorBorder=border,
    actorTextColor=text,
    signalColor=line,
    signalTextColor=text,
    noteBkgColor=group,
    noteTextColor=text,
    noteBorderColor=border,
)


def name(src):
    return hashlib.sha1(src.strip().encode()).hexdigest()[:12]


def diagrams():
    "File name -> source, for every diagram in the notebooks and pages, in both languages"
    md = {
        p.stem: '\n'.join(
            ''.join(c['source'])
            for c in json.loads(p.read_text(encoding='utf-8'))['cells']
            if c['cell_type'] == 'markdown'
        )
        for p in (HERE.parent / 'nbs').glob('*.ipynb')
    }
    md |= {p.stem: p.read_text(encoding='utf-8') for p in (HERE / 'pages').glob('*.md')}
    out, finished = {}, translate.finished()
    for page, text in md.items():
        for src in translate.MERMAID.findall(text):
            out[name(src)] = src
            if page in finished:
                ja = translate.relabelled(src, translate.speaker(page))
                out[name(ja)] = ja
    return out


def draw(srcs):
    with browser() as b:
        pg = b.new_page()
        pg.set_content('<!doctype html><meta charset="utf-8"><body></body>')
        pg.add_script_tag(path=HERE / 'node_modules/mermaid/dist/mermaid.min.js')
        pg.evaluate(
            't => mermaid.initialize({startOnLoad: false, theme: "base", themeVariables: '
            't, htmlLabels: false, flowchart: {htmlLabels: false, curve: "basis"}})',
            THEME,
        )
        for k, s in srcs.items():
            svg = pg.evaluate(
                'async ([id, s]) => (await mermaid.render(id, s)).svg', ['d' + k, s]
            )
            for c, v in COLOURS.items():
                svg = svg.replace(c, f'var({v})')
            for c, v in COLOURS.items():
                svg = svg.replace(f"rgb({', '.join([str(int(c[1:3], 16))] * 3)})", f'var({v})')
            svg = re.sub(
                r' data-points="[^"]*"| aria-roledescription="[^"]*"', '', svg
            ).replace('role="graphics-document document"', 'role="img"')
            svg = re.sub(r'(\d\.\d)\d+', r'\1', svg)
            label = 'Diagram: ' + ', '.join(
                dict.fromkeys(
                    re.findall(r'<tspan[^>]*class="text-inner-tspan[^>]*>([^<]+)', svg)
                )
            )
            if re.search(translate.CJK, s):
                label = label.replace('Diagram: ', '図：').replace(', ', '、')
            yield k, re.sub(r'<svg ', f'<svg aria-label="{label}" ', svg, count=1)


if __name__ == '__main__':
    want = diagrams()
    OUT.mkdir(exist_ok=True)
    have = {p.stem for p in OUT.glob('*.svg')}
    if '--check' in sys.argv:
        sys.exit(
            f'run `make diagrams`: {sorted(want.keys() ^ have)}' if want.keys() != have else 0
        )
    for k in have - want.keys():
        (OUT / f'{k}.svg').unlink()
    for k, s in draw({k: s for k, s in want.items() if k not in have or '--all' in sys.argv}):
        (OUT / f'{k}.svg').write_text(s + '\n', encoding='utf-8')
    print(f'{len(want)} diagrams')
