"""The Japanese of commands, errors and reports: every message has what its English has, none
is left over, and nearly all that a learner meets is there"""

import ast
import json
import re
import string
from functools import cache
from pathlib import Path
import pytest
import typer
from conftest import REPO, climate_ft
from climate_ft import workspace
from climate_ft.workspace import CourseError, speak, system_language, tr

WORDS = json.loads((REPO / 'climate_ft/assets/ja.json').read_text(encoding='utf-8'))
ERRORS = 0.9  # least share of their messages that is translated
PUT_TOGETHER = {  # by Typer, disk_error and records, whose code does not hold them whole
    'change its permissions, or name another file',
    'Missing argument {}.',
    'Missing option {}.',
    'Option {} requires an argument.',
    'Input should be a valid integer, unable to parse string as an integer',
    '{} is out of range',
    'a text or a list […]',
    'a text or a list of texts',
    'a text or a whole number',
}


MANY = dict(s='s', are='are', were='were', do='do', ies='ies')


@pytest.fixture
def ja():
    speak('ja')
    yield
    speak('en')


def modules():
    package, library = REPO / 'climate_ft', Path(typer.__file__).parent
    return [
        p for p in (*package.glob('*.py'), *library.glob('**/*.py')) if p.stem != '_modidx'
    ]


@cache
def told():
    "Of each module, all texts in its code, of f-strings the parts between the gaps"
    found = []
    for p in modules():
        tree = ast.parse(p.read_text(encoding='utf-8'))
        texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
        found.append('\0'.join(' '.join(t.split(' ')) for t in texts if isinstance(t, str)))
    assets = [p.read_text() for p in (REPO / 'climate_ft/assets').glob('report.*')]
    return [re.sub(r'\s+', ' ', t) for t in (*found, *assets)]


def text_of(node):
    "A message in the code, with {} for its gaps; nothing for one that is not written there"
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = (v.value if isinstance(v, ast.Constant) else '{}' for v in node.values)
        return ''.join(parts)
    return ''


@cache
def errors():
    "Every message of a `CourseError` that has words of its own"
    found = set()
    for p in (REPO / 'climate_ft').glob('*.py'):
        for n in ast.walk(ast.parse(p.read_text(encoding='utf-8'))):
            if isinstance(n, ast.Call) and getattr(n.func, 'id', '') == 'CourseError':
                found.add(' '.join(text_of(n.args[0]).split()))
    return sorted(m for m in found if re.search('[A-Za-z]{2}', m))


def gaps(s):
    "Numbers of the gaps of a message, in order"
    names = [n for _, n, _, _ in string.Formatter().parse(s) if n is not None]
    return sorted(map(int, names)) if all(names) else list(range(len(names)))


def test_no_message_is_left_over():
    def alive(key):
        parts = re.split(r'\{\w*\}|(?<=[:;.,]) | and ', ' '.join(key.split()))
        parts = [p for p in (p.strip(' :;.,()`') for p in parts) if len(p) > 2]
        return any(all(p in texts for p in parts) for texts in told())

    assert {k for k in WORDS if not alive(k)} == PUT_TOGETHER


def test_each_message_has_the_gaps_of_its_english():
    for en, ja in WORDS.items():
        if '{}' in en:
            assert gaps(ja) == list(range(en.count('{}'))), en
        else:
            said = [sorted(re.findall(r'\{.+?\}', s)) for s in (en, ja)]
            assert said[0] == said[1], en
        same = [s.split('`')[1::2] for s in (en, ja)]
        assert sorted(same[0]) == sorted(same[1]), en
        assert re.search('[。ぁ-んァ-ヶ一-鿿]', ja) or en in (ja, ja.replace('：', ':')), en


def test_a_message_with_gaps_is_told_with_what_stood_in_them(ja):
    for en in WORDS:
        if '{}' in en and ' ' in en.strip('{} '):
            filled = en.format(*(str(i) for i in range(41, 41 + en.count('{}'))), **MANY)
            assert tr(filled) != filled or WORDS[en] == en, en
            numbers = re.findall(r'4\d', filled)
            assert all(n in tr(filled) for n in numbers), en


def test_most_errors_are_there():
    lacking = [m for m in errors() if m not in WORDS]
    assert 1 - len(lacking) / len(errors()) >= ERRORS, lacking


def test_english_is_what_it_was():
    assert all(tr(k) is k for k in WORDS)
    with pytest.raises(CourseError, match='--lang is .de.: choose ja or en'):
        speak('de')
    assert workspace.language() == 'en'


