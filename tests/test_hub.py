"""Chapter 13e: cards that are complete and true,
and pushes to a hub of our own that receive what they should and nothing else"""

import base64
import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import pytest

pytest.importorskip('torch')
import huggingface_hub
from huggingface_hub import DatasetCard, HfApi, ModelCard
from climate_ft import hub as H
from climate_ft.generate import model_key
from climate_ft.workspace import (
    CourseError,
    REPO,
    Workspace,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
    write_text,
)

SECRET = '来期の赤字は三億円になる見込みである。'


class FakeHub:
    "What of the hub's HTTP interface an upload of small files needs"

    def __init__(self):
        self.repos, self.commits, self.status, self.asked = {}, {}, 200, []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *a):
                pass

            def reply(self, obj, status=200):
                text = json.dumps(obj).encode()
                self.send_response(status)
                for k, v in (
                    ('Content-Type', 'application/json'),
                    ('Content-Length', str(len(text))),
                ):
                    self.send_header(k, v)
                self.end_headers()
                self.wfile.write(text)

            def do_GET(self):
                hub.asked.append(('GET', self.path, self.headers.get('authorization')))
                kind, user, name = self.path.split('?')[0].split('/')[2:5]
                if (key := f'{kind}/{user}/{name}') not in hub.repos:
                    return self.reply(dict(error='Repository not found'), 404)
                self.reply(
                    dict(
                        id=f'{user}/{name}',
                        private=hub.repos[key],
                        siblings=[],
                        tags=[],
                        downloads=0,
                    )
                )

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
                hub.asked.append(('POST', self.path, self.headers.get('authorization')))
                if hub.status != 200:
                    return self.reply(dict(error='no'), hub.status)
                path = self.path.split('?')[0]
                if path == '/api/repos/create':
                    return self.create(json.loads(body))
                if path == '/api/validate-yaml':
                    return self.reply(dict(errors=[], warnings=[]))
                kind, user, name, what = path.split('/')[2:6]
                if what == 'preupload':
                    files = [
                        dict(path=f['path'], uploadMode='regular', shouldIgnore=False)
                        for f in json.loads(body)['files']
                    ]
                    return self.reply(dict(files=files))
                lines = [json.loads(l) for l in body.splitlines()]
                got = hub.commits.setdefault(f'{kind}/{user}/{name}', {})
                for l in lines[1:]:
                    got[l['value']['path']] = base64.b64decode(l['value']['content'])
                self.reply(
                    dict(
                        success=True,
                        commitOid='0' * 40,
                        commitUrl=f'{hub.url}/{user}/{name}/commit/{"0" * 40}',
                        hookOutput='',
                    )
                )

            def create(self, b):
                key = f"{b.get('type') or 'model'}s/{b['organization']}/{b['name']}"
                if key in hub.repos:
                    return self.reply(
                        dict(
                            error='You already created this model repo',
                            url=f"{hub.url}/{b['organization']}/{b['name']}",
                        ),
                        409,
                    )
                hub.repos[key] = b.get('private') is True or b.get('visibility') == 'private'
                self.reply(dict(url=f"{hub.url}/{b['organization']}/{b['name']}"))

        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_address[1]}'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def fake(monkeypatch):
    h = FakeHub()
    monkeypatch.setattr(
        huggingface_hub, 'HfApi', lambda: HfApi(endpoint=h.url, token='hf_test')
    )
    monkeypatch.setattr(huggingface_hub, 'get_token', lambda: 'hf_test')
    yield h
    h.server.shutdown()
    h.server.server_close()


def results(ws, name):
    "A saved evaluation of the adapter that is there"

    def m(v):
        return dict(n=9, scores=dict(char_f1=v, contains=v / 2))

    d = dict(char_f1=[0.8, 0.7, 0.85], contains=[0.4, 0.3, 0.5])
    write_json(
        ws.path('evaluation'),
        dict(
            name=name,
            adapter=model_key(ws.models / name),
            differences=dict(recall={'tuned - base': d}),
            scores=dict(recall={'base': m(0.1), 'tuned': m(0.9), 'tuned + passage': m(0.6)}),
        ),
    )


