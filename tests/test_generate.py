"""Chapter 10: answers do not depend on the batch,
nothing is lost or done twice, and bad input is named"""

import os
import signal
import subprocess
import sys
import pytest

pytest.importorskip('torch')
from climate_ft import asking, generate as G
from climate_ft.workspace import REPO, Chunk, CourseError, read_jsonl, write_jsonl

QUESTIONS = [
    '雪氷面のアルベドとは何ですか。',
    'SWOT衛星はどの機関が開発しましたか。',
    '地球デジタルツインの三つの要素を挙げてください。',
    'CSAとは何ですか。',
    '海面水位はなぜ上がりますか。',
    '雪。',
]
ROWS = [dict(question=q, reference='氷', source_id=f's{i}') for i, q in enumerate(QUESTIONS)]


@pytest.fixture(scope='session')
def babbler(tmp_path_factory):
    """A tiny model whose random weights are large
    enough for every question to get its own answer"""
    import torch
    from climate_ft.models import tiny_base

    net, tok = G.load_model(tiny_base())
    with torch.no_grad():
        for n, p in net.named_parameters():
            if p.ndim == 2 and 'embed' not in n:
                p.mul_(4)
    d = tmp_path_factory.mktemp('babbler')
    net.save_pretrained(d)
    tok.save_pretrained(d)
    return d


@pytest.fixture(scope='session')
def loaded(babbler):
    return G.load_for_inference(babbler)


@pytest.fixture(scope='session')
def answers(loaded):
    return G.generate(*loaded, QUESTIONS, batch_size=1, max_new_tokens=16)


@pytest.mark.parametrize('size', [2, 4, 6])
def test_batches_give_the_same_answers_in_order(loaded, answers, size):
    assert len(set(answers)) == len(QUESTIONS)
    assert G.generate(*loaded, QUESTIONS, batch_size=size, max_new_tokens=16) == answers


def test_packing_changes_nothing(babbler, answers):
    net, tok = G.load_model(babbler)
    assert G.generate(net.eval(), tok, QUESTIONS, batch_size=3, max_new_tokens=16) == answers


def test_plan_is_a_partition_longest_first():
    plan = G.plan_batches([3, 9, 4, 8, 1], 2)
    assert plan == [[1, 3], [2, 0], [4]] and G.plan_batches([], 4) == []


def test_context_changes_the_prompt(loaded, answers):
    assert (
        G.generate(*loaded, QUESTIONS[:1], ['雪は白い。'], max_new_tokens=16) != answers[:1]
        and G.generate(*loaded, [], max_new_tokens=4) == []
    )


def test_stream_shows_the_whole_answer(loaded, answers):
    pieces = []
    assert G.stream(*loaded, QUESTIONS[0], max_new_tokens=16, say=pieces.append) == answers[0]
    assert ''.join(pieces).strip() == answers[0] and len(pieces) > 3


def test_chat_ends_on_empty_line_and_end_of_input(babbler):
    said, lines = [], iter(['雪。', ''])
    G.chat(babbler, ask=lambda _: next(lines), say=said.append, max_new_tokens=4)
    assert said

    def eof(_):
        raise EOFError

    G.chat(babbler, ask=eof, say=said.append)


@pytest.mark.parametrize(
    'bits,tolerance', [(4, 1e-3), (8, 0.1)]
)  # in 8 bits the layers round their inputs too
def test_dequantised_weights_equal_what_the_bits_stand_for(bits, tolerance):
    import torch
    from climate_ft.models import load_quantized

    net, tok = load_quantized('tiny', bits, 'float32')
    ids = tok(QUESTIONS[0], return_tensors='pt').input_ids
    with torch.no_grad():
        a = net(ids).logits
    plain = G.dequantize(net)
    assert not {type(m).__name__ for m in plain.modules()} & {
        'Linear4bit',
        'Linear8bitLt',
    } and not hasattr(plain.config, 'quantization_config')
    with torch.no_grad():
        assert (plain(ids).logits - a).abs().mean() / a.std() < tolerance


class Counted:
    def __init__(self, loaded):
        self.loaded, self.n = loaded, 0

    def __call__(self):
        self.n += 1
        return self.loaded


