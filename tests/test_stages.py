"""What runs again after which change:
a small run of the tiny profile, changed in one way at a time."""

import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
import pytest
from climate_ft import (
    cli,
    evaluation as E,
    examination,
    export as X,
    generate as G,
    hub as H,
    lock,
    pipeline as P,
    runner as R,
    workspace as W,
)
from climate_ft.mistakes import run_diagnose
from climate_ft.workspace import (
    CourseError,
    REPO,
    Workspace,
    read_json,
    read_jsonl,
    read_state,
    write_jsonl,
    write_text,
)

BED = REPO / 'documents' / 'testbed'
SETS = ['epochs=1', 'max_facts=4']
ENV = {**os.environ, 'PYTHONPATH': str(REPO)}


def run(root, pdfs=None, sets=SETS, **kw):
    return P.run_all(root, 'tiny', pdfs or [BED / 'one_column.pdf'], sets=sets, **kw)


def again(result):
    return [s for s, how in result['stages'].items() if how != 'done before']


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    "A finished small run with a hand-written question; copy it, do not write to it"
    root = tmp_path_factory.mktemp('small') / 'run'
    run(root, last='corpus')
    first = read_json(root / 'data/corpus_chunks.json')[0]['text'].split('。')[0] + '。'
    write_jsonl(
        root / 'documents/gold_questions.jsonl',
        [
            dict(
                id='g1',
                question='何の文章ですか。',
                question2='これは何ですか。',
                answer='報告',
                support=first,
            )
        ],
    )
    assert list(run(root)['stages'].values()).count('finished') == 6
    return root


@pytest.fixture
def root(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / 'run')


def test_the_model_card_holds_the_scores_and_nothing_is_left_to_do(root):
    for name in ('tiny', 'tiny-merged'):
        card = (root / 'models' / name / 'README.md').read_text()
        assert '| recall |' in card and 'Not evaluated yet' not in card
    assert again(run(root)) == []
    (root / 'models/tiny/README.md').unlink()
    (root / 'data/splits/README.md').write_text('mine')
    assert (
        again(run(root)) == ['merge']
        and (root / 'models/tiny/README.md').read_text()
        and 'mine' != (root / 'data/splits/README.md').read_text()
    )


def test_a_corrected_reference_is_scored_again_and_asked_of_no_model(root, monkeypatch):
    q = root / 'documents/gold_questions.jsonl'
    before = [
        (r['question'], r['prediction'])
        for r in read_jsonl(root / 'data/answers_tiny_tuned.jsonl')
    ]
    write_jsonl(q, [dict(r, answer='天気') for r in read_jsonl(q)])
    monkeypatch.setattr(
        examination, 'load_for_inference', lambda *a, **k: pytest.fail('a model was loaded')
    )
    assert again(run(root)) == ['dataset', 'answer', 'evaluate', 'report', 'merge']
    rows = read_jsonl(root / 'data/answers_tiny_tuned.jsonl')
    assert [(r['question'], r['prediction']) for r in rows] == before
    assert '天気' in [r['reference'] for r in rows] and '天気' in [
        a['reference'] for a in read_json(root / 'data/evaluation_results.json')['answers']
    ]


def test_an_edited_question_is_asked_and_nothing_is_trained(root):
    q = root / 'documents/gold_questions.jsonl'
    write_jsonl(q, [dict(r, question='どこの文章ですか。') for r in read_jsonl(q)])
    assert again(run(root)) == ['dataset', 'answer', 'evaluate', 'report', 'merge']
    assert 'どこの文章ですか。' in [
        r['question'] for r in read_jsonl(root / 'data/answers_tiny_base.jsonl')
    ]


def test_a_deleted_answer_file_is_made_again_and_only_that_one(root):
    kept, gone = root / 'data/answers_tiny_tuned.jsonl', root / 'data/answers_tiny_base.jsonl'
    before, text = kept.stat().st_mtime_ns, gone.read_text()
    gone.unlink()
    assert (
        again(run(root)) == ['answer']
        and gone.read_text() == text
        and kept.stat().st_mtime_ns == before
    )


def test_an_altered_answer_is_not_believed(root):
    p = root / 'data/answers_tiny_tuned.jsonl'
    text = p.read_text()
    rows = read_jsonl(p)
    rows[0]['prediction'] = rows[0]['reference']
    write_jsonl(p, rows)
    assert again(run(root)) == ['answer'] and p.read_text() == text