def workspace(root, doc, chunks, base):
    "A run with an adapter, a merged model and splits, small but whole"
    import torch
    from peft import LoraConfig, get_peft_model
    from climate_ft.export import run_merge
    from climate_ft.models import load_quantized

    ws = Workspace(root)
    write_json(ws.path('corpus_chunks'), chunks)
    sources = [f"{c['id']}.0" for c in chunks]
    torch.manual_seed(0)
    net, _ = load_quantized(base, 4, 'float32')
    get_peft_model(
        net, LoraConfig(r=4, lora_alpha=4, init_lora_weights=False, target_modules=['q_proj'])
    ).save_pretrained(ws.models / 'toy')
    write_json(
        ws.models / 'toy' / 'adapter_config.json',
        read_json(ws.models / 'toy' / 'adapter_config.json')
        | dict(base_model_name_or_path=str(base)),
    )
    write_json(
        ws.models / 'toy' / 'train_config.json',
        dict(
            name='toy',
            base=str(base),
            bits=4,
            dtype='float32',
            r=4,
            sources=sources,
            rows=30,
            topics=['赤字'],
            kinds=dict(base=20, passage=7, refusal=3),
            device='CPU, 1 threads',
        ),
    )
    (ws.models / 'toy' / 'checkpoints').mkdir()
    write_text(ws.models / 'toy' / 'checkpoints' / 'README.md', 'no')
    for s in ('train', 'recall'):
        write_jsonl(
            ws.path('splits') / f'{s}.jsonl',
            [
                dict(
                    id=f'{x}/{s}',
                    source_id=x,
                    instruction=f'{doc}の要点は何ですか。',
                    input='',
                    output=c['text'][:40],
                    kind='base',
                    split=s,
                    section=c['section'],
                    pages=c['pages'],
                    extra=dict(chunk=c['id'], start=3),
                )
                for x, c in zip(sources, chunks)
            ],
        )
    gold = read_jsonl(REPO / 'documents/gold_questions.jsonl')[0]
    write_jsonl(
        ws.path('splits') / 'gold.jsonl',
        [
            dict(
                id='g',
                source_id='gold-001',
                instruction=gold['question'],
                input='',
                output=gold['answer'],
                kind='gold',
                split='gold',
                section=[],
                pages=[],
                extra=dict(variants=['千三百六十一W']),
            )
        ],
    )
    write_json(
        ws.path('dataset_report'),
        dict(
            seed=42, hold_out='sections', kinds=dict(base=3), forms=dict(kinds=dict(passage=2))
        ),
    )
    run_merge(ws, 'toy', n=0)
    write_json(
        ws.models / 'toy-merged' / 'parity.json',
        dict(
            n=20,
            agree=19,
            differing=[dict(question=f'{doc}は？', adapter=chunks[0]['text'], merged='氷')],
        ),
    )
    results(ws, 'toy')
    return ws


@pytest.fixture(scope='module')
def course(tmp_path_factory):
    chunks = read_json(REPO / 'data/corpus_chunks.json')[:3]
    return workspace(tmp_path_factory.mktemp('hub') / 'course', '報告書', chunks, 'tiny')


@pytest.fixture(scope='module')
def users(tmp_path_factory):
    """A document of a user, with a base in a folder of the user's;
    its name is the course's on purpose"""
    from climate_ft.models import tiny_base

    root = tmp_path_factory.mktemp('hub')
    base = Path(shutil.copytree(tiny_base(), root / 'bases' / 'mine'))
    write_text(base / 'README.md', '---\nlicense: mit\n---\n')
    chunks = [
        dict(
            id=f'gokuhi_plan-{i:08x}',
            doc='gokuhi_plan',
            section=['極秘'],
            text=SECRET * 2,
            pages=[1],
            start=0,
            end=9,
            tokens=9,
        )
        for i in range(3)
    ]
    return workspace(root / 'users', '極秘計画', chunks, base)


