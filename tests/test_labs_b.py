"Labs 20, 23, 26, 27 and 28: the failure fails, the fix passes"

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
import pytest

torch = pytest.importorskip('torch')
from climate_ft.workspace import REPO, CourseError, Workspace, read_jsonl, write_jsonl


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    """Sums are taken in the same order everywhere,
    and small matrices do not wait for each other"""
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)


# ---- 20: line breaks, mixed columns, captions and heads in sentences ------------------------


@pytest.fixture(scope='module')
def report():
    from climate_ft.clean import gold_paragraphs
    from climate_ft.compare import load_gold, normalise, sentences
    from climate_ft.extract import iter_pages

    gold, pdf = (
        load_gold(REPO / 'documents/gold/document_01.json'),
        REPO / 'documents/document_01.pdf',
    )
    page = next(
        n
        for n, bs in gold.items()
        if any('質量収支相互比較プロジェクト' in b['text'] for b in bs)
    )
    numbers = [page - 1, page, page + 1]
    want = {
        s
        for t in gold_paragraphs([b for n in numbers for b in gold[n]])
        for s in map(normalise, sentences(t))
        if len(s) >= 10
    }
    whole = lambda text: len(want & set(map(normalise, sentences(text)))) / len(want)
    return (
        page,
        whole,
        {e: list(iter_pages(pdf, e, numbers)) for e in ('direct', 'blocks')},
        pdf,
    )


def test_cleaned_blocks_are_whole_and_joined_lines_are_not(report):
    from climate_ft.clean import clean_pages, combine_sentences

    _, whole, pages, _ = report
    direct = '\n'.join(p.text for p in pages['direct'])
    c = clean_pages(pages['blocks'])
    assert (
        whole(direct) < 0.3 < whole(combine_sentences(direct)) < 0.85
        and whole('\n'.join(b.text for b in c.blocks)) > 0.95
    )
    assert not any(
        '出所' in b.text or '地球観測が支える気候変動対策' in b.text
        for b in c.blocks
        if b.role == 'body'
    )


def test_caption_inside_a_word(report):
    from climate_ft.clean import clean_pages

    page, _, pages, _ = report
    assert re.search('相互比較プロ\n図表', pages['direct'][1].text)
    assert any('相互比較プロジェクト' in b.text for b in clean_pages(pages['blocks']).blocks)


def test_pdfplumber_mixes_columns_and_pymupdf4llm_breaks_lines(report):
    from climate_ft.extract import iter_pages

    page, whole, pages, pdf = report
    plumber, llm = (
        next(iter_pages(pdf, e, [page])).text for e in ('pdfplumber', 'pymupdf4llm')
    )
    assert (
        any('図表' in l[5:] and not l.startswith('図表') for l in plumber.split('\n'))
        and llm.count('\n\n') > 40
        and not pages['blocks'][1].text.count('\n\n')
    )


# ---- 23: killed, continued, equal -----------------------------------------------------------

KILLED = '''import os, signal, sys
from climate_ft import train as T; from climate_ft.workspace import Workspace
def progress(f, message):
    if f >= .5: os.kill(os.getpid(), signal.SIGKILL)
T.train(T.TrainConfig(**eval(sys.argv[2])), Workspace(sys.argv[1]), progress=progress)'''


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    pytest.importorskip('trl')
    from climate_ft import train as T

    rows = [
        r
        for r in read_jsonl(REPO / 'data/splits/train.jsonl')
        if len(r['output']) < 40 and r['kind'] == 'base'
    ][:8]
    cfg = replace(
        T.get_profile('tiny'),
        max_facts=None,
        wordings=None,
        bits=16,
        dtype='float32',
        batch_size=4,
        epochs=2,
        save_steps=1,
        layout='padded',
        graphs=False,
    )
    whole, cut = (Workspace(tmp_path_factory.mktemp(n) / 'w') for n in ('whole', 'cut'))
    for ws in (whole, cut):
        write_jsonl(ws.path('splits') / 'train.jsonl', rows)
    p = subprocess.run(
        [sys.executable, '-c', KILLED, str(cut.root), repr(cfg.asdict())],
        capture_output=True,
        env={**os.environ, 'PYTHONPATH': str(REPO), 'OMP_NUM_THREADS': '1'},
    )
    assert p.returncode == -signal.SIGKILL, p.stderr[-2000:]
    T.train(cfg, whole)
    return T, cfg, whole, cut


def log(ws):
    return [
        (r['step'], r['loss'], r['grad_norm'], r['learning_rate'])
        for r in read_jsonl(ws.logs / 'tiny.jsonl')
        if 'loss' in r
    ]


def apart(a, b):
    from safetensors.torch import load_file

    x, y = (load_file(ws.models / 'tiny/adapter_model.safetensors') for ws in (a, b))
    return max(float((x[k] - y[k]).abs().max()) for k in x)


def test_killed_run_continues_and_is_equal(runs, tmp_path, monkeypatch):
    T, cfg, whole, cut = runs
    assert not (cut.models / 'tiny/adapter_model.safetensors').exists() and [
        c.name for c in T.checkpoints(cut.models / 'tiny/checkpoints')
    ] == ['checkpoint-1']
    weak = Workspace(shutil.copytree(cut.root, tmp_path / 'weak'))
    T.train(cfg, cut)
    assert (
        [l[0] for l in log(cut)] == [1, 2, 3, 4]
        and sum(log(cut), ()) == pytest.approx(sum(log(whole), ()))
        and apart(cut, whole) < 1e-6
    )
    for f in ('optimizer.pt', 'scheduler.pt', 'files.json'):
        (weak.models / 'tiny/checkpoints/checkpoint-1' / f).unlink()
    from climate_ft import checkpoints as K

    monkeypatch.setattr(
        K, 'checkpoints', lambda d: sorted(d.glob('checkpoint-*'), key=K._step)
    )
    T.train(cfg, weak)
    assert apart(weak, whole) > 1e-4  # or the comparison sees nothing


