"Chapter 13d: the chat page in Chromium, with real (tiny) models and the course's own report"

import json
import re
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen
import pytest

pytest.importorskip('torch')
from climate_ft import chat as C
from climate_ft.serve import Passages
from climate_ft.workspace import CourseError, Workspace, read_jsonl

REPO = Path(__file__).resolve().parent.parent
BAD = '<img src=x onerror="document.title=1"><script>document.title=1</script>海氷'
KNOWN = '海氷とは何ですか。'
TAUGHT = {KNOWN: '海の水がこおったものです。', BAD: f'{BAD}です。'}
MORE = '長い話をしてください。'


@pytest.fixture(scope='module')
def models():
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from climate_ft.generate import load_for_inference, ready
    from climate_ft.llamacpp import learn
    from climate_ft.models import tiny_base

    net, tok = (
        AutoModelForCausalLM.from_pretrained(tiny_base(256)),
        AutoTokenizer.from_pretrained(tiny_base(256)),
    )
    learn(net, tok, [*TAUGHT.items(), (MORE, '海' * 60)])
    return dict(base=load_for_inference('tiny'), tuned=(ready(net), tok))


@pytest.fixture
def chat(models, tmp_path):
    c = C.Chat(C.Talk(models, Passages(Workspace(REPO)), 48), Workspace(tmp_path), port=0)
    threading.Thread(target=c.wait, daemon=True).start()
    yield c
    c.close()


@pytest.fixture
def page(chat, chromium):
    ctx = chromium.new_context(viewport=dict(width=1100, height=900), accept_downloads=True)
    p = ctx.new_page()
    p.asked, p.errors = [], []
    p.on('request', lambda r: p.asked.append(r.url))
    p.on('pageerror', lambda e: p.errors.append(str(e)))
    p.on('dialog', lambda d: p.errors.append('dialog'))
    p.goto(chat.url)
    p.wait_for_selector('body[data-ready]')
    yield p
    assert p.errors == [] and all(u.startswith(chat.url) for u in p.asked), (
        p.asked
    )  # nothing from anywhere else
    ctx.close()


def ask(page, question, *off):
    for box in off:
        page.uncheck(f'#{box}')
    page.fill('#question', question)
    page.press('#question', 'Enter')


def ended(page):
    page.locator('#ask:enabled').wait_for()


def test_base_and_tuned_from_memory_and_from_the_passage(page, chat):
    ask(page, KNOWN)
    ended(page)
    assert page.text_content('#status') == '終わりました'
    answers = [
        page.locator(f'p[data-answer={m}]').all_text_contents() for m in ('memory', 'passage')
    ]
    assert (
        [len(a) for a in answers] == [2, 2]
        and answers[0][1].strip() == TAUGHT[KNOWN]
        and answers[0][0].strip() != TAUGHT[KNOWN]
    )
    where = page.text_content('#where')
    assert re.fullmatch('document_01、[0-9]+ページ「.+」', where), where
    page.click('#language')
    assert re.fullmatch(r'document_01, page [0-9]+ \(.+\)', page.text_content('#where'))
    page.click('#language')
    assert page.text_content('#where') == where
    page.locator('#picture').evaluate('i => i.decode()')
    assert page.locator('#picture').evaluate('i => i.naturalWidth') == 800
    page.get_by_role('button', name='B: こちらがよい').first.click()
    page.get_by_text('投票しました').wait_for()
    assert page.evaluate('document.activeElement.textContent') == '投票しました'
    (vote,) = read_jsonl(chat.votes_file)
    assert (vote['question'], vote['mode'], vote['better'], vote['blind'], vote['tuned']) == (
        KNOWN,
        'memory',
        'tuned',
        False,
        TAUGHT[KNOWN],
    )
    with page.expect_download() as d:
        page.get_by_text('投票を保存').click()
    assert json.loads(Path(d.value.path()).read_text(encoding='utf-8')) == vote