def test_an_error_inside_a_line_is_translated_too(ja):
    said = tr('climate-ft: left out: x.pdf is an empty file: copy or download it again')
    left_out = 'climate-ft: 次のものは読み込みませんでした：'
    assert said.startswith(left_out + 'x.pdfは空のファイルです')
    assert tr('12 of 20') == '20のうち12' and tr('one of them') == 'one of them'
    assert tr('a: 1 page, 20 characters, 2 sentences of text; set aside: 1 chart') == (
        'a：本文1ページ、20文字、2文。取り分けたもの：1 chart'
    )
    assert tr('nobody knows\n12 of 20') == 'nobody knows\n20のうち12'


@pytest.mark.parametrize(
    'n,lines,japanese',
    [
        (
            1,
            [
                '1 fact and 1 sentence with short questions can be trained, in 1 row; '
                '1 short question is held out',
                '1 of 9 sentences is not covered: 1 speaks of a figure '
                '(listed in data/uncovered.jsonl)',
            ],
            '事実1件と、短い質問のある文1個を、1行で学習できます。短い質問1件は取っておきます',
        ),
        (
            2000,
            [
                '2,000 facts and 2,000 sentences with short questions can be trained, in '
                '2,000 rows; 2,000 short questions are held out',
                '2,000 of 9 sentences are not covered: 2000 speaks of a figure '
                '(listed in data/uncovered.jsonl)',
            ],
            '事実2,000件と、短い質問のある文2,000個を、2,000行で学習できます。'
            '短い質問2,000件は取っておきます',
        ),
    ],
)
def test_one_is_told_as_one(ja, n, lines, japanese):
    from climate_ft.datafiles import told

    left = {'speaks of a figure': ['文'] * n}
    report = dict(
        facts=dict(train=n),
        rows=dict(train=n, forms=0, short=n),
        forms=dict(coverage=dict(short=n, sentences=9, left=left)),
    )
    assert told(report) == lines and tr(lines[0]) == japanese


def test_a_document_that_gives_few_questions_says_so(ja):
    from climate_ft.datafiles import told

    def lines(n, alone, **more):
        forms = dict(coverage=dict(short=n, sentences=220, left={}))
        rows = dict(train=n, forms=9, short=1)
        report = dict(facts=dict(train=n), rows=rows, forms=forms, **alone)
        return told(report | more)[1:]

    (said,) = lines(5, dict(alone=3))
    assert said == (
        'few sentences can be asked about alone: 8 of 220; the text, its gaps and passages '
        'are trained all the same, and --teacher makes more questions'
    )
    assert tr(said).startswith('単独で質問にできる文は220文中8文だけです。')
    assert '--teacher' in tr(said)
    assert lines(5, dict(alone=5)) == lines(5, {}) == []  # the report asks by other rules
    taught = dict(kept=9, rejected={}, requests=1, cached=0, model='m')
    with pytest.MonkeyPatch.context() as m:
        m.setattr('climate_ft.datafiles.told_of_teacher', lambda report: [])
        assert lines(5, dict(alone=3), teacher=taught) == []


def test_what_counts_is_translated_inside_a_message(ja):
    said = tr('tuned.jsonl lacks 1 answer that base.jsonl has: run `climate-ft answers` again')
    assert said.startswith('base.jsonlにある回答1件がtuned.jsonlにありません。')
    assert tr('3 answers from 1 source, 1 empty') == '回答3件、出典1件、うち空の回答1件'
    said = tr('t: 1 row is longer than 64 tokens, and none is left; raise max_length')
    assert said.startswith('t：1行すべてが64トークンを超えていて')
    assert tr('some strange row') == 'some strange row'


def test_no_count_stands_before_a_plural_only():
    "Numbers are written with `counted`, but for those that are never one"
    never = {'training prompts', 'greedy answers', 'prompts', 'answers', 'pages', 'tokens'}
    never |= {'matrices', 'numbers', 'bytes', 'sentences', 'characters', 'values', 'bits'}
    found = []
    for p in (REPO / 'climate_ft').glob('*.py'):
        for n in ast.walk(ast.parse(p.read_text(encoding='utf-8'))):
            parts = n.values if isinstance(n, ast.JoinedStr) else []
            for a, b in zip(parts, parts[1:]):
                text = getattr(b, 'value', '') if isinstance(a, ast.FormattedValue) else ''
                m = isinstance(text, str) and re.match(f' ({PLURAL})', text)
                if m and m[1] not in never:
                    found.append((p.name, m[0]))
    assert found == []