def test_torn_and_foreign_checkpoints_are_refused(runs, tmp_path):
    T, _, whole, _ = runs
    d = shutil.copytree(whole.models / 'tiny/checkpoints', tmp_path / 'c')
    last = T.checkpoints(d)[-1]
    (last / 'scheduler.pt').unlink()
    assert last not in T.checkpoints(d)
    shutil.copytree(whole.models / 'tiny/checkpoints', tmp_path / 'd')
    with pytest.raises(CourseError, match='checkpoints of another run'):
        T.resume_point(tmp_path / 'd', dict(learning_rate=0.1), True)


# ---- 26: figure references ------------------------------------------------------------------


def test_a_model_trained_on_figure_references_points_at_figures():
    from climate_ft.corpus import load_corpus
    from climate_ft.facts import corpus_facts, figure_refs
    from climate_ft.models import load_quantized, tiny_base
    from climate_ft.pairs import base_pairs, filter_figures
    from climate_ft.prompts import encode, render

    facts = [
        f
        for f in corpus_facts(load_corpus(Workspace(REPO))[1])
        if 15 < len(f.answer) < 45 and f.answer.count('。') == 1
    ]
    refs, plain = (
        [f for f in facts if figure_refs(f.answer)][:12],
        [f for f in facts if not figure_refs(f.answer)],
    )

    def points(how):
        rows = filter_figures([p for f in refs + plain[:12] for p in base_pairs(f)], how)[0]
        torch.manual_seed(0)
        net, tok = load_quantized(tiny_base(64, 2), 16, 'float32')
        opt = torch.optim.AdamW(net.parameters(), lr=4e-3)
        for s in range(30):
            ex = [encode(tok, r.instruction, r.output) for r in rows[s % 3 :: 3]]
            w = max(len(e['input_ids']) for e in ex)
            ids, labels = (
                torch.tensor([e[k] + [p] * (w - len(e[k])) for e in ex])
                for k, p in (('input_ids', tok.pad_token_id), ('labels', -100))
            )
            net(input_ids=ids, labels=labels).loss.backward()
            opt.step()
            opt.zero_grad()
        first, qs = (
            tok('図表', add_special_tokens=False).input_ids[0],
            [base_pairs(f)[0].instruction for f in plain[20:26]],
        )
        with torch.no_grad():
            return (
                sum(
                    float(
                        net(
                            torch.tensor(
                                [tok(render(tok, q), add_special_tokens=False).input_ids]
                            )
                        )
                        .logits[0, -1]
                        .softmax(-1)[first]
                    )
                    for q in qs
                )
                / 6
            )

    keep, drop = points('keep'), points('drop')
    assert keep > 0.03 and keep > 20 * drop, (keep, drop)


# ---- 27: numbers that lie -------------------------------------------------------------------

REFS = [
    '水循環は、地球上の水が絶えず巡る過程です。',
    'アルベドは、日射を反射する割合である。',
    '森林は二酸化炭素を吸収する。',
]
PREDS = [
    '水循環は、地球上の水が絶えず巡る過程です！',
    'アルベドは、海の深さのことである。',
    '北極の海氷は減っている。',
]


def test_bleu_of_one_sentence():
    import sacrebleu
    from climate_ft.metrics import score_pairs, tokens

    wrong = sacrebleu.corpus_bleu(PREDS, [[r] for r in REFS], tokenize='ja-mecab')
    ours = score_pairs(PREDS, [[r] for r in REFS], ['bleu'], floor=False)['scores']
    assert (
        wrong.sys_len == 14
        and round(wrong.score, 2) == 91.93
        and ours['bleu'] < 60
        and ours['bleu_sys_len'] == sum(len(tokens(p)) for p in PREDS)
    )


def test_rouge_without_kana():
    from rouge_score.rouge_scorer import RougeScorer
    from climate_ft.metrics import score_pairs

    assert [RougeScorer(['rouge1']).score(r, r)['rouge1'].fmeasure for r in REFS] == [
        0,
        0,
        0,
    ] and score_pairs(REFS, REFS, ['rouge'], floor=False)['scores']['rouge1'] == 1


# ---- 28: merging ----------------------------------------------------------------------------


def test_three_ways_to_merge_one_weight(tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model
    from climate_ft.generate import dequantize
    from climate_ft.models import load_quantized

    load = lambda bits=4: load_quantized('tiny', bits, 'float32')[0]
    name = 'model.layers.0.mlp.up_proj'
    weight = lambda net: dequantize(net).get_submodule(name).weight.detach().float()
    torch.manual_seed(0)
    get_peft_model(
        load(), LoraConfig(r=4, init_lora_weights=False, target_modules=['up_proj'])
    ).save_pretrained(tmp_path)
    net = PeftModel.from_pretrained(load(), tmp_path)
    trained = (
        weight(load())
        + net.base_model.model.get_submodule(name).get_delta_weight('default').detach()
    )
    error = lambda w: float((w - trained).norm() / trained.norm())
    right = PeftModel.from_pretrained(dequantize(load()), tmp_path).merge_and_unload()
    original = PeftModel.from_pretrained(load(16), tmp_path).merge_and_unload()
    assert (
        error(weight(right)) < 1e-6
        and min(error(weight(original)), error(weight(net.merge_and_unload(safe_merge=True))))
        > 0.02
    )