def test_finished_answers_are_not_asked_again(loaded, answers, tmp_path):
    load, out = Counted(loaded), tmp_path / 'a.jsonl'
    run = lambda **kw: G.answer_rows(
        load, ROWS, out, 'm', **{'key': 'k', 'max_new_tokens': 16, **kw}
    )
    assert [r['prediction'] for r in run()] == answers and run() == run() and load.n == 1
    run(key='other')
    assert load.n == 2
    run(key='other', max_new_tokens=8)
    assert load.n == 3
    assert not list(tmp_path.glob('.*.part')) and read_jsonl(out)[0]['source_id'] == 's0'


def test_interrupted_answers_continue(loaded, answers, tmp_path, monkeypatch):
    def stop(f, m):
        if f >= 0.5:
            raise KeyboardInterrupt

    out = tmp_path / 'a.jsonl'
    with pytest.raises(KeyboardInterrupt):
        G.answer_rows(
            lambda: loaded, ROWS, out, 'm', 'k', batch_size=2, max_new_tokens=16, progress=stop
        )
    part = tmp_path / '.a.part'
    assert not out.exists() and part.read_text().count('\n') == 1 + 3
    part.write_bytes(part.read_bytes()[:-9])  # the last line is torn
    asked, real = [], G.generate
    monkeypatch.setattr(
        G, 'generate', lambda m, t, q, *a, **k: (asked.extend(q), real(m, t, q, *a, **k))[1]
    )
    got = G.answer_rows(lambda: loaded, ROWS, out, 'm', 'k', batch_size=2, max_new_tokens=16)
    assert len(asked) == 4 and [r['prediction'] for r in got] == answers


KILLED = '''import os, signal, sys
from climate_ft import asking, generate as G
add = G.PartialAnswers.add
def add_and_die(self, i, text):
    add(self, i, text)
    if len(self.done) == 4: os.kill(os.getpid(), signal.SIGKILL)
G.PartialAnswers.add = add_and_die
G.answer_file(*sys.argv[1:], batch_size=1, max_new_tokens=32)'''


def test_killed_process_continues(babbler, tmp_path):
    questions, out, part = tmp_path / 'q.jsonl', tmp_path / 'a.jsonl', tmp_path / '.a.part'
    write_jsonl(questions, ROWS * 2)
    p = subprocess.run(
        [sys.executable, '-c', KILLED, questions, babbler, out],
        capture_output=True,
        env={**os.environ, 'PYTHONPATH': str(REPO)},
    )
    assert p.returncode == -signal.SIGKILL, p.stderr[-2000:]
    assert part.read_text().count('\n') == 1 + 4 and not out.exists()
    G.answer_file(questions, babbler, out, batch_size=1, max_new_tokens=32)
    assert len(read_jsonl(out)) == 12 and not part.exists()


@pytest.mark.parametrize(
    'line,message',
    [
        ('{"answer": "氷"}', 'line 1 has no question'),
        ('not json', 'line 1'),
        ('', 'holds no questions'),
        ('[1]', 'line 1'),
    ],
)
def test_bad_questions(tmp_path, babbler, line, message):
    (tmp_path / 'q.jsonl').write_text(line)
    with pytest.raises(CourseError, match=message):
        G.answer_file(tmp_path / 'q.jsonl', babbler, tmp_path / 'a.jsonl')
    assert not (tmp_path / 'a.jsonl').exists()


def test_bad_models(tmp_path):
    write_jsonl(tmp_path / 'q.jsonl', ROWS)
    with pytest.raises(CourseError, match='holds no model'):
        G.answer_file(tmp_path / 'q.jsonl', tmp_path, tmp_path / 'a.jsonl')
    (tmp_path / 'adapter_config.json').write_text('{}')
    with pytest.raises(CourseError, match='holds no adapter'):
        G.load_for_inference(tmp_path)
    with pytest.raises(CourseError, match='question is empty'):
        G.chat(tmp_path, ' ')


