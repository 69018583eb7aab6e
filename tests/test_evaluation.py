"Chapter 12: intervals over sources, results that can be recomputed, and sets that stay apart"

import json
import os
import subprocess
import sys
import numpy as np
import pytest
from climate_ft import evaluation as E, passages as PG
from climate_ft.metrics import SCORERS
from climate_ft.workspace import (
    REPO,
    Chunk,
    CourseError,
    Workspace,
    read_json,
    write_json,
    write_jsonl,
)

FACTS = [
    ('アルベドとは何か。', '雪氷面はアルベドが高く、太陽光の多くを反射する。'),
    ('海面水位はなぜ上がるか。', '海面水位の上昇は主に海水の熱膨張と氷の融解で起こる。'),
    ('400ppmを超えたのはいつか。', '二酸化炭素の濃度は2015年に400ppmを超えた。'),
    ('SWOTは誰が開発したか。', 'SWOT衛星はNASAとCNESが共同で開発した。'),
]


def toy(n=12, good=0.8, sets=('recall',)):
    def answer(s, i):
        q, a = FACTS[i % 4]
        return dict(
            id=f'{s}{i}',
            set=s,
            question=q,
            reference=a,
            source_id=f's{i // 2}',
            predictions={'base': q, 'tuned': a[: int(len(a) * good)], 'base + passage': a},
            nll={'base': [60.0, len(a)], 'tuned': [10.0, len(a)]},
            bertscore={'base': [0.5, 0.5, 0.5], 'tuned': [0.9, 0.9, 0.9]},
            bertscore_floor={'tuned': [0.4, 0.4, 0.4]},
        )

    return [answer(s, i) for s in sets for i in range(n)]


def test_results_can_be_recomputed_from_the_file(tmp_path):
    r = E.evaluate_answers(toy(sets=('recall', 'unseen')), resamples=200)
    write_json(tmp_path / 'r.json', r)
    assert E.recompute(read_json(tmp_path / 'r.json')) == json.loads(json.dumps(r))


def test_committed_results_are_what_their_answers_give():
    files = [
        *(REPO / 'data').glob('evaluation_results*.json'),
        *(REPO / 'results').glob('evaluation_*bit.json'),
    ]
    assert REPO / 'data/evaluation_results.json' in files
    for p in files:
        r = read_json(p)
        again = E.recompute(r)
        assert again['scores'] == r['scores'] and again['differences'] == r['differences']


def test_scores_of_known_answers():
    r = E.evaluate_answers(toy(), resamples=200)
    s = r['scores']['recall']
    assert (
        s['base + passage']['scores']['char_f1']
        == 1
        == s['base + passage']['interval']['char_f1'][0]
    )
    assert s['tuned']['scores']['nll'] == pytest.approx(
        12 * 10 / sum(len(FACTS[i % 4][1]) for i in range(12)), abs=1e-6
    )
    d = r['differences']['recall']['tuned - base']
    assert (
        d['char_f1'][0]
        == pytest.approx(
            s['tuned']['scores']['char_f1'] - s['base']['scores']['char_f1'], abs=1e-6
        )
        and d['char_f1'][1] > 0.25
        and d['nll'][2] < 0
    )
    assert (s['tuned']['n'], s['tuned']['sources']) == (12, 6) and 'nll' not in s[
        'base + passage'
    ]['interval']
    assert (
        s['tuned']['floor']['bertscore_f1'] == 0.4
        and 'bertscore_f1' not in s['base']['floor']
        and s['tuned']['floor']['char_f1'] < s['tuned']['scores']['char_f1']
    )


def test_interval_agrees_with_scipy():
    from scipy.stats import bootstrap

    x = np.random.default_rng(0).normal(0.5, 0.2, 60)
    ours = E.interval(
        E.resampled(
            [[v, 1] for v in x],
            SCORERS['char_f1'].total,
            [str(i) for i in range(60)],
            E.draws(60, 20000),
        )['char_f1'],
        60,
    )
    how = dict(method='percentile', n_resamples=20000, confidence_level=1 - 2 * E.tail(60))
    theirs = bootstrap((x,), np.mean, rng=1, **how).confidence_interval
    assert ours == pytest.approx([theirs.low, theirs.high], abs=3e-3)


