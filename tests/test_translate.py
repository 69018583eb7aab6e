"""The Japanese catalogues: what is extracted, what is kept when the English changes, and what
forbids publishing"""

import json
import re
import sys
from pathlib import Path
import pytest

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / 'site'))
pytest.importorskip('myst_parser')
sys.path.insert(0, str(REPO / 'scripts'))
import build_ja_notebooks
import translate

PAGE = '''# Title

*What it is
about*

A paragraph that
is wrapped, with `code`, a [link](02_extract.ipynb) and [`ask`](#climate_ft.cli.ask).

1. One item
   of two lines
2. Another

> quoted

| left | right |
|---|---|
| a \\| bar | `x` |

```sh
make demo  # not prose
```

:::{note}
Inside a note
:::
'''


@pytest.fixture
def locale(tmp_path, monkeypatch):
    "An empty folder of catalogues"
    monkeypatch.setattr(translate, 'LOCALE', tmp_path / 'ja')
    monkeypatch.setattr(translate, 'FINISHED', tmp_path / 'ja/finished.txt')
    return tmp_path / 'ja'


def fill(name, **ja):
    "Translate messages of a catalogue, named by their first word"
    cat = translate.load(name)
    for m in cat:
        if m.id and (s := ja.get(m.id.split()[0])):
            m.string = s
            m.flags.discard('fuzzy')
    with translate.po(name).open('wb') as f:
        translate.write_po(f, cat, width=0, include_previous=True)


def test_prose_is_found_and_nothing_else():
    got = [translate.core(s)[0] for _, _, s in translate.prose(PAGE)]
    assert [m for m in got if translate.is_prose(m)] == [
        'Title',
        'What it is about',
        'A paragraph that is wrapped, with `code`, a [link](1) and `ask`.',
        'One item of two lines',
        'Another',
        'quoted',
        'left',
        'right',
        'a | bar',
        'Inside a note',
    ]


def test_a_translation_goes_where_its_english_stood():
    ja = {
        'A paragraph that is wrapped, with `code`, a [link](1) and `ask`.': (
            '`ask`と[リンク](1)と`code`。'
        ),
        'One item of two lines': '2行の項目',
        'What it is about': '何の話か',
        'left': '左',
        'a | bar': '縦 \\| 棒',
        'Inside a note': '注の中',
    }

    def say(s):
        msg, restore = translate.core(s)
        return restore(ja[msg]) if msg in ja else None

    new = translate.translated(PAGE, say)
    assert new == (
        PAGE.replace(
            '''A paragraph that
is wrapped, with `code`, a [link](02_extract.ipynb) and [`ask`](#climate_ft.cli.ask).''',
            '[`ask`](#climate_ft.cli.ask)と[リンク](02_extract.ipynb)と`code`。',
        )
        .replace('One item\n   of two lines', '2行の項目')
        .replace('*What it is\nabout*', '*何の話か*')
        .replace('| left |', '| 左 |')
        .replace('a \\| bar', '縦 \\| 棒')
        .replace('Inside a note', '注の中')
    )


def test_the_boxes_of_a_diagram_are_translated_and_their_names_stay():
    src = 'flowchart LR\n  a([PDF]) --> run --> b[10 Answers] --> c[2 Read<br/>it]\n'
    page = f'A [word] here.\n\n```mermaid\n{src}```\n'
    ja = {'Answers': '回答', 'Read<br/>it': '読む<br/>こと', 'A [word] here.': 'ここ'}
    assert translate.labels(page) == ['PDF', 'Answers', 'Read<br/>it']
    drawn = src.replace('Answers', '回答').replace('Read<br/>it', '読む<br/>こと')
    assert translate.translated(page, ja.get) == f'ここ\n\n```mermaid\n{drawn}```\n'


def test_every_cell_of_the_course_comes_back_whole():
    """Taken apart and put together again, each message is what it was, and only line breaks
    inside prose are gone"""
    cells = 0
    for p in {*(REPO / 'nbs').glob('**/*.ipynb')} - {*(REPO / 'nbs/ja').iterdir()}:
        for c in json.loads(p.read_text(encoding='utf-8'))['cells']:
            if c['cell_type'] != 'markdown':
                continue
            md, cells = ''.join(c['source']), cells + 1
            texts = [s for _, _, s in translate.prose(md)]
            for s in texts:
                msg, restore = translate.core(s)
                own = {'ラボ：': 'Lab: ', '解答例：': 'Solutions: '}
                back = restore(msg)
                for ja, en in own.items():
                    back = back.replace(ja, en)
                assert back == translate.key(s), (p.name, s)
            assert translate.translated(md, lambda s: None) == md
            joined = translate.translated(md, translate.key)
            assert [s for _, _, s in translate.prose(joined)] == [*map(translate.key, texts)]
            assert joined.split() == md.split(), p.name
    assert cells > 1000