def test_continuing_keeps_each_question_with_its_passage(loaded, tmp_path):
    "Batches go by length, so what is left after a stop is no tail of the questions"
    contexts = ['衛星は海を観測する。' * i for i in (1, 6, 2, 5, 3, 4)]

    def stop(f, m):
        if f >= 0.5:
            raise KeyboardInterrupt

    kw = dict(contexts=contexts, batch_size=2, max_new_tokens=16)
    whole = G.answer_rows(lambda: loaded, ROWS, tmp_path / 'whole.jsonl', 'm', 'k', **kw)
    assert len({r['prediction'] for r in whole}) > 3
    out = tmp_path / 'a.jsonl'
    with pytest.raises(KeyboardInterrupt):
        G.answer_rows(lambda: loaded, ROWS, out, 'm', 'k', progress=stop, **kw)
    assert (tmp_path / '.a.part').read_text().count('\n') > 1
    assert [
        r['prediction'] for r in G.answer_rows(lambda: loaded, ROWS, out, 'm', 'k', **kw)
    ] == [r['prediction'] for r in whole]


def test_other_passages_are_asked_again(loaded, tmp_path):
    load, out = Counted(loaded), tmp_path / 'a.jsonl'

    def run(contexts):
        return [
            r['prediction']
            for r in G.answer_rows(load, ROWS[:2], out, 'm', 'k', contexts, max_new_tokens=16)
        ]

    first = run(['雪は白い。', '海は青い。'])
    assert run(['雪は白い。', '海は青い。']) == first and load.n == 1
    assert run(['衛星は海を観測する。', '氷床は融ける。']) != first and load.n == 2
    assert run(None) != first and load.n == 3


@pytest.mark.parametrize('change', ['question', 'passage', 'weights'])
def test_a_stopped_run_does_not_continue_with_other_inputs(loaded, tmp_path, change):
    "What was answered before the change must not appear among the answers after it"

    def stop(f, m):
        if f >= 0.5:
            raise KeyboardInterrupt

    contexts = [f'{i}月の海面水位。' for i in range(6)]

    def run(out, rows=ROWS, contexts=contexts, key='k', **kw):
        return G.answer_rows(
            lambda: loaded,
            rows,
            tmp_path / out,
            'm',
            key,
            contexts,
            batch_size=2,
            max_new_tokens=16,
            **kw,
        )

    with pytest.raises(KeyboardInterrupt):
        run('a.jsonl', progress=stop)
    done = [r['i'] for r in read_jsonl(tmp_path / '.a.part')[1:]]
    assert 0 < len(done) < 6
    kw = dict(
        question=dict(rows=[dict(r, question=r['question'] + '詳しく。') for r in ROWS]),
        passage=dict(contexts=['氷床の質量。'] * 6),
        weights=dict(key='other'),
    )[change]
    marked = (tmp_path / '.a.part').read_text().replace('"text": "', '"text": "古い')
    (tmp_path / '.a.part').write_text(marked)
    got = [r['prediction'] for r in run('a.jsonl', **kw)]
    assert not [p for p in got if p.startswith('古い')] and got == [
        r['prediction'] for r in run('fresh.jsonl', **kw)
    ]


# ---- answers with their page ----------------------------------------------------------------
def corpus():
    return [
        Chunk(
            f'c{i}',
            'report',
            ['1 章', f'1.{i} {w}'],
            f'{w}は、{1950 + i}年に始まった観測である。',
            [i + 1],
            0,
            20,
        )
        for i, w in enumerate(('海氷', '氷床', '積雪'))
    ]


def test_a_reply_reads_what_retrieval_found_and_says_where(loaded):
    from climate_ft.passages import Retriever, context, found

    find, said, q = Retriever(corpus()), [], '氷床の観測はいつ始まりましたか。'
    r = G.reply(*loaded, q, find, 12, said.append)
    want = context([t for _, t in found(q, find)])
    assert (
        r.answer
        == G.generate(*loaded, [q], [want], max_new_tokens=12)[0]
        == ''.join(said).strip()
    )
    assert (
        [p['pages'] for p in r.passages][0] == [2]
        and r.passages[0]['text'] == '氷床は、1951年に始まった観測である。'
        and r.source['document'] == 'report'
    )
    alone = G.reply(*loaded, q, None, 12, said.append)
    assert alone.answer == G.generate(*loaded, [q], max_new_tokens=12)[0] and (
        alone.passages,
        alone.source,
        G.citation(alone),
    ) == ([], {}, '')


