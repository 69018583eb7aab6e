"Where a sentence ends, and documents that write ， and ． instead of 、 and 。"

import re
from pathlib import Path
import pytest
from climate_ft import compare, corpus, paragraphs
from climate_ft.corpus import build_corpus
from climate_ft.facts import corpus_facts
from climate_ft.text import japanese_stops, sentence_spans, sentences
from climate_ft.workspace import REPO, read_json


def test_one_splitter_for_the_package():
    assert paragraphs.sentences is compare.sentences is corpus.sentences is sentences


@pytest.mark.parametrize(
    'text,parts',
    (
        ('開いた。閉じた！本当？そう。', ['開いた。', '閉じた！', '本当？', 'そう。']),
        ('開いた．閉じた．', ['開いた．', '閉じた．']),
        ('２０時に開いた．３人が来た．', ['２０時に開いた．', '３人が来た．']),
        (
            '円周率は3.14、または３．１４である。次。',
            ['円周率は3.14、または３．１４である。', '次。'],
        ),
        (
            '米国（U.S.）の港である．Ｕ．Ｓ．とも書く．',
            ['米国（U.S.）の港である．', 'Ｕ．Ｓ．とも書く．'],
        ),
        ('No. 5の港とNo．5の港である。', ['No. 5の港とNo．5の港である。']),
        ('１．はじめに', ['１．はじめに']),
        ('ア．目的', ['ア．目的']),
        ('(1)．方法', ['(1)．方法']),
        ('問１．いつまで借りられますか。', ['問１．いつまで借りられますか。']),
        ('問1. いつか。答えは次にある。', ['問1. いつか。', '答えは次にある。']),
        ('１．２冊を貸す．問２．いつか．', ['１．２冊を貸す．', '問２．いつか．']),
        ('第２条．委員を置く．', ['第２条．委員を置く．']),
        ('ケース１．水の害', ['ケース１．水の害']),
        ('会員は１０．定員は２０．', ['会員は１０．', '定員は２０．']),
        ('「開いた。」と言った。（閉じた。）', ['「開いた。」と言った。', '（閉じた。）']),
        ('と言った。」次の文。', ['と言った。」', '次の文。']),
        ('回った. 次に進む.', ['回った.', '次に進む.']),
        ('It ended in 2009. The next began.', ['It ended in 2009.', 'The next began.']),
        ('Dr. Kato and others, e.g. Sato, agree.', ['Dr. Kato and others, e.g. Sato, agree.']),
        ('一。二\n三', ['一。', '二', '三']),
    ),
)
def test_sentences(text, parts):
    assert sentences(text) == parts
    for line in text.split('\n'):
        assert ''.join(line[a:b] for a, b in sentence_spans(line)) == line


def wide(text):
    return text.replace('、', '，').replace('。', '．')


def latin(text):
    return re.sub('。(?=.)', '. ', text).replace('。', '.').replace('、', ', ')


def rows():
    "Blocks of the report's cleaned text that have both marks"
    return [
        b
        for b in read_json(REPO / 'documents/cleaned_blocks.json')['blocks']
        if b['role'] == 'body'
    ][:60]


@pytest.mark.parametrize('style', (wide, latin))
def test_a_document_in_another_style_gives_the_same_facts(style):
    def facts(f):
        return [
            (x.subject, x.answer)
            for x in corpus_facts(build_corpus([dict(b, text=f(b['text'])) for b in rows()]))
        ]

    plain = facts(str)
    assert len(plain) > 60 and facts(style) == plain


@pytest.mark.parametrize(
    'text', ('問１．いつか。', '１．はじめに', '第２条．委員', '事例３．町')
)
def test_the_point_of_a_number_stays(text):
    assert japanese_stops(text) == text


def test_the_report_keeps_its_marks():
    for b in read_json(REPO / 'documents/cleaned_blocks.json')['blocks']:
        assert japanese_stops(b['text']) == b['text']
