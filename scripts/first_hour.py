"""Run `nbs/00_first_hour.ipynb` in full, keep what it prints, and write the seconds of each
cell to `results/first_hour.json`. The model's cache and the run of an earlier time are left
aside, so that the figures are those of a first time.

On a GPU the notebook is left as it is, and the seconds go to `results/first_hour_gpu.json`.
`CLIMATE_FT_BASE` names a model folder in the place of the one that is downloaded. `--plain`
runs the cells without Jupyter, and shows nothing of what they show."""

import datetime
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
NOTEBOOK, RESULTS = REPO / 'nbs' / '00_first_hour.ipynb', REPO / 'results'
PARTS = {  # what a cell of each part begins with; the table of the notebook has the same rows
    'the page and its facts': 'import os',
    'the model before training': 'from climate_ft.generate import generate',
    'training': 'from climate_ft.train import train_distributed',
    'after training, and with the passage': 'tuned, tok = load_for_inference',
}


def first_line(source):
    "The first line of a cell that is no directive"
    return next((l for l in source.splitlines() if l and not l.startswith('#|')), '')


def plain(cell):
    "A cell without what differs between two runs of the same result"
    cell.metadata.pop('execution', None)
    cell.outputs = [o for o in cell.outputs if o.get('name') != 'stderr']
    for o in cell.outputs:
        o.pop('transient', None)


def parts(rows):
    "Seconds of each part of the lesson"
    found, at = dict.fromkeys(PARTS, 0.0), next(iter(PARTS))
    for r in rows:
        at = next((k for k, v in PARTS.items() if r['cell'].startswith(v)), at)
        found[at] = round(found[at] + r['seconds'], 1)
    return found


def run_plain(nb, env):
    "As `run`, in this process and without Jupyter"
    import contextlib
    import io

    os.environ.update(env)
    os.chdir(NOTEBOOK.parent)
    sys.path.insert(0, str(REPO))
    names, rows = {}, []
    for source in (''.join(c['source']) for c in nb['cells'] if c['cell_type'] == 'code'):
        start = time.perf_counter()
        exec(compile(source, first_line(source), 'exec'), names)
        seconds = round(time.perf_counter() - start, 1)
        rows.append(dict(cell=first_line(source), seconds=seconds))
        print(rows[-1], flush=True)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(ANSWERS, names)
    return rows, json.loads(said.getvalue())


def run(nb, env):
    "Execute the notebook in place: first line and seconds of each code cell, and the answers"
    from nbclient import NotebookClient

    client, rows = NotebookClient(nb, timeout=7200, kernel_name='python3'), []
    with client.setup_kernel(cwd=str(NOTEBOOK.parent), env=os.environ | env):
        for i, cell in enumerate(nb.cells):
            if cell.cell_type != 'code':
                continue
            start = time.perf_counter()
            client.execute_cell(cell, i)
            rows.append(
                dict(
                    cell=first_line(cell.source), seconds=round(time.perf_counter() - start, 1)
                )
            )
            print(rows[-1], flush=True)
            plain(cell)
        return rows, answers(client)


ANSWERS = """import json
facts = [(q, b, a, f.answer) for q,b,a,f in zip(questions, before, after, tested)]
looked_up = [(q['question'], m, u, a, q['answer'], c.pages[0])
             for q,m,u,a,(c,_) in zip(later, memory, untrained, said, best)]
shown = dict(memory=facts, read=looked_up, nowhere=(nowhere, ask(nowhere)[0]))
print(json.dumps(shown, ensure_ascii=False))"""


def answers(client):
    "What the models said, from the running notebook"
    from nbformat.v4 import new_code_cell

    client.nb.cells.append(new_code_cell(ANSWERS))
    cell = client.execute_cell(client.nb.cells[-1], len(client.nb.cells) - 1)
    client.nb.cells.pop()
    return json.loads(''.join(o.text for o in cell.outputs if o.get('name') == 'stdout'))


def machine():
    "What the seconds were measured on"
    import torch
    from climate_ft.preflight import versions

    gpu = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if gpu else 'CPU'
    threads = int(os.environ.get('OMP_NUM_THREADS') or torch.get_num_threads())
    return dict(device=name, threads=threads, versions=versions())


def main():
    plain = '--plain' in sys.argv[1:]
    if plain:
        nb = json.loads(NOTEBOOK.read_text())
    else:
        import nbformat

        nb = nbformat.read(NOTEBOOK, as_version=4)
    shutil.rmtree(REPO / 'runs' / 'first_hour', ignore_errors=True)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as cache:
        path = os.pathsep.join([str(REPO), *filter(None, [os.environ.get('PYTHONPATH')])])
        env = dict(CLIMATE_FT_CACHE=cache, PYTHONPATH=path, CLIMATE_FT_PROFILE='')
        rows, said = (run_plain if plain else run)(nb, env)
    used = json.loads(
        (
            next((REPO / 'runs' / 'first_hour' / 'models').glob('*/train_config.json'))
        ).read_text()
    )
    keep = (
        'name',
        'base',
        'bits',
        'epochs',
        'learning_rate',
        'rows',
        'tokens',
        'trained_tokens',
        'steps',
        'seconds',
    )
    result = dict(
        about='scripts/first_hour.py',
        date=str(datetime.date.today()),
        **machine(),
        other_load=round(load, 1),
        training={k: used[k] for k in keep},
        minutes=round(sum(r['seconds'] for r in rows) / 60, 1),
        parts=parts(rows),
        cells=rows,
        answers=said,
    )
    on_gpu = result['device'] != 'CPU'
    if not (on_gpu or plain):
        nbformat.write(nb, NOTEBOOK)
    name = 'first_hour_gpu.json' if on_gpu else 'first_hour.json'
    (RESULTS / name).write_text(json.dumps(result, ensure_ascii=False, indent=1) + '\n')
    print(result['parts'])


if __name__ == '__main__':
    main()
