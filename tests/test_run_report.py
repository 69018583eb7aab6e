"Chapter 13a: the report of a run, on answers made by hand, in Chromium"

import re
from pathlib import Path
import pymupdf
import pytest
from climate_ft import report as R
from climate_ft.evaluation import Plan, evaluate_answers
from climate_ft.passages import REFUSAL
from climate_ft.workspace import Chunk, Workspace, write_json, write_jsonl

REPO = Path(__file__).resolve().parent.parent
TEXT = '海面は1900年から21 cm上昇した。衛星は2014年に打ち上げられた。'
BAD = '<img src=x onerror="document.title=1"><script>document.title=2</script>'


def asked(set, id, question, reference, base, tuned, read=None, **kw):
    said = dict(base=base, tuned=tuned) | ({'tuned + passage': read} if read else {})
    row = dict(set=set, id=id, question=question, reference=reference, source_id=id)
    return row | dict(predictions=said, chunk='doc-1') | kw


ANSWERS = [
    asked('recall', 'r1', '打上げは何年か。', '2014年', '不明', '2014年です。'),
    asked('recall', 'r2', '上昇は何cmか。', '21cm', '21cm', '12cmです。'),
    asked('gold', 'g1', 'Launched in which year?', '2014', '?', '2016', 'in 2014'),
    asked('gold', 'g2', 'How far has sea level risen?', '21 cm', '?', '121 cm', REFUSAL),
    asked('gold', 'g3', '質量は何kgか。', '2,100kg', '?', REFUSAL, REFUSAL),
    asked('gold', 'g4', BAD, BAD, BAD, '別', '3トン', variants=['三トン']),
]


@pytest.fixture(scope='module')
def ws(tmp_path_factory):
    ws = Workspace(tmp_path_factory.mktemp('ws'))
    chunk = Chunk('doc-1', 'doc', ['1'], TEXT, [1, 2], 0, len(TEXT))
    write_json(ws.path('corpus_chunks'), [chunk.asdict()])
    with pymupdf.open() as d:
        d.new_page()
        d.new_page().insert_text((72, 300), TEXT, fontsize=9, fontname='japan')
        d.save(ws.root / 'doc.pdf')
    write_json(ws.root / 'run.json', dict(reads=[str(ws.root / 'doc.pdf')]))
    return ws


@pytest.fixture(scope='module')
def results():
    return evaluate_answers(ANSWERS, 50)


def test_right_answers_and_refusals_are_counted(ws, results):
    given = R.given_passages(ws, ANSWERS, Plan())
    assert set(given) == {('gold', f'g{i}') for i in (1, 2, 3, 4)}
    rows = R.right_table(results)['rows']
    assert [r[1:] for r in rows] == [
        ['1 of 2', '1 of 2', '–', '–'],
        ['1 of 4', '0 of 4', '–', '1 of 4'],
    ]
    assert R.refusal_counts(results, given, 'tuned + passage') == dict(
        there=dict(right=1, refused=1, wrong=0), lacking=dict(right=0, refused=1, wrong=1)
    )
    assert R.refusal_table(results, given)['rows'] == [
        ['tuned, with passage', '1 of 2', '1 of 2']
    ]
    labels = {k['label']: k['value'] for k in R.key_figures(results, {}, given)}
    assert labels['trained facts, new wording: right answers, from memory'] == '1 → 1 of 2'
    assert labels['refused though the passage has it'] == '1 of 2'


def test_what_the_training_went_on_from_stands_beside_the_right_answers(ws, results):
    from climate_ft.profiles import READ_BEFORE

    assert len(R.right_section(results, {})['prose']) == 1
    write_json(ws.models / 'reader' / 'train_config.json', dict(start='reading'))
    write_json(ws.models / 'fresh' / 'train_config.json', dict(start=''))
    for name, more in (('reader', [READ_BEFORE]), ('fresh', [])):
        first = R.run_sections(ws, name, results, {}, {})[0]
        assert first['prose'][1:] == more


def test_the_passage_is_shown_from_the_page_where_it_stands(ws):
    picture = R.pictures(ws, 2)
    one = picture(ANSWERS[2])
    assert one['caption'] == 'doc, page 2' and one['src'].startswith('data:image/jpeg;base64,')
    assert picture(ANSWERS[3])['src'] != one['src']  # another sentence is marked
    assert picture(ANSWERS[2]) is None  # two are the most
    (ws.root / 'doc.pdf').rename(ws.root / 'away.bin')
    try:
        assert R.pictures(ws)(ANSWERS[2]) is None
    finally:
        (ws.root / 'away.bin').rename(ws.root / 'doc.pdf')


def test_the_sentence_with_the_answer_is_the_evidence():
    text = '海氷は減った。打上げは2014年である。分解能は3mである。'
    assert R.evidence(dict(reference='2014年'), text) == '打上げは2014年である。'
    like = dict(reference='分解能は3メートルです。')
    assert R.evidence(like, text) == '分解能は3mである。'


