"Labs 21, 22, 24, 25, 29: each failure must fail with the pinned versions, each fix must pass"

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('bitsandbytes')
pytest.importorskip('peft')
pytest.importorskip('trl')
os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_VERBOSITY='error')
from climate_ft.accounting import (
    allocate_under_cap,
    kept_gib,
    kept_tensors,
    meta_model,
    read_oom,
    weight_bytes,
)
from climate_ft.diagnose import diagnose_gradients, gradient_facts
from climate_ft.models import check_bits, load_quantized, quiet, tiny_base
from climate_ft.preflight import GiB, SHAPES, Shape
from climate_ft.prompts import encode, render
from climate_ft.signatures import ALIASES, check_package, library_calls, unknown_keywords
from climate_ft.train import SEVEN
from climate_ft.workspace import CourseError

REPO = Path(__file__).resolve().parent.parent

# 21 ------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def sizes():
    plain = meta_model(SHAPES['qwen3-8b'], 0)
    return {bits: weight_bytes(plain, bits) for bits in (16, 8, 4)}


@pytest.mark.skipif(sys.platform != 'linux', reason='RLIMIT_AS')
def test_16_bit_weights_do_not_fit_and_4_bit_do(sizes):
    assert "can't allocate memory" in allocate_under_cap(sizes[16], 15)
    assert [allocate_under_cap(sizes[b], 15).split(':')[0] for b in (8, 4)] == ['fits', 'fits']


@pytest.mark.skipif(sys.platform != 'linux', reason='RLIMIT_AS')
def test_trying_again_fails_again(sizes):
    first, second = allocate_under_cap(sizes[16], 15, tries=2).splitlines()
    assert first == second and first.startswith('lm_head')


def test_weights_add_up(sizes):
    assert sum(sizes[16].values()) == 2 * 8_190_735_360
    assert [round(sum(sizes[b].values()) / GiB, 1) for b in (16, 8, 4)] == [15.3, 8.8, 5.7]


def test_activations_grow_with_tokens_and_checkpointing_removes_them():
    m = meta_model(Shape(1024, 256, 768, 4, 8, 2, 32, False), 8)
    a, b, c, ck = (
        kept_gib(m, *o, output=False) for o in ((1, 256), (1, 512), (2, 256), (2, 256, True))
    )
    assert (
        b == pytest.approx(2 * a, rel=0.02) and b == pytest.approx(c, rel=0.02) and ck < b / 8
    )
    assert kept_gib(m, 1, 256) > a
    assert not any(
        t.shape[-2:] == (160, 160) for t in kept_tensors(m, 1, 160)
    )  # no attention matrix is kept


MESSAGE = (
    'CUDA out of memory. Tried to allocate {} MiB. '
    'GPU 0 has a total capacity of 80.00 GiB of which {} GiB is free. '
    '{}Including non-PyTorch memory, this process has {} GiB memory in use. '
    'Of the allocated memory {} GiB is allocated by PyTorch, '
    'and {} MiB is reserved by PyTorch but unallocated.'
)


@pytest.mark.parametrize(
    'message,holder,gib',
    [
        (MESSAGE.format(512, 1, '', 79, '78.00', 256), 'pytorch', 78.0),
        (MESSAGE.format(512, 1, '', 79, '20.00', 58 * 1024), 'cache', 58.0),
        (MESSAGE.format(336, 0, '', 80, '1.25', 0), 'other_libraries', 78.75),
        (
            MESSAGE.format(336, 0, 'Process 7 has 70.00 GiB memory in use. ', 10, '9.00', 0),
            'other_processes',
            70.0,
        ),
    ],
)
def test_a_message_names_who_holds_the_memory(message, holder, gib):
    d = read_oom(message)
    assert (
        max('pytorch cache other_libraries other_processes'.split(), key=d.get) == holder
        and d[holder] == gib
    )