def test_a_refusal_cites_nothing(loaded, monkeypatch):
    from climate_ft.passages import REFUSAL, Retriever

    monkeypatch.setattr(asking, 'stream', lambda *a, **k: REFUSAL)
    r = G.reply(*loaded, '月の石は何ですか。', Retriever(corpus()))
    assert r.refused and r.source == {} and G.citation(r) == '' and len(r.passages) == 2
    monkeypatch.setattr(asking, 'stream', lambda *a, **k: '1952年')
    r = G.reply(*loaded, '積雪の観測はいつ始まりましたか。', Retriever(corpus()))
    assert not r.refused and G.citation(r) == '（report、p. 3「1.2 積雪」）\n'


# ---- the file named by --out


def test_what_out_names_is_ours_or_refused(babbler, tmp_path):
    "Refused before a model is loaded; what stood there stays"
    q = write_jsonl(tmp_path / 'q.jsonl', ROWS[:1])
    other = write_jsonl(tmp_path / 'other.jsonl', [dict(note='mine')])
    (tmp_path / 'note.txt').write_text('覚え書き')
    (tmp_path / 'link').symlink_to(q)
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'folder').mkdir()
    foreign = dict.fromkeys(
        (q, tmp_path / 'link', other, tmp_path / 'note.txt'), 'was not written by|reads'
    )
    devices = {
        '/dev/null': 'device or a pipe',
        tmp_path / 'pipe': 'device or a pipe',
        tmp_path / 'folder': 'this is a folder',
        babbler / 'config.json': 'was not written by',
        tmp_path / 'q.jsonl' / 'x': 'a file, not a folder|in the way',
    }
    before = {p: p.read_bytes() for p in (*foreign, babbler / 'config.json')}
    for out, words in (foreign | devices).items():
        with pytest.raises(CourseError, match=words):
            G.answer_file(q, babbler, out)
    assert (
        all(p.read_bytes() == b for p, b in before.items())
        and (tmp_path / 'link').is_symlink()
    )
    assert not os.path.isfile('/dev/null') and not list(tmp_path.glob('.*'))


def test_own_answers_are_replaced(babbler, tmp_path):
    q, out = write_jsonl(tmp_path / 'q.jsonl', ROWS[:1]), tmp_path / 'a.jsonl'
    out.touch()
    G.answer_file(q, babbler, out, max_new_tokens=2)
    write_jsonl(q, ROWS[1:3])
    G.answer_file(q, babbler, out, max_new_tokens=2)
    assert [r['question'] for r in read_jsonl(out)] == QUESTIONS[1:3]


def test_a_set_without_questions_leaves_an_empty_file(tmp_path):
    from climate_ft.workspace import read_jsonl

    out = tmp_path / 'answers.jsonl'
    assert G.answer_rows(lambda: pytest.fail('loaded'), [], out, 'm', 'k') == []
    assert out.is_file() and read_jsonl(out) == []


# --- the first answer


def test_the_collector_is_off_while_a_model_is_loaded(babbler, monkeypatch):
    import gc
    from climate_ft import loading as L

    seen, load = [], L.load_model

    def watched(*a):
        seen.append(gc.isenabled())
        return load(*a)

    monkeypatch.setattr(L, 'load_model', watched)
    L.load_for_inference(babbler)
    assert seen == [False] and gc.isenabled()
    with pytest.raises(CourseError):
        L.load_for_inference(babbler / 'config.json')
    assert gc.isenabled()
    gc.disable()
    try:
        with L.uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_weights_are_asked_for_before_anything_is_imported(tmp_path, monkeypatch):
    from climate_ft import loading as L

    asked = []
    monkeypatch.setattr(
        os, 'posix_fadvise', lambda f, a, n, how: asked.append((a, n, how)), raising=False
    )
    monkeypatch.setattr(os, 'POSIX_FADV_WILLNEED', 3, raising=False)
    for n, size in (('a.safetensors', 10), ('large.safetensors', 30), ('tokenizer.json', 5)):
        (tmp_path / n).write_bytes(b'x' * size)
    (tmp_path / 'link.safetensors').symlink_to(tmp_path / 'nowhere')
    for folder in (tmp_path, tmp_path / 'none', 'owner/model'):
        L.read_ahead(folder, most=20)
    assert asked == [(0, 0, 3)]
