"""Tiny random models of six families: the loss and the gradients
are the model's own, and each is trained, answers and is merged."""

from dataclasses import replace
import pytest
import torch
import torch.nn.functional as F
from climate_ft import export, models as M, train as T
from climate_ft.generate import generate, load_for_inference
from climate_ft.preflight import seeded
from climate_ft.workspace import CourseError, Workspace, read_json, write_jsonl

ROWS = [
    dict(
        source_id=f's{i}',
        instruction=f'観測値{i}について教えてください。',
        input='',
        split='train',
        output=f'観測値{i}は{i * 3}である。' * (1 + i % 3),
    )
    for i in range(8)
]
CFG = replace(
    T.get_profile('tiny'),
    name='t',
    epochs=3,
    max_facts=None,
    wordings=None,
    max_answer=None,
    warmup=1,
)


@pytest.fixture(scope='module', params=M.TINY_KINDS)
def base(request, tmp_path_factory):
    return request.param, M.tiny_family(
        request.param, tmp_path_factory.mktemp('base') / request.param
    )


def workspace(folder):
    ws = Workspace(folder)
    write_jsonl(ws.path('splits') / 'train.jsonl', ROWS)
    write_jsonl(
        ws.path('splits') / 'recall.jsonl',
        [dict(question=r['instruction'], reference=r['output']) for r in ROWS],
    )
    return ws


def own_trainer(ws, **kw):
    cfg = T.settle(replace(CFG, bits=16, dtype='float32', **kw))
    from transformers import AutoTokenizer

    d = T.training_data(cfg, ws, AutoTokenizer.from_pretrained(cfg.base))
    trainer = T.build_trainer(cfg, ws, d)
    with seeded(3):
        for n, p in trainer.model.named_parameters():
            if 'lora_B' in n:
                p.data.normal_(0, 0.05)
    return trainer, d['examples'][:5]


def grads(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


def models_own(ws, path, adapter, examples):
    """Loss and gradients of the same adapter through
    Transformers and PEFT alone, one example at a time"""
    from peft import LoraConfig, get_peft_model

    net = M.load_quantized(path, 16, 'float32', attention='eager')[0]
    net = get_peft_model(
        net, LoraConfig(r=CFG.r, lora_alpha=CFG.alpha, target_modules=list(CFG.targets))
    )
    net.load_state_dict(adapter, strict=False)
    n = sum(l != -100 for e in examples for l in e['labels'])
    total = 0.0
    for e in examples:
        scores, y = (
            net(input_ids=torch.tensor([e['input_ids']])).logits[0, :-1],
            torch.tensor(e['labels'][1:]),
        )
        loss = F.cross_entropy(scores.float(), y, reduction='sum', ignore_index=-100) / n
        loss.backward()
        total += loss.item()
    return total, grads(net), n


@pytest.mark.parametrize('layout', ['padded', 'padding_free'])
def test_loss_and_gradients_are_the_models_own(base, tmp_path, layout):
    kind, path = base
    trainer, examples = own_trainer(workspace(tmp_path), base=str(path), layout=layout)
    assert max(len(e['input_ids']) for e in examples) > 2 * 16  # windows have 16 tokens
    adapter = {
        n: p.data.clone() for n, p in trainer.model.named_parameters() if p.requires_grad
    }
    want, wanted, n = models_own(None, path, adapter, examples)
    b = trainer.data_collator([dict(e) for e in examples])
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, b, num_items_in_batch=torch.tensor(float(n)))
    loss.backward()
    assert loss.item() == pytest.approx(want, rel=1e-5)
    got = grads(trainer.model)
    assert got.keys() == wanted.keys()
    for k in got:
        torch.testing.assert_close(
            got[k], wanted[k], atol=1e-5 * wanted[k].abs().max().item() + 1e-7, rtol=1e-3
        )


def test_each_family_is_trained_answers_and_is_merged(base, tmp_path):
    kind, path = base
    ws = workspace(tmp_path)
    info = T.train(replace(CFG, base=str(path), layout='padding_free', bits=4), ws)
    assert (
        info['backend'] == 'transformers'
        and info['layers'] == {'Linear4bit': 28}
        and T.verify_training(ws, 't')[5]['ok']
    )
    questions = [r['instruction'] for r in ROWS[:3]]
    tuned = generate(
        *load_for_inference(ws.models / 't', dtype='float32'), questions, max_new_tokens=6
    )
    out = export.run_merge(ws, 't', n=3, dtype='float32')
    assert (
        generate(*load_for_inference(out, dtype='float32'), questions, max_new_tokens=6)
        == tuned
    )
    assert read_json(out / 'parity.json')['agree'] == 3