def test_saved_messages_are_read():
    d = json.loads((REPO / 'results' / 'gpu_labs.json').read_text())
    assert read_oom(d['load16']['outcome']) == dict(
        asked=15.26, pytorch=0, cache=0, other_libraries=0.51, other_processes=0.01, free=78.66
    )
    assert read_oom(d['memory4']['under_cap_off']['error'])['pytorch'] == 14.79


def test_the_8_bit_product_keeps_its_input_out_of_sight_of_checkpointing():
    "If this fails, bitsandbytes uses save_for_backward: lab 21 can say so"
    import bitsandbytes.functional as F
    from bitsandbytes.autograd._functions import MatMul8bitLt, MatmulLtState
    from torch.utils.checkpoint import checkpoint

    s = MatmulLtState()
    s.CB, s.SCB, _ = F.int8_vectorwise_quant(torch.randn(64, 32).half())
    s.threshold, s.has_fp16_weights, s.is_training = 6.0, False, True
    y = checkpoint(
        lambda x: MatMul8bitLt.apply(x, s.CB, None, None, s),
        torch.randn(10, 32, requires_grad=True),
        use_reentrant=False,
    )
    assert any(t is not None and t.shape == (10, 32) for t in y.grad_fn.tensors)


# 22 ------------------------------------------------------------------------------------------

OLD = '''
from transformers import TrainingArguments
from trl import SFTTrainer
SFTTrainer(model=m, tokenizer=t, dataset_text_field='text', max_seq_length=8, packing=False,
           args=TrainingArguments('o', evaluation_strategy='no'))
'''


def test_the_old_call_fails():
    from trl import SFTTrainer

    with pytest.raises(TypeError, match="unexpected keyword argument 'tokenizer'"):
        SFTTrainer(model=None, tokenizer=None)


def test_every_old_keyword_is_named_at_once():
    assert {k for *_, k in unknown_keywords(OLD)} == {
        'tokenizer',
        'dataset_text_field',
        'max_seq_length',
        'packing',
        'evaluation_strategy',
    }


def test_the_package_passes_known_keywords_only():
    assert check_package(REPO / 'climate_ft') == []
    assert any(
        c.name.startswith('trainer_class')
        for c in library_calls((REPO / 'climate_ft' / 'train.py').read_text(), ALIASES)
    )


@pytest.mark.parametrize(
    'module,good,bad',
    [
        ('train', 'processing_class=tok', 'tokenizer=tok'),
        ('trainer', 'max_length=None', 'max_seq_length=None'),
        ('trainer', 'warmup_steps=', 'warmup_ratio='),
        ('trainer', 'lora_alpha=', 'alpha='),
    ],
)
def test_a_rename_in_the_package_is_seen(module, good, bad):
    src = (REPO / 'climate_ft' / f'{module}.py').read_text()
    assert good in src
    assert bad.split('=')[0] in {
        k for *_, k in unknown_keywords(src.replace(good, bad), ALIASES)
    }


def test_unpacked_dictionaries_aliases_and_missing_libraries():
    src = (
        "import trl as t\nfrom nowhere_at_all import f\nfrom trl import "
        "SFTConfig as C\nkw = dict(a1=1)\nC('o', **kw, **(dict(a2=1) if x else {'a3': "
        "1}))\nt.SFTConfig(a4=1)\nf(a5=1)\nC('o').b(a6=1)"
    )
    assert {k for *_, k in unknown_keywords(src)} == {'a1', 'a2', 'a3', 'a4'}


def test_a_misspelt_precision_is_not_refused_but_counted():
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    with quiet():
        m = AutoModelForCausalLM.from_pretrained(
            tiny_base(64, 2), quantization_config=BitsAndBytesConfig(load_in_8bits=True)
        )
    with pytest.raises(CourseError, match='8-bit layers were asked for'):
        check_bits(m, 8)


# 24 ------------------------------------------------------------------------------------------