def test_few_sources_cut_off_less():
    from scipy.stats import norm, t

    for n in (2, 8, 13, 60):
        expected = norm.cdf(-((n / (n - 1)) ** 0.5) * t.ppf(0.975, n - 1))
        assert E.tail(n) == pytest.approx(expected, rel=1e-6)
    assert E.tail(13) == pytest.approx(0.01167, abs=1e-5) and E.tail(13, 0.9) > E.tail(13)
    assert E.tail(1) == pytest.approx(0.025) and E.tail(10**6) == pytest.approx(
        0.025, abs=1e-5
    )
    v = np.arange(10001) / 10000
    assert E.interval(v, 13) == pytest.approx([0.01167, 0.98833], abs=1e-4)
    assert E.interval(np.array([np.nan]), 13) is None


def test_the_intervals_of_a_set_are_cut_for_its_sources():
    a = toy()  # six sources
    scores, diffs = E.score_set(a, 200)
    rows = E.counts_of(a, 'tuned')['char_f1']
    sources = [r.get('chunk') or r['source_id'] for r in a]
    boot = E.resampled(rows, SCORERS['char_f1'].total, sources, E.draws(6, 200))['char_f1']
    low, high = np.quantile(boot, [E.tail(6), 1 - E.tail(6)])
    assert scores['tuned']['interval']['char_f1'] == pytest.approx([low, high], abs=1e-6)
    plain = np.quantile(boot, [0.025, 0.975])
    assert low < plain[0] and high >= plain[1]


def test_copies_of_a_source_do_not_narrow_the_interval():
    x = np.random.default_rng(0).normal(0.5, 0.2, 20)
    width = lambda rows, src: np.diff(
        E.interval(
            E.resampled(rows, SCORERS['char_f1'].total, src, E.draws(20, 5000))['char_f1'], 20
        )
    )[0]
    once = width([[v, 1] for v in x], [f's{i}' for i in range(20)])
    five = width(
        [[v, 1] for v in x for _ in range(5)], [f's{i}' for i in range(20) for _ in range(5)]
    )
    assert five == pytest.approx(once)


def test_equal_models_have_no_difference():
    a = toy()
    for r in a:
        r['predictions'] = {'base': r['question'], 'tuned': r['question']}
    d = E.evaluate_answers(a, 200)['differences']['recall']['tuned - base']
    assert all(d[k][0] == 0 for k in ('bleu', 'chrf', 'char_f1', 'rougeL')) and d[
        'char_f1'
    ] == [0, 0, 0]


def test_variants_count_and_a_missing_condition_is_left_out():
    a = toy(4)
    for r in a:
        r.update(variants=['正解'], predictions={'base': '正解', 'tuned': r['reference']})
    r = E.evaluate_answers(a, 100)
    assert r['scores']['recall']['base']['scores']['exact'] == 1 and list(
        r['scores']['recall']
    ) == ['base', 'tuned']


def test_outcomes_and_tally():
    r = E.evaluate_answers(toy(4), 100)
    rows = E.outcomes(r)
    assert E.tally(rows) == {'recall': dict(win=4, tie=0, loss=0)} and rows == sorted(
        rows, key=lambda o: o['change']
    )
    assert E.tally(E.outcomes(r, 'base + passage', 'tuned'))['recall']['loss'] == 4
    assert E.tally(E.outcomes(r, 'tuned', 'tuned'))['recall']['tie'] == 4


def test_bits_are_compared_on_shared_questions_only():
    four, eight = E.evaluate_answers(toy(8, 0.5), 300), E.evaluate_answers(toy(12, 1.0), 300)
    c = E.compare_bits(four, eight)
    assert c['sets']['recall']['difference'][1] > 0 and 'use 8 bits' in c['recommendation']
    assert 'no difference can be shown' in E.compare_bits(four, four)['recommendation']
    assert (
        'use 4 bits: better'
        in E.compare_bits(eight, E.evaluate_answers(toy(8, 0.5), 300))['recommendation']
    )
    assert len(E.merge_runs(four, eight)) == 8
    assert [r['predictions'] for r in E.merge_runs(four, eight, 'base')] == [
        dict(base=a['predictions']['base'], tuned=b['predictions']['base'])
        for a, b in zip(four['answers'], eight['answers'])
    ]
    assert E.merge_runs(four, eight, 'tuned + passage') == []