@pytest.mark.parametrize(
    'name', ['adapter_config.json', 'train_config.json', 'adapter_model.safetensors']
)
def test_an_altered_adapter_is_trained_again(root, name):
    import safetensors.torch as st

    p = root / 'models/tiny' / name
    before = st.load_file(root / 'models/tiny/adapter_model.safetensors')
    p.write_bytes(p.read_bytes()[:-1] + b' ') if name.endswith('json') else p.unlink()
    did = again(run(root, last='train'))
    after = st.load_file(root / 'models/tiny/adapter_model.safetensors')
    assert did == ['train'] and all((before[k] - after[k]).abs().max() < 1e-5 for k in before)


def test_a_deleted_log_and_a_deleted_split(root):
    (root / 'logs/tiny.jsonl').unlink()
    assert again(run(root, last='train')) == ['train'] and (root / 'logs/tiny.jsonl').is_file()
    (root / 'data/splits/dev.jsonl').unlink()
    assert again(run(root, last='train')) == ['dataset']


@pytest.mark.parametrize(
    'name', ['model.safetensors', 'tokenizer.json', 'config.json', 'parity.json']
)
def test_an_altered_merged_model_is_merged_again(root, name):
    p = root / 'models/tiny-merged' / name
    good = p.read_bytes()
    p.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert again(run(root)) == ['merge'] and p.read_bytes() == good


def test_a_file_of_the_user_beside_the_merged_model_stays(root):
    mine = root / 'models/tiny-merged/notes.txt'
    mine.write_text('mine')
    assert again(run(root)) == ['merge'] and mine.read_text() == 'mine'
    assert again(run(root)) == []


@pytest.mark.parametrize('text', ['[]', '{"n": 20}'])
def test_a_damaged_note_of_the_comparison_stops_nothing(root, text):
    p = root / 'models/tiny-merged/parity.json'
    good = p.read_text()
    p.write_text(text)
    assert again(run(root)) == ['merge'] and p.read_text() == good


def test_a_cut_copy_of_the_dataset_is_named(root):
    p, q = root / 'data/alpaca_dataset.json', root / 'documents/extracted_cleaned.txt'
    assert not any('changed since' in n for n in run(root)['notes'])
    cut = p.read_bytes()[:1000]
    p.write_bytes(cut)
    q.write_text('')
    r = run(root)
    told = [n for n in r['notes'] if 'changed since' in n]
    assert again(r) == [] and p.read_bytes() == cut
    assert [n.split(' and ')[0] for n in told] == [
        'documents/extracted_cleaned.txt: changed since the stage clean made it,',
        'data/alpaca_dataset.json: changed since the stage dataset made it,',
    ]
    assert 'changed since' not in ''.join(run(root, first='clean', last='dataset')['notes'])
    assert len(p.read_bytes()) > 1000 and q.read_text()


def test_a_lost_file_is_made_again_as_it_was(root):
    "Any file, seeded; what a training writes is looked at above"
    inside = [
        p for d in ('data', 'documents', 'models/tiny-merged') for p in root.glob(d + '/**/*')
    ]
    whole = {p: p.read_bytes() for p in sorted(inside) if p.is_file()}
    timed = {'evaluation_results.json', 'README.md', 'gold_questions.jsonl'}
    for p in random.Random(15).sample([p for p in whole if p.name not in timed], 5):
        p.unlink()
        assert again(run(root)) and p.read_bytes() == whole[p], p
        lost = [q for q in whole if not q.is_file()]
        other = [q for q in whole if q.name not in timed and q.read_bytes() != whole[q]]
        assert lost == other == [], p
    assert again(run(root)) == []


def test_a_renamed_pdf_is_another_document(root, tmp_path):
    pdf = shutil.copy(BED / 'one_column.pdf', tmp_path / 'annual.pdf')
    assert again(run(root, [pdf], last='dataset')) == [
        'extract',
        'compare',
        'clean',
        'corpus',
        'dataset',
    ]
    assert {c['doc'] for c in read_json(root / 'data/corpus_chunks.json')} == {'annual'}


def test_another_pdf_leaves_no_score_of_the_first(root):
    write_text(root / 'data/extractor_scores.json', '{"blocks": {"cer": 1}}')
    run(root, [BED / 'chromium.pdf'])
    assert not (root / 'data/extractor_scores.json').exists()
    assert (
        '>Extraction<' not in (root / 'report.html').read_text()
        and 'one_column' not in (root / 'report.html').read_text()
    )
    scores, card = (
        read_json(root / 'data/evaluation_results.json')['scores'],
        (root / 'models/tiny-merged/README.md').read_text(),
    )
    assert (
        f"| recall | {scores['recall']['tuned']['n']} | "
        f"{scores['recall']['base']['scores']['char_f1']:.3f} |" in card
    )