def lora(model, **kw):
    from peft import LoraConfig, get_peft_model

    auto = kw.pop('autocast_adapter_dtype', True)
    torch.manual_seed(0)
    return get_peft_model(
        model,
        LoraConfig(r=4, lora_alpha=4, target_modules=list(SEVEN), task_type='CAUSAL_LM', **kw),
        autocast_adapter_dtype=auto,
    ).train()


def base(bits=8, dtype='float32'):
    return load_quantized(tiny_base(64, 2), bits, dtype)[0]


def batch():
    ids = torch.randint(10, 500, (2, 16), generator=torch.Generator().manual_seed(0))
    return dict(input_ids=ids, labels=ids.clone())


def cut(m, reentrant):
    m.gradient_checkpointing_enable(
        gradient_checkpointing_kwargs=dict(use_reentrant=reentrant)
    )
    m.get_base_model().disable_input_require_grads()
    return m


def frozen(trainable, tmp_path):
    from peft import PeftModel

    lora(base()).save_pretrained(tmp_path)
    return PeftModel.from_pretrained(base(), tmp_path, is_trainable=trainable).train()


@pytest.mark.parametrize('bits', [4, 8, 16])
def test_gradients_are_healthy_in_every_precision(bits):
    f = gradient_facts(lora(base(bits)), batch())
    assert (f['trained'], f['none'], f['zero'], f['fresh'], f['not_finite']) == (
        28,
        0,
        14,
        14,
        0,
    )
    assert diagnose_gradients(lora(base(bits)), batch(), bits).cause == 'healthy'


def test_each_cause_has_its_name(tmp_path):
    masked = batch()
    masked['labels'][:] = -100
    assert diagnose_gradients(lora(base()), masked).cause == 'no labels'
    assert diagnose_gradients(cut(lora(base()), True), batch()).cause == 'cut graph'
    assert (
        diagnose_gradients(cut(lora(base(), modules_to_save=['lm_head']), True), batch()).cause
        == 'cut graph'
    )
    assert diagnose_gradients(frozen(False, tmp_path), batch()).cause == 'frozen'
    assert (
        diagnose_gradients(lora(base(16, 'float16')), batch(), scale=2.0**30).cause
        == 'overflow'
    )
    assert (
        diagnose_gradients(
            lora(base(16, 'float16'), autocast_adapter_dtype=False), batch(), scale=1e-7
        ).cause
        == 'underflow'
    )
    assert diagnose_gradients(lora(base(4)), batch(), 8).cause == 'other precision'
    with torch.no_grad():
        assert diagnose_gradients(lora(base()), batch()).cause == 'gradients off'


def test_each_fix_is_healthy(tmp_path):
    assert diagnose_gradients(cut(lora(base()), False), batch(), 8).cause == 'healthy'
    assert diagnose_gradients(frozen(True, tmp_path), batch(), 8).cause == 'healthy'
    assert diagnose_gradients(lora(base(16, 'float16')), batch(), 16).cause == 'healthy'


def test_an_inactive_adapter_is_seen():
    m = lora(base())
    from peft import LoraConfig

    m.add_adapter('second', LoraConfig(r=4, target_modules=list(SEVEN)))
    for n, p in m.named_parameters():
        p.requires_grad_('default' in n)
    m.base_model.set_adapter('second')
    for n, p in m.named_parameters():
        p.requires_grad_('default' in n)
    m.get_base_model().enable_input_require_grads()
    assert diagnose_gradients(m, batch()).cause == 'unused adapter'


def test_diagnosis_leaves_no_gradients_behind():
    m = lora(base())
    diagnose_gradients(m, batch())
    assert all(p.grad is None for p in m.parameters())


