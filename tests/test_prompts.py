import pytest
from transformers import AutoTokenizer
from climate_ft.models import TINY_TOKENIZER
from climate_ft.prompts import encode, encode_rows, family, render, show_tokens
from climate_ft.workspace import CourseError

@pytest.fixture(scope='module')
def tok(): return AutoTokenizer.from_pretrained(TINY_TOKENIZER)

def test_render_is_the_template_with_thinking_off(tok):
    q, a = '雪氷面のアルベドとは何ですか。', '太陽光を反射する割合です。'
    assert render(tok, q) == f'<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n'
    assert render(tok, q, a) == render(tok, q)+a+'<|im_end|>'
    assert render(tok, q, input='本文') == render(tok, f'{q}\n\n本文')
    assert render(tok, q, f' {a}\n') == render(tok, q, a)

@pytest.mark.parametrize('answer', ['約1.1℃', 'はい', '2024年5月に打ち上げられた。', 'A', ' x '])
def test_the_answer_and_its_end_are_trained_and_nothing_else(tok, answer):
    e = encode(tok, '質問', answer)
    trained = [i for i,l in zip(e['input_ids'], e['labels']) if l != -100]
    assert tok.decode(trained) == answer.strip()+'<|im_end|>'
    assert e['labels'][:len(e['labels'])-len(trained)] == [-100]*(len(e['labels'])-len(trained))
    assert e['input_ids'][:-len(trained)] == tok(render(tok, '質問'), add_special_tokens=False).input_ids     # what inference sees

def test_long_examples_are_counted_not_cut(tok):
    with pytest.raises(CourseError, match='tokens and the limit is 20'): encode(tok, '質問'*20, '答え', 20)
    rows = [dict(instruction='質問', input='', output='答え'), dict(instruction='質問', input='本文'*200, output='答え')]
    kept, long = encode_rows(tok, rows, 64)
    assert len(kept) == 1 and long == [1]
    with pytest.raises(CourseError, match='all 1 rows are longer'): encode_rows(tok, rows[1:], 64)

@pytest.mark.parametrize('rows,message', [([], 'is empty'), ([dict(prompt='a', completion='b')], r'row 1: no text in instruction and output \(it has prompt, completion\)'),
                                          ([dict(instruction='a', output=' ')], 'no text in output'), ([dict(instruction=None, output='b')], 'no text in instruction')])
def test_wrong_datasets_are_named(tok, rows, message):
    with pytest.raises(CourseError, match=message): encode_rows(tok, rows, name='train.jsonl')

def test_a_tokenizer_without_a_known_template_is_refused(tok):
    bare = AutoTokenizer.from_pretrained(TINY_TOKENIZER)
    bare.chat_template = None
    with pytest.raises(CourseError, match='has no chat template'): render(bare, '質問')
    bare.chat_template = '{{ messages[0].content }}'
    with pytest.raises(CourseError, match='unknown family'): family(bare)

def test_the_token_view_shows_every_token_and_escapes(tok):
    e = encode(tok, '<img src=x onerror=alert(1)>', '1&2')
    html = show_tokens(tok, e).data
    assert '<img' not in html and '&lt;' in html and '&amp;' in html
    assert html.count('#ffe08a') == sum(l != -100 for l in e['labels'])

def test_the_tiny_tokenizer_cuts_any_text_without_loss(tok):
    for s in ('雪氷面のアルベド', '①②③ ㎞ ☃ 🙂', 'Ångström naïve', '鬱蒼 麤 龘'): assert tok.decode(tok(s, add_special_tokens=False).input_ids) == s