def test_another_pdf_read_by_the_single_commands_leaves_nothing_of_the_first(root, cft):
    "extract, clean, corpus and dataset with another PDF, then the report and the card"

    def planted(name):
        W.write_json(
            root / 'data/extractor_scores.json',
            dict(
                document=name,
                extractors=dict(blocks=dict(cer=1.0, recall=1.0, order=1.0, seconds=1.0)),
            ),
        )

    planted('one_column')
    job = P.make_job(root, 'tiny', sets=SETS, documents=False)
    P.run_command(job, 'report')
    assert '>Extraction<' in (root / 'report.html').read_text()
    assert (
        cft('extract', BED / 'chromium.pdf', '--with', 'blocks', '--out', root).returncode == 0
    )
    assert not (root / 'data/extractor_scores.json').exists()
    for stage in ('clean', 'corpus', 'dataset'):
        P.run_command(job, stage)
    for made in (lambda: P.run_command(job, 'report'), lambda: P.run_command(job, 'evaluate')):
        with pytest.raises(CourseError, match='trained on another document'):
            made()
    with pytest.raises(CourseError, match='trained on another document'):
        run_diagnose(job.ws, job.cfg, job.plan)
    job = P.make_job(
        root, 'tiny', sets=['epochs=3', 'max_facts=4'], documents=False
    )  # one step warms up and changes nothing
    (root / 'models/tiny-gguf-q8_0').mkdir()
    (root / 'models/tiny-gguf-q8_0/tiny-q8_0.gguf').write_text('of the first')
    (told,) = P.run_command(job, 'train')
    assert told.startswith('removed tiny-gguf-q8_0, which was exported from an earlier')
    assert not (root / 'models/tiny-gguf-q8_0').exists()
    with pytest.raises(CourseError, match='an earlier tiny'):
        P.run_command(job, 'report')
    with pytest.raises(CourseError, match='holds answers of an earlier tiny'):
        P.run_command(job, 'evaluate')
    with pytest.raises(CourseError, match='holds answers of an earlier tiny'):
        run_diagnose(job.ws, job.cfg, job.plan)
    assert 'Not evaluated yet' in H.write_cards(Workspace(root), 'tiny')[0].read_text()
    for stage in ('answer', 'evaluate'):
        P.run_command(job, stage)
    planted('one_column')  # `climate-ft compare` with the first PDF
    P.run_command(job, 'report')
    page = (root / 'report.html').read_text()
    assert (
        '>Extraction<' not in page
        and 'one_column' not in page
        and 'questions about chromium' in page
    )
    P.run_command(job, 'merge')
    scores, card = (
        read_json(root / 'data/evaluation_results.json')['scores'],
        (root / 'models/tiny-merged/README.md').read_text(),
    )
    assert (
        f"| recall | {scores['recall']['tuned']['n']} |" in card
        and '`chromium`' in card
        and 'one_column' not in card
    )


@pytest.mark.parametrize('changed', [True, False])
def test_exports_go_with_the_adapter_that_they_were_made_from(tmp_path, monkeypatch, changed):
    "Only real folders of this name, and only if the training gave another adapter"
    from climate_ft import stages, train

    job, models = P.make_job(tmp_path, 'tiny', documents=False), tmp_path / 'models'
    kept = ['tiny', 'tiny-gguf-f16', 'tinyx-gguf-f16', 'elsewhere', 'tiny-gguf-link']
    for name in ['tiny-gguf-q8_0', *kept[1:4], 'tiny']:
        (models / name).mkdir(parents=True)
    (models / 'tiny-gguf-f16').rmdir()
    (models / 'tiny-gguf-f16').write_text('a file')
    (models / 'tiny-gguf-link').symlink_to(models / 'elsewhere')
    weights = models / 'tiny/adapter_model.safetensors'
    weights.write_text('a')
    made = lambda *a, **kw: weights.write_text('b' if changed else 'a')
    monkeypatch.setattr(train, 'train', made)
    told = stages._train(job, None)
    left = sorted(p.name for p in models.iterdir())
    assert left == sorted(kept if changed else [*kept, 'tiny-gguf-q8_0'])
    assert len(told) == changed