def test_a_title_is_one_message_wherever_it_stands():
    for s in ('Workspace', '[Workspace](00_workspace.ipynb)', '0 · Workspace', '*Workspace*'):
        assert translate.core(s)[0] == 'Workspace'
    assert translate.core('20 · Lab: memory')[1]('メモリ') == '20 · ラボ：メモリ'
    assert translate.core('Solutions: Workspace')[0] == 'Workspace'
    assert translate.core('[Solutions: Text](a.ipynb)')[1]('文') == '[解答例：文](a.ipynb)'


def test_a_moved_paragraph_brings_its_translation(locale):
    translate.merge('01_a', ['stays here', 'moves away'], {})
    fill('01_a', stays='残る', moves='移る')
    translate.merge('01_a', ['stays here'], translate.known())
    translate.merge('02_b', ['something new', 'moves away'], translate.known())
    cat = translate.load('02_b')
    assert (cat['moves away'].string, cat['moves away'].fuzzy) == ('移る', False)
    assert cat['something new'].string == ''
    assert [m.id for m in translate.load('01_a') if m.id] == ['stays here']
    translate.merge('01_a', ['moves away', 'stays here'], translate.known())
    assert translate.load('01_a')['moves away'].string == '移る'


def test_a_changed_paragraph_keeps_its_old_translation_as_outdated(locale):
    old = 'The model is trained for three epochs on one page of the report.'
    translate.merge('01_a', [old], {})
    fill('01_a', The='モデルは1ページを3エポック学習します。')
    new = old.replace('three', 'four')
    translate.merge('01_a', [new], translate.known())
    m = translate.load('01_a')[new]
    assert m.fuzzy and m.string == 'モデルは1ページを3エポック学習します。'
    first = translate.po('01_a').read_text(encoding='utf-8')
    assert f'#| msgid "{old}"' in first
    translate.merge('01_a', [new], translate.known())
    assert translate.po('01_a').read_text(encoding='utf-8') == first
    assert translate.speaker('01_a')(new) is None, 'an outdated translation is not shown'


def page_of(tmp_path, n, words='sentence number'):
    md = '\n\n'.join(f'The {words} {i} is here.' for i in range(n))
    (tmp_path / '01_a.md').write_text(md, encoding='utf-8')
    return tmp_path


def test_a_finished_page_may_lack_two_in_a_hundred(locale, tmp_path):
    stage = page_of(tmp_path, 100)
    msgs = translate.messages(stage / '01_a.md')
    translate.merge('01_a', msgs, {m: f'文{i}です。' for i, m in enumerate(msgs[:-2])})
    assert translate.problems(stage) == []
    translate.FINISHED.write_text('01_a\n')
    assert translate.problems(stage) == []
    s = (stage / '01_a.md').read_text().replace('number 7 is', 'number 7 was')
    (stage / '01_a.md').write_text(s)
    (bad,) = translate.problems(stage)
    assert bad.startswith('01_a: of 100 messages 0 are outdated and 3 are missing in Japanese')
    translate.merge('01_a', translate.messages(stage / '01_a.md'), translate.known())
    (bad,) = translate.problems(stage)
    assert 'make translations PAGE=01_a' in bad
    translate.FINISHED.write_text('01_b\n')
    assert translate.problems(stage) == ['finished.txt names 01_b, which is no page']


def test_an_unfinished_page_gets_its_title_and_purpose_only(locale, tmp_path):
    (tmp_path / '01_a.md').write_text('# Title\n\n*Purpose*\n\nSome text\n')
    memory = {'Title': '題', 'Purpose': '目的', 'Some text': '本文'}

    def built():
        page = tmp_path / '01_a.md'
        return {m.id: m.string for m in translate.compiled('01_a', page, None, memory) if m.id}

    assert built() == {'Title': '題', '*Purpose*': '*目的*'}
    locale.mkdir()
    translate.FINISHED.write_text('01_a\n')
    assert built() == {'Title': '題', '*Purpose*': '*目的*', 'Some text': '本文'}


