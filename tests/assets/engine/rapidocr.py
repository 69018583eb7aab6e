"""Stands in for the OCR engine: on any picture with ink
it sees what the real one saw on page 2 of the report"""

import json
from pathlib import Path
from types import SimpleNamespace

SEEN = Path(__file__).resolve().parents[3] / 'results/ocr_page_2.json'


class RapidOCR:
    def __init__(self, params=None):
        pass

    def __call__(self, picture, **how):
        if picture.min() > 128:
            return SimpleNamespace(boxes=None, txts=None, word_results=None)
        seen = json.loads(SEEN.read_text(encoding='utf-8'))
        boxes = [((a, b), (c, b), (c, d), (a, d)) for a, b, c, d, _, _ in seen]
        words = [
            [(c, 1.0, ((x, b), (x, d))) for c, x in zip(t.replace(' ', ''), at)]
            for _, b, _, d, t, at in seen
        ]
        return SimpleNamespace(boxes=boxes, txts=[s[4] for s in seen], word_results=words)