@pytest.mark.parametrize('start, says', [('reading', True), ('', False), ('mine', False)])
def test_a_run_says_that_its_training_went_on_from_the_reading_adapter(
    tmp_path, monkeypatch, start, says
):
    from climate_ft import stages, train
    from climate_ft.report import read_before

    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'adapter_model.safetensors').touch()
    at = str(tmp_path / 'mine') if start == 'mine' else start
    job = P.make_job(tmp_path, 'cpu', documents=False, sets=[f'start={at}'])
    info = tmp_path / 'models' / 'cpu' / 'train_config.json'
    made = lambda cfg, *a, **kw: W.write_json(info, dict(start=cfg.start))
    monkeypatch.setattr(train, 'train', made)
    told = stages._train(job, None)
    assert told == read_before(job.ws, 'cpu') and len(told) == says
    assert all('none that are held out' in t for t in told)
    assert read_before(job.ws, 'other') == []


def test_scores_of_an_earlier_adapter_are_not_put_on_the_card(root):
    r = read_json(root / 'data/evaluation_results.json')
    W.write_json(root / 'data/evaluation_results.json', dict(r, adapter='another'))
    assert 'Not evaluated yet' in H.write_cards(Workspace(root), 'tiny')[1].read_text()


def test_two_profiles_share_a_workspace(root):
    other = dict(sets=[*SETS, 'bits=8', 'name=eight'])
    assert again(run(root, **other)) == ['train', 'answer', 'evaluate', 'report', 'merge']
    assert read_json(root / 'data/evaluation_results_8bit.json')['name'] == 'eight'
    assert again(run(root)) == ['report']  # the report showed the other one
    assert (
        read_state(Workspace(root), 'tiny')['train']
        != read_state(Workspace(root), 'eight')['train']
    )


def test_two_profiles_of_one_precision_never_pass_for_each_other(root):
    run(root, sets=[*SETS, 'name=other'], last='evaluate')
    with pytest.raises(CourseError, match='holds the scores of other'):
        P.run_command(P.make_job(root, 'tiny', sets=SETS, documents=False), 'report')
    assert (
        again(run(root)) == ['evaluate']
        and read_json(root / 'data/evaluation_results.json')['name'] == 'tiny'
    )


def test_a_changed_setting_trains_again_and_a_merged_model_of_the_old_weights_goes(root):
    assert again(run(root, sets=['epochs=2', 'max_facts=4'], last='train')) == ['train']
    assert (
        not (root / 'models/tiny-merged').exists()
        and read_json(root / 'models/tiny/train_config.json')['epochs'] == 2
    )


def stop_in(monkeypatch, stage, at):
    "A progress function that interrupts `stage` once it is `at` done"

    def progress(s, i, n, f, m):
        if s == stage and f > at:
            raise KeyboardInterrupt

    return progress


def test_from_continues_what_was_interrupted(root, monkeypatch):
    from climate_ft import train as T

    seen, real = [], T.train
    monkeypatch.setattr(
        T,
        'train',
        lambda *a, resume=True, **k: (seen.append(resume), real(*a, resume=resume, **k))[1],
    )
    sets = ['epochs=3', 'max_facts=4']
    with pytest.raises(KeyboardInterrupt):
        run(root, sets=sets, first='train', progress=stop_in(monkeypatch, 'train', 0.6))
    result = run(root, sets=sets, first='train', last='answer')
    assert result['stages']['train'] == 'continued' and seen == [False, True]
    result = run(root, sets=sets, first='train', last='train')
    assert result['stages']['train'] == 'finished' and seen == [False, True, False]


def test_what_from_asked_for_is_done_by_the_next_run_too(root):
    def progress(s, i, n, f, m):
        if s == 'corpus':
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(root, first='clean', last='dataset', progress=progress)
    assert again(run(root)) == ['corpus', 'dataset'] and again(run(root)) == []


def test_a_broken_pdf_leaves_a_finished_workspace_as_it_was(root):
    before = {p: p.read_bytes() for p in root.rglob('*') if p.is_file()}
    for bad in ('truncated', 'scan', 'zero_byte'):
        with pytest.raises(CourseError, match=bad):
            run(root, [BED / f'{bad}.pdf'])
        assert {p: p.read_bytes() for p in root.rglob('*') if p.is_file()} == before
    assert again(run(root)) == []


