"""Chapter 05a: hand-checked pairs in both directions, and what must not be touched"""

from pathlib import Path
import pytest
from climate_ft.style import conjugate, style_of, to_plain, to_polite, tokens

PAIRS = [
    l.split('\t')
    for l in (Path(__file__).parent / 'assets' / 'style_pairs.tsv')
    .read_text(encoding='utf-8')
    .splitlines()[1:]
]
WAYS = dict(polite=(to_polite, to_plain), plain=(to_plain, to_polite))


@pytest.mark.parametrize('to', WAYS)
def test_hand_checked_pairs(to):
    there, back = WAYS[to]
    rows = [(s, t) for d, _, s, t in PAIRS if d == to]
    wrong = [(s, there(s), t) for s, t in rows if there(s) != t]
    lost = [s for s, _ in rows if back(there(s)) != s]
    assert len(rows) >= 200
    assert len(wrong) <= 0.02 * len(rows), wrong
    assert len(lost) <= 0.05 * len(rows), lost


@pytest.mark.parametrize('to', WAYS)
def test_converting_twice_changes_nothing_more(to):
    there = WAYS[to][0]
    assert [t for d, _, _, t in PAIRS if d == to and there(t) != t] == []


@pytest.mark.parametrize(
    'text',
    [
        '',
        '。',
        '海',
        '打上げは2021年。',
        '主な対象は次のとおり。',
        'NASA launched it.',
        '「増えた。」',
        '（）',
        '１２３',
        '\u3000',
        '・',
        'です',
        'か。',
        'a\u200bb',
        '🌍。',
    ],
)
def test_nothing_to_convert(text):
    for f in (to_polite, to_plain):
        assert f(text) in (text, text.replace('です', 'である'))


@pytest.mark.parametrize(
    's,t',
    [
        ('「氷が減った。」と報告した。', '「氷が減った。」と報告しました。'),
        ('『「海は広い。」という詩だ』と言う。', '『「海は広い。」という詩だ』と言います。'),
        ('必要である国は多い。', '必要である国は多いです。'),
        ('海は広く、深い。', '海は広く、深いです。'),
        ('観測データ (GPM) は  無償である。', '観測データ (GPM) は  無償です。'),
        ('減った[12]。', '減りました[12]。'),
        ('増えた（図表 3）（出所：IPCC）。', '増えました（図表 3）（出所：IPCC）。'),
    ],
)
def test_only_the_predicate_changes(s, t):
    assert to_polite(s) == t


def test_what_mecab_does_not_see_stays():
    s = '気温は 1.1 ℃　上がった。\u00a0次も　上がった。'
    assert to_polite(s).replace('上がりました', '上がった') == s
    assert to_polite('海\x00は広い。') == '海\x00は広いです。'


@pytest.mark.parametrize(
    'base,ctype,form,expected',
    [
        ('書く', '五段・カ行イ音便', 'te', '書いて'),
        ('行く', '五段・カ行促音便', 'te', '行って'),
        ('泳ぐ', '五段・ガ行', 'te', '泳いで'),
        ('問う', '五段・ワ行ウ音便', 'te', '問うて'),
        ('くださる', '五段・ラ行特殊', 'masu', 'ください'),
        ('来る', 'カ変・来ル', 'you', '来よう'),
        ('する', 'サ変・スル', 'imp', 'せよ'),
        ('生ずる', 'サ変・−ズル', 'masu', '生じ'),
        ('うる', '一段・得ル', 'masu', 'え'),
    ],
)
def test_conjugation(base, ctype, form, expected):
    assert conjugate(base, ctype, form) == expected


def test_offsets():
    s = '海は 広い。（図 1）'
    assert all(s[t.start : t.end] == t.surface for t in tokens(s))


def test_style_of():
    assert [style_of(s) for s in ('広い。', '広いです。', '広い。深いです。', '2021年。')] == [
        'plain',
        'polite',
        'mixed',
        'none',
    ]