PLURAL = (
    r'(?!holds|that|is|are|has|names|with)(?:\w+ )?'
    r'(?:facts|questions|rows|answers|pairs|files|examples|cores|sources|documents|'
    r'replies|requests|passages|references|predictions|weights|texts|threads)\b'
)


def test_a_long_text_is_translated_line_by_line(ja):
    "A long line is searched by no pattern: it is no message, and would take long"
    assert tr('\n'.join(['12 of 20'] * 400)) == '\n'.join(['20のうち12'] * 400)
    line = f'{"x" * 2000} is an empty file: copy or download it again'
    assert tr(line) == line
    assert tr(f'{line}\n12 of 20') == f'{line}\n20のうち12'


def test_a_long_diagnosis_is_japanese_to_its_end(ja, capsys):
    from climate_ft.mistakes import CAUSES, describe
    from climate_ft.terminal import show

    case = dict(question='海氷とは何ですか。' * 7, accepted=['海氷'], prediction='雪' * 60)
    wrong = {cause: [case, case] for cause in CAUSES}
    found = {'from memory': dict(n=99, right=2, wrong=wrong)}
    assert len(describe(found)) > 2000
    show(found, False, describe(found))
    out = capsys.readouterr().out
    assert out.startswith('記憶だけ：99問中2問が正答\n') and 'remedy' not in out
    assert out.count('対策：') == len(CAUSES) and out.count('問 海氷とは') == 2 * len(CAUSES)


def columns(line, *words):
    "Where words of a line begin on a terminal"
    from rich.cells import cell_len

    return [cell_len(line[: line.index(w)]) for w in words]


def test_the_table_of_preflight_is_japanese_and_straight(ja):
    from climate_ft import preflight as P
    from climate_ft.pipeline import make_job

    job = make_job(None, 'tiny')
    r = P.preflight('tiny', job.cfg, job.plan)
    r['stages'][0] |= dict(minutes=None)
    r['stages'][1] |= dict(where='GPU', minutes=(60, 600))
    r['stages'][2] |= dict(ok=False, free_gib=0.0)
    r['fits'][0] |= dict(batch=0)
    lines = tr(P.describe(r)).splitlines()
    (at,) = (n for n, l in enumerate(lines) if l.startswith('このマシンでのプロファイルtiny'))
    base, extract, train, answer, evaluate, merge = lines[at + 1 : at + 7]
    assert '  見積もりなし      ダウンロード（すでにあれば不要）' in base
    assert '  1から10時間       PDFからデータセットまで' in extract
    assert '収まりません：4ビット、1回に例' in train and '個、勾配チェックポイント：' in train
    assert '回答' in answer and '件、32ビットの重み、1回に' in answer
    assert evaluate.endswith('評価指標と信頼区間')
    assert merge.endswith('ファイルごとに書き出し、32ビットのコピー')
    hows = ('ダウンロード', 'PDFから', '収まりません', '回答', '評価指標', 'ファイルごと')
    found = {columns(l, ' GB  ', h)[1] for l, h in zip(lines[at + 1 :], hows)}
    assert (
        len(found) == 1 and len({columns(l, ' GB  ')[0] for l in lines[at + 1 : at + 7]}) == 1
    )
    fits = [l for l in lines if 'ビット: ' in l]
    assert fits[0] == '  T4           4ビット: 収まりません'
    assert fits[1].startswith('  T4           8ビット: 例') and fits[1].endswith(' GiB')


@pytest.mark.parametrize(
    'text,kind,said',
    [
        ('[1,', object, 'の1行目が壊れています：Expecting value'),
        ('[1]', dict, 'はリスト[…]ですが、必要なのはオブジェクト{…}です'),
        ('{"b": {}}', {'b': {'c': int}}, ': b.cがありません'),
        ('{"b": "x"}', {'b': int}, ': bは文字列ですが、必要なのは整数です'),
        (
            '{"b": 3}',
            {'b': str | list[str]},
            ': bは整数ですが、必要なのは文字列かリスト[…]です',
        ),
        ('{"b": 1e999}', {'b': float}, ': bが範囲を外れています'),
        ('3', {'b': int}, '：整数がありますが、必要なのはオブジェクト{…}です'),
        ('1' * 5000, object, '：数の桁が多すぎます'),
        (r'"\ud800"', object, r'：サロゲートペアの片方（\ud800 …）は文字ではありません'),
    ],
)
def test_a_file_of_another_shape_is_told_in_japanese(ja, tmp_path, text, kind, said):
    file = tmp_path / 'a.json'
    file.write_text(text)
    with pytest.raises(CourseError) as e:
        workspace.read_json(file, '', kind)
    assert tr(str(e.value)) == f'{file}{said}。ファイルを元に戻してください'
    with pytest.raises(CourseError) as e:
        workspace.read_json(file, 'clean', kind)
    assert tr(str(e.value)) == f'{file}{said}。`climate-ft clean`をもう一度実行してください'


