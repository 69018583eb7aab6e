"""Attack the command line: damaged files between the stages, hostile options, paths and
encodings, and kills.

usage: python scripts/attack.py OUT.json [inputs=400] [kills=12] [seed=0] [run=FOLDER]

FOLDER is that of a finished tiny run. An OUT.json of the same seed is continued: remove it
after a change of the program. An input is handled if it ends with status 0, or with status 2
and one line that starts with `climate-ft:`. A killed run is started again until it ends, and
what it made is compared with an uninterrupted run."""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from climate_ft.workspace import REPO, file_digest, write_json

PDF = REPO / 'documents/testbed/one_column.pdf'
READERS = {  # file of a finished run: commands that read it
    'documents/extracted_pages.json': ('clean',),
    'documents/cleaned_blocks.json': ('corpus', 'dataset'),
    'data/corpus_chunks.json': ('dataset', 'evaluate', 'report', 'answers'),
    'data/corpus.txt': ('dataset',),
    'data/dataset_report.json': ('report',),
    'data/extractor_scores.json': ('report',),
    'data/evaluation_results.json': ('report', 'merge'),
    'logs/tiny.jsonl': ('report', 'evaluate'),
    'models/tiny/train_config.json': ('report', 'evaluate', 'answers'),
    'models/tiny-merged/merged_from.json': ('run',),
    'models/tiny-merged/parity.json': ('run',),
    'data/answers_tiny_base.jsonl': ('evaluate', 'answers'),
    'data/answers_tiny_tuned.jsonl': ('evaluate',),
    'data/splits/recall.jsonl': ('answers',),
    'data/splits/gold.jsonl': ('answers',),
    'data/splits/train.jsonl': ('answers',),
    'run.json': ('run', 'report', 'clean'),
}
WITH_PROFILE = {'evaluate', 'report', 'answers', 'merge', 'run'}
VALUES = [
    None,
    [],
    {},
    'x',
    '',
    3,
    -1,
    True,
    0.5,
    1e300,
    10**30,
    [None],
    {'a': 1},
    '\0',
    '\x1b[2J',
    '\u202e',
    [[[]]],
    '海' * 2000,
]
RAW = [
    'NaN',
    '1e400',
    '9' * 5000,
    '"\\ud800"',
    '[' * 5000,
    '{',
    '',
    '\x00',
    '\ufeff',
    '[1,',
    'null',
]

# ---- how files are damaged


def places(value, at=()):
    "Every place in a JSON value"
    yield at
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for k, v in items:
        yield from places(v, (*at, k))


def replaced(value, at, new):
    if not at:
        return new
    inside = value
    for k in at[:-1]:
        inside = inside[k]
    inside[at[-1]] = new
    return value


def change_value(rng, text):
    "One value of a JSON file, or of a line of one, is another, or missing"
    try:
        value, rest, n = json.loads(text), None, 0
    except ValueError:
        rest = text.split('\n')
        n = rng.randrange(len(rest))
        try:
            value = json.loads(rest[n])
        except ValueError:
            return 'garbage\n' + text
    at = rng.choice(list(places(value))[:4000])
    if at and rng.random() < 0.2:
        inside = value
        for k in at[:-1]:
            inside = inside[k]
        del inside[at[-1]]
    elif rng.random() < 0.2:
        value = replaced(value, at, '@@')
    else:
        value = replaced(value, at, rng.choice(VALUES))
    said = json.dumps(value, ensure_ascii=False).replace('"@@"', rng.choice(RAW))
    if rest is None:
        return said
    return '\n'.join([*rest[:n], said, *rest[n + 1 :]])


def damage(rng, p):
    "Damage the file `p`; what was done, in words"
    raw = p.read_bytes()
    kind = rng.choice(
        ['value'] * 8
        + [
            'cut',
            'bytes',
            'empty',
            'gone',
            'folder',
            'loop',
            'pipe',
            'zero',
            'utf-16',
            'cp932',
            'line',
            'twice',
        ]
    )
    p.unlink()
    if kind == 'folder':
        p.mkdir()
    elif kind == 'loop':
        p.symlink_to(p)
    elif kind == 'pipe':
        os.mkfifo(p)
    elif kind == 'zero':
        p.symlink_to('/dev/zero')
    elif kind == 'gone':
        pass
    else:
        text = raw.decode()
        new = dict(
            cut=lambda: raw[: rng.randrange(len(raw) + 1)],
            empty=lambda: b'',
            twice=lambda: raw + raw,
            bytes=lambda: (
                raw[: (i := rng.randrange(len(raw) + 1))]
                + rng.randbytes(rng.randrange(1, 9))
                + raw[i:]
            ),
            line=lambda: raw + rng.choice(RAW).encode('utf-8', 'surrogatepass') + b'\n',
            value=lambda: change_value(rng, text).encode('utf-8', 'surrogatepass'),
        )
        p.write_bytes(new[kind]() if kind in new else text.encode(kind, 'replace'))
    return kind