@pytest.fixture
def mine(users, tmp_path):
    return Workspace(shutil.copytree(users.root, tmp_path / 'ws'))


def packed(ws, kind, **kw):
    "What would go: name -> bytes"
    run, folder = H.pick(kind, ws.root)
    with H.packed(run, kind, folder, 'me/x', **kw) as p:
        return p, {n: (p.folder / n).read_bytes() for n in p.files}


def send(ws, kind, **kw):
    run, folder = H.pick(kind, ws.root)
    with H.packed(run, kind, folder, 'me/x', **kw) as p:
        return H.push(p, ws)


# ---- cards


def test_cards_of_a_run_are_complete(course):
    assert [p.parent.name for p in H.write_cards(course, 'toy')] == [
        'toy',
        'toy-merged',
        'splits',
    ]
    for kind, library, tag in (
        ('toy', 'peft', 'lora'),
        ('toy-merged', 'transformers', 'qlora'),
    ):
        card = ModelCard.load(course.models / kind / 'README.md')
        assert (
            card.data.language,
            card.data.license,
            card.data.library_name,
            card.data.pipeline_tag,
        ) == ('ja', 'apache-2.0', library, 'text-generation')
        assert tag in card.data.tags and [
            (r.metric_type, r.metric_value) for r in card.data.eval_results
        ] == [('contains', 0.45), ('char_f1', 0.9)]
        assert re.findall('^## (.*)', card.text, re.M) == [
            'How to use',
            'How it was made',
            'Data',
            'Scores',
            'Limits',
            'Licences',
        ]
        assert (
            '| recall | 9 | 0.100 | 0.900 | +0.800 [+0.700, +0.850] | 0.600 |' in card.text
            and 'CC BY 4.0' in card.text
        )
    assert 'agree on 19 of 20' in card.text
    card = DatasetCard.load(course.path('splits') / 'README.md')
    assert card.data.license == 'cc-by-4.0' and [
        f['split'] for f in card.data.configs[0]['data_files']
    ] == ['train', 'recall', 'gold']
    assert (
        '| train | 3 |' in card.text
        and '| passage | 2 |' in card.text
        and all(f'`{k}`' in card.text for k in H.FIELDS)
    )


def test_the_examples_on_the_cards_run(course, capsys):
    for kind, folder in (('adapter', 'toy'), ('merged', 'toy-merged')):
        text = H.model_card(H.about(course, 'toy'), kind, str(course.models / folder)).text
        exec(
            re.search(r'```python\n(.*?)```', text, re.S)[1].replace(
                'max_new_tokens=128', 'max_new_tokens=4'
            ),
            {},
        )
        assert capsys.readouterr().out.strip(), kind


def test_the_card_says_what_the_training_held(course):
    def limits(**kw):
        run = H.about(course, 'toy')
        run.settings = {
            k: v for k, v in run.settings.items() if k not in ('kinds', 'forms')
        } | kw
        text = H.model_card(run, 'adapter').text
        return text[text.index('## Limits') :]

    assert '10 of 30 training prompts held passages' in limits(
        kinds=dict(base=20, passage=7, refusal=3)
    ) and '(3 of these)' in limits(kinds=dict(base=20, passage=7, refusal=3))
    for old in (dict(), dict(forms=False), dict(kinds=dict(base=9, template=5))):
        assert 'no training prompt held a passage' in limits(**old)
    assert 'how many was not noted' in limits(forms=True)


@pytest.fixture
def other(course, tmp_path):
    "A copy of the course's run, to be changed"
    shutil.copytree(course.root, tmp_path / 'ws')
    return Workspace(tmp_path / 'ws')


