"""Chapter 05g against a server on this machine that replays what a good, a careless and a
broken teacher say: what is kept, what is sent and to whom, and what an interrupted or failing
run leaves"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import pytest

pytest.importorskip('openai')
from climate_ft import teacher as T
from climate_ft.contamination import squeeze
from climate_ft.hub import KINDS
from climate_ft.workspace import CourseError, REPO, Workspace, read_json, read_jsonl
from climate_ft.workspace import Chunk, write_json, write_jsonl, write_text

TEXTS = [
    '陸域観測技術衛星2号「だいち2号」は2014年5月24日に打ち上げられた。'
    '「だいち2号」の合成開口レーダは、夜間でも雲があっても地表を観測できる。',
    '観測地点の年平均気温は、マイナス5℃である。この地点の観測は1957年に始まった。',
    '海面水位は、世界平均で年に3.7mm上昇している。上昇の割合は、国や地域の69%で平均を上回る。',
]
GOOD = {
    0: [('だいち2号が宇宙へ運ばれたのはいつ？', '2014年5月24日', TEXTS[0].split('。')[0])],
    1: [
        (
            'その年の平均がマイナス5℃だったのは何の気温か。',
            '観測地点の年平均気温',
            TEXTS[1][:18],
        )
    ],
    2: [
        (
            '海の高さは年にどれほど上がりますか。',
            '3.7mm',
            '海面水位は、世界平均で年に3.7mm上昇している。',
        )
    ],
}


def chunks_of(texts=TEXTS):
    at, out = 0, []
    for i, t in enumerate(texts):
        out.append(Chunk(f'd-{i}', 'd', [f'第{i + 1}章'], t, [i + 1], at, at + len(t)))
        at += len(t) + 1
    return out


def said(pairs):
    keys = ('question', 'answer', 'quote')
    rows = [dict(zip(keys, p), style='丁寧') if isinstance(p, tuple) else p for p in pairs]
    return json.dumps(dict(pairs=rows), ensure_ascii=False)


class Recorded:
    """A server whose `act(n, body, handler)` gives the reply to the n-th request: a text, a
    status, or None where it has answered itself"""

    def __init__(self, act):
        self.bodies, self.headers, self.busy, self.most = [], [], 0, 0
        lock, mine = threading.Lock(), self

        class H(BaseHTTPRequestHandler):
            def log_message(self, *a):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
                with lock:
                    mine.bodies.append(body)
                    mine.headers.append({k.lower(): v for k, v in self.headers.items()})
                    mine.busy += 1
                    mine.most = max(mine.most, mine.busy)
                    n = len(mine.bodies)
                try:
                    got = act(n, body, self)
                finally:
                    with lock:
                        mine.busy -= 1
                if got is not None:
                    self.answer(got)

            def answer(self, got):
                status, more = (got, {}) if isinstance(got, int) else (200, {})
                if isinstance(got, tuple):
                    status, more = got
                use = dict(prompt_tokens=100, completion_tokens=20)
                message = dict(role='assistant', content=got)
                full = dict(choices=[dict(index=0, message=message)], usage=use)
                data = json.dumps(full if isinstance(got, str) else dict(error='no')).encode()
                self.send_response(status)
                head = {'Content-Type': 'application/json', 'Retry-After-Ms': '1'} | more
                for k, v in (head | {'Content-Length': str(len(data))}).items():
                    self.send_header(k, v)
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(('127.0.0.1', 0), H)
        self.server.daemon_threads = True
        self.url = f'http://127.0.0.1:{self.server.server_address[1]}/v1'
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def serve():
    made = []

    def start(act):
        made.append(Recorded(act))
        return made[-1]

    yield start
    for s in made:
        s.close()


def about(body):
    "The number of the chunk that a request is about"
    text = body['messages'][0]['content']
    return next(i for i, t in enumerate(TEXTS) if t in text)


def good(n, body, h):
    return said(GOOD[about(body)])


def teach(server, ws, chunks=None, **kw):
    t = T.Teacher(server.url, 'big', **dict(timeout=5.0) | kw)
    return T.teach(Workspace(ws), chunks or chunks_of(), t)


# ---- what is kept ---------------------------------------------------------------------------


def test_kept_pairs_know_their_sentence_and_their_quote(serve, tmp_path):
    rows, report = teach(serve(good), tmp_path)
    assert [(r.id, r.kind, r.source_id, r.pages, r.output) for r in rows] == [
        ('d-0.0/taught0', 'taught', 'd-0.0', [1], '2014年5月24日'),
        ('d-2.0/taught0', 'taught', 'd-2.0', [3], '3.7mm'),
    ]
    assert rows[1].extra['start'] == chunks_of()[2].start
    assert squeeze(rows[1].extra['quote']) in squeeze(TEXTS[2])
    assert report == dict(
        model='big',
        chunks=3,
        asked=3,
        cached=0,
        failed={},
        read=300,
        written=60,
        kept=2,
        rejected={'question leans on the text': 1},
    )


Q, Q2 = 'だいち2号が飛び立ったのはいつですか。', '地点の年平均気温は何℃ですか。'


@pytest.mark.parametrize(
    'chunk,pair,why',
    [
        (
            0,
            (Q, '２０１４年５月２４日', '「だいち２号」は、2014年5月24日に 打ち上げられた'),
            '',
        ),
        (
            0,
            (Q, '2014年5月24日', '「だいち2号」は2014年5月24日に種子島から打ち上げられた'),
            'quote',
        ),
        (
            0,
            (Q, '2014年5月25日', '「だいち2号」は2014年5月24日に打ち上げられた'),
            'answer is not in the quote',
        ),
        (0, (Q, '014年5月24日', '014年5月24日に打ち上げられた'), 'number of the quote'),
        (0, (Q.replace('2号', '3号'), '2014年', TEXTS[0][:30]), 'number of the question'),
        (0, ('運んだロケットは何ですか。', '三菱重工', TEXTS[0][:30]), 'word of the answer'),
        (
            0,
            ('だいち2号は2014年に打ち上げられましたか。', '2014年', TEXTS[0][:40]),
            'holds the answer',
        ),
        (0, ('本報告書によると、いつですか。', '2014年', TEXTS[0][:40]), 'leans'),
        (0, ('When was it launched?', '2014年', TEXTS[0][:40]), 'no Japanese question'),
        (0, ('図表3が示す年はいつですか。', '2014年', TEXTS[0][:40]), 'figure|number'),
        (0, (Q, '2014年', '。。。'), 'no answer or no quote'),
        (0, dict(question=Q, answer=2014, quote=TEXTS[0]), 'not a pair'),
        (0, 'text', 'not a pair'),
        (1, (Q2, 'マイナス5℃', '年平均気温は、マイナス5℃である'), ''),
        (1, (Q2, '−5℃', '年平均気温は、マイナス5℃である'), ''),
        (1, (Q2, '5℃', '年平均気温は、マイナス5℃である'), 'answer is not in the quote'),
        (1, (Q2, '5℃', '5℃である。'), 'no answer or no quote|number of the quote'),
        (1, (Q2, '5℃', '5℃である。この地点の観測は'), 'number of the quote'),
        (2, ('平均を上回る割合は何%ですか。', '69%', TEXTS[2].split('。')[1]), ''),
        (
            2,
            ('平均を上回るのは何か国ですか。', '69か国', TEXTS[2].split('。')[1]),
            'answer is not in the quote',
        ),
        (
            2,
            ('年に何mm上がりますか。', '37mm', TEXTS[2].split('。')[0]),
            'answer is not in the quote',
        ),
    ],
)
def test_every_check(chunk, pair, why):
    if isinstance(pair, tuple):
        pair = dict(zip(('question', 'answer', 'quote'), pair))
    got = T.fault(pair, chunks_of()[chunk])
    assert any(w in got for w in why.split('|')) and bool(got) == bool(why), got


@pytest.mark.parametrize(
    'question,answer,why',
    [
        ('2018年に上がった衛星は何ですか。', 'GOSAT-2', ''),
        ('2018年に上がった衛星は何ですか。', 'GOSAT-3', 'name of the answer'),
        ('2018年に上がった衛星は何ですか。', 'ＧＯＳＡＴ２', ''),
        ('GOSAT-3が上がったのはいつですか。', '2018年', 'name of the question'),
        ('第6次評価報告書の後に上がった衛星は何ですか。', 'GOSAT-2', ''),
        ('報告書にある衛星は何ですか。', 'GOSAT-2', 'leans'),
    ],
)
def test_a_name_with_a_digit_is_one_name(question, answer, why):
    text = 'GOSAT-2は、第6次評価報告書の後の2018年に打ち上げられた。'
    fault = T.fault(dict(question=question, answer=answer, quote=text), chunks_of([text])[0])
    assert why in fault and bool(why) == bool(fault)


def test_a_quote_over_two_sentences_belongs_to_the_first():
    c = chunks_of()[1]
    i, at, stretch = T.spot('マイナス5℃である。この地点の観測は', c)
    assert (i, at, stretch) == (0, c.start, c.text)
    assert T.spot('この地点の観測は1957年', c)[:2] == (1, c.start + c.text.index('この'))


def test_damaged_replies_are_counted_and_not_asked_again(serve, tmp_path):
    bad = ['今日は晴れです。', '{"pairs": [{"question": "', '{"pairs": "x"}']
    s = serve(lambda n, body, h: bad[about(body)])
    for _ in range(2):
        rows, report = teach(s, tmp_path)
        assert rows == [] and report['rejected'] == {'reply without pairs': 3}
    assert len(s.bodies) == 3 and report['cached'] == 3


@pytest.mark.parametrize(
    'content,use',
    [
        ({'pairs': []}, {}),
        ([{'type': 'text', 'text': 'x'}], {}),
        (7, {}),
        (True, {}),
        ('\ud800', {}),
        ('x', dict(prompt_tokens='many', completion_tokens=[1], total_tokens=None)),
        ('x', dict(prompt_tokens=1e300)),
    ],
)
def test_a_reply_of_another_shape_is_a_failed_request(serve, tmp_path, content, use):
    "It is counted, not kept; five in a row end the asking in one line"

    def act(n, body, h):
        message = dict(role='assistant', content=content)
        data = json.dumps(dict(choices=[dict(message=message)], usage=use)).encode()
        h.send_response(200)
        h.send_header('Content-Type', 'application/json')
        h.send_header('Content-Length', str(len(data)))
        h.end_headers()
        h.wfile.write(data)

    _, report = teach(serve(act), tmp_path)
    assert report['failed'] == {'no chat reply': 3} and report['kept'] == 0
    assert not (tmp_path / 'data/teacher.jsonl').exists()


# ---- a server in trouble --------------------------------------------------------------------


def test_busy_broken_and_cut_connections_are_tried_again(serve, tmp_path):
    def act(n, body, h):
        if n == 1:
            return 429
        if n == 2:
            return 500
        if n == 3:
            h.close_connection = True
            h.connection.close()
            return None
        return good(n, body, h)

    s = serve(act)
    rows, report = teach(s, tmp_path, workers=1)
    assert len(rows) == 2 and report['failed'] == {} and len(s.bodies) == 6


def test_what_fails_is_counted_and_asked_again_by_the_next_run(serve, tmp_path):
    broken = [True]

    def act(n, body, h):
        return 500 if broken[0] and about(body) == 1 else good(n, body, h)

    s = serve(act)
    _, report = teach(s, tmp_path, retries=1)
    assert report['failed'] == {'HTTP 500': 1} and report['asked'] == 3
    assert any('HTTP 500' in l and '--from dataset' in l for l in T.summary(report))
    broken[0], before = False, len(s.bodies)
    _, report = teach(s, tmp_path)
    assert (report['asked'], report['cached'], len(s.bodies) - before) == (1, 2, 1)


def test_a_slow_answer_ends_with_a_timeout(serve, tmp_path):
    go = threading.Event()

    def act(n, body, h):
        if about(body) == 0:
            go.wait(20)
            return None
        return good(n, body, h)

    _, report = teach(serve(act), tmp_path, timeout=3.0, retries=0, workers=1)
    go.set()
    assert report['failed'] == {'timeout': 1} and report['kept'] == 1


def test_a_server_that_knows_no_schema_is_asked_without(serve, tmp_path):
    s = serve(lambda n, body, h: 400 if 'response_format' in body else good(n, body, h))
    rows, _ = teach(s, tmp_path)
    assert len(rows) == 2 and len(s.bodies) == 6


@pytest.mark.parametrize('status,words', [(401, T.KEY), (404, 'model big'), (302, 'HTTP 302')])
def test_what_no_retry_helps_ends_at_once(serve, tmp_path, status, words):
    to = {'Location': 'http://127.0.0.1:9/v1/chat/completions'}
    s = serve(lambda n, body, h: (status, to))
    with pytest.raises(CourseError, match=words) as e:
        teach(s, tmp_path, workers=1)
    assert len(s.bodies) == 1 and '\n' not in str(e.value)


def test_a_dead_server_ends_the_asking_and_nothing_is_lost(serve, tmp_path):
    with pytest.raises(CourseError, match=r'no connection.*is the server running'):
        T.teach(
            Workspace(tmp_path),
            chunks_of(),
            T.Teacher('http://127.0.0.1:9/v1', 'm', retries=0),
        )
    many = [Chunk(f'd-{i}', 'd', [], f'{t}{i}', [1], 0, 9) for i in range(5) for t in TEXTS]
    s = serve(lambda n, body, h: good(n, body, h) if n == 1 else 503)
    with pytest.raises(CourseError, match=r'HTTP 503.*1 reply is kept'):
        teach(s, tmp_path, many, retries=0, workers=1)
    assert len(s.bodies) == 1 + T.IN_A_ROW
    assert len(read_jsonl(tmp_path / 'data/teacher.jsonl')) == 1


def test_requests_are_bounded_and_run_together(serve, tmp_path):
    meet = threading.Barrier(2)

    def act(n, body, h):
        meet.wait(20)  # the first of two waits for the second
        return good(n, body, h)

    s = serve(act)
    teach(s, tmp_path, (chunks_of() + [chunks_of([TEXTS[0] + 'また。'])[0]]), workers=2)
    assert s.most == 2 and len(s.bodies) == 4


def test_nothing_is_begun_before_a_result_was_seen():
    began = []
    for k, (i, got, e) in enumerate(
        T.in_threads(lambda i: began.append(i), list(range(8)), 2)
    ):
        time.sleep(0.02)  # whoever runs ahead has the time to
        assert len(began) <= k + 2 and e is None
    assert sorted(began) == list(range(8)) and list(T.in_threads(print, [], 2)) == []
    gen = T.in_threads(lambda i: began.append(i), list(range(8)), 1)
    next(gen)
    gen.close()
    assert len(began) == 9


# ---- what is sent, and to whom --------------------------------------------------------------


def test_the_key_goes_into_the_request_and_nowhere_else(serve, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(T.KEY, 'sk-secret-1')
    for k in ('OPENAI_API_KEY', 'OPENAI_ORG_ID', 'OPENAI_PROJECT_ID', 'OPENAI_ADMIN_KEY'):
        monkeypatch.setenv(k, 'of-another-service')
    monkeypatch.setenv('HTTP_PROXY', 'http://127.0.0.1:9')
    monkeypatch.setenv('OPENAI_BASE_URL', 'http://127.0.0.1:9')
    s = serve(good)
    _, report = teach(s, tmp_path)
    assert {h['authorization'] for h in s.headers} == {'Bearer sk-secret-1'}
    assert 'of-another-service' not in str(s.headers)
    left = ''.join(p.read_text() for p in tmp_path.rglob('*') if p.is_file())
    out = capsys.readouterr()
    assert 'sk-secret' not in left + str(report) + out.out + out.err
    assert out.err == ''  # an address on this machine is not named


def test_another_machine_is_named_once_and_only_if_something_is_sent(
    serve, tmp_path, monkeypatch, capsys
):
    s = serve(good)
    monkeypatch.setattr(T, 'is_local', lambda url: False)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    teach(s, tmp_path)
    assert capsys.readouterr().err == f'climate-ft: the text of the document goes to {s.url}\n'
    teach(s, tmp_path)
    assert capsys.readouterr().err == '' and len(s.bodies) == 3


@pytest.mark.parametrize(
    'args,words',
    [
        (['--teacher', 'http://localhost:1'], '--teacher-model'),
        (['--teacher-model', 'x'], '--teacher URL'),
        (['--teacher', 'localhost:1', '--teacher-model', 'x'], 'is no address'),
        (['--teacher', 'http://me:pw-9@h/v1', '--teacher-model', 'x'], T.KEY),
        (['--teacher', 'http://h/v1?key=pw-9', '--teacher-model', 'x'], T.KEY),
        (['--teacher', 'http://h:99999/v1', '--teacher-model', 'x'], 'is no address'),
    ],
)
def test_wrong_options_are_one_line(args, words):
    given = dict(zip(args[::2], args[1::2]))
    with pytest.raises(CourseError) as e:
        T.make_teacher(given.get('--teacher'), given.get('--teacher-model'))
    assert words in str(e.value) and 'pw-9' not in str(e.value)


def test_without_the_client_the_extra_is_named(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda n: None)
    with pytest.raises(CourseError, match=r'climate-ft\[teacher\]'):
        T.make_teacher('http://localhost:1', 'm')


# ---- the command ----------------------------------------------------------------------------


@pytest.fixture
def ws(tmp_path):
    ws = Workspace(tmp_path / 'ws')
    write_text(ws.path('corpus'), '\n'.join(TEXTS))
    write_json(ws.path('corpus_chunks'), [c.asdict() for c in chunks_of()])
    gold = dict(
        question='海の高さは、年にどれほど上がりますか。',
        question2='海面は年に何mm高くなるか。',
        answer='3.7mm',
        support='海面水位は、世界平均で年に3.7mm上昇している。',
    )
    write_jsonl(ws.documents / 'gold_questions.jsonl', [gold])
    return ws


def test_the_command_trains_what_is_kept_and_leaves_the_examination_alone(serve, ws, cft):
    s = serve(good)
    how = ('dataset', '--out', ws.root, '--teacher', s.url, '--teacher-model', 'big')
    r = cft(*how)
    assert r.returncode == 0, r.stderr
    assert 'teacher big: 2 pairs kept, 1 rejected; 3 requests and 0 from the cache' in r.stderr
    assert '1 taught question is trained; 0 were asked already, 1 came near' in r.stderr
    forms = read_jsonl(ws.path('splits') / 'forms.jsonl')
    taught = [f for f in forms if '/taught' in f['id']]
    assert [f['instruction'] for f in taught if not f['input']] == [GOOD[0][0][0]]
    assert {f['kind'] for f in taught} == {'taught', 'passage'}
    assert {f['kind'] for f in forms} <= set(KINDS)  # a card says what each kind is
    near = read_jsonl(ws.path('gold_distance'))
    assert len(near) == 1 and near[0]['ratio'] < 85
    assert read_json(ws.path('dataset_report'))['nearest_gold'] == near[0]
    r = cft(*how)
    assert '0 requests and 3 from the cache' in r.stderr and len(s.bodies) == 3
    plain = cft('dataset', '--out', ws.root)
    assert plain.returncode == 0 and 'teacher big' not in plain.stderr and len(s.bodies) == 3
    forms = read_jsonl(ws.path('splits') / 'forms.jsonl')
    assert not [f for f in forms if '/taught' in f['id']]


def test_a_killed_run_asks_only_for_what_is_missing(serve, ws):
    second = threading.Event()

    def act(n, body, h):
        if n == 2:
            second.set()
            time.sleep(20)  # until the kill
        return good(n, body, h)

    s = serve(act)
    code = (
        'import sys; from climate_ft.dataset import run_dataset; '
        'from climate_ft.teacher import *;'
        'from climate_ft.workspace import Workspace;'
        'run_dataset(Workspace(sys.argv[1]), hold_out="wordings",'
        ' teacher=Teacher(sys.argv[2], "big", workers=1))'
    )
    env = {**os.environ, 'PYTHONPATH': str(REPO)}
    p = subprocess.Popen([sys.executable, '-c', code, str(ws.root), s.url], env=env)
    assert second.wait(120)
    p.send_signal(signal.SIGKILL)
    p.wait()
    cache = ws.data / 'teacher.jsonl'
    with cache.open('a') as f:
        f.write('{"key": "cut by the ki')
    assert not ws.path('dataset_report').exists()
    before = len(s.bodies)
    rows, report = teach(s, ws.root, workers=1)
    assert (report['cached'], report['asked'], len(s.bodies) - before) == (1, 2, 2)
    assert len(read_jsonl(cache)) == 3


def test_other_peoples_questions_are_trained_beside_the_documents(ws, cft, tmp_path):
    p = tmp_path / 'set.json'
    text = '氷河は雪が押し固まった氷の流れである。'
    ask = dict(question='氷の流れは何?', answers=[dict(text='氷河')])
    p.write_text(json.dumps(dict(data=[dict(paragraphs=[dict(context=text, qas=[ask])])])))
    r = cft('dataset', '--out', ws.root, '--practice', p)
    assert (
        r.returncode == 0
        and '1 question about other texts added for practice in reading' in r.stderr
    )
    forms = read_jsonl(ws.path('splits') / 'forms.jsonl')
    more = [f for f in forms if f['id'].startswith('practice/')]
    assert [(f['output'], f['input'], f['kind']) for f in more] == [('氷河', text, 'passage')]
    r = cft('dataset', '--out', ws.root, '--practice', tmp_path / 'none.json')
    assert r.returncode == 2 and r.stderr.count('\n') == 1 and 'no JSON file' in r.stderr
    left = read_jsonl(ws.path('splits') / 'forms.jsonl')
    assert left == forms  # nothing was lost
