"""What the setup cell of each notebook runs on Colab, inside the notebook's own process: install the course from the clone this file lies in, with the
GPU extra only where there is a GPU, and leave torch and whatever is loaded already as Colab has it."""
import importlib.metadata as md, os, re, shutil, subprocess, sys, tempfile
from configparser import ConfigParser
from pathlib import Path

def name(req): return re.match(r'[\w.-]+', req)[0].lower().replace('_', '-')

def settings(repo):
    cp = ConfigParser(delimiters=['=']); cp.read(repo/'settings.ini', encoding='utf-8')
    return cp['DEFAULT']

def versions(dists):
    "Installed version of each distribution, None where it is missing"
    def one(d):
        try: return md.version(d)
        except md.PackageNotFoundError: return None
    return {d: one(d) for d in dists}

def loaded():
    "Distributions of which this process has already imported a module"
    by = md.packages_distributions()
    return {d.lower().replace('_', '-') for m in list(sys.modules) if '.' not in m for d in by.get(m, ())}

def constraints(repo, extras):
    "The course's pins for what it asks for directly; torch stays as it is, and so does whatever is loaded, as far as it serves"
    cfg = settings(repo)
    mine = {name(r) for k in ('requirements', *(f'{e}_requirements' for e in extras)) for r in cfg[k].split()}
    torch = versions(['torch'])['torch']
    free = mine-loaded()-({'torch'} if torch else set())
    pins = [l for l in (repo/'constraints-cpu.txt').read_text().splitlines() if re.match(r'[\w.-]+==', l) and name(l) in free]
    return pins+([f"torch=={torch.split('+')[0]}"] if torch else [])

def main(repo):
    extras = ['cpu', *(['gpu'] if shutil.which('nvidia-smi') else [])]
    before = versions(loaded()-{'pip', 'setuptools'})         # they only install
    with tempfile.NamedTemporaryFile('w', suffix='.txt', delete=False) as f: f.write('\n'.join(constraints(repo, extras)))
    r = subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '-e', f"{repo}[{','.join(extras)}]", '-c', f.name], capture_output=True, text=True)
    os.unlink(f.name)
    if r.returncode: raise SystemExit('The installation failed; the last lines say why:\n'+'\n'.join(r.stderr.splitlines()[-5:]))
    os.chdir(repo/'nbs'); sys.path.insert(0, str(repo))     # a running Python does not see a new editable install
    changed = [d for d,v in before.items() if v != versions([d])[d]]
    if changed: print(f"Restart the session (Runtime > Restart session) and run this cell again: {', '.join(sorted(changed))} changed while in use.")
    else: print(f"Ready: {', '.join(extras)}; torch {versions(['torch'])['torch']}.")

main(Path(os.path.abspath(__file__)).parent.parent)
