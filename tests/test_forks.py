"""A forked kernel is like a kernel of its own, and its end is no other's."""

import os
import signal
import sys
import time
import nbformat
import pytest
from nbclient.exceptions import DeadKernelError
from nbformat.v4 import new_code_cell, new_notebook
from nbrun import LIBRARIES, REPO, Forks, by_needs, drift, execute, needs

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='kernels are forked on Linux')


@pytest.fixture(scope='module')
def forks(tmp_path_factory):
    with (
        pytest.MonkeyPatch.context() as m,
        Forks(tmp_path_factory.mktemp('forks'), sys.executable, dict(OF_THE_SERVER='1')) as f,
    ):
        m.setenv('OMP_NUM_THREADS', '1')
        m.setenv('JUPYTER_PATH', str(f.folder))
        yield f


@pytest.fixture
def notebook(tmp_path):
    def write(*sources):
        nb = new_notebook(cells=[new_code_cell(s) for s in ('', *sources)])
        nbformat.write(nb, tmp_path / 'n.ipynb')
        return tmp_path / 'n.ipynb'

    return write


def printed(nb):
    return [''.join(o.get('text', '') for o in c.outputs) for c in nb.cells[1:]]


FACTS = '''
import os, signal, sys, threading, zlib
env = {k: zlib.crc32(v.encode()) for k, v in os.environ.items() if k[:4] != 'JPY_'}
print(os.getcwd(), os.environ['OF_THE_TEST'], sys.path, sys.executable, sys.argv[1])
print(env)
print(sys.flags, sys.warnoptions, sys.stdin, __name__, sorted(globals()))
print(sorted(t.name.split('-')[0] for t in threading.enumerate()))
print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
print(os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid(), os.isatty(1))
'''


def test_it_is_like_a_kernel_of_its_own(forks, notebook, tmp_path):
    path = notebook(
        FACTS,
        'import matplotlib.pyplot as plt\nplt.plot([1, 2]);',
        'import random\nlen({random.random() for _ in range(3)})',
    )
    kernel, extra = forks.kernel(path), dict(OF_THE_TEST='ü', OMP_NUM_THREADS='1')
    assert kernel == 'forked'
    mine, own = (execute(path, tmp_path, k, extra) for k in (kernel, 'python3'))
    assert printed(mine)[0].splitlines() == printed(own)[0].splitlines()
    assert printed(mine)[0].startswith(f'{tmp_path} ü [') and drift(own, mine) == []
    assert 'image/png' in mine.cells[2].outputs[-1].data


CHANCE = 'print(random.random())', 'print(uuid.uuid4())', 'print(np.random.rand())'


def test_two_kernels_differ_by_chance(tmp_path, notebook, monkeypatch):
    path = notebook('import random, uuid\nimport numpy as np', *CHANCE)
    with Forks(tmp_path / 'jupyter', sys.executable, {}) as forks:
        monkeypatch.setenv('JUPYTER_PATH', str(forks.folder))
        forks.start(['numpy.random'], ())
        one, two = (printed(execute(path, tmp_path, 'forked')) for _ in range(2))
    assert '' not in one[1:] and not [c for c, d in zip(one[1:], two[1:]) if c == d]


@pytest.mark.parametrize('end', ['os.kill(os.getpid(), 9)', 'os._exit(3)'])
def test_the_death_of_one_is_seen_and_leaves_the_others(forks, notebook, tmp_path, end):
    path = notebook(f'import os; {end}')
    with pytest.raises(DeadKernelError):
        execute(path, tmp_path, forks.kernel(path))
    path = notebook('print(1)')
    assert printed(execute(path, tmp_path, forks.kernel(path))) == ['1\n']


def gone(pid):
    "Has a process ended, or does it end in the next minute?"
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def kernel_of(forks, path):
    "A running kernel: (its manager, its client, its process id)"
    from jupyter_client.manager import start_new_kernel

    km, kc = start_new_kernel(kernel_name=forks.kernel(path))
    said = []
    kc.execute_interactive(
        'import os; print(os.getpid())', output_hook=lambda m: said.append(m['content'])
    )
    return km, kc, int(next(c['text'] for c in said if 'text' in c))


def test_it_can_be_interrupted_and_ends_with_its_stand_in(forks, notebook):
    km, kc, pid = kernel_of(forks, notebook())
    stand_in = km.provisioner.process.pid
    kc.execute('print("on the way", flush=True)\nimport time\ntime.sleep(600)')
    while kc.get_iopub_msg(timeout=60)['msg_type'] != 'stream':
        pass
    km.interrupt_kernel()
    assert kc.get_shell_msg(timeout=60)['content']['ename'] == 'KeyboardInterrupt'
    assert pid != stand_in and not gone_now(pid)
    os.kill(stand_in, signal.SIGKILL)
    assert gone(pid)
    kc.stop_channels()


def gone_now(pid):
    return not os.path.exists(f'/proc/{pid}')


def test_the_end_of_the_server_is_that_of_its_kernels(forks, notebook):
    km, kc, pid = kernel_of(forks, notebook())
    forks.close()
    forks.needs = None
    assert gone(pid) and not km.is_alive()
    kc.stop_channels()


def test_what_a_notebook_needs(notebook):
    assert needs(notebook('print(1)')) == ((), ())
    assert needs(notebook('import torch', 'import sys; sys.modules')) is None
    path = notebook(
        'import os\nos.environ.update(\n    TQDM_DISABLE="1", OTHER="2"\n)\nimport torch',
        'run(env=dict(HF_HUB_OFFLINE="1"))\nos.environ["TRANSFORMERS_VERBOSITY"] = "error"',
    )
    assert needs(path) == (
        tuple(LIBRARIES),
        (
            ('TQDM_DISABLE', '1'),
            ('TRANSFORMERS_VERBOSITY', 'error'),
            ('USE_HUB_KERNELS', 'NO'),
        ),
    )


def test_notebooks_with_the_same_needs_follow_each_other():
    paths = sorted((REPO / 'nbs').glob('*.ipynb'))
    kinds = [needs(p) for p in by_needs(paths)]
    assert sorted(by_needs(paths)) == paths
    assert sum(a != b for a, b in zip(kinds, kinds[1:])) == len({*kinds}) - 1


def test_a_figure_that_is_no_longer_drawn_is_seen():
    from nbformat.v4 import new_output

    def one(*outputs):
        return new_notebook(cells=[new_code_cell('draw()', outputs=[*outputs])])

    value = new_output('execute_result', data={'text/plain': '3'})
    figure = new_output(
        'display_data', data={'image/png': '', 'text/plain': '<Figure size 9x9 with 1 Axes>'}
    )
    other = new_output('execute_result', data={'text/plain': '4'})
    assert drift(one(value, figure), one(value, figure)) == []
    assert 'pictures' in drift(one(value, figure), one(value))[0]
    assert len(drift(one(value, figure), one(other, figure))) == 1