@pytest.mark.parametrize(
    'line,said',
    [
        ('{"question": 3}', '："question"は整数ではなく文字列でなければなりません'),
        ('{"id": []}', '："id"はリスト[…]ではなく文字列か整数でなければなりません'),
        ('3', '：intではなくJSONオブジェクトが必要です'),
        ('{}', '：xがありません'),
        ('{"x": true}', '：xはtrueかfalseですが、必要なのは整数です'),
    ],
)
def test_a_line_of_another_shape_is_told_in_japanese(ja, tmp_path, line, said):
    file = tmp_path / 'a.jsonl'
    file.write_text(f'{{"x": 1}}\n{line}\n')
    with pytest.raises(CourseError) as e:
        workspace.read_jsonl(file, 'dataset', kind={'x': int})
    again = '。`climate-ft dataset`をもう一度実行してください'
    assert tr(str(e.value)) == f'{file}の2行目{said}{again}'


@pytest.mark.parametrize(
    'entry,said',
    [
        ('3', 'のレコードはintではなくオブジェクト{…}でなければなりません'),
        ('{"y": 1}', "のレコードに知らない項目['y']があります。使える項目は["),
        ('{"page": "y"}', "のレコードのpageが正しくありません：'y'。"),
        ('{"page": 1}', 'のレコードに足りない項目があります：'),
        (
            '{"page": 1, "bbox": [], "text": ""}',
            'のレコードのbboxの数は0個ではなく4個でなければなりません。',
        ),
    ],
)
def test_a_wrong_record_is_told_in_japanese(ja, tmp_path, entry, said):
    from climate_ft.records import Block, read_records

    file = tmp_path / 'a.json'
    file.write_text(f'[{entry}]')
    with pytest.raises(CourseError) as e:
        read_records(file, Block, 'extract')
    message = tr(str(e.value))
    assert message.startswith(f'{file}の1番目：Block{said}'), message
    assert message.endswith('`climate-ft extract`をもう一度実行してください')


def test_weights_that_are_missing_are_told_in_japanese(ja):
    from climate_ft.models import refuse_keys

    for args, said in (
        ((['b', 'a'], []), '重み2個がmにありません（最初はa）。フォルダーを'),
        (
            ([], ['a']),
            'mに、このモデルのものではない重みが1個あります（最初はa）。フォルダーを',
        ),
    ):
        with pytest.raises(CourseError) as e:
            refuse_keys('m', *args)
        assert tr(str(e.value)) == f'{said}配布元からコピーし直してください'


def test_the_system_says_which_language():
    ask = system_language
    assert ask({}) == ask(dict(LANG='C')) == ask(dict(LC_ALL='C', LANG='ja_JP.UTF-8')) == 'en'
    assert ask(dict(LANG='ja_JP.UTF-8')) == ask(dict(LC_ALL='', LANG='ja')) == 'ja'
    assert ask(dict(LC_MESSAGES='ja_JP', LANG='en_US.UTF-8')) == 'ja'


def test_lang_may_stand_anywhere():
    from climate_ft.cli import chosen_language as chosen

    assert chosen(['--lang', 'ja', 'run', '--to', 'x'], {}) == (['run', '--to', 'x'], 'ja')
    assert chosen(['run', '--lang=en'], dict(LANG='ja')) == (['run'], 'en')
    assert chosen(['ask', '--', '--lang', 'ja'], {}) == (['ask', '--', '--lang', 'ja'], 'en')
    assert chosen(['run'], dict(LANG='ja_JP.UTF-8')) == (['run'], 'ja')


def texts_of_help(command):
    for c in (command, *command.commands.values()):
        yield from (o.help for o in (c, *c.params) if getattr(o, 'help', None))


def test_the_whole_help_is_there(ja):
    from climate_ft.cli import app

    texts = [' '.join(t.split()) for t in texts_of_help(typer.main.get_command(app))]
    assert len(texts) > 120
    assert [t for t in texts if tr(t) == t] == []


def shown(r):
    return re.sub(r'[\s│]', '', r.stdout + r.stderr)