@pytest.mark.parametrize(
    'error',
    [
        NotImplementedError('revert'),
        MemoryError(),
        RuntimeError('CUDA out of memory.\nTried to allocate'),
    ],
)
def test_a_failing_merge_loses_nothing(root, monkeypatch, error):
    def fail(*a, **k):
        raise error

    shutil.rmtree(root / 'models/tiny-merged')
    monkeypatch.setattr(X, 'run_merge', fail)
    with pytest.raises(CourseError) as e:
        run(root)
    assert (
        'the report is complete' in str(e.value)
        and f'`climate-ft merge --profile tiny --set epochs=1 --set max_facts=4 --out {root}`'
        in str(e.value)
    )
    monkeypatch.undo()
    assert (
        again(run(root)) == ['merge'] and (root / 'models/tiny-merged/config.json').is_file()
    )


def test_each_stage_declares_every_file_that_it_opens(root):
    """An audit hook in a process of its own lists the files
    of the workspace that are opened while a stage runs"""
    code = '''
import json, os, sys
from pathlib import Path
from climate_ft import pipeline as P
root, bed, seen = Path(sys.argv[1]), sys.argv[2], {}
now = None
def hook(event, args):
    if event == 'open' and isinstance(args[0], (str, Path)) and now:
        seen.setdefault(now, set()).add(os.path.realpath(args[0]))
job = P.make_job(root, 'tiny', [bed], sets=['epochs=1', 'max_facts=4'])
state = P.State(job)
sys.addaudithook(hook)
bad = {}
for s in P.course_stages():
    job.fresh = job.forced = True
    if s.name == 'answer':
        for p in P.answer_files(job): p.unlink()
    now = s.name; s.run(job, None); now = None
    named = [os.path.realpath(p) for p in (*s.reads(job), *s.writes(job))]
    own = os.path.realpath(root)
    def known(p): return any(p == n or p.startswith(n+'/') for n in named)
    # '-merged': is it of this adapter?
    free = ('checkpoints', '-merged', '.tmp', '.part', 'run.json', '.lock', 'tensorboard',
            '/.adapter', 'merged_from', 'train_config.json')
    ours = [p for p in seen.get(s.name, ()) if p.startswith(own) and not known(p)]
    bad[s.name] = [p for p in ours if not any(f in p for f in free)]
print(json.dumps({k: v for k,v in bad.items() if v}))'''
    r = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, str(root), str(BED / 'one_column.pdf')],
        capture_output=True,
        text=True,
        env=ENV,
        cwd=REPO,
    )
    assert r.returncode == 0, r.stderr[-1500:]
    assert json.loads(r.stdout.strip().splitlines()[-1]) == {}


# ---- identity of weights


def test_large_weights_are_known_by_content(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, 'LARGE', 1000)
    monkeypatch.setenv('CLIMATE_FT_CACHE', str(tmp_path / 'cache'))
    d = tmp_path / 'model'
    d.mkdir()
    write_text(d / 'config.json', '{}')
    f = d / 'model.safetensors'
    f.write_bytes(b'a' * 5000)
    first = G.model_key(d)
    calls, real = [], lock._sha256
    monkeypatch.setattr(lock, '_sha256', lambda p: (calls.append(p), real(p))[1])
    assert G.model_key(d) == first and f not in calls  # remembered
    f.write_bytes(b'a' * 4999 + b'b')
    os.utime(f, ns=(1, 1))
    assert G.model_key(d) != first and f in calls  # same size, other content


def test_an_adapter_is_known_by_its_weights_and_its_base_not_by_its_seconds(root):
    d = root / 'models/tiny'
    first = G.model_key(d)
    info = read_json(d / 'train_config.json')
    W.write_json(d / 'train_config.json', info | dict(seconds=1))
    assert G.model_key(d) == first
    W.write_json(d / 'train_config.json', info | dict(bits=8))
    assert G.model_key(d) != first


def test_code_counts_comments_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(R, 'REPO', tmp_path)
    (tmp_path / 'climate_ft').mkdir()
    f = tmp_path / 'climate_ft/x.py'

    def digest(src):
        f.write_text(src)
        P.code_digest.cache_clear()
        R._tree.cache_clear()
        return P.code_digest('x')

    a = digest('def f(x):\n    "Doc"\n    return x # why\n')
    assert (
        digest('def f(x):\n    "Other"\n\n    return x\n')
        == a
        != digest('def f(x):\n    "Doc"\n    return x+1\n')
    )