def test_markup_is_text_wherever_it_comes_from(page):
    ask(page, BAD, 'passage')
    ended(page)
    assert page.locator('p[data-answer=memory]').nth(1).text_content().strip() == TAUGHT[BAD]
    assert (
        page.locator('main img').count() == 1
        and page.locator('main script').count() == 0
        and page.title() == 'climate-ft'
    )


def test_stop_ends_the_answer(page, chat, monkeypatch):
    go, real = threading.Event(), C.Talk.answer

    def slowly(self, name, question, context='', say=print, turns=()):
        count = [0]

        def one(piece):
            count[0] += 1
            if count[0] == 4:
                go.wait(30)  # the reader presses stop here
            say(piece)

        return real(self, name, question, context, one, turns)

    monkeypatch.setattr(C.Talk, 'answer', slowly)
    ask(page, MORE, 'passage')
    page.locator('p[data-answer=memory]:not(:empty)').first.wait_for()
    page.keyboard.press('Escape')
    page.get_by_text('止めました').wait_for()
    go.set()
    assert page.locator('.vote').count() == 0 and page.is_enabled('#ask')
    monkeypatch.setattr(C.Talk, 'answer', real)
    ask(page, KNOWN)
    ended(page)  # and the next question is answered
    assert page.locator('p[data-answer=memory]').nth(1).text_content().strip() == TAUGHT[KNOWN]


def test_blind_mode_hides_the_names_until_the_vote(page, chat):
    page.check('#blind')
    ask(page, KNOWN, 'passage')
    ended(page)
    names = page.locator('.answer h5').all_text_contents()
    assert names == ['A', 'B']
    place = page.locator('p[data-answer=memory]').all_text_contents()
    better = 'AB'[[a.strip() for a in place].index(TAUGHT[KNOWN])]
    page.get_by_role('button', name=f'{better}: こちらがよい').click()
    page.get_by_text('投票しました').wait_for()
    assert sorted(page.locator('.answer h5').all_text_contents())[0].startswith('A: ')
    (vote,) = read_jsonl(chat.votes_file)
    assert vote['better'] == 'tuned' and vote['blind'] is True


def test_each_question_stands_above_its_answers_and_the_passage_below(page, monkeypatch):
    monkeypatch.setattr(C, 'find_pdf', lambda *a: None)
    ask(page, BAD, 'passage')
    ended(page)
    page.check('#passage')
    ask(page, KNOWN)
    ended(page)
    assert page.locator('#answers h3').all_text_contents() == [KNOWN, BAD]
    newest = page.locator('#answers section').first
    said = newest.locator('h4').all_text_contents()
    assert said == ['記憶だけで', '報告書の文章を読んで', '見つけた文章']
    tops = [e.bounding_box()['y'] for e in newest.locator('h4').all()]
    assert tops == sorted(tops)
    assert '--pdf' in page.locator('#no-picture').inner_text()
    assert page.locator('#picture').is_hidden()
    page.click('#language')  # what stands there already changes as well
    assert newest.locator('h4').all_text_contents() == [
        'from memory',
        'from the passage',
        'Passage found',
    ]
    assert page.text_content('#status') == 'Done'
    assert newest.locator('h5').first.text_content() == 'A: before training'
    assert 'same' in newest.locator('.vote button').last.text_content()


def test_both_languages_pass_axe(page):
    axe = REPO / 'site/node_modules/axe-core/axe.min.js'
    assert axe.exists(), 'npm ci --omit=dev in site/'
    ask(page, KNOWN)
    ended(page)
    for language in ('ja', 'en'):
        assert page.get_attribute('html', 'lang') == language
        page.evaluate(axe.read_text(encoding='utf-8'))
        found = page.evaluate(
            "async () => (await axe.run(document)).violations.map(v => `${v.id}: "
            "${v.nodes[0].html}`)"
        )
        assert found == []
        page.click('#language')
    assert page.get_by_role('button', name='質問する').count() == 1


def post(chat, path, data=b'{}', **headers):
    return urlopen(Request(chat.url + path, data, headers))