def test_help_in_a_terminal_is_japanese_and_cut_nowhere():
    r = climate_ft('run', '--help', '--lang', 'ja', COLUMNS='80')
    for en in ('A PDF or a folder of PDFs', 'Another base model', 'GPUs to train on'):
        (ja,) = [v for k, v in WORDS.items() if k.startswith(en)]
        assert re.sub(r'\s', '', ja) in shown(r)
    assert '…' not in r.stdout and 'Options' not in r.stdout
    assert 'オプション' in climate_ft('--help', LC_ALL='ja_JP.UTF-8').stdout
    assert 'Options' in climate_ft('--help', LC_ALL='C.UTF-8', LANG='ja_JP.UTF-8').stdout


@pytest.mark.parametrize(
    'args,said',
    [
        (('ask', '--model', 'x', '--jason'), '--jasonというオプションはありません'),
        (('serve', '--port', 'many'), '整数で指定してください'),
        (('run', '--profile', 'huge'), "climate-ft: 'huge'というプロファイルはありません。"),
        (('extract', 'none.pdf'), 'none.pdfがありません。--pdf FILEでPDFを指定してください'),
        (('export',), "オプション'--gguf'が足りません"),
        (('extract',), "引数'pdf'が足りません"),
        (('clean', 'x'), '余分な引数があります（x）'),
        (('run', '--to'), "オプション'--to'には値が必要です"),
        (('trian',), "コマンド'trian'はありません。'train'のことですか"),
    ],
)
def test_a_wrong_input_is_told_in_japanese(tmp_path, args, said):
    r = climate_ft(*args, '--lang', 'ja', cwd=tmp_path)
    assert (r.returncode, r.stdout) == (2, '') and said in r.stderr, r.stderr
    assert 'Traceback' not in r.stderr and list(tmp_path.iterdir()) == []


def test_report_in_japanese(ja):
    from climate_ft import report

    results = json.loads((REPO / 'data/evaluation_results.json').read_text(encoding='utf-8'))
    parts = [report.right_section(results, {}), report.answers_section(results, 1)]
    page = report.render_report('t', 'l', parts, report.key_figures(results, {}, {}))
    script = re.search('<script>(.*?)</script>', page, re.S)[1]
    assert '問中${n}問を表示' in script and f'sha256-{report.digest_of(script)}' in page
    assert '<h2>正答</h2>' in page and '<option value="right">正答</option>' in page
    assert 'data-verdict="wrong"' in page and '<span class="v wrong">誤答</span>' in page
    first = parts[1]['groups'][0]['rows'][0]
    assert first['question'] in page and first['reference'] in page
    speak('en')
    page = report.render_report('t', 'l', parts, report.key_figures(results, {}, {}))
    assert '<h2>Right answers</h2>' in page and '<option>right</option>' in page


CARD = '''
# toy, merged

A language model that answers Japanese questions about one document.

## How to use
Transformers:

```python
print('Data: {}'.format(1))  # Scores
```

## Data
30 training rows about 3 facts from a document that is not named here.

| kind | rows | |
|---|---|---|
| short | 3 | a short question |

## Limits
- It learned sentences of one document. What it was not taught it answers in the same tone, and
  usually wrongly.
- Nobody has translated this.
'''


def test_a_card_is_in_both_languages(ja):
    from types import SimpleNamespace
    from climate_ft.hub import in_both

    text = in_both(SimpleNamespace(text=CARD)).text
    first, second = text.split('\n\n---\n')
    assert second == CARD
    code = "```python\nprint('Data: {}'.format(1))  # Scores\n```"
    assert first.split('\n\n')[1:] == [
        '1つの文書についての日本語の質問に答える言語モデルです。',
        '## 使い方\nTransformers：',
        code,
        '## データ\n学習データ30行、事実3件。出典：ここでは名前を挙げない文書。',
        '| 種類 | 行 |\n|---|---|---|\n| short | 3 | 短い質問 |',
        '## 限界\n- 1つの文書に含まれる文を学習しています。学習していないことにも'
        '同じ調子で答え、たいてい間違えます。\n- Nobody has translated this.',
    ]
    speak('en')
    assert in_both(SimpleNamespace(text=CARD)).text == CARD


def test_a_conversation_says_in_japanese_what_was_wrong(ja):
    from climate_ft.asking import _converse

    asked, said = iter(['海氷とは', '']), []

    def one(q):
        raise CourseError('x.pdf is an empty file: copy or download it again')

    _converse(one, lambda prompt: next(asked), said.append)
    assert said == ['x.pdfは空のファイルです。コピーかダウンロードをやり直してください\n']