@pytest.mark.parametrize(
    'msg,ja,fault',
    [
        ('Run `make`', '`make`を実行します。', ''),
        ('Run `make`', '実行します。', 'make'),
        ('See [a](1) and [b](2)', '[い](2)と[あ](1)', ''),
        ('See [a](1) and [b](2)', '[い](1)と[あ](1)', 'links'),
        ('About $r$ ranks', 'ランクについて', 'r'),
        ('This is **bold**', 'これは**「太字」**です', 'asterisks'),
        ('This is **bold**', 'これは「**太字**」です', ''),
        ('Two words', '二つの 言葉', 'a space'),
        ('Two words', '二つの\n言葉', 'a space'),
        ('海 氷 is two', '海 氷は二つです。', ''),
        ('End.', '終わり.', 'Latin punctuation'),
        ('Read a.txt', 'ファイルa.txtを読みます。', ''),
        ('A label (把握: …)', 'ラベル（把握: …）です。', ''),
    ],
)
def test_faults_of_form_are_seen(msg, ja, fault):
    got = ' '.join(translate.faults(msg, ja))
    assert fault in got and bool(fault) == bool(got)


def test_what_is_committed_has_no_faults():
    names = [
        p.relative_to(translate.LOCALE).with_suffix('')
        for p in translate.LOCALE.glob('**/*.po')
    ]
    assert {'index', '00_first_hour'} <= {n.as_posix() for n in names}
    for n in names:
        for m in translate.load(n.as_posix()):
            if m.id and m.string and not m.fuzzy:
                assert [*translate.faults(m.id, m.string)] == [], (n, m.string)


# ---- the Japanese notebooks


def cells_of(text):
    return json.loads(text)['cells']


@pytest.fixture(scope='module')
def made():
    "Japanese notebooks as the English ones and the catalogues make them now"
    return build_ja_notebooks.wanted()


def test_japanese_notebooks_are_in_step(made):
    assert build_ja_notebooks.out_of_step(made) == [], 'run make notebooks-ja'
    here = {p.stem for p in (REPO / 'nbs').glob('*.ipynb')}
    assert (
        {p.stem for p in made} == here & {*translate.finished()} > {'index', '00_first_hour'}
    )


def test_japanese_notebooks_have_the_same_code_and_no_outputs(made):
    for p, s in made.items():
        en, ja = cells_of((REPO / 'nbs' / p.name).read_text(encoding='utf-8')), cells_of(s)
        assert [(c['cell_type'], c['id']) for c in en] == [
            (c['cell_type'], c['id']) for c in ja
        ]
        for a, b in zip(en, ja):
            if a['cell_type'] == 'code':
                assert a['source'] == b['source'] and b['outputs'] == [], p.name
        prose = ''.join(''.join(c['source']) for c in ja if c['cell_type'] == 'markdown')
        assert len(re.findall('[ぁ-ん]', prose)) > 200, p.name


def test_links_of_japanese_notebooks_lead_to_files(made):
    seen = 0
    for p, s in made.items():
        md = '\n'.join(
            ''.join(c['source']) for c in cells_of(s) if c['cell_type'] == 'markdown'
        )
        for to in re.findall(
            r'\]\((?!\w+:|#)([^)\s#]+)', re.sub(r'```.*?```|`[^`]+`', '', md)
        ):
            assert (p.parent / to).exists(), (p.name, to)
            seen += 1
    assert seen > 80


def test_links_out_of_the_folder_are_moved():
    md = '[a](01_pre.ipynb), [b](../README.md), ![c](images/x.png), [d](solutions/01.ipynb)'
    got = '[a](01_pre.ipynb), [b](../../README.md), ![c](../images/x.png), '
    assert build_ja_notebooks.moved(md) == got + '[d](../solutions/01.ipynb)'
    assert build_ja_notebooks.moved(s := '[e](https://a.b/c), [f](#g)') == s


def test_what_is_out_of_step_is_named(made, tmp_path, monkeypatch):
    monkeypatch.setattr(build_ja_notebooks, 'OUT', tmp_path)
    want = {tmp_path / n: n for n in ('old.ipynb', 'missing.ipynb', 'good.ipynb')}
    for n, s in (('old', 'x'), ('good', 'good.ipynb'), ('of_no_notebook', '')):
        (tmp_path / f'{n}.ipynb').write_text(s)
    names = ['missing.ipynb', 'of_no_notebook.ipynb', 'old.ipynb']
    assert build_ja_notebooks.out_of_step(want) == names


def test_nbdev_exports_nothing_from_the_japanese_notebooks():
    from nbdev.config import get_config
    from nbdev.doclinks import nbglob

    assert not get_config()['recursive']
    assert not [p for p in nbglob(REPO / 'nbs') if 'ja' in Path(p).parts]


def test_a_japanese_notebook_runs_in_its_folder_and_says_what_the_english_one_says():
    import nbformat
    from nbrun import drift, execute

    run = execute(REPO / 'nbs/ja/00a_text.ipynb', REPO / 'nbs/ja')
    assert drift(nbformat.read(REPO / 'nbs/00a_text.ipynb', as_version=4), run) == []
    assert any(c.get('outputs') for c in run.cells)