@pytest.mark.parametrize('outlier', [0, 60])
def test_backward_of_the_8_bit_product_is_exact(outlier):
    import bitsandbytes.functional as F
    from bitsandbytes.autograd._functions import MatMul8bitFp, MatMul8bitLt, MatmulLtState

    torch.manual_seed(0)
    W, x, dy = torch.randn(96, 64), torch.randn(2, 8, 64), torch.randn(2, 8, 96)
    if outlier:
        x[0, 0, 3] = outlier
    for product in (MatMul8bitFp, MatMul8bitLt):
        s = MatmulLtState()
        s.CB, s.SCB, _ = F.int8_vectorwise_quant(W.half())
        s.threshold, s.has_fp16_weights, s.is_training = 6.0, False, True
        v = x.clone().requires_grad_()
        product.apply(v, s.CB, None, None, s).backward(dy)
        Wq = s.CB.float() * s.SCB[:, None] / 127
        assert torch.allclose(v.grad, dy @ Wq, atol=1e-4)
        assert 0 < (v.grad - dy @ W).norm() / (dy @ W).norm() < 0.02


# 25 ------------------------------------------------------------------------------------------


def _product(x):
    import bitsandbytes.functional as F

    torch.manual_seed(0)
    CB, SCB, _ = F.int8_vectorwise_quant(torch.randn(64, 32).half())
    CA, SCA, columns = torch.ops.bitsandbytes.int8_vectorwise_quant(x.half(), 6.0)
    return x, CA, CB, SCA, SCB, columns, None


def test_the_operator_contradicts_its_promise():
    "If this fails, bitsandbytes has repaired it: say so in lab 25"
    op = torch.ops.bitsandbytes.int8_mixed_scaled_mm.default
    x = torch.randn(10, 32)
    x[0, 3] = 20
    assert op(*_product(x))[1].shape == (10, 1) and op(*_product(x.clamp(-3, 3)))[1].shape == (
        0,
    )
    with pytest.raises(Exception, match=r'mismatched tensor metadata for output\[1\]'):
        torch.library.opcheck(op, _product(x), test_utils='test_faketensor')


@pytest.mark.skipif(not shutil.which('g++'), reason='PyTorch compiles with g++ on a CPU')
def test_compiled_product_fails_and_the_training_call_passes():
    sys.path.insert(0, str(REPO / 'scripts'))
    from probe_compile import outcome, products

    f = products('cpu')
    assert 'wrong number of dimensions' in outcome(f['operator'], 6.0, 20, True, 'cpu')
    assert outcome(f['operator'], 6.0, 20, False, 'cpu') == 'ok'
    assert outcome(f['training'], 6.0, 20, True, 'cpu') == 'ok'


def test_saved_versions_and_variable_names():
    d = json.loads((REPO / 'results' / 'compile_versions.json').read_text())
    assert {r['UNSLOTH_DISABLE_TORCH_COMPILE'] for r in d['reads']} == {0} and all(
        r['UNSLOTH_COMPILE_DISABLE'] for r in d['reads']
    )
    assert {r['torch'] for r in d['runs']} >= {'2.8.0', '2.13.0'}


# 29 ------------------------------------------------------------------------------------------

FACTS = [
    ('SWOT衛星は何を測りますか。', '水面の高さを測る。', 'height'),
    ('CSAはどの国の機関ですか。', 'カナダの宇宙機関である。', 'Canada'),
    ('雪氷面のアルベドは高いですか。', 'アルベドが高い。', 'albedo'),
]


@pytest.fixture(scope='module')
def tok():
    from transformers import AutoTokenizer

    with quiet():
        return AutoTokenizer.from_pretrained(tiny_base(64, 2), padding_side='left')


def open_(tok, q):
    return tok.apply_chat_template(
        [dict(role='user', content=q)], tokenize=False, add_generation_prompt=True
    )


def example(tok, prompt, answer):
    p, a = (tok(s, add_special_tokens=False).input_ids for s in (prompt, answer))
    return p + a, [-100] * len(p) + a


