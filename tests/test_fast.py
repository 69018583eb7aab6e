import pytest
import torch
import torch.nn.functional as F
from climate_ft.fast import (
    PackedCollator,
    PackedStep,
    completion_loss,
    expand,
    keep_expanded,
    lora_linear,
    packed_attention,
    use_lora_linear,
    use_packed_attention,
)
from climate_ft.models import load_quantized
from climate_ft.preflight import seeded


@pytest.mark.parametrize('bucket', [1, 8, 64])
def test_a_packed_row_holds_every_example_once(bucket):
    examples = [
        dict(input_ids=[1, 2, 3], labels=[-100, 2, 3]),
        dict(input_ids=[4, 5], labels=[-100, 5]),
        dict(input_ids=[6], labels=[6]),
    ]
    b = PackedCollator(0, bucket)(examples)
    n = b['tokens']
    assert n == 6 and b['input_ids'].shape[1] % bucket == 0
    assert b['input_ids'][0, :n].tolist() == [1, 2, 3, 4, 5, 6] and b['position_ids'][
        0, :n
    ].tolist() == [0, 1, 2, 0, 1, 0]
    assert (
        b['borders'][:4].tolist() == [0, 3, 5, 6]
        and b['borders'][-1] == b['input_ids'].shape[1]
    )
    wanted = {i.item(): t.item() for i, t in zip(b['index'], b['targets']) if t >= 0}
    assert wanted == {0: 2, 1: 3, 3: 5}  # a lone first token is predicted from nothing


def test_packed_rows_of_rows():
    b = PackedCollator(0, 1)(
        [
            dict(input_ids=[1, 2, 3, 4], labels=[-100, 2, -100, 4], seq_lengths=[2, 2]),
            dict(input_ids=[5, 6], labels=[-100, 6], seq_lengths=[2]),
        ]
    )
    assert b['borders'][:4].tolist() == [0, 2, 4, 6] and b['position_ids'].tolist() == [
        [0, 1, 0, 1, 0, 1]
    ]


@pytest.mark.parametrize('chunk', [1, 5, 100])
def test_the_chunked_loss_is_cross_entropy(chunk):
    with seeded(0):
        h, w, y = (
            torch.randn(17, 8, requires_grad=True),
            torch.randn(50, 8),
            torch.randint(50, (17,)),
        )
    y[3] = y[16] = -100
    want = F.cross_entropy(h @ w.T, y, reduction='sum')
    got = completion_loss(h, w, y, chunk)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(
        torch.autograd.grad(got * 3, h)[0], torch.autograd.grad(want * 3, h)[0]
    )


@pytest.mark.parametrize('scale', [2.0**16, 2.0**20])
@pytest.mark.parametrize('sure', [0.3, 20.0])
def test_a_scaled_gradient_in_float16_is_that_of_float32(sure, scale):
    """One trained token, whose scale float16 cannot hold; sure: the token is known already,
    and float16 cannot hold the gradient before it is scaled"""
    with seeded(0):
        h, w = torch.randn(1, 64), torch.randn(500, 64) / 20
    h, y = (h + sure * w[7:8] / w[7].norm()).half(), torch.tensor([7])

    def gradient(dtype):
        x = h.to(dtype).requires_grad_()
        return torch.autograd.grad(completion_loss(x, w.half().to(dtype), y) * scale, x)[0]

    want, got = gradient(torch.float32), gradient(torch.float16)
    assert 1e-4 < want.abs().max() < 65504 * 16
    held = want.abs() < 6e4
    torch.testing.assert_close(got.float()[held], want[held], atol=0, rtol=0.02)
    assert got[want.abs() > 65520].isinf().all()


def test_scores_that_overflow_do_not():
    h = torch.full((2, 4), 300.0, requires_grad=True)
    loss = completion_loss(h, torch.eye(4) * 100, torch.tensor([0, 1]))
    loss.backward()
    assert loss.isfinite() and h.grad.isfinite().all()