# ---- one call of the command line, in this process


class Hang(BaseException):
    pass


def call(argv, seconds=60, cwd='.'):
    """How one command ends: handled, traceback or hang; and what it said.
    A hang is more than `seconds` of processor time, or ten times that by the clock"""
    from climate_ft import cli

    def late(*_):
        raise Hang

    out, err, old = io.StringIO(), io.StringIO(), (sys.argv, sys.excepthook)
    sys.argv = ['climate-ft', *map(str, argv)]
    limits = {signal.ITIMER_PROF: seconds, signal.ITIMER_REAL: 10 * seconds}
    for sign in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(sign, late)
    for timer, most in limits.items():
        signal.setitimer(timer, most)
    status, how = 0, 'handled'
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            contextlib.chdir(cwd),
        ):
            cli.main()
    except SystemExit as e:
        status = e.code or 0
    except Hang:
        how = 'hang'
    except BaseException:
        how, status = 'traceback', traceback.format_exc()
    finally:
        for timer in limits:
            signal.setitimer(timer, 0)
        sys.argv, sys.excepthook = old
    lines = [l for l in err.getvalue().splitlines() if l.startswith('climate-ft: ')]
    usage = 'Usage:' in err.getvalue()  # an option that does not exist: typer's own words
    if how == 'handled' and (
        status not in (0, 2) or status == 2 and len(lines) != 1 and not usage
    ):
        how = 'traceback'
    return how, f'{status}\n{err.getvalue()[-1500:]}'


# ---- the two kinds of input


def damaged_file(rng, run, folder):
    "A command on a workspace with one damaged file"
    shutil.copytree(
        run, folder, copy_function=os.link, symlinks=True
    )  # whole files are replaced, never written into
    name = rng.choice([n for n in READERS if (run / n).is_file()])
    p, command = folder / name, rng.choice(READERS[name])
    for log in (folder / 'logs').glob('*'):
        shutil.copy(log, f'{log}.own')
        os.replace(f'{log}.own', log)
    kind = damage(rng, p)
    argv = [command, '--out', folder]
    if command in WITH_PROFILE:
        argv += ['--profile', 'tiny']
    if command == 'run':
        argv += ['--pdf', PDF, '--from', 'report']
    return argv, f'{name}: {kind}; {command}'


def hostile_line(rng, run, folder):
    "A command with strange files, paths and options"
    folder.mkdir()
    odd = folder / rng.choice(
        [
            'a.jsonl',
            '海 氷.jsonl',
            '\x1b[2J.jsonl',
            '[bold].jsonl',
            '\u202e.jsonl',
            '-.jsonl',
            '<img>.jsonl',
            os.fsdecode(b'\xff.jsonl'),
        ]
    )
    row = dict(
        question='海氷とは何か。',
        prediction='海',
        reference='海氷',
        extra=dict(variants=['氷']),
        id='a',
        source_id='s',
    )
    odd.write_text('\n'.join([json.dumps(row, ensure_ascii=False)] * 2))
    kind = damage(rng, odd) if rng.random() < 0.7 else 'whole'
    (folder / 'loop').symlink_to(folder / 'loop')
    (folder / 'file').write_text('x')
    os.mkfifo(folder / 'pipe')
    paths = [
        odd,
        folder / 'loop',
        folder / 'file',
        folder / 'file' / 'x',
        folder / 'pipe',
        folder / ('長' * 100),
        '/dev/null',
        '/dev/zero',
        '/dev/full',
        folder,
        folder / 'new',
        '',
        '.',
        '/proc/self/mem',
        run / 'data/corpus.txt',
        '\x1b[31m',
        '-',
        'x' * 5000,
    ]

    def path():
        return rng.choice([odd, odd, *paths])

    sets = [
        'epochs=1e400',
        'epochs=',
        '=',
        'name=../x',
        'name=' + 'x' * 300,
        'bits=3',
        'learning_rate=nan',
        'seed=' + '9' * 400,
        '\x1b=1',
        'base=\0'.replace('\0', '海'),
        'targets=,,',
    ]
    settings = ['--set', rng.choice(sets), '--config', path(), '--base', path()]
    choice = rng.randrange(6)
    argv = [
        ['score', path()],
        [
            'answer',
            path(),
            '--model',
            rng.choice([run / 'models/tiny', path()]),
            '--out',
            path(),
        ],
        ['extract', path(), '--out', path()],
        ['preflight', '--profile', 'tiny', *settings[(i := rng.choice((0, 2, 4))) : i + 2]],
        [rng.choice(['clean', 'corpus', 'dataset', 'report', 'evaluate']), '--out', path()],
        ['compare', rng.choice([PDF, path()]), '--gold', path(), '--out', path()],
    ][choice]
    return argv, f'{kind}; {" ".join(map(str, argv))[:200]}'


