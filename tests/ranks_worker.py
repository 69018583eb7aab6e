"""What two launched processes do for test_ranks.py: `main OUT`.
Every training in OUT has a folder with its dataset."""

import sys
from dataclasses import replace
from pathlib import Path
from climate_ft import ranks as R, train as T
from climate_ft.workspace import CourseError, Workspace, write_json

CFG = replace(
    T.get_profile('tiny'),
    name='t',
    bits=16,
    dtype='float32',
    epochs=2,
    batch_size=4,
    accumulation=1,
    save_steps=2,
    max_facts=None,
    wordings=None,
    max_answer=None,
)  # of 11 rows: 3 + 3 steps


class Stop(Exception):
    pass


def stop_after(step):
    def progress(f, m):
        if f * 6 > step - 0.5:
            raise Stop

    return progress


def stopped(cfg, ws, step):
    try:
        T.train(cfg, ws, progress=stop_after(step))
    except Stop:
        pass


def main(progress, out):
    packed, padded = replace(CFG, layout='padding_free'), replace(CFG, batch_size=3)
    stopped(packed, Workspace(out / 'packed'), 5)
    T.train(packed, Workspace(out / 'packed'))
    stopped(CFG, Workspace(out / 'padded'), 3)  # finished by one process
    T.train(padded, Workspace(out / 'odd'))  # 3 examples for two processes
    try:
        T.train(replace(packed, learning_rate=1.0), Workspace(out / 'packed'))
    except CourseError as e:
        write_json(out / f'refused{R.Ranks().rank}.json', str(e))
    raise CourseError('one line') if R.Ranks().main else Stop


if __name__ == '__main__':
    R.worker(lambda progress: main(progress, Path(sys.argv[1])))
