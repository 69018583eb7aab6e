import json
from pathlib import Path
import pytest
from climate_ft.workspace import CourseError, Page, Workspace, read_json
from climate_ft import compare as C

REPO = Path(__file__).resolve().parent.parent
BED = REPO / 'documents/testbed'
BLOCKS = [
    dict(role='running_head', text='気候変動レポート　第2章'),
    dict(role='body', text='海氷は日射の多くを宇宙へ反射する。海氷が減ると海面があらわれる。'),
    dict(role='caption', text='図表 1　海氷域面積の推移'),
    dict(role='body', text='北極域の気温は世界平均より速く上昇してきた。'),
    dict(role='page_number', text='7'),
]
ALL = '\n'.join(b['text'] for b in BLOCKS)
score = lambda text: C.score_pages([Page(1, 1, 1, text)], {1: BLOCKS})


def test_a_perfect_reader():
    s = score(ALL)
    assert (s['cer'], s['recall'], s['order'], s['torn'], s['heads']) == (0, 100, 1, 0, 1)


def test_markdown_width_and_bullets_are_no_errors():
    assert (
        score('## ' + ALL.replace('2', '２').replace('海氷が', '\n- **海氷**が'))['cer'] == 0
    )


def test_a_missing_page_is_all_errors():
    s = C.score_pages([], {1: BLOCKS})
    assert s['cer'] == 100 and s['recall'] == 0


def test_one_wrong_character_costs_one_sentence():
    s = score(ALL.replace('宇宙', '宇ち'))
    assert s['recall'] == pytest.approx(200 / 3) and s['cer'] == pytest.approx(
        100 / s['chars']
    )


def test_reversed_sentences_turn_the_order_round():
    a, b, c = (
        '海氷は日射の多くを宇宙へ反射する。',
        '海氷が減ると海面があらわれる。',
        '北極域の気温は世界平均より速く上昇してきた。',
    )
    assert score(c + b + a)['order'] == -1 and score(a + c + b)['order'] == pytest.approx(
        1 / 3
    )
    assert score(a + c + b)['recall'] == 100  # sentence recall alone does not see it


def test_a_caption_inside_a_sentence_is_counted():
    assert score(ALL.replace('多くを宇宙', '多くを図表 1　海氷域面積の推移宇宙'))['torn'] == 1


def test_gold_as_text_and_as_json(tmp_path):
    (tmp_path / 'a.txt').write_text('一枚目。\f二枚目。')
    assert {n: b[0]['text'] for n, b in C.load_gold(tmp_path / 'a.txt').items()} == {
        1: '一枚目。',
        2: '二枚目。',
    }
    (tmp_path / 'b.json').write_text(json.dumps(dict(pages=[dict(page=4, blocks=BLOCKS)])))
    assert list(C.load_gold(tmp_path / 'b.json')) == [4]


@pytest.mark.parametrize(
    'name,text,words',
    [
        ('c.json', '{"pages": 3}', 'is no gold text'),
        ('c.json', '{"pages": [', 'line 1'),
        ('none.txt', None, 'is missing'),
    ],
)
def test_bad_gold(tmp_path, name, text, words):
    if text:
        (tmp_path / name).write_text(text)
    with pytest.raises(CourseError, match=words):
        C.load_gold(tmp_path / name)


def test_scoreboard_and_its_table(tmp_path):
    s = C.run_compare(
        Workspace(tmp_path),
        BED / 'mixed.pdf',
        BED / 'mixed.json',
        ['blocks', 'direct', 'pdfplumber'],
    )
    assert read_json(tmp_path / 'data/extractor_scores.json') == dict(
        document='mixed', extractors=json.loads(json.dumps(s))
    )
    assert (
        s['blocks']['cer'] < 1 < s['pdfplumber']['cer']
        and s['blocks']['seconds'] > 0
        and 20 < s['blocks']['peak_mib'] < 1000
    )
    assert [l.split()[0] for l in C.describe(s).splitlines()] == [
        'extractor',
        'blocks',
        'direct',
        'pdfplumber',
    ]
    assert C.describe(dict(x=dict(error='cannot read'))).endswith('cannot read')


def test_saved_scoreboard_meets_the_targets():
    r = read_json(REPO / 'results/scoreboard.json')
    for name, x in r['renderings'].items():
        s = x['extractors']
        b = s['blocks']
        assert b['cer'] <= 3 and b['recall'] >= 99 and b['order'] >= 0.99, name
        for e, o in s.items():
            if 'error' not in o:
                assert (
                    b['cer'] <= o['cer']
                    and b['recall'] >= o['recall']
                    and b['order'] >= o['order']
                ), (name, e)
    assert all(v <= 1.3 for v in r['memory']['ratio'].values())


def test_command_line(cft, tmp_path):
    r = cft(
        'compare',
        BED / 'one_column.pdf',
        '--gold',
        BED / 'one_column.json',
        '--json',
        '--out',
        tmp_path,
    )
    assert r.returncode == 0, r.stderr
    assert json.loads(r.stdout)['blocks']['recall'] == 100
    r = cft(
        'compare', BED / 'one_column.pdf', '--gold', tmp_path / 'none.json', '--out', tmp_path
    )
    assert r.returncode == 2 and 'none.json is missing' in r.stderr