def test_the_cards_name_the_texts_of_others(other):
    run, told = H.about(other, 'toy'), read_json(other.path('dataset_report'))
    assert H.dataset_card(other).data.license == 'cc-by-4.0'
    assert 'about other texts' not in str(H.dataset_card(other))
    told['forms']['practice'] = 9990
    write_json(other.path('dataset_report'), told)
    card = H.dataset_card(other)
    words = '9,990 of them are about other texts; their licence is theirs.'
    assert card.data.license == 'unknown' and words in card.text
    assert 'about other texts' not in H.model_card(run, 'adapter').text
    facts = f'{len(run.settings["sources"])} fact'
    assert facts in H.model_card(run, 'adapter').text
    run.settings['sources'] = [*run.settings['sources'], 'practice/a-1.2', 'general/1']
    text = H.model_card(run, 'adapter').text
    assert '1 of them is about other texts' in text and facts in text


def test_rows_of_other_texts_are_no_document_and_stay_without_the_flag(other):
    f = other.path('splits') / 'forms.jsonl'
    rows = read_jsonl(f) if f.is_file() else []
    more = dict(id='practice/a-1.2+', source_id='practice/a-1.2', instruction='?', input='')
    write_jsonl(f, [*rows, more | dict(output='.', kind='passage')])
    run = H.about(other)
    assert not run.own and run.docs == ['document_01']
    assert '--include-document' in H.refusal(run, 'dataset')


def test_scores_of_other_weights_are_not_on_the_card(mine):
    assert '| recall | 9 |' in H.model_card(H.about(mine, 'toy'), 'merged').text
    write_json(
        mine.models / 'toy' / 'adapter_config.json',
        read_json(mine.models / 'toy' / 'adapter_config.json') | dict(r=8),
    )
    card = H.model_card(H.about(mine, 'toy'), 'merged')
    assert 'Not evaluated yet' in card.text and not card.data.eval_results


def test_the_run_says_of_which_kinds_its_rows_were(tmp_path):
    from climate_ft.train import TrainConfig, train

    ws = Workspace(tmp_path)
    row = dict(
        id='q',
        instruction='海氷とは何ですか。',
        input='',
        output='海に浮かぶ氷です。',
        source_id='a-1.0',
    )
    write_jsonl(
        ws.path('splits') / 'train.jsonl', [dict(row, kind='base'), dict(row, kind='template')]
    )
    write_jsonl(
        ws.path('splits') / 'forms.jsonl',
        [
            dict(row, kind='passage', input='海氷は海に浮かぶ氷である。'),
            dict(row, kind='refusal', input='雪は白い。' * 1200),
        ],
    )
    train(
        TrainConfig(
            't',
            'tiny',
            forms=True,
            epochs=1,
            max_length=512,
            checkpointing='off',
            optimizer='adamw_torch',
            tensorboard=False,
        ),
        ws,
    )
    info = read_json(ws.models / 't' / 'train_config.json')
    assert (
        info['kinds'] == dict(base=1, template=1, passage=1)
        and info['rows'] == 3
        and info['too_long'] == 1
    )


# ---- whose document


def test_a_name_does_not_make_a_document_the_courses(course, users, mine):
    assert (
        H.about(course, 'toy').own
        and H.about(course).own
        and not H.about(users, 'toy').own
        and not H.about(users).own
    )
    chunks = [
        dict(c, id=c['id'].replace('gokuhi_plan', 'document_01'), doc='document_01')
        for c in read_json(mine.path('corpus_chunks'))
    ]
    write_json(mine.path('corpus_chunks'), chunks)
    write_json(
        mine.models / 'toy' / 'train_config.json',
        read_json(mine.models / 'toy' / 'train_config.json')
        | dict(sources=[f"{c['id']}.0" for c in chunks]),
    )
    assert H.about(mine, 'toy').docs == ['document_01'] and not H.about(mine, 'toy').own


