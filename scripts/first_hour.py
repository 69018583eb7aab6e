"""Run `nbs/00_first_hour.ipynb` in full, keep what it prints, and write the seconds of each
cell to `results/first_hour.json`. The model's cache and the run of an earlier time are left
aside, so that the figures are those of a first time."""

import datetime
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
NOTEBOOK, RESULT = REPO / 'nbs' / '00_first_hour.ipynb', REPO / 'results' / 'first_hour.json'


def first_line(source):
    "The first line of a cell that is no directive"
    return next((l for l in source.splitlines() if l and not l.startswith('#|')), '')


def plain(cell):
    "A cell without what differs between two runs of the same result"
    cell.metadata.pop('execution', None)
    cell.outputs = [o for o in cell.outputs if o.get('name') != 'stderr']
    for o in cell.outputs:
        o.pop('transient', None)


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
    import nbformat

    nb = nbformat.read(NOTEBOOK, as_version=4)
    shutil.rmtree(REPO / 'runs' / 'first_hour', ignore_errors=True)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as cache:
        rows, said = run(
            nb, dict(CLIMATE_FT_CACHE=cache, PYTHONPATH=str(REPO), CLIMATE_FT_PROFILE='')
        )
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
        cells=rows,
        answers=said,
    )
    nbformat.write(nb, NOTEBOOK)
    RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + '\n')


if __name__ == '__main__':
    main()
