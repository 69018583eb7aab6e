"""What the setup cell of each notebook runs on Colab, inside the notebook's own process:
install the course from the clone this file lies in, with the GPU extra only where there is a
GPU, and leave torch, whatever is loaded already and whatever serves as it is. Where something
that is in use had to be replaced after all, the cell ends in an error, so that *Run all*
stops."""

import importlib
import importlib.metadata as md
import os
import re
import shutil
import subprocess
import sys
import tempfile
from configparser import ConfigParser
from pathlib import Path


def name(req):
    return re.match(r'[\w.-]+', req)[0].lower().replace('_', '-')


def settings(repo):
    cp = ConfigParser(delimiters=['='])
    cp.read(repo / 'settings.ini', encoding='utf-8')
    return cp['DEFAULT']


def versions(dists):
    "Installed version of each distribution, None where it is missing"

    def one(d):
        try:
            return md.version(d)
        except md.PackageNotFoundError:
            return None

    return {d: one(d) for d in dists}


def loaded():
    "Distributions of which this process has already imported a module"
    by = md.packages_distributions()
    return {
        d.lower().replace('_', '-')
        for m in list(sys.modules)
        if '.' not in m
        for d in by.get(m, ())
    }


def serves(req):
    "Is a distribution installed that this requirement accepts?"
    try:
        from packaging.requirements import Requirement
    except ImportError:
        from pip._vendor.packaging.requirements import Requirement
    v = versions([name(req)])[name(req)]
    return bool(v) and Requirement(req).specifier.contains(v, prereleases=True)


def constraints(repo, extras, keep=True, pin=True):
    """Lines for pip's `-c`: torch as it is; with `keep`, all that this process has loaded as
    it is; with `pin`, the course's own version of what it asks for and does not find in a
    version that serves"""
    cfg = settings(repo)
    wanted = [
        r
        for k in ('requirements', *(f'{e}_requirements' for e in extras))
        for r in cfg[k].split()
    ]
    short = {name(r) for r in wanted if not serves(r)}
    held = versions(({'torch'} | loaded() - short - TOOLS) if keep else {'torch'})
    lines = [f"{d}=={v.split('+')[0]}" for d, v in sorted(held.items()) if v]
    pins = (repo / 'constraints-cpu.txt').read_text().splitlines() if pin else []
    return lines + [
        l
        for l in pins
        if re.match(r'[\w.-]+==', l) and name(l) in short and not held.get(name(l))
    ]


TOOLS = {'pip', 'setuptools', 'wheel'}  # they only install
ATTEMPTS = (
    dict(),
    dict(pin=False),
    dict(keep=False),
)  # from the gentlest to the one that replaces most


def install(repo, extras):
    "Install the course with the first constraints that pip can satisfy"
    for kw in ATTEMPTS:
        with tempfile.NamedTemporaryFile('w', suffix='.txt', delete=False) as f:
            f.write('\n'.join(constraints(repo, extras, **kw)))
        cmd = [
            sys.executable,
            '-m',
            'pip',
            'install',
            '-q',
            '-e',
            f"{repo}[{','.join(extras)}]",
            '-c',
            f.name,
        ]
        r = subprocess.run(cmd, capture_output=True, text=True)
        os.unlink(f.name)
        if not r.returncode:
            return
    raise Stop(
        'The installation failed; the last lines say why:\n'
        + '\n'.join(r.stderr.splitlines()[-5:])
    )


class Stop(Exception):
    "An error that ends *Run all*, shown as its message alone"

    def _render_traceback_(self):
        return [f'STOP: {self}']


def need_restart(changed):
    "End here, now and whenever the cell is run again, until Python has been restarted"
    sys.climate_ft_restart = changed
    raise Stop(
        "restart the session (Colab: Runtime > Restart session; "
        "Kaggle: Run > Restart & clear cell outputs), then run all "
        f"cells again: {', '.join(changed)} changed while in use."
    )


def main(repo):
    if changed := getattr(sys, 'climate_ft_restart', None):
        need_restart(changed)
    extras = ['cpu', *(['gpu'] if shutil.which('nvidia-smi') else [])]
    before = versions(loaded() - TOOLS)
    install(repo, extras)
    importlib.invalidate_caches()
    if changed := sorted(d for d, v in before.items() if v != versions([d])[d]):
        need_restart(changed)
    os.chdir(repo / 'nbs')
    sys.path.insert(0, str(repo))  # a running Python does not see a new editable install
    print(f"Ready: {', '.join(extras)}; torch {versions(['torch'])['torch']}.")


main(Path(os.path.abspath(__file__)).parent.parent)