@pytest.mark.parametrize('bits', [4, 8, 16])
def test_layer_and_adapter_against_plain_arithmetic(bits):
    layer = load_quantized('tiny', bits, 'float32')[0].model.layers[1].mlp.down_proj
    w, rows = expand(layer, torch.float32)
    w = w if rows is None else w * rows[:, None]
    with seeded(1):
        x, A, B = (torch.randn(*s, requires_grad=True) for s in ((5, 384), (4, 384), (128, 4)))
    got, want = lora_linear(x, layer, A, B, 0.5), x @ w.T + 0.5 * (x @ A.T) @ B.T
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    for a, b in zip(
        torch.autograd.grad(got.square().sum(), (x, A, B)),
        torch.autograd.grad(want.square().sum(), (x, A, B)),
    ):
        torch.testing.assert_close(a, b, atol=1e-2, rtol=1e-3)


def _adapted(bits):
    from peft import LoraConfig, get_peft_model

    model, _ = load_quantized('tiny', bits, 'float32')
    with seeded(0):
        model = get_peft_model(model, LoraConfig(target_modules='all-linear'))
        for n, p in model.named_parameters():
            if 'lora_B' in n:
                torch.nn.init.normal_(p, std=0.02)
    use_packed_attention(model)
    use_lora_linear(model)
    return model


def _loss_and_gradient(model):
    model.zero_grad()
    step = PackedStep(model, record=False)
    ids = list(range(5, 45))
    b = PackedCollator(0, 16)([dict(input_ids=ids, labels=ids)])
    return step(b, torch.tensor(39.0)), step.grad.clone()


@pytest.mark.parametrize('bits', [4, 8])
def test_weights_that_stay_expanded_change_no_bit(bits, monkeypatch):
    model = _adapted(bits)
    loss, grad = _loss_and_gradient(model)
    layers = [
        m
        for n, m in model.named_modules()
        if n.endswith('_proj.base_layer') or n.endswith('_proj') and not hasattr(m, 'lora_A')
    ]
    sizes = [m.in_features * m.out_features * 4 for m in layers]
    room = sum(sizes[:3]) / 2**30
    assert keep_expanded(model, torch.float32, room * 0.999) == 2  # no room for the third
    assert keep_expanded(model, torch.float32, room) == 3
    assert [hasattr(m, 'kept') for m in layers] == [True] * 3 + [False] * (len(layers) - 3)
    assert keep_expanded(model, torch.float32, 1) == len(layers)
    first = layers[0].kept[0]
    assert expand(layers[0], torch.float32)[0] is first
    assert expand(layers[0], torch.bfloat16)[0].dtype == torch.bfloat16
    import bitsandbytes.functional as bnb

    monkeypatch.setattr(bnb, 'dequantize_4bit', None)  # not called any more
    again = _loss_and_gradient(model)
    assert loss.item() == again[0].item() and torch.equal(grad, again[1])
    assert keep_expanded(model, torch.float32, -1) == 0


@pytest.mark.parametrize('bits', [4, 8, 16])
def test_layers_in_float16(bits):
    "Rows of 8-bit codes whose sum float16 cannot hold among them"
    layer = load_quantized('tiny', bits, 'float16')[0].model.layers[1].mlp.down_proj
    w, rows = expand(layer, torch.float32)
    w = w if rows is None else w * rows[:, None]
    x, A, B = 30 * torch.ones(3, 384) * w[:1].sign(), torch.zeros(4, 384), torch.zeros(128, 4)
    got = lora_linear(x.half(), layer, A, B, 0.5)
    assert got.dtype == torch.float16 and (x @ w.T).abs().max() > 30
    torch.testing.assert_close(got.float(), x @ w.T, atol=0.1, rtol=0.01)


def test_an_example_does_not_see_its_neighbour():
    model, tok = load_quantized('tiny', 16, 'float32')
    use_packed_attention(model)

    def last(rows):
        b = PackedCollator(tok.pad_token_id, 32)([dict(input_ids=r, labels=r) for r in rows])
        with torch.no_grad():
            return model.model(
                input_ids=b['input_ids'],
                position_ids=b['position_ids'],
                borders=b['borders'],
                longest=b['longest'],
                use_cache=False,
            ).last_hidden_state[0]

    a, b, c = [5, 6, 7, 8], [9, 10, 11], [12, 13, 14]
    torch.testing.assert_close(last([a, c])[4:7], last([b, c])[3:6])
    assert not torch.allclose(
        last([a + c])[4:7], last([b + c])[3:6]
    )  # in one example it would


