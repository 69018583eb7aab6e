"""What happens when a name that a library does not promise is gone:
one line, and the run goes on."""

import types
import pytest
import torch
from climate_ft import compat as C
from climate_ft.models import load_quantized


@pytest.fixture
def said(capsys):
    "The lines that were said, whatever was said before"
    C.say_once.__defaults__[0].clear()
    return lambda: [
        l for l in capsys.readouterr().err.splitlines() if l.startswith('climate-ft: ')
    ]


def test_without_the_kernel_examples_are_attended_to_one_by_one(monkeypatch, said):
    monkeypatch.setattr(torch.ops, 'aten', object())
    assert C.flash_kernel() is None and C.flash_kernel() is None
    assert [l[:60] for l in said()] == [
        'climate-ft: this PyTorch has no attention with borders that '[:60]
    ]


@pytest.mark.parametrize('bits', [4, 8, 16])
@pytest.mark.parametrize('damage', [None, 'weight', 'adapter'])
def test_a_layer_that_is_built_otherwise_computes_as_peft_does(bits, damage, said):
    from climate_ft.fast import use_lora_linear
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        load_quantized('tiny', bits, 'float32')[0],
        LoraConfig(r=4, target_modules=['up_proj'], init_lora_weights=False),
    )
    layer = model.get_base_model().model.layers[0].mlp.up_proj
    x = torch.randn(3, 128, generator=torch.Generator().manual_seed(0))
    if damage == 'weight':
        layer.base_layer.__class__ = type('Linear3bit', (layer.base_layer.__class__,), {})
    if damage == 'adapter':
        layer.scaling = {}
        layer.scaling_of = 1.0
        layer.forward = types.MethodType(lambda self, x: x * 0, layer)
    want = layer(x)
    use_lora_linear(model)
    torch.testing.assert_close(
        layer(x), want, atol=1e-4 if bits != 8 else 0.3, rtol=1e-3 if bits != 8 else 0.2
    )
    assert len(said()) == bool(damage) and (
        'lora_linear' in str(layer.forward.__func__.__code__.co_names)
    ) == (not damage)


def test_a_trainer_with_other_methods_is_said_to_be_one(said):
    class Other:
        def _save_checkpoint(self):
            pass

        def _get_train_sampler(self):
            pass

    assert (
        C.check_trainer(Other)
        == C.check_trainer(Other)
        == ['this version of transformers has no Trainer._clip_grad_norm: clipping is slower']
    )
    assert len(said()) == 1


def test_the_attention_of_a_model_without_the_method():
    model = types.SimpleNamespace(config=types.SimpleNamespace(_attn_implementation='sdpa'))
    C.set_attention(model, 'packed')
    assert C.attention_name(model) == 'packed'
    real = load_quantized('tiny', 16, 'float32')[0]
    C.set_attention(real, 'eager')
    assert C.attention_name(real) == 'eager'


def test_a_conversion_without_its_bar(monkeypatch):
    from transformers import modeling_gguf_pytorch_utils as g

    bar = g.tqdm
    with C.without_gguf_bar():
        assert g.tqdm is not bar
    assert g.tqdm is bar
    monkeypatch.delattr(g, 'tqdm')
    with C.without_gguf_bar():
        assert not hasattr(g, 'tqdm')


def test_a_trainer_that_insists_on_all_gpus_is_refused():
    class Arguments:
        n_gpu = 2

    with pytest.raises(C.CourseError, match='CUDA_VISIBLE_DEVICES=0'):
        C.use_one_device(Arguments())
