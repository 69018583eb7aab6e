"Any terminal, any encoding, any name: shown as text, and never a traceback"

import io
import json
import os
import subprocess
import sys
import re
import pytest
from climate_ft import cli
from climate_ft.workspace import (
    REPO,
    CourseError,
    Workspace,
    escaped,
    in_markdown,
    write_json,
    write_jsonl,
)

EVIL = '\x1b[2J[bold]\u202e<img src=x onerror=alert(1)>[/nothing]'


@pytest.mark.parametrize('encoding', ['cp932', 'ascii', 'latin-1', 'utf-8'])
def test_every_stream_takes_every_character(tmp_path, cft, encoding):
    "U+2013 is not in CP932, and nothing Japanese is in Latin-1"
    p = write_jsonl(
        tmp_path / '–海氷.jsonl', [dict(prediction='1–2 🧊', reference='1–2 🧊')] * 2
    )
    r = subprocess.run(
        [sys.executable, '-m', 'climate_ft.cli', 'score', str(p)],
        capture_output=True,
        env={**os.environ, 'PYTHONPATH': str(REPO), 'PYTHONIOENCODING': encoding},
    )
    assert r.returncode == 0 and b'exact' in r.stdout, r.stderr
    p.write_text('garbage')
    r = subprocess.run(
        [sys.executable, '-m', 'climate_ft.cli', 'score', str(p)],
        capture_output=True,
        env={
            **os.environ,
            'PYTHONPATH': str(REPO),
            'PYTHONIOENCODING': encoding,
            'LC_ALL': 'C',
        },
    )
    said = r.stderr.decode(encoding)
    assert (
        r.returncode == 2
        and said.count('\n') == 1
        and ('–海氷.jsonl' if encoding == 'utf-8' else '.jsonl') in said
        and ('海氷' in said) == (encoding in ('cp932', 'utf-8'))
    )


@pytest.mark.parametrize('encoding', ['cp932', 'ascii', 'utf-8'])
def test_json_is_json_in_every_encoding(monkeypatch, encoding):
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, 'stdout', out)
    cli.show(dict(a='🧊–海' + EVIL, b='\x9b\x7f\ud800'), True)
    out.flush()
    raw = out.buffer.getvalue()
    assert json.loads(raw.decode(encoding)) == dict(a='🧊–海' + EVIL, b='\x9b\x7f\ud800')
    assert not set('\x1b\u202e\x9b') & set(raw.decode(encoding))


def test_what_a_file_name_says_is_not_obeyed(cft, tmp_path):
    p = tmp_path / (EVIL.replace('/', '') + '.pdf')
    p.write_text('no PDF')
    r = cft('extract', p, '--out', tmp_path / 'ws')
    assert (
        r.returncode == 2
        and r'\x1b[2J[bold]\u202e<img' in r.stderr
        and not set('\x1b\u202e') & set(r.stderr)
    )


def test_the_bar_takes_any_message(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, 'stderr', Terminal())
    with cli.bar('extract') as progress:
        progress(0.5, EVIL)
        progress(1.0, '[/]')


def test_answers_are_shown_as_text(capsys):
    from climate_ft import generate as G

    G._show('海\x1b[2J\u202e氷\n')
    assert capsys.readouterr().out == '海\\x1b[2J\\u202e氷\n'


@pytest.mark.parametrize(
    'raw,words',
    [
        ('海氷'.encode('cp932'), 'CP932'),
        ('海氷とは何か'.encode('euc_jp'), 'EUC-JP'),
        (b'\xe6\xff', 'not .*UTF-8|UTF-8'),
    ],
)
def test_a_line_in_another_encoding_is_named(monkeypatch, raw, words):
    from climate_ft import generate as G

    def strict(_):
        return raw.decode('utf-8')

    def lax(_):
        return raw.decode('utf-8', 'surrogateescape')

    for ask in (strict, lax):
        with pytest.raises(CourseError, match=words):
            G._as_text(ask)
    assert G._as_text(lambda _: '海氷') == '海氷'


def test_cards_and_reports_show_names_as_text(tmp_path):
    from climate_ft.hub import Run, model_card
    from climate_ft.workspace import Workspace
    from climate_ft.report import render_report, section

    assert (
        in_markdown('a\n[x](y) <b>|`') == r'a \[x\](y) \<b\>\|\`'
        and escaped('"\u202e"') == r'"\u202e"'
    )
    run = Run(Workspace(tmp_path), EVIL, dict(name=EVIL, base='<script>', bits=4), [EVIL])
    card = re.sub(
        '(?s)```.*?```|`[^`]*`', '', str(model_card(run, 'adapter'))
    )  # in code, markup is text
    assert (
        '<script>' not in card
        and '<img' not in card.replace('\\<', '')
        and not set('\x1b\u202e') & set(card)
    )
    page = render_report(EVIL, EVIL, [section(EVIL, [EVIL], pre=EVIL)])
    assert '<img' not in page and not set('\x1b\u202e') & set(page) and r'\x1b[2J' in page


def test_byte_order_marks_in_question_files(tmp_path):
    from climate_ft.generate import read_questions
    from climate_ft.metrics import read_pairs

    p = tmp_path / 'q.jsonl'
    p.write_bytes('\ufeff{"question": "海氷とは何か。"}\r\n'.encode())
    assert read_questions(p)[0]['question'] == '海氷とは何か。'
    for codec, name in (('utf-16', 'UTF-16'), ('cp932', 'CP932')):
        p.write_bytes('{"question": "海氷とは何か。"}\r\n'.encode(codec))
        with pytest.raises(CourseError, match=f'not UTF-8 but {name}'):
            read_questions(p)
        with pytest.raises(CourseError, match=f'not UTF-8 but {name}'):
            read_pairs(p)


def test_closed_streams_are_like_empty_ones(tmp_path, monkeypatch):
    for closed in ('2>&-', '>&- 2>&-', '<&-'):
        line = f'"{sys.executable}" -m climate_ft clean --out "{tmp_path}" {closed}'
        r = subprocess.run(
            ['bash', '-c', line], capture_output=True, text=True, cwd=REPO, timeout=100
        )
        assert r.returncode == 2 and 'Traceback' not in r.stdout + r.stderr, (closed, r)
    monkeypatch.setattr(sys, 'argv', ['climate-ft', '--version'])
    for name in ('stdin', 'stdout', 'stderr'):
        monkeypatch.setattr(sys, name, None)
    with pytest.raises(SystemExit):
        cli.main()
    assert sys.stdin.read() == ''