def test_a_lower_likelihood_cost_is_better_and_a_set_without_it_is_left_out():
    def run(nats):
        answers = toy(8, sets=('recall', 'unseen'))
        for r in answers:
            r['nll'] = {'tuned': [nats, len(r['reference'])]} if r['set'] == 'recall' else {}
        return E.evaluate_answers(answers, 300)

    c = E.compare_bits(run(10.0), run(20.0), 'nll')
    assert (
        list(c['sets']) == ['recall']
        and c['sets']['recall']['difference'][1] > 0
        and c['recommendation']
        == 'use 4 bits: better on trained facts, new wording; and smaller'
    )
    assert E.compare_bits(run(20.0), run(10.0), 'nll')['recommendation'].startswith(
        'use 8 bits'
    )


@pytest.fixture
def six():
    "Results of every question set"
    return E.evaluate_answers(toy(4, sets=tuple(E.SETS)), 50)


def test_a_table_says_what_a_set_asks(six):
    heads = [l for l in E.describe(six).splitlines()[1:] if not l.startswith(' ')]
    assert heads == list(E.SETS.values())


@pytest.mark.parametrize('language', ['en', 'ja'])
@pytest.mark.parametrize('width', [5, 8])
def test_plots_say_what_a_set_asks_and_no_two_labels_touch(six, language, width):
    import matplotlib.pyplot as plt
    from climate_ft import messages

    messages.speak(language)
    try:
        bars, shares = (plt.subplots(figsize=(width, 3), dpi=90)[1] for _ in range(2))
        E.plot_scores(six, ax=bars), E.plot_outcomes(six, ax=shares)
        words = [messages.tr(s) for s in E.SETS.values()]
    finally:
        messages.speak('en')
    for ax, ticks in ((bars, bars.get_xticklabels()), (shares, shares.get_yticklabels())):
        said = [''.join(t.get_text().split()) for t in ticks]
        assert said == [w.replace(' ', '') for w in words]
        ax.figure.canvas.draw()
        boxes = [t.get_window_extent() for t in ticks]
        assert not any(a.overlaps(b) for a, b in zip(boxes, boxes[1:]))
        plt.close(ax.figure)


def test_retriever_finds_the_passage_and_cuts_it_around_the_answer():
    chunks = [Chunk(f'c{i}', 'd', [], a, [1], 0, len(a)) for i, (_, a) in enumerate(FACTS)]
    find = PG.Retriever(chunks)
    assert [find(q)[0].id for q, _ in FACTS] == ['c0', 'c1', 'c2', 'c3'] and len(
        find('雪', 9)
    ) == 4
    long = Chunk('x', 'd', [], ''.join(a for _, a in FACTS), [1], 0, 0)
    assert (
        'SWOT' in PG.passage(long, 'SWOTは誰が開発したか。', 40)
        and len(PG.passage(long, 'SWOT', 40)) <= 40
    )


@pytest.fixture
def ws(tmp_path):
    ws = Workspace(tmp_path)
    qa = lambda s, i, kind='base': dict(
        id=f'{s}{i}',
        source_id=f'f{i}',
        instruction=f'質問{i}',
        input='',
        output=f'答{i}',
        kind=kind,
        split=s,
    )
    d = ws.path('splits')
    write_jsonl(
        d / 'train.jsonl', [qa('t', i, k) for i in range(10) for k in ('base', 'template')]
    )
    write_jsonl(d / 'recall.jsonl', [qa('r', i) for i in range(10)])
    write_jsonl(d / 'unseen.jsonl', [qa('u', i) for i in range(100, 105)])
    (d / 'gold.jsonl').write_text('')
    return ws


def test_question_sets_respect_what_was_trained_and_the_limits(ws):
    rows = E.question_sets(ws, E.Plan(dict(recall=2)), {'f1', 'f2', 'f3'})
    by = {s: [r['source_id'] for r in rows if r['set'] == s] for s in E.SETS}
    assert (
        by['trained'] == ['f1', 'f2', 'f3']
        and by['recall'] == ['f1', 'f2']
        and len(by['unseen']) == 5
        and not by['gold']
    )
    (ws.path('splits') / 'recall.jsonl').unlink()
    with pytest.raises(
        CourseError, match='recall.jsonl is missing: `climate-ft dataset` makes it'
    ):
        E.question_sets(ws, E.Plan())


def test_evaluate_without_answers_says_what_to_run(ws):
    with pytest.raises(CourseError, match='climate-ft answers'):
        E.run_evaluate(ws, 'tiny')


