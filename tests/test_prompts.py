import json
import pytest
from transformers import AutoTokenizer
from climate_ft import prompts as P, templates
from climate_ft.models import TINY_KINDS, TINY_TOKENIZER, _tiny_tokenizer
from climate_ft.prompts import encode, encode_rows, family, prompt_ids, render, show_tokens
from climate_ft.workspace import REPO, CourseError


@pytest.fixture(scope='module')
def tok():
    return AutoTokenizer.from_pretrained(TINY_TOKENIZER)


def test_render_is_the_template_with_thinking_off(tok):
    q, a = '雪氷面のアルベドとは何ですか。', '太陽光を反射する割合です。'
    assert (
        render(tok, q)
        == f'<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n'
    )
    assert render(tok, q, a) == render(tok, q) + a + '<|im_end|>'
    assert render(tok, q, input='本文') == render(tok, f'{q}\n\n本文')
    assert render(tok, q, f' {a}\n') == render(tok, q, a)


@pytest.mark.parametrize(
    'answer', ['約1.1℃', 'はい', '2024年5月に打ち上げられた。', 'A', ' x ']
)
def test_the_answer_and_its_end_are_trained_and_nothing_else(tok, answer):
    e = encode(tok, '質問', answer)
    trained = [i for i, l in zip(e['input_ids'], e['labels']) if l != -100]
    assert tok.decode(trained) == answer.strip() + '<|im_end|>'
    assert e['labels'][: len(e['labels']) - len(trained)] == [-100] * (
        len(e['labels']) - len(trained)
    )
    assert (
        e['input_ids'][: -len(trained)]
        == tok(render(tok, '質問'), add_special_tokens=False).input_ids
    )  # what inference sees


def test_long_examples_are_counted_not_cut(tok):
    with pytest.raises(CourseError, match='tokens and the limit is 20'):
        encode(tok, '質問' * 20, '答え', 20)
    rows = [
        dict(instruction='質問', input='', output='答え'),
        dict(instruction='質問', input='本文' * 200, output='答え'),
    ]
    kept, long = encode_rows(tok, rows, 64)
    assert len(kept) == 1 and long == [1]
    with pytest.raises(CourseError, match='1 row is longer than 64 tokens, and none'):
        encode_rows(tok, rows[1:], 64)


@pytest.mark.parametrize(
    'rows,message',
    [
        ([], 'is empty'),
        (
            [dict(prompt='a', completion='b')],
            r'row 1: no text in instruction and output \(it has prompt, completion\)',
        ),
        ([dict(instruction='a', output=' ')], 'no text in output'),
        ([dict(instruction=None, output='b')], 'no text in instruction'),
    ],
)
def test_wrong_datasets_are_named(tok, rows, message):
    with pytest.raises(CourseError, match=message):
        encode_rows(tok, rows, name='train.jsonl')


def test_a_tokenizer_without_a_known_template_is_refused(tok):
    bare = AutoTokenizer.from_pretrained(TINY_TOKENIZER)
    bare.chat_template = None
    with pytest.raises(CourseError, match='has no chat template'):
        render(bare, '質問')
    bare.chat_template = '{{ messages[0].content }}'
    with pytest.raises(CourseError, match='unknown family'):
        family(bare)


def test_the_token_view_shows_every_token_and_escapes(tok):
    e = encode(tok, '<img src=x onerror=alert(1)>', '1&2')
    html = show_tokens(tok, e).data
    assert '<img' not in html and '&lt;' in html and '&amp;' in html
    assert html.count('#ffe08a') == sum(l != -100 for l in e['labels'])


def test_the_tiny_tokenizer_cuts_any_text_without_loss(tok):
    for s in ('雪氷面のアルベド', '①②③ ㎞ ☃ 🙂', 'Ångström naïve', '鬱蒼 麤 龘'):
        assert tok.decode(tok(s, add_special_tokens=False).input_ids) == s


# ---- control tokens are text

CONTROL = (
    '<|im_start|> <|im_end|> <|endoftext|> <start_of_turn> <end_of_turn> '
    '<bos> <eos> <pad> <s> </s> [INST] [/INST] <think> </think> <tool_call> '
    '<|eot_id|> <|start_header_id|> <|begin_of_text|> '
    '<|reserved_special_token_0|> <|fim_pad|>'.split()
)


def added(tok):
    return {i for i in tok.added_tokens_decoder}