# ---- a family that our own step is not compared with


@pytest.fixture(scope='module')
def granite(tmp_path_factory):
    "A tiny random Granite, whose scores are divided by a number of its own"
    from transformers import AutoTokenizer, GraniteConfig, GraniteForCausalLM

    path, tok = (
        tmp_path_factory.mktemp('granite'),
        AutoTokenizer.from_pretrained(M.TINY_TOKENIZER),
    )
    cfg = GraniteConfig(
        vocab_size=(len(tok) + 63) // 64 * 64,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        initializer_range=0.1,
        logits_scaling=0.5,
        embedding_multiplier=2.0,
        residual_multiplier=0.7,
        bos_token_id=None,
        eos_token_id=tok.eos_token_id,
        pad_token_id=tok.pad_token_id,
    )
    with seeded(0):
        GraniteForCausalLM(cfg).save_pretrained(path)
    tok.save_pretrained(path)
    return path


@pytest.mark.parametrize('fused', [True, False])
@pytest.mark.parametrize('kind', ['granite', 'gemma2', 'llama', 'qwen2'])
def test_trl_computes_the_models_own_loss(granite, tmp_path, kind, fused):
    path = granite if kind == 'granite' else M.tiny_family(kind, tmp_path / 'base')
    trainer, examples = own_trainer(
        workspace(tmp_path), base=str(path), backend='trl', fused=fused
    )
    adapter = {
        n: p.data.clone() for n, p in trainer.model.named_parameters() if p.requires_grad
    }
    want, wanted, n = models_own(None, path, adapter, examples)
    loss = trainer.compute_loss(
        trainer.model.train(),
        trainer.data_collator(examples),
        num_items_in_batch=torch.tensor(n),
    )
    loss.backward()
    got = grads(trainer.model)
    assert loss.item() == pytest.approx(want, rel=1e-5)
    for k in got:
        torch.testing.assert_close(
            got[k], wanted[k], atol=1e-5 * wanted[k].abs().max().item() + 1e-7, rtol=1e-3
        )


def test_trls_own_losses_are_used_only_where_they_are_compared():
    cfg = T.settle(replace(CFG, backend='trl'))
    assert [
        T.trl_switches(c, k)['loss_type']
        for c, k in ((cfg, 'llama'), (cfg, 'granite'), (replace(cfg, fused=False), 'llama'))
    ] == ['chunked_nll', 'nll', 'nll']


def test_another_family_is_trained_by_trl_and_says_so(granite, tmp_path, capsys):
    ws = workspace(tmp_path)
    info = T.train(replace(CFG, base=str(granite)), ws)
    assert (info['backend'], info['layout'], info['graphs']) == ('trl', 'padded', False)
    said = [l for l in capsys.readouterr().err.splitlines() if 'granite' in l]
    assert said == [
        'climate-ft: our own step was not compared with '
        'models of type granite; TRL trains this one'
    ]
    questions = [r['instruction'] for r in ROWS[:3]]
    tuned = generate(
        *load_for_inference(ws.models / 't', dtype='float32'), questions, max_new_tokens=6
    )
    out = export.run_merge(ws, 't', n=0, dtype='float32')
    assert (
        generate(*load_for_inference(out, dtype='float32'), questions, max_new_tokens=6)
        == tuned
    )


@pytest.mark.parametrize(
    'change,message',
    [
        (dict(backend='transformers'), 'models of type granite: set backend to trl'),
        (
            dict(targets=('query_key_value',)),
            'has none of the layers query_key_value: '
            'set targets to some of down_proj, gate_proj',
        ),
        (dict(backend='trl', layout='packed'), 'layout packed with trl'),
    ],
)
def test_what_cannot_be_trained_is_one_line(granite, tmp_path, change, message):
    with pytest.raises(CourseError, match=message):
        T.train(replace(CFG, base=str(granite), **change), workspace(tmp_path))