def fit(model, tok, examples, steps=70, lr=5e-3):
    torch.manual_seed(0)
    opt, n = (
        torch.optim.AdamW(model.train().parameters(), lr=lr, weight_decay=0.0),
        max(len(i) for i, _ in examples),
    )
    ids, labels = (
        torch.tensor([e[k] + [pad] * (n - len(e[k])) for e in examples])
        for k, pad in ((0, tok.pad_token_id), (1, -100))
    )
    for s in range(steps):
        for g in opt.param_groups:
            g['lr'] = lr * min(1, (s + 1) / 10) * (1 - s / steps)
        opt.zero_grad()
        model(
            input_ids=ids, labels=labels, attention_mask=(ids != tok.pad_token_id).long()
        ).loss.backward()
        opt.step()
    return model.eval()


def answers(model, tok, prompts):
    x = tok(prompts, return_tensors='pt', padding=True, add_special_tokens=False)
    y = model.generate(
        **x,
        max_new_tokens=16,
        do_sample=False,
        eos_token_id=tok.convert_tokens_to_ids('<|im_end|>'),
        pad_token_id=tok.pad_token_id,
    )
    return tok.batch_decode(y[:, x.input_ids.shape[1] :], skip_special_tokens=True)


def test_prompt_is_a_prefix_and_the_mask_ends_with_it(tok):
    for q, a, _ in FACTS:
        e, p = encode(tok, q, a), tok(render(tok, q), add_special_tokens=False).input_ids
        assert render(tok, q, a).startswith(render(tok, q)) and render(tok, q).endswith(
            '<think>\n\n</think>\n\n'
        )
        assert (
            e['input_ids'][: len(p)] == p
            and e['labels'][: len(p)] == [-100] * len(p)
            and -100 not in e['labels'][len(p) :]
        )


def test_the_template_adds_a_block_and_skip_special_tokens_keeps_it(tok):
    q, a, _ = FACTS[0]
    text = tok.apply_chat_template(
        [dict(role='user', content=q), dict(role='assistant', content=a)], tokenize=False
    )
    assert text.startswith(render(tok, q) + a) and not text.startswith(open_(tok, q) + a)
    assert '<think>' in tok.decode(tok('<think>').input_ids, skip_special_tokens=True)


def test_the_wrong_prompt_brings_the_old_habit_back(tok):
    from transformers import AutoModelForCausalLM

    with quiet():
        m = AutoModelForCausalLM.from_pretrained(tiny_base(64, 2))
    fit(
        m,
        tok,
        [
            example(tok, open_(tok, q), f'<think>\nOkay.\n</think>\n\n{e}<|im_end|>')
            for q, _, e in FACTS
        ],
        lr=6e-3,
    )
    assert all(
        a.startswith('<think>') for a in answers(m, tok, [open_(tok, q) for q, *_ in FACTS])
    )
    fit(m, tok, [tuple(encode(tok, q, a).values()) for q, a, _ in FACTS])
    assert answers(m, tok, [render(tok, q) for q, *_ in FACTS]) == [a for _, a, _ in FACTS]
    wrong = answers(m, tok, [open_(tok, q) for q, *_ in FACTS])
    assert not any(w == a for w, (_, a, _) in zip(wrong, FACTS)), wrong


# the script that measures the GPU parts ------------------------------------------------------


def test_gpu_script_measures_a_part(tmp_path):
    r = subprocess.run(
        [
            sys.executable,
            str(REPO / 'scripts' / 'gpu_labs.py'),
            '--dry',
            '--part',
            'matmul8',
            '--work',
            str(tmp_path),
            '--out',
            str(tmp_path / 'o.json'),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert r.returncode == 0, r.stderr[-2000:]
    rows = json.loads((tmp_path / 'o.json').read_text())['rows']
    assert len(rows) == 6 and all(
        x['finite'] and x['backward'] < 0.02 and x['backward_dequantised'] < 1e-4 for x in rows
    )
