"""Seconds until the first answer of `climate-ft chat` after loading: results/bench_chat.json.

The page is started as a person starts it, with base and tuned model, and asked over HTTP as a
browser asks: from memory and with passages of the report. `first` is the first word, `whole`
the end. Wall-clock time with two threads: other programs on the machine make it longer, never
shorter. The saved figures were taken while other programs used both cores.

usage: python scripts/bench_chat.py [--trained FOLDER] [--out FILE]
The models: the tiny one of the tests, and Gemma 3 270M with an adapter as the cpu profile's.
Their adapters are untrained. That changes no time of a word, but the answer runs to its limit
of 160 tokens where a trained one ends with its sentence: FOLDER is an adapter of a run, which
is asked --question in the place of these, with the run's corpus; the other figures stay.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from urllib.request import Request, urlopen
from climate_ft.models import GEMMA, load_quantized, quiet
from climate_ft.workspace import REPO, Workspace, read_json, write_json

QUESTION = '雪氷面のアルベドとは何ですか。'


def with_adapter(ws, base):
    "A run's folder with a fresh adapter on `base`"
    from peft import LoraConfig, get_peft_model

    folder = ws.models / 'bench'
    with quiet():
        lora = LoraConfig(
            r=16, lora_alpha=16, target_modules='all-linear', task_type='CAUSAL_LM'
        )
        get_peft_model(load_quantized(base, 4, 'float32')[0], lora).save_pretrained(folder)
    note = dict(name='bench', base=base, bits=4, dtype='float32')
    write_json(folder / 'train_config.json', note)
    shutil.copytree(REPO / 'data', ws.data, dirs_exist_ok=True)
    return folder


def post(url, path, **body):
    "A request as the page makes it"
    kind = {'Content-Type': 'application/json'}
    return urlopen(Request(url + path, json.dumps(body).encode(), kind))


def answer(url, question, model, passage=''):
    "Seconds to the first piece and to the end; the characters that came"
    t0, got, text = time.perf_counter(), {}, b''

    def note(name):
        got.setdefault(name, round(time.perf_counter() - t0, 2))

    with post(url, '/ask', model=model, question=question, passage=passage) as r:
        while piece := r.read1():
            text += piece
            note('first')
    note('whole')
    return got | dict(characters=len(text.decode(errors='ignore')))


def page(folder, question=QUESTION):
    "Start the page, ask it, end it"
    env = os.environ | dict(OMP_NUM_THREADS='2')
    t0 = time.perf_counter()
    command = [sys.executable, '-m', 'climate_ft', 'chat', '--model', str(folder)]
    command += ['--port', '0']
    p = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=env, cwd=folder.parent.parent
    )
    try:
        url = next(m[1] for l in p.stderr if (m := re.search(r'Open (http://\S+)', l)))
        loaded = round(time.perf_counter() - t0, 1)
        first = answer(url, question, 'tuned')  # the very first: nothing is warm
        with post(url, '/find', question=question) as r:
            found = json.load(r)
        rest = {
            'tuned, with passages': answer(url, question, 'tuned', found['id']),
            'base': answer(url, question, 'base'),
        }
        return dict(
            question=question, loading=loaded, answers={'tuned, the first': first} | rest
        )
    finally:
        p.kill()
        p.wait()
        p.stderr.close()


def untrained():
    "The seconds of both models with fresh adapters"
    seconds = {}
    for base in ('tiny', GEMMA['name']):
        with tempfile.TemporaryDirectory() as tmp:
            seconds[base] = page(with_adapter(Workspace(tmp), base))
    return seconds


def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--out', type=Path, default=REPO / 'results' / 'bench_chat.json')
    ap.add_argument('--trained', type=Path)
    ap.add_argument('--question', default=QUESTION, help='One that the trained model knows.')
    given = ap.parse_args()
    out, old = given.out, read_json(given.out)['seconds'] if given.out.is_file() else {}
    trained, new = given.trained, {}
    if trained:
        new = dict(trained=page(trained.resolve(), given.question))
    new = new or untrained()
    versions = {n: version(n) for n in ('torch', 'transformers', 'peft')}
    result = dict(threads=2, seconds=old | new, versions=versions)
    write_json(out, result)
    print(out.read_text())


if __name__ == '__main__':
    main()