def test_a_step_accumulates_and_starts_afresh():
    from peft import LoraConfig, get_peft_model

    model, tok = load_quantized('tiny', 4)
    model = get_peft_model(
        model, LoraConfig(r=4, target_modules=['q_proj', 'up_proj'], init_lora_weights=False)
    )
    use_packed_attention(model.get_base_model())
    use_lora_linear(model)
    step, make = PackedStep(model, record=False), PackedCollator(tok.pad_token_id, 16)
    one, two = (make([dict(input_ids=i, labels=i)]) for i in ([5, 6, 7, 8], [9, 10, 11, 12]))

    def gradient(*batches):
        model.zero_grad()
        for b in batches:
            step(b, torch.tensor(6.0))
        return [g.clone() for g in step.grads]

    a, b, both = gradient(one), gradient(two), gradient(one, two)
    for x, y, z in zip(a, b, both):
        torch.testing.assert_close(x + y, z, atol=1e-4, rtol=1e-2)
    for x, y in zip(a, gradient(one)):
        assert torch.equal(x, y)


@pytest.mark.parametrize('window', [1, 4, 5, 6, 50])
def test_a_window_is_the_latest_tokens_with_ones_own(window):
    "Against the definition, token by token; lengths below, at and above the window"
    q, k, v = (
        torch.randn(1, h, 11, 8, generator=torch.Generator().manual_seed(h)) for h in (4, 2, 2)
    )
    borders = torch.tensor([0, 5, 11, 11, 11]).int()

    def by_hand(cap):
        out = torch.zeros(1, 11, 4, 8)
        for a, b in ((0, 5), (5, 11)):
            for i in range(a, b):
                seen = range(max(a, i - window + 1), i + 1)
                for h in range(4):
                    s = torch.stack([q[0, h, i] @ k[0, h // 2, j] for j in seen]) * 0.3
                    if cap:
                        s = cap * (s / cap).tanh()
                    out[0, i, h] = s.softmax(0) @ v[0, h // 2, list(seen)]
        return out

    for cap in (None, 1.5):
        got = packed_attention(
            None,
            q,
            k,
            v,
            None,
            0.3,
            borders=borders,
            longest=6,
            sliding_window=window,
            softcap=cap,
        )[0]
        torch.testing.assert_close(got, by_hand(cap))


def test_the_gpus_kernel_is_told_the_tokens_before_ones_own(monkeypatch):
    from climate_ft import compat

    said = {}

    def op(*a, **kw):
        said.update(kw)
        return (torch.zeros(1),)

    monkeypatch.setattr(torch.ops.aten, '_flash_attention_forward', op)
    for window, left in ((16, 15), (None, None)):
        compat.flash_kernel()(*[None] * 6, scale=0.5, window=window)
        assert (said['window_size_left'], said['window_size_right'], said['scale']) == (
            left,
            0 if window else None,
            0.5,
        )


def test_an_empty_batch_adds_nothing():
    b = PackedCollator(0, 8)([dict(input_ids=[], labels=[])])
    assert (
        b['tokens'] == 0
        and b['input_ids'].tolist() == [[0] * 8]
        and (b['targets'] == -100).all()
    )
    with_one = PackedCollator(0, 8)(
        [dict(input_ids=[], labels=[]), dict(input_ids=[3, 4], labels=[-100, 4])]
    )
    assert with_one['tokens'] == 2 and with_one['targets'].tolist()[:2] == [4, -100]
    h = torch.randn(3, 4, requires_grad=True)
    loss = completion_loss(h[:0], torch.randn(5, 4), torch.tensor([], dtype=torch.long))
    assert loss.item() == 0 and torch.autograd.grad(loss, h)[0].abs().sum() == 0