def test_retrieval_leaves_the_gpu_to_the_model(tmp_path):
    """bm25s starts JAX where it is installed;
    without this setting JAX takes three quarters of the GPU's memory"""
    (tmp_path / 'jax').mkdir()
    (tmp_path / 'jax/__init__.py').write_text('')
    (tmp_path / 'jax/lax.py').write_text(
        "import os\nassert os.environ.get('XLA_PYTHON_CLIENT_PREALLOCATE') == 'false'\n"
        "calls = []\ndef top_k(a, k): calls.append(k); return a[:k], list(range(k))\n"
    )
    code = (
        "from climate_ft.passages import Retriever; "
        "from climate_ft.workspace import Chunk, read_json, REPO\n"
        "f = Retriever([Chunk.fromdict(c) for c in "
        "read_json(REPO/'data/corpus_chunks.json')]); "
        "print('温室効果' in f('温室効果のしくみ')[0].text)\n"
        "import jax.lax; print(jax.lax.calls)"
    )
    p = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'PYTHONPATH': f'{tmp_path}:{REPO}'},
        capture_output=True,
        text=True,
    )
    assert p.stdout.split('\n')[:2] == ['True', '[1]'], p.stderr[
        -500:
    ]  # the one call is bm25s's own, at its import


@pytest.fixture(scope='module')
def adapted(tmp_path_factory):
    """A workspace with questions, passages,
    and an adapter of random weights that changes every answer"""
    import torch
    from climate_ft.models import load_quantized
    from climate_ft.train import get_profile
    from peft import LoraConfig, get_peft_model

    ws, cfg = Workspace(tmp_path_factory.mktemp('adapted')), get_profile('tiny')
    net, _ = load_quantized('tiny', cfg.bits, 'float32')
    torch.manual_seed(0)
    net = get_peft_model(
        net, LoraConfig(r=4, lora_alpha=8, target_modules=['q_proj', 'down_proj'])
    )
    for n, p in net.named_parameters():
        if 'lora_B' in n:
            torch.nn.init.normal_(p, std=0.5)
    net.save_pretrained(ws.models / cfg.name)
    write_json(
        ws.models / cfg.name / 'train_config.json',
        cfg.asdict() | dict(dtype='float32', sources=[]),
    )
    rows = [
        dict(id=str(i), source_id=f's{i}', instruction=q, output=a, kind='base')
        for i, (q, a) in enumerate(FACTS)
    ]
    for s in ('train', 'recall', 'unseen', 'gold', 'general'):
        write_jsonl(ws.path('splits') / f'{s}.jsonl', rows)
    write_json(
        ws.path('corpus_chunks'),
        [
            Chunk(f'c{i}', 'd', [], a, [1], 0, len(a)).asdict()
            for i, (_, a) in enumerate(FACTS)
        ],
    )
    plan = E.Plan(
        dict(trained=2, unseen=2, general=2),
        12,
        4,
        ('gold',),
        300,
        ('recall', 'gold'),
        False,
        100,
    )
    paths = E.run_answers(ws, cfg, plan=plan)
    return ws, cfg, {p.stem.partition(f'{cfg.name}_')[2]: read_rows(p) for p in paths}


def read_rows(p):
    from climate_ft.workspace import read_jsonl

    return read_jsonl(p)


def _ask(ws, cfg, adapter, rows, contexts=None):
    from climate_ft.generate import generate, load_for_inference

    net, tok = load_for_inference(ws.models / cfg.name, adapter=adapter)
    return generate(net, tok, [r['question'] for r in rows], contexts, 4, 12)


def test_the_base_condition_is_answered_without_the_adapter_and_the_tuned_one_with_it(adapted):
    ws, cfg, got = adapted
    assert set(got) == set(E.CONDITIONS)
    base, tuned = ([r['prediction'] for r in got[c]] for c in ('base', 'tuned'))
    assert base == _ask(ws, cfg, False, got['base']) and tuned == _ask(
        ws, cfg, True, got['tuned']
    )
    assert not set(base) & set(tuned)
    find = PG.Retriever([Chunk.fromdict(c) for c in read_json(ws.path('corpus_chunks'))])
    for c, adapter in (('base_passage', False), ('tuned_passage', True)):
        assert {r['set'] for r in got[c]} == {'gold'}
        passages = [given(find, r['question']) for r in got[c]]
        assert [r['prediction'] for r in got[c]] == _ask(ws, cfg, adapter, got[c], passages)


def given(find, q):
    return PG.context([t for _, t in PG.found(q, find, PG.PASSAGES, 300)])