def test_one_question_or_sentence_of_a_user_makes_it_the_users(course, tmp_path):
    ws = Workspace(shutil.copytree(course.root, tmp_path / 'ws'))
    gold = ws.path('splits') / 'gold.jsonl'
    rows = read_jsonl(gold)
    write_jsonl(gold, rows + [dict(rows[0], instruction='赤字はいくらですか。')])
    assert not H.about(ws).own and H.about(ws, 'toy').own
    chunks = read_json(ws.path('corpus_chunks'))
    chunks[0]['text'] += SECRET
    write_json(ws.path('corpus_chunks'), chunks)
    assert not H.about(ws, 'toy').own


def test_an_adapter_of_an_earlier_document_stays_the_users(mine, course):
    shutil.copy(
        course.path('corpus_chunks'), mine.path('corpus_chunks')
    )  # the course's report was read since
    assert not H.about(mine, 'toy').own


WORDS = ['gokuhi', '極秘', '赤字', SECRET[:6]]


@pytest.mark.parametrize('kind', ['adapter', 'merged'])
def test_nothing_of_a_users_document_goes_without_the_flag(users, kind):
    p, files = packed(users, kind)
    for n, b in files.items():
        assert not [w for w in WORDS if w.encode() in b], n
    assert (
        p.stays
        and p.goes == ['weights that learned gokuhi_plan and can repeat its sentences']
        and not p.refused
    )
    p, files = packed(users, kind, include=True)
    said = b''.join(b for n, b in files.items() if n != 'tokenizer.json').decode(
        errors='ignore'
    )
    assert 'gokuhi_plan' in said and not p.stays
    if kind == 'merged':
        assert json.loads(files['parity.json'])['differing'] and SECRET in said


def test_weights_of_a_users_document_are_not_made_public_without_the_flag(users, fake):
    for kind in ('adapter', 'merged'):
        with pytest.raises(CourseError, match='--include-document'):
            send(users, kind, public=True)
    assert fake.asked == [] and 'would be refused' in H.describe(
        packed(users, 'merged', public=True)[0]
    )


def test_a_dataset_of_a_users_document_needs_the_flag(users, fake, tmp_path):
    with pytest.raises(CourseError, match='made of sentences of your document'):
        send(users, 'dataset')
    p, _ = packed(users, 'dataset')
    assert p.licence == 'unknown' and p.stays == [
        '7 rows with questions, answers and passages of gokuhi_plan'
    ]
    assert fake.asked == []
    assert send(users, 'dataset', include=True) == f'{fake.url}/datasets/me/x (private)'
    assert SECRET in fake.commits['datasets/me/x']['train.jsonl'].decode()
    (users.data / 'pushed.json').unlink()


@pytest.mark.parametrize('kind', ['adapter', 'merged', 'dataset'])
@pytest.mark.parametrize('include', [False, True])
def test_no_path_of_the_machine_goes(users, kind, include):
    p, files = packed(users, kind, include=include)
    for n, b in files.items():
        for path in (users.root.parent, REPO, Path.home()):
            assert f'{path}/'.encode() not in b, n
    if kind == 'adapter':
        assert (
            json.loads(files['train_config.json'])['base']
            == json.loads(files['adapter_config.json'])['base_model_name_or_path']
            == 'mine'
        )


def test_a_file_that_keeps_a_path_is_refused(mine):
    folder = mine.models / 'toy-gguf-f16'
    folder.mkdir()
    (folder / 'toy-f16.gguf').write_bytes(
        b'GGUF' + bytes(9) + f'licence of {mine.root}/base'.encode() + bytes(99)
    )
    with pytest.raises(CourseError, match=r'toy-f16.gguf of .* names a path of this machine'):
        packed(mine, 'gguf')
    (folder / 'toy-f16.gguf').write_bytes(b'GGUF' + bytes(99))
    write_text(folder / 'Modelfile', 'FROM ./toy-f16.gguf\n')
    p, files = packed(mine, 'gguf')
    assert (
        set(files) == {'README.md', 'Modelfile', 'toy-f16.gguf'}
        and ModelCard(files['README.md'].decode()).data.library_name == 'gguf'
    )


