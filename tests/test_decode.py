"""Chapter 09a: answers in slots are those of `generate`,
for every family and with an adapter on quantised layers"""

import pytest
import torch
from climate_ft import decode as D
from climate_ft.models import TINY_KINDS, quiet, tiny_family
from climate_ft.workspace import CourseError

QUESTIONS = [
    '雪氷面のアルベドとは何ですか。',
    '雪。',
    'SWOT衛星はどの機関が開発しましたか。',
    '海面水位はなぜ上がりますか。' * 6,
    '氷とは。',
]


@pytest.fixture(scope='module', params=[k for k in TINY_KINDS])
def model(request, tmp_path_factory):
    """A random model of each family,
    its weights scaled so that it babbles: every difference shows"""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_family(request.param, tmp_path_factory.mktemp('family') / request.param)
    attention = (
        'eager' if request.param == 'gemma2' else None
    )  # PyTorch's own attention leaves Gemma 2's score cap out
    with quiet():
        net = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=attention
        ).eval()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.ndim == 2 and 'embed' not in name:
                p.mul_(4)
    return net, AutoTokenizer.from_pretrained(folder)


def by_generate(net, prompt, stops, most):
    out = net.generate(
        torch.tensor([prompt]),
        max_new_tokens=most,
        do_sample=False,
        eos_token_id=stops,
        pad_token_id=0,
    )
    return out[0, len(prompt) :].tolist()


def test_slots_answer_as_generate_does(model):
    net, tok = model
    assert net.config.model_type in D.FAMILIES
    prompts = [tok(q, add_special_tokens=False).input_ids for q in QUESTIONS]
    stops = [*range(300, 360)]
    want = [by_generate(net, p, stops, 20) for p in prompts]
    assert len({tuple(a) for a in want}) == len(
        want
    )  # the answers differ, so a mixed-up slot shows
    for n, every in ((2, 3), (5, 1)):
        assert D.decode(net, prompts, stops, most=20, n=n, every=every) == want
    window = getattr(net.config, 'sliding_window', None)
    if window:
        assert any(len(p) + 20 > window for p in prompts)  # the window cuts something off


def test_each_answer_is_told_once_and_ends_at_its_stop(model):
    net, tok = model
    prompts, told = [tok(q, add_special_tokens=False).input_ids for q in QUESTIONS], []
    first = by_generate(net, prompts[1], [-1], 6)
    got = D.decode(
        net, prompts, [first[2]], most=6, n=2, on_done=lambda i, t: told.append((i, t))
    )
    assert (
        sorted(told) == sorted(enumerate(got)) and got[1] == first[: first.index(first[2]) + 1]
    )


def test_prompts_share_slots_of_their_length():
    prompts = [[1] * n for n in (10, 200, 246, 247, 900)]
    assert D.by_length(prompts, 10) == {1024: [4], 512: [3], 256: [2, 1, 0]}


@pytest.fixture
def narrow(model, monkeypatch):
    "A machine whose memory does not hold more than a number of slots"
    fill = D.Slots.fill

    def at_most(slots):
        def tried(self, rows, prompts, most):
            if len(self.rows) > slots:
                raise torch.OutOfMemoryError('CUDA out of memory.')
            return fill(self, rows, prompts, most)

        monkeypatch.setattr(D.Slots, 'fill', tried)

    return at_most


def test_fewer_slots_answer_where_the_memory_is_full(model, narrow):
    net, tok = model
    prompts, told = [tok(q, add_special_tokens=False).input_ids for q in QUESTIONS], []
    want = D.decode(net, prompts, [-1], most=6, n=5)
    narrow(2)
    got = D.decode(net, prompts, [-1], most=6, n=5, on_done=lambda i, t: told.append(i))
    assert got == want and sorted(told) == [0, 1, 2, 3, 4]


def test_memory_for_no_answer_at_all_is_one_line(model, narrow):
    net, tok = model
    narrow(0)
    with pytest.raises(CourseError, match='does not hold one answer beside the model'):
        D.decode(net, [[1, 2, 3]], [-1], most=2)


@pytest.mark.parametrize('bits', [4, 8])
def test_an_adapter_on_quantised_layers_answers_one_question(bits):
    "One question is one row, which takes the layers' old way"
    from peft import LoraConfig, get_peft_model
    from climate_ft.models import load_quantized, tiny_base

    with quiet():
        net, tok = load_quantized(tiny_base(), bits, 'float32')
        lora = LoraConfig(r=4, lora_alpha=8, target_modules=['q_proj', 'down_proj'])
        net = get_peft_model(net, lora).eval()
    for name, p in net.named_parameters():
        if 'lora_B' in name:
            torch.nn.init.normal_(p, std=0.5)
    prompt = tok(QUESTIONS[0], add_special_tokens=False).input_ids
    one = torch.tensor([prompt[:1]])
    with torch.no_grad():
        before = net(one).logits
    D.use_expanded(net)
    D.use_expanded(net)  # a second time changes nothing
    with torch.no_grad():
        assert torch.equal(net(one).logits, before)
    assert [len(a) for a in D.decode(net, [prompt], [-1], most=8, n=1)] == [8]