def _nats(net, tok, question, reference, context=''):
    "Negative log-likelihood of the reference's tokens, counted by hand"
    import torch
    from climate_ft.prompts import encode, render

    start = len(tok(render(tok, question, input=context), add_special_tokens=False).input_ids)
    ids = encode(tok, question, reference, input=context)['input_ids']
    end = start + next(k for k, t in enumerate(ids[start:]) if t in tok.all_special_ids)
    assert tok.decode(ids[start:end]) == reference and end < len(ids)
    with torch.no_grad():
        logs = net(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return -sum(logs[k - 1, ids[k]].item() for k in range(start, end))


def test_the_likelihood_is_that_of_the_reference_without_the_end_token_and_after_its_passage(
    adapted,
):
    from climate_ft.generate import load_for_inference
    from climate_ft.metrics import nll_rows

    ws, cfg, got = adapted
    net, tok = load_for_inference(ws.models / cfg.name, adapter=False)
    passages = ['雪は白い。', '海は広く深い。', '', '衛星は海面の高さを測る。']
    questions, references = zip(*FACTS)
    want = [_nats(net, tok, q, a, c) for (q, a), c in zip(FACTS, passages)]
    rows = nll_rows(net, tok, list(questions), list(references), passages, batch_size=2)
    assert [r[0] for r in rows] == pytest.approx(want, rel=1e-4) and [r[1] for r in rows] == [
        len(a) for a in references
    ]
    apart = [
        abs(_nats(net, tok, q, a) / w - 1) for (q, a), c, w in zip(FACTS, passages, want) if c
    ]
    assert min(apart) > 1e-3, apart  # or the next lines would show nothing
    find = PG.Retriever([Chunk.fromdict(c) for c in read_json(ws.path('corpus_chunks'))])
    for condition in ('base', 'base_passage'):
        scored = [r for r in got[condition] if r['set'] == 'gold']
        assert len(scored) == 4
        for r in scored:
            q = r['question']
            text = given(find, q) if 'passage' in condition else ''
            assert r['extra']['nll'][0] == pytest.approx(
                _nats(net, tok, q, r['reference'], text), rel=1e-4
            )


@pytest.mark.parametrize('fits', [2, 1, 0])
def test_the_likelihood_is_taken_in_parts_where_the_memory_is_full(adapted, monkeypatch, fits):
    import torch
    import climate_ft.judging as J
    from climate_ft.generate import load_for_inference

    ws, cfg, _ = adapted
    model = load_for_inference(ws.models / cfg.name)
    asked = [list(o) for o in zip(*FACTS)]
    want, whole = J.nll_rows(*model, *asked), J._batch_nll

    def narrow(net, tok, pairs):
        if len(pairs) > fits:
            raise torch.OutOfMemoryError('CUDA out of memory.')
        return whole(net, tok, pairs)

    monkeypatch.setattr(J, '_batch_nll', narrow)
    if not fits:
        with pytest.raises(CourseError, match='does not hold one question and its answer'):
            J.nll_rows(*model, *asked)
        return
    got = J.nll_rows(*model, *asked)
    assert [r[0] for r in got] == pytest.approx([r[0] for r in want], rel=1e-4)
    assert all(r[0] > 0 for r in got)


def test_the_likelihood_is_taken_within_what_the_model_reads(adapted, monkeypatch, capsys):
    "A passage is cut at the end of a sentence; a pair that does not fit at all counts nothing"
    from climate_ft.generate import load_for_inference
    from climate_ft.metrics import nll_rows
    from climate_ft.prompts import encode

    ws, cfg, _ = adapted
    net, tok = load_for_inference(ws.models / cfg.name, adapter=False)
    (q, a), first = FACTS[0], '雪は白い。'
    cut = first + '海は広く深い。' * 30
    room = len(encode(tok, q, a, input=first)['input_ids']) + 3
    whole = nll_rows(net, tok, [q], [a], [first])
    monkeypatch.setattr(net.config, 'max_position_embeddings', room)
    got = nll_rows(net, tok, [q, q, q], [a, a, '長い' * room], [first, cut, first])
    assert got[0] == got[1] == pytest.approx(whole[0], rel=1e-4) and got[2] == [0.0, 0]
    assert '1 reference does not fit' in (said := capsys.readouterr().err)
    assert '1 passage was shortened' in said and len(said.splitlines()) == 1