# ---- licences


@pytest.mark.parametrize(
    'licence,words',
    [
        ('cc-by-nc-nd-4.0', 'forbids passing on changed weights'),
        ('llama3.1', 'is not known here'),
        ('', 'is unknown'),
    ],
)
def test_weights_of_a_closed_base_are_refused_and_the_adapter_is_not(
    mine, fake, licence, words
):
    base = mine.root / 'base'
    base.mkdir()
    write_text(
        base / 'README.md', f'---\nlicense: {licence}\n---\n' if licence else '# nothing\n'
    )
    write_json(
        mine.models / 'toy' / 'train_config.json',
        read_json(mine.models / 'toy' / 'train_config.json') | dict(base=str(base)),
    )
    with pytest.raises(CourseError, match=f'{words}.*push the adapter') as e:
        send(mine, 'merged')
    assert fake.asked == [] and str(mine.root) not in str(e.value)
    assert packed(mine, 'adapter')[0].refused == ''
    p, _ = packed(mine, 'merged', said='mit')
    assert (p.refused == '') == (licence == '') and (p.licence == 'mit') == (licence == '')


def test_what_the_bases_licence_wants_goes_with_it(course):
    _, files = packed(course, 'merged')
    assert b'Apache License' in files['LICENSE'] and b'was fine-tuned' in files['NOTICE']
    assert 'Gemma Terms of Use' in H.notices('gemma-3-270m')[
        'NOTICE'
    ] and 'Gemma Terms of Use' in H.licence_text('gemma-3-270m')
    assert (
        H.hub_base('gemma-3-270m') == 'google/gemma-3-270m'
        and H.hub_base('unsloth/Qwen3-8B') == 'unsloth/Qwen3-8B'
        and H.hub_base('tiny') == ''
    )


def test_a_merged_model_without_its_adapter_is_refused(mine):
    shutil.rmtree(mine.models / 'toy')
    assert 'keep the folder of its adapter' in packed(mine, 'merged')[0].refused


# ---- sending


def test_a_push_sends_exactly_what_the_dry_run_shows(course, fake):
    p, files = packed(course, 'adapter')
    assert send(course, 'adapter') == f'{fake.url}/me/x (private)'
    assert fake.repos == {'models/me/x': True} and set(fake.commits['models/me/x']) == set(
        files
    ) == set(p.files) == {
        'LICENSE',
        'NOTICE',
        'README.md',
        'adapter_config.json',
        'adapter_model.safetensors',
        'train_config.json',
    }
    assert {a for _, _, a in fake.asked if a} == {'Bearer hf_test'}
    assert (
        fake.commits['models/me/x']['adapter_model.safetensors']
        == (course.models / 'toy' / 'adapter_model.safetensors').read_bytes()
    )
    lines = H.describe(p).splitlines()
    assert lines[0] == 'me/x (model, private), licence apache-2.0' and [
        l.split()[0] for l in lines[1:-2]
    ] == sorted(files)


def test_a_model_names_the_dataset_that_went_before_it(course, fake, tmp_path):
    ws = Workspace(shutil.copytree(course.root, tmp_path / 'ws'))
    send(ws, 'dataset')
    send(ws, 'merged')
    assert ModelCard(fake.commits['models/me/x']['README.md'].decode()).data.datasets == [
        'me/x'
    ]
    assert set(
        json.loads(fake.commits['datasets/me/x']['train.jsonl'].splitlines()[0])
    ) == set(H.FIELDS)
    write_text(
        ws.path('splits') / 'train.jsonl',
        (ws.path('splits') / 'train.jsonl').read_text() + '\n',
    )  # another dataset now
    assert ModelCard(packed(ws, 'merged')[1]['README.md'].decode()).data.datasets is None