@pytest.mark.parametrize(
    'path,data,headers,code',
    [
        ('/about', None, dict(Host='elsewhere.example'), 403),
        ('/ask', b'{}', dict(Origin='http://elsewhere.example'), 403),
        ('/ask', b'{', {}, 400),
        ('/ask', b'[]', {}, 400),
        ('/ask', b'{"model": "other", "question": "a"}', {}, 400),
        ('/ask', b'{"model": "tuned", "question": " "}', {}, 400),
        ('/ask', b' ' * 140000, {}, 413),
        ('/page?id=..%2F..', None, {}, 404),
        ('/../../settings.ini', None, {}, 404),
        ('/vote', b'{"better": "x"}', {}, 400),
        ('/ask', b'{"model": "tuned", "question": "a", "turns": ["abc"]}', {}, 400),
        ('/find', b'{"question": "a", "before": 3}', {}, 400),
        ('/nothing', b'{}', {}, 404),
        ('/ask', b'[' * 100000, {}, 400),
        ('/ask', b'{"model": "tuned", "question": "\\ud800"}', {}, 400),
        ('/ask', b'{"model": "tuned", "question": null}', {}, 400),
        ('/ask', b'{"model": "tuned", "question": ["a"]}', {}, 400),
        ('/ask', b'{"model": "tuned", "question": "a", "passage": {"a": 1}}', {}, 400),
        ('/ask', b'{"model": "tuned", "question": "a", "turns": [["a", null]]}', {}, 400),
        ('/ask', b'{"model": "tuned", "question": "a", "turns": [["a"]]}', {}, 400),
        ('/ask', b'{}', {'Content-Length': 'x'}, 400),
        ('/find', b'{"question": {"a": 1}}', {}, 400),
        (
            '/vote',
            b'{"question": "a", "mode": "m", "base": null, "tuned": "b", "better": "same", '
            b'"blind": true}',
            {},
            400,
        ),
    ],
)
def test_what_is_refused(chat, path, data, headers, code):
    with pytest.raises(HTTPError) as e:
        post(chat, path, data, **headers)
    assert e.value.code == code and not chat.votes_file.exists()


JAPANESE = re.compile('[ぁ-んァ-ヶ一-鿿]')


def test_a_japanese_reader_meets_no_english(chat, capfd, monkeypatch):
    "What goes wrong is told in Japanese: in the answer, in the browser, on the terminal"
    from climate_ft.workspace import speak

    speak('ja')
    try:
        long = json.dumps(dict(model='tuned', question='海' * 2000)).encode()
        said = post(chat, '/ask', long).read().decode()
        assert re.fullmatch(
            '質問1（海+…）は長すぎて[0-9,]+トークンに収まりません。短くしてください', said
        )
        for path, headers, words in (
            ('/nothing', {}, f'このアドレスには何もありません。{chat.url}を開いてください'),
            ('/', dict(Host='example.org'), f'このページのアドレスは{chat.url}です。'),
        ):
            with pytest.raises(HTTPError) as e:
                post(chat, path, None, **headers)
            assert words in e.value.read().decode()
        chat.ws.data.mkdir()
        chat.votes_file.write_bytes('海'.encode('cp932'))
        with pytest.raises(HTTPError) as e:
            post(chat, '/votes', None)
        assert 'ターミナルに表示されています' in e.value.read().decode()
        err = capfd.readouterr().err
        assert err.startswith(f'climate-ft: {chat.votes_file}はUTF-8ではな'), err
    finally:
        speak('en')


def test_every_text_of_the_page_is_there_in_both_languages():
    js = (REPO / 'climate_ft/assets/chat/chat.js').read_text()
    ja, en = (
        js[js.index(f'  {l}: {{') :][:1600].split('}};')[0].split('\n  en:')[0]
        for l in ('ja', 'en')
    )
    names = [re.findall(r'[ {](\w+): (?:"|\()', t) for t in (ja, en)]
    assert names[0] == names[1] and len(names[0]) > 20
    assert all(JAPANESE.search(t) for t in re.findall(r'\w: "([^"]+)"', ja))