def test_every_stage_names_modules_and_libraries_that_exist():
    P.code_digest.cache_clear()
    R._tree.cache_clear()
    assert {'train', 'fast', 'prompts', 'models'} <= set(
        P.modules_of('train')
    ) and 'workspace' not in P.modules_of('train')
    assert {'decode', 'generate', 'metrics'} <= set(P.modules_of('evaluation'))
    for s in P.course_stages():
        assert s.code and set(s.code) <= set(P.modules_of(*s.code)), s.name
        assert all(P.version_of(l) for l in s.libraries if l != 'rapidocr'), (
            s.name
        )  # its OCR engine is an extra
    P.code_digest.cache_clear()
    R._tree.cache_clear()


# ---- killed at every stage


def killed_in(root, stage, args):
    "Start the command and kill it with SIGKILL as soon as it names the stage"
    p = subprocess.Popen(
        [sys.executable, '-m', 'climate_ft', 'run', *args],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=ENV,
        cwd=REPO,
    )
    for line in p.stderr:
        if line.split()[1:2] == [stage] and 'done before' not in line:
            time.sleep(0.2)
            p.send_signal(signal.SIGKILL)
            break
    p.wait()
    p.stderr.close()


def test_a_run_killed_in_stage_after_stage_ends_like_one_that_was_left_alone(
    finished, tmp_path
):
    import safetensors.torch as st

    root = tmp_path / 'run'
    (root / 'documents').mkdir(parents=True)
    shutil.copy(finished / 'documents/gold_questions.jsonl', root / 'documents')
    args = [
        '--profile',
        'tiny',
        '--pdf',
        str(BED / 'one_column.pdf'),
        *(o for s in SETS for o in ('--set', s)),
        '--out',
        str(root),
    ]
    for stage in ('dataset', 'train', 'answer', 'merge'):
        killed_in(root, stage, args)
    r = subprocess.run(
        [sys.executable, '-m', 'climate_ft', 'run', *args],
        capture_output=True,
        text=True,
        env=ENV,
        cwd=REPO,
    )
    assert r.returncode == 0, r.stderr[-1500:]
    same = [
        'documents/extracted_pages.json',
        'data/corpus_chunks.json',
        'data/splits/train.jsonl',
        'data/splits/gold.jsonl',
        'data/answers_tiny_base.jsonl',
        'data/answers_tiny_tuned.jsonl',
        'data/answers_tiny_base_passage.jsonl',
    ]

    def read(d, n):
        return (
            [(x['question'], x['prediction'], x['reference']) for x in read_jsonl(d / n)]
            if 'answers' in n
            else (d / n).read_bytes()
        )

    for n in same:
        assert read(root, n) == read(finished, n), n
    assert (
        read_json(root / 'data/evaluation_results.json')['scores']
        == read_json(finished / 'data/evaluation_results.json')['scores']
    )
    for n in ('tiny/adapter_model.safetensors', 'tiny-merged/model.safetensors'):
        a, b = (st.load_file(d / 'models' / n) for d in (root, finished))
        assert a.keys() == b.keys() and all((a[k] - b[k]).abs().max() < 1e-5 for k in a), n
    assert [p for p in root.rglob('.*') if not p.name.endswith('.part')] == []
    assert {k: v['status'] for k, v in read_state(Workspace(root), 'tiny').items()} == {
        s.name: 'finished' for s in P.course_stages()
    }


def test_a_stage_begins_without_the_memory_of_the_one_before(tmp_path):
    import gc
    import weakref

    alive, used = [], []

    def resident():
        pages = int(Path('/proc/self/statm').read_text().split()[1])
        return pages * os.sysconf('SC_PAGE_SIZE')

    class Trainer:
        def __init__(self):
            self.model, self.blocks = self, [bytes(1000) for _ in range(200_000)]

    def train(job, progress):
        t = Trainer()
        alive.append(weakref.ref(t))
        used.append(resident())

    def answer(job, progress):
        assert alive[0]() is None
        used.append(resident())

    def stage(name, run):
        return P.Stage(name, run, lambda j: [], lambda j: [])

    job = P.Job(Workspace(tmp_path))
    gc.collect()
    gc.disable()
    try:
        P.run_stages(job, [stage('train', train), stage('answer', answer)])
    finally:
        gc.enable()
    if platform.libc_ver()[0] == 'glibc':
        assert used[0] - used[1] > 150e6