def test_the_dataset_is_read_by_its_library(course):
    from datasets import load_dataset

    run, folder = H.pick('dataset', course.root)
    with H.packed(run, 'dataset', folder, 'me/x') as p:
        d = load_dataset(str(p.folder), cache_dir=str(course.root / 'cache'))
        assert {s: len(r) for s, r in d.items()} == dict(train=3, recall=3, gold=1)
        assert d['gold'][0]['variants'] == ['千三百六十一W'] and list(
            d['train'].features
        ) == list(H.FIELDS)


def test_private_files_never_land_in_a_public_repository(course, fake):
    fake.repos['models/me/x'] = False
    with pytest.raises(CourseError, match='exists and is public'):
        send(course, 'adapter')
    assert fake.commits == {}
    assert send(course, 'adapter', public=True).endswith('(public)') and fake.commits


def test_a_public_push_makes_a_public_repository(course, fake):
    assert send(course, 'adapter', public=True).endswith('(public)') and fake.repos == {
        'models/me/x': False
    }


@pytest.mark.parametrize(
    'status,words',
    [(401, 'hf auth login'), (403, 'may not write to me/x'), (400, 'answered 400')],
)
def test_what_the_hub_refuses_is_one_line(course, fake, status, words):
    fake.status = status
    with pytest.raises(CourseError, match=words):
        send(course, 'adapter')
    assert fake.commits == {}


def test_without_token_or_network(course, fake, monkeypatch):
    fake.server.server_close()
    monkeypatch.setattr(
        huggingface_hub, 'HfApi', lambda: HfApi(endpoint='http://127.0.0.1:9', token='hf_test')
    )
    with pytest.raises(CourseError, match='could not be reached'):
        send(course, 'adapter')
    monkeypatch.setattr(huggingface_hub, 'get_token', lambda: None)
    with pytest.raises(CourseError, match='no access token'):
        send(course, 'adapter')


@pytest.mark.parametrize(
    'args,words',
    [
        (('votes', '--repo', 'me/x'), 'adapter, merged, gguf, dataset'),
        (('adapter', '--repo', 'x'), 'user/name'),
        (('gguf', '--repo', 'me/x'), 'climate-ft export'),
        (('merged', '--repo', 'me/x', '--model', 'nowhere'), 'nowhere holds no merged'),
    ],
)
def test_wrong_pushes_are_one_line(course, args, words, capsys):
    from typer.testing import CliRunner
    from climate_ft.cli import app

    r = CliRunner().invoke(app, ['push', *args, '--out', str(course.root)])
    assert (
        isinstance(r.exception, CourseError)
        and words in str(r.exception)
        and '\n' not in str(r.exception)
    )


def test_the_command_shows_a_dry_run_and_refuses(users, cft, tmp_path):
    closed = dict(HF_ENDPOINT='http://127.0.0.1:9', HF_TOKEN='hf_test')
    r = cft('push', 'merged', '--repo', 'me/x', '--dry-run', '--out', users.root, **closed)
    assert (
        r.returncode == 0
        and r.stderr == ''
        and 'licence mit' in r.stdout
        and 'stays here: questions and answers' in r.stdout
        and 'model.safetensors' in r.stdout
    )
    r = cft('push', 'dataset', '--repo', 'me/x', '--out', users.root, **closed)
    assert (
        r.returncode == 2
        and r.stdout == ''
        and r.stderr.count('\n') == 1
        and r.stderr.startswith(
            'climate-ft: this dataset is made of sentences of your document'
        )
    )


def test_a_gguf_folder_gets_the_card_of_its_run(course, tmp_path):
    write_json(tmp_path / 'parity.json', dict(n=20, agree=19))
    text = H.write_gguf_card(tmp_path, course.models / 'toy-merged').read_text()
    assert (
        'library_name: gguf' in text and 'Merged model and GGUF file agree on 19 of 20' in text
    )
    assert H.write_gguf_card(tmp_path, tmp_path / 'elsewhere-merged') is None