def attack(run, inputs, seed, tell=None, known=None, save=lambda count, bad: None):
    "Counts, and the inputs that were not handled"
    keys, known = ('inputs', 'handled', 'tracebacks', 'hangs'), known or {}
    count, bad = (
        {k: known.get(k, 0) for k in keys},
        [dict(what=w) for w in known.get('open', [])],
    )
    for k in range(count['inputs'], inputs):
        rng = random.Random(f'{seed}-{k}')
        with tempfile.TemporaryDirectory(dir=run.parent) as d:
            make = damaged_file if rng.random() < 0.6 else hostile_line
            argv, what = make(rng, run, Path(d) / 'ws')
            began = time.time()
            how, said = call(argv, cwd=d)
            if tell and time.time() - began > 15:
                tell(f'{k + 1}: {time.time() - began:.0f} s for {what}')
        count[how if how == 'handled' else how + 's'] += 1
        count['inputs'] += 1
        if how != 'handled':
            bad.append(dict(input=k, what=what, said=said))
        if tell and how != 'handled':
            tell(f'{k + 1}: {how} {what}')
        if k % 10 == 9:
            save(count, bad)
        if tell and k % 10 == 9:
            tell(f'{k + 1}: {count}')
    return count, bad


# ---- kills

RESULTS = [
    'documents/extracted_pages.json',
    'documents/cleaned_blocks.json',
    'data/corpus_chunks.json',
    'data/dataset.json',
    'data/splits',
    'data/answers_tiny_base.jsonl',
    'data/answers_tiny_tuned.jsonl',
    'models/tiny/adapter_model.safetensors',
    'models/tiny-merged/model.safetensors',
    'models/tiny-merged/config.json',
    'models/tiny-merged/tokenizer.json',
]


def made(ws):
    "What a run made, without its seconds"
    scores = json.loads((ws / 'data/evaluation_results.json').read_text())
    return {n: file_digest(ws / n) for n in RESULTS} | dict(scores=scores['scores'])


def start(ws, *more):
    argv = [
        sys.executable,
        '-m',
        'climate_ft.cli',
        'run',
        '--profile',
        'tiny',
        '--pdf',
        PDF,
        '--out',
        ws,
        *more,
    ]
    return subprocess.Popen(
        list(map(str, argv)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def kill_in(stage, p, rng):
    "Kill the run a random moment after `stage` has begun"
    for line in p.stderr:
        if f' {stage} ' not in line:
            continue
        time.sleep(rng.random() * rng.choice((0.05, 0.5, 5)))
        p.kill()
        break
    p.stderr.close()
    return p.wait() == -signal.SIGKILL


def kills(run, n, seed, tell=None, known=(), save=lambda rows: None):
    "How many of `n` killed runs ended equal to the uninterrupted one"
    stages, whole, rows = (
        [
            'extract',
            'clean',
            'corpus',
            'dataset',
            'train',
            'answer',
            'evaluate',
            'report',
            'merge',
        ],
        made(run),
        list(known),
    )
    for k in range(len(rows), n):
        rng, stage = random.Random(f'{seed}-kill-{k}'), stages[-1 - k % len(stages)]
        with tempfile.TemporaryDirectory(dir=run.parent) as d:
            ws = Path(d) / 'ws'
            shutil.copytree(run, ws)
            struck = kill_in(stage, start(ws, '--from', stage), rng)
            p = start(ws, '--from', stage)
            said = p.communicate()[1]
            left = [f.name for f in ws.rglob('.*') if f.name.endswith(('.tmp', '.part'))]
            rows.append(
                dict(
                    stage=stage,
                    killed=struck,
                    equal=p.returncode == 0 and made(ws) == whole and not left,
                    status=p.returncode,
                )
            )
        save(rows)
        if tell:
            tell(f'{rows[-1]} {said[-800:] if not rows[-1]["equal"] else ""}')
    return rows


def main(out, inputs=400, n=12, seed=0, run=None):
    def tell(s):
        print(s, flush=True)

    known = json.loads(Path(out).read_text()) if Path(out).is_file() else {}
    if str(known.get('seed')) != str(seed):
        known = {}

    def save(count, bad, rows):  # what was done counts if the rest is not reached
        found = dict(kills=len(rows), equal=sum(r['equal'] for r in rows), runs=rows)
        write_json(out, dict(seed=seed, **count, **found, open=[b['what'] for b in bad]))

    with tempfile.TemporaryDirectory() as d:
        if run is None:
            run = Path(d) / 'run'
            assert start(run).wait() == 0
        run, rows = Path(run).resolve(), known.get('runs', [])

        def keep(count, bad):
            save(count, bad, rows)

        count, bad = attack(run, int(inputs), seed, tell, known, keep)
        keep(count, bad)
        for b in bad:
            tell(json.dumps(b, ensure_ascii=False, indent=1))
        kills(run, int(n), seed, tell, rows, lambda rows: save(count, bad, rows))


if __name__ == '__main__':
    main(*sys.argv[1:])