@pytest.mark.parametrize(
    'hold_out,words', [('sections', 'It often rises'), ('wordings', 'It should fall')]
)
def test_the_dev_loss_is_explained(tmp_path, monkeypatch, hold_out, words):
    import climate_ft.train as T

    ws = Workspace(tmp_path)
    write_json(ws.path('dataset_report'), dict(hold_out=hold_out))
    row = dict(step=1, loss=2.0, grad_norm=1.0, learning_rate=0.1, tokens=9)
    row |= dict(tokens_per_second=3.0, memory_gib=0.1)
    write_jsonl(ws.logs / 'x.jsonl', [dict(step=0, eval_loss=3.0), row])
    monkeypatch.setattr(T, 'verify_training', lambda *a: [])
    (text,) = R.training_section(ws, 'x')['prose']
    assert words in text and text.count('.') == 2
    write_jsonl(ws.logs / 'x.jsonl', [row])
    assert R.training_section(ws, 'x')['prose'] == []  # no dev loss to explain


@pytest.fixture(scope='module')
def file(ws, results, tmp_path_factory):
    given = R.given_passages(ws, ANSWERS, Plan())
    settings = [dict(setting='targets', value=R.plain(['q_proj_' * 30, 'v_proj']))]
    page = R.render_report(
        BAD,
        BAD,
        [
            R.right_section(results, given),
            R.answers_section(results, 12, R.pictures(ws)),
            R.sound_section(results),
            R.section('Settings', tables=[R.grid(settings, kind='text')], pre='a' * 500),
        ],
        R.key_figures(results, {}, given),
    )
    path = tmp_path_factory.mktemp('page') / 'report.html'
    path.write_text(page, encoding='utf-8')
    return path


def test_right_answers_come_before_how_it_sounds(file):
    titles = re.findall('<h2>(.*?)</h2>', file.read_text())
    assert titles == ['Right answers', 'Answers', 'Sounds like the report', 'Settings']


def shown(page):
    return page.locator('.qa:visible .q').all_text_contents()


def test_answers_are_filtered_and_searched_from_a_file(file, chromium):
    with chromium.new_context() as ctx:
        page = ctx.new_page()
        errors, asked = [], []
        page.on('console', lambda m: errors.append(m.text))
        page.on('request', lambda r: asked.append(r.url))
        page.goto(file.as_uri())
        assert (
            len(shown(page)) == 6 and page.text_content('#count') == '6 of 6 questions shown'
        )
        page.select_option('[name=verdict]', 'refused')
        assert [q[:4] for q in shown(page)] == ['How ', '質量は何']
        page.select_option('[name=how]', 'tuned')
        assert shown(page) == ['質量は何kgか。']
        page.select_option('[name=verdict]', 'right')
        assert shown(page) == ['打上げは何年か。']
        page.select_option('[name=verdict]', '')
        page.select_option('[name=how]', 'tuned + passage')
        page.select_option('[name=set]', 'gold')
        page.fill('[name=words]', 'ＳＥＡ　21')
        assert shown(page) == ['How far has sea level risen?']
        assert page.locator('.group:visible').count() == 1
        page.press('[name=words]', 'Enter')
        page.fill('[name=words]', 'nowhere')
        assert shown(page) == [] and page.text_content('#count').startswith('0 of 6')
        assert page.title() == BAD and page.locator('main img[src=x], .qa script').count() == 0
        assert errors == [] and {u.split(':')[0] for u in asked} <= {'file', 'data'}


def test_without_scripts_every_answer_is_there(file, chromium):
    with chromium.new_context(java_script_enabled=False) as ctx:
        page = ctx.new_page()
        page.goto(file.as_uri())
        assert page.locator('.qa:visible').count() == 6
        assert not page.locator('#filter').is_visible()


@pytest.mark.parametrize('width', [1400, 390])
def test_it_fits_and_passes_axe(file, chromium, width):
    axe = REPO / 'site/node_modules/axe-core/axe.min.js'
    assert axe.exists(), 'npm ci --omit=dev in site/'
    size = dict(width=width, height=900)
    with chromium.new_context(viewport=size, bypass_csp=True) as ctx:
        page = ctx.new_page()
        page.goto(file.as_uri())
        assert page.evaluate('document.documentElement.scrollWidth') == width
        table = page.locator('table.text').bounding_box()
        assert table['x'] + table['width'] <= width
        page.evaluate(axe.read_text(encoding='utf-8'))
        run = 'async () => (await axe.run(document)).violations.map(v => v.id)'
        assert page.evaluate(run) == []


def test_a_script_put_into_the_page_is_not_run(file, chromium, tmp_path):
    "The second wall: even unescaped, it is not the one that the policy names"
    html = file.read_text().replace('</main>', '<script>document.title="run"</script></main>')
    (tmp_path / 'x.html').write_text(html)
    with chromium.new_context() as ctx:
        page = ctx.new_page()
        page.goto((tmp_path / 'x.html').as_uri())
        assert page.title() == BAD and len(shown(page)) == 6