def test_the_passage_is_marked_where_it_stands():
    import pymupdf

    text, chunk = Passages(Workspace(REPO))('新雪のアルベドはいくつですか。')
    pdf = C.find_pdf(Workspace(REPO), chunk.doc)
    with pymupdf.open(pdf) as d:
        boxes = C.marks(d[chunk.pages[0] - 1], text)
        there = ''.join(d[chunk.pages[0] - 1].get_textbox(b) for b in boxes)
    sentence = next(s for s in text.split('。') if '新雪' in s)
    assert C.bare(sentence) in C.bare(there)
    assert C.page_picture(pdf, 1, '報告書のどこにもない文章である。')[1] == 0


def test_a_port_in_use_is_one_line(cft, tmp_path):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        r = cft('chat', '--out', tmp_path, '--port', s.getsockname()[1])
    assert (
        r.returncode == 2
        and len(r.stderr.strip().splitlines()) == 1
        and 'choose another with --port' in r.stderr
    )
    r = cft('chat', '--out', tmp_path, '--port', 0)
    assert r.returncode == 2 and 'there is no trained model yet' in r.stderr


FOLLOW = 'それはいつですか。'


def test_a_follow_up_keeps_its_turns_until_a_new_topic(page, chat, monkeypatch):
    heard, searched, find = [], [], chat.talk.find

    def answer(self, name, question, context='', say=print, turns=()):
        heard.append((name, question, turns))
        say(f'{name}の答え{len(heard)}')
        return 'done'

    def recorded(question, before=()):
        searched.append((question, before))
        return find(question, before)

    monkeypatch.setattr(C.Talk, 'answer', answer)
    monkeypatch.setattr(chat.talk, 'find', recorded)
    ask(page, KNOWN, 'passage')
    ended(page)
    ask(page, FOLLOW)
    ended(page)
    page.click('#fresh')
    page.get_by_text('新しい話題を始めます').wait_for()
    ask(page, FOLLOW)
    ended(page)
    assert [h[0] for h in heard] == ['tuned', 'base'] * 3
    assert [h[2] for h in heard] == [
        [],
        [],
        [(KNOWN, 'tunedの答え1')],
        [(KNOWN, 'baseの答え2')],
        [],
        [],
    ]
    assert searched == [(KNOWN, []), (FOLLOW, [KNOWN]), (FOLLOW, [])]


def test_what_lies_in_the_workspace_may_be_damaged(chat, tmp_path, capfd):
    "Votes that cannot be read or kept, a passage without pages, a page that is not there"
    chat.ws.data.mkdir()
    chat.votes_file.write_bytes('海'.encode('cp932'))
    vote = json.dumps(
        dict(question='a', mode='m', base='b', tuned='c', better='same', blind=False)
    ).encode()
    with pytest.raises(HTTPError) as e:
        post(chat, '/votes', None)
    assert e.value.code == 500
    chat.votes_file.unlink()
    chat.votes_file.mkdir()
    with pytest.raises(HTTPError) as e:
        post(chat, '/vote', vote)
    assert e.value.code == 500
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 2 and 'not UTF-8' in said[0] and 'cannot write' in said[1]
    find = chat.talk.find
    for pages, shown in (([], '–'), ([999], 999)):
        chat.talk.find = lambda q, before: (find(q)[0], replace(find(q)[1], pages=pages))
        got = json.load(post(chat, '/find', json.dumps(dict(question=KNOWN)).encode()))
        assert got['page'] == shown
        with pytest.raises(HTTPError) as e:
            post(chat, f'/page?id={got["id"]}', None)
        assert e.value.code == 404
    chat.talk.find = find
    (tmp_path / 'run.json').write_text(json.dumps(['x' * 5000 + '.pdf', '/a/\\u0000.pdf']))
    assert C.find_pdf(chat.ws, 'x' * 5000) is None
    assert capfd.readouterr().err == ''