@pytest.mark.parametrize('kind', TINY_KINDS)
def test_what_spells_a_control_token_is_text(kind):
    tok = _tiny_tokenizer(kind)
    frame = [i for i in prompt_ids(tok, '質問') if i in added(tok)]
    end = [tok.convert_tokens_to_ids(family(tok)[1])]
    assert sum(t in tok.get_vocab() for t in CONTROL) >= 7
    for t in [*CONTROL, ''.join(CONTROL), '<<s><|im_<|im_end|>end|>', 'a<s']:
        for place in ('{}', '{}とは', 'これは{}。', '\n{}\n{}'):
            text = place.replace('{}', t)
            for e in (
                encode(tok, text, '答え'),
                encode(tok, '質問', '答え', input=text),
                encode(tok, '質問', text),
            ):
                labels = [i for i in e['labels'] if i != -100]
                prompt = e['input_ids'][: len(e['input_ids']) - len(labels)]
                assert [i for i in prompt if i in added(tok)] == frame and [
                    i for i in labels if i in added(tok)
                ] == end
            assert tok.decode(prompt_ids(tok, text)) == render(tok, text)
            assert tok.decode(labels) == text.strip() + tok.decode(end)


@pytest.mark.parametrize('kind', TINY_KINDS)
def test_ordinary_rows_have_the_tokens_of_the_template(kind):
    """As Transformers renders and tokenises them,
    for every tenth row of the course's training data"""
    tok, end = _tiny_tokenizer(kind), family(_tiny_tokenizer(kind))[1]
    for l in (REPO / 'data/splits/train.jsonl').read_text(encoding='utf-8').splitlines()[::10]:
        r = json.loads(l)
        e = encode(tok, r['instruction'], r['output'], input=r['input'])
        content = r['instruction'] + ('\n\n' + r['input'] if r['input'] else '')
        prompt = tok.apply_chat_template(
            [dict(role='user', content=content)],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        assert e['input_ids'] == [
            i
            for s in (prompt, r['output'].strip() + end)
            for i in tok(s, add_special_tokens=False).input_ids
        ]


def test_a_word_that_was_added_to_the_vocabulary_stays_one_token(tok):
    own = AutoTokenizer.from_pretrained(TINY_TOKENIZER)
    own.add_tokens(['気候変動'])
    assert own.convert_tokens_to_ids('気候変動') in prompt_ids(
        own, '気候変動とは'
    ) and '<think>' in render(own, '')


# ---- a template is a program

LOOP = '{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}'
BAD = [
    ('<|im_start|>' + LOOP, 'does not come to an end'),
    ("<|im_start|>{{ 'a'*10**11 }}", 'cannot be used'),
    ("<|im_start|>{{ raise_exception('no users') }}", 'cannot be used .no users'),
    ('<|im_start|>{{ messages }}{{ messages[0].content }}', 'does not show a question once'),
]


@pytest.mark.parametrize('template,message', BAD)
def test_a_foreign_template_has_limits(monkeypatch, template, message):
    if 'end' in message:
        monkeypatch.setattr(templates, 'SECONDS', 2)
    bare = AutoTokenizer.from_pretrained(TINY_TOKENIZER)
    bare.chat_template = template
    with pytest.raises(CourseError, match=message):
        prompt_ids(bare, '質問')


def test_a_template_is_rendered_once_and_apart(monkeypatch):
    """The same as Transformers makes of it;
    white space is removed where the template removes it"""
    bare, calls, run = (
        AutoTokenizer.from_pretrained(TINY_TOKENIZER),
        [],
        templates.subprocess.run,
    )
    monkeypatch.setattr(
        templates.subprocess, 'run', lambda *a, **kw: calls.append(1) or run(*a, **kw)
    )
    bare.chat_template = (
        "{{ eos_token }}[INST] {{ messages[0].content.strip() "
        "}} [/INST]{% generation %}{% endgeneration %}"
    )
    for text in ('質問', ' 質問 \n', '<|im_end|>'):
        assert (
            render(bare, text)
            == bare.apply_chat_template([dict(role='user', content=text)], tokenize=False)
            == f'<|im_end|>[INST] {text.strip()} [/INST]'
        )
    assert len(calls) == 1
    assert (
        render(AutoTokenizer.from_pretrained(TINY_TOKENIZER), '質問') and len(calls) == 1
    )  # Qwen3's own is known


def test_the_pattern_of_control_tokens_is_built_only_where_it_may_find_one(monkeypatch):
    tok, plain, built = (
        AutoTokenizer.from_pretrained(TINY_TOKENIZER),
        templates.control_words,
        [],
    )

    def control_words(added):
        built.append(len(added))
        return plain(added)

    monkeypatch.setattr(templates, 'control_words', control_words)
    ids = prompt_ids(tok, '海氷とは何ですか。', '海氷は海の水がこおったもの。\n\n白い。')
    assert built == [] and tok.decode(ids).count('<|im_end|>') == 1
    for word, known in (('<|im_end|>', 1), ('<x>', 1)):  # < may begin one
        ids = prompt_ids(tok, f'{word}とは何ですか。')
        assert len(built) == known and tok.decode(ids).count(word) == 1 + (
            word == '<|im_end|>'
        )
        assert ids.count(tok.convert_tokens_to_ids('<|im_end|>')) == 1
