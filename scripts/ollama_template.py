"""Does the TEMPLATE of a Modelfile make the prompts that the model was trained with? Go's own
text/template, which Ollama uses, renders it; the Jinja template renders the same messages:
results/ollama_template.json. The tests compare the package with what Go made there.

Needs `go` (Debian: apt-get install golang-go).

usage: python scripts/ollama_template.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from climate_ft.llamacpp import modelfile, ollama_template
from climate_ft.models import TINY_KINDS, load_tokenizer, tiny_base, tiny_family
from climate_ft.prompts import chat_text
from climate_ft.workspace import REPO, read_jsonl, write_json

GO = Path(__file__).with_suffix('.go')
MORE = ['{{ .Prompt }} とは何ですか。', '1行目\n2行目\n\n「引用」 & <b> "x" \\n 100%']


def said(*texts):
    "A conversation: user and assistant in turn"
    return [dict(role=('user', 'assistant')[i % 2], content=t) for i, t in enumerate(texts)]


def cases():
    "Ten questions, one with a system text, two conversations"
    gold = read_jsonl(REPO / 'documents' / 'gold_questions.jsonl')
    asked = [r['question'] for r in gold[:8]] + MORE
    a, b, c = asked[:3]
    system = [dict(role='system', content='短く答えてください。')]
    conversations = (
        said(a, '反射率のことです。', b),
        system + said(a, 'はい。', b, 'いいえ。', c),
    )
    return [said(q) for q in asked] + [system + said(a), *conversations]


def go_renders(text, conversations):
    "What Go makes of the TEMPLATE in a Modelfile"
    asked = [[dict(Role=m['role'], Content=m['content']) for m in ms] for ms in conversations]
    given = json.dumps(dict(modelfile=text, cases=asked))
    r = subprocess.run(['go', 'run', str(GO)], input=given, capture_output=True, text=True)
    if r.returncode:
        sys.exit(r.stderr.strip())
    return json.loads(r.stdout)


def jinja_renders(tok, conversations):
    "What the tokenizer's own template makes, without the token that llama.cpp adds"

    def one(messages):
        s = chat_text(tok.chat_template, messages, tok.name_or_path, tok.special_tokens_map)
        return s.removeprefix(tok.bos_token or '')

    return [one(c) for c in conversations]


def compared(tok, conversations):
    "Both renderings of one tokenizer's template"
    texts = go_renders(modelfile(tok, 'x.gguf'), conversations)
    equal = sum(a == b for a, b in zip(texts, jinja_renders(tok, conversations)))
    return dict(template=ollama_template(tok), equal=equal, texts=texts)


def tokenizers(folder):
    "Name and tokenizer of each family"
    yield 'qwen3, the template it comes with', load_tokenizer(tiny_base(64))
    for kind in TINY_KINDS:
        yield kind, load_tokenizer(tiny_family(kind, folder / kind))


def main():
    conversations = cases()
    with tempfile.TemporaryDirectory() as tmp:
        found = {k: compared(t, conversations) for k, t in tokenizers(Path(tmp))}
    version = subprocess.run(['go', 'version'], capture_output=True, text=True).stdout.strip()
    out = REPO / 'results' / 'ollama_template.json'
    write_json(out, dict(go=version, conversations=conversations, families=found))
    print({k: f"{f['equal']} of {len(conversations)}" for k, f in found.items()})


if __name__ == '__main__':
    main()
