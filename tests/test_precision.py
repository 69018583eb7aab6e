"What is asked of a document that the rules have not seen (chapter 05i): real sentences"

import pytest
from climate_ft.corpus import build_corpus
from climate_ft.dataset import build_dataset
from climate_ft.facts import corpus_facts
from climate_ft.forms import sentence_forms
from climate_ft.passages import build_forms
from climate_ft.precision import names_section, names_something, own_facts, own_forms
from climate_ft.precision import bare_sentence, refers, subject_of, tells

SECURITY = '緊急地震速報(警報)は、地震による強い揺れが来ることをあらかじめ知らせる警報である。'


def chunks(*sections):
    "Chunks of a document from (heading, text)"
    blocks = []
    for heading, text in sections:
        blocks += [dict(role='heading', text=heading, level=1), dict(role='body', text=text)]
    return build_corpus([b | dict(doc='d', pages=[1]) for b in blocks])


@pytest.mark.parametrize(
    's, elsewhere',
    [
        ('RAID6アレイは、2つのディスクが故障するまで存続できる。', False),
        ('RAID10はコピーを分配するために、様々なレイアウトを用意し、その一つを選ぶ。', False),
        ('本市では、その後、令和3年に窓口を増やした。', True),
        ('前項の健康診断の結果、必要と認めるときは就業を禁止する。', True),
        ('同社は、令和3年8月に要約モデルを公開した。', True),
        ('試験の結果を図3に示す。', True),
        ('この規則は、会社の全社員に適用する。', True),
        ('16日には保護者への公開が行われた。', True),
        ('両国の交流を促進することにもなる。', True),
        ('さらなる情報については、管理の章の「パーティション」を見てください。', True),
    ],
)
def test_what_points_elsewhere_is_seen(s, elsewhere):
    assert refers(s) == elsewhere


@pytest.mark.parametrize(
    's',
    [
        '申請書を提出。',
        'gentooはfileパッケージによって提供される機能を利用することができるからです。',
        'AIの研究について、後ろ指をさされることもあると思います。',
        'さらに引用には、quotation環境とverse環境という二つの環境がある。',
        '注意：オプションをオンにすると、起動したときに自動で始まります。',
        '「未出力の帳票は、督促の対象になることがあります。',
        'ABCIの利用者は、日本居住者（企業、大学、個人等）に限定。',
    ],
)
def test_what_is_no_whole_claim_is_not_asked(s):
    assert not tells(s)
    assert own_forms(s) == []


def test_a_whole_claim_tells():
    assert tells(SECURITY)
    assert tells('タクシー料金を支払った場合は、必ず領収書を受領してください。')


@pytest.mark.parametrize(
    'p', ['年次有給休暇の日数', 'RAID6アレイ', '緊急地震速報(警報)', 'AI戦略会議']
)
def test_terms_name_something(p):
    assert names_something(p)


@pytest.mark.parametrize(
    'p',
    [
        '会社',
        '個人情報取扱事業者',
        '検討体制',
        '現在のAIブーム',
        '必要な領域',
        '取り込み自体',
        '独立GEO網や巨大地上設備',
        '暗号化キーの値',
        '2023年8月時点の総認定数',
        '一流のスポーツ選手など',
    ],
)
def test_general_words_actors_and_lists_do_not(p):
    assert not names_something(p)


@pytest.mark.parametrize(
    'title, fine',
    [
        ('年次有給休暇', True),
        ('液状化対策の推進', True),
        ('概要', False),
        ('設定方針', False),
        ('現状分析・課題認識', False),
        (')セキュリティ確保', False),
        ('その他費用の支給', False),
        ('走行中のとき', False),
    ],
)
def test_headings_that_name_something(title, fine):
    assert names_section(title) == fine


@pytest.mark.parametrize(
    's, subject',
    [
        (SECURITY, ('緊急地震速報(警報)', 'topic')),
        (
            'ノードとは「結び目」や「節」を意味する単語です。',
            ('ノード', 'definition'),
        ),
        (
            'タクシー料金を支払った場合は、必ず領収書を受領してください。',
            ('タクシー料金を支払った場合', 'case'),
        ),
        (
            '共有フォルダモードを利用するには、適切なアクセス権を設定する必要があります。',
            ('共有フォルダモードを利用する方法', 'case'),
        ),
        (
            'debootstrapを実行すると、必要なファイルを直接ダウンロードできます。',
            ('debootstrapを実行した場合', 'case'),
        ),
        (
            'AI戦略会議が昨夏に公表した暫定的な論点整理は、開発と利用の課題を挙げている。',
            None,
        ),
        (
            '文部科学省は、AI分野の人材を育てるため、「次世代AI人材育成プログラム」を創設した。',
            ('「次世代AI人材育成プログラム」', 'name'),
        ),
        ('「未出力」とは別物で、督促の対象ではない状態を示します。', None),
        ('モデルは、ウェブから集められた情報で学習しており、量は非常に少ない。', None),
        ('会社は、業務上必要がある場合に、業務の変更を命ずることがある。', None),
        ('デフォルト値はなく、指定しない限りすべてのモードが検索対象になります。', None),
    ],
)
def test_what_a_sentence_is_about(s, subject):
    assert subject_of(s) == subject


def test_bullets_numbers_and_connectives_leave_a_sentence():
    assert bare_sentence('1 村は、実態を把握する。') == '村は、実態を把握する。'
    assert bare_sentence('また、村は、実態を把握する。') == '村は、実態を把握する。'
    assert bare_sentence('13 の海溝型地震がある。') == '13 の海溝型地震がある。'
    assert bare_sentence('–圏点を付けた場合、進入が無効になる。')[0] == '圏'


def test_a_heading_is_answered_by_what_speaks_of_it():
    said = '試用期間は、採用した日から6か月間とし、会社が認めたときは短縮する。'
    (f,) = own_facts(chunks(('第7条　試用期間', said)))
    assert (f.subject, f.how, f.answer, f.own) == ('試用期間', 'heading', said, True)
    away = '窓口の職員は、来庁した住民に書類の書き方を案内しなければならない。'
    assert [
        f for f in own_facts(chunks(('液状化対策の推進', away))) if f.how == 'heading'
    ] == []


def test_a_topic_of_several_sentences_is_asked_only_where_it_is_defined():
    one = 'debhelperツールは、パッケージの作成を助けるための共通の道具の集まりです。'
    two = 'debhelperツールは、多くのパッケージの作成者によって毎日使われています。'
    facts = own_facts(chunks(('道具', one + two)))
    assert [(f.subject, f.answer) for f in facts] == [('debhelperツール', one)]


@pytest.mark.parametrize(
    's, asked',
    [
        (
            'RAID5は少なくとも3つのアクティブなパーティションから成る。',
            [('RAID5は少なくともいくつのアクティブなパーティションから成る', '3つ')],
        ),
        (
            '共有ライブラリーとはコンパイルされたコードを含むELFオブジェクトファイルです。',
            [
                (
                    '共有ライブラリーとは何',
                    'コンパイルされたコードを含むELFオブジェクトファイル',
                ),
                (
                    'コンパイルされたコードを含むELFオブジェクトファイルを何という',
                    '共有ライブラリー',
                ),
            ],
        ),
        ('健康診断の費用は、法令で定められた検査の実費に相当する額を支給する。', []),
        ('休憩時間のほか1日について2回、1回について30分の育児時間を与える。', []),
        ('ICカードのチャージの上限は、1枚当たり20，000円です。', []),
        ('富山高専は、地域企業と連携したDXの調査、報告書をまとめる取組を実施した。', []),
    ],
)
def test_short_questions_that_have_one_answer(s, asked):
    assert [(f.question, f.answer) for f in own_forms(s)] == asked
    assert len(sentence_forms(s)) > len(asked) or asked


def test_a_document_of_ones_own_is_asked_by_these_rules_and_covered_by_the_others():
    text = (
        SECURITY + '緊急地震速報(警報)が出たときは、机の下に入って頭を守ってください。'
        '会社は、2021年4月に30人の職員を新しい庁舎に移した。'
    )
    cs = chunks(('地震のときの行動', text), ('庁舎の移転', text[-25:]))
    sets, report = build_dataset(cs, hold_out='wordings')
    asked = {r.instruction for r in sets['train'] if r.kind in ('base', 'template')}
    assert '緊急地震速報(警報)について教えてください。' in asked
    assert not any('会社' in q or '報告書' in q for q in asked)
    rows, _, _ = build_forms(cs, sets['train'], [], own=True)
    kinds = {r.kind for r in rows if '30人' in r.instruction + r.output}
    assert 'cloze' in {r.kind for r in rows if '庁舎に移した' in r.instruction}
    assert kinds & {'text', 'cloze', 'passage'} and 'short' not in kinds


def test_the_report_keeps_its_rules_and_a_document_without_good_facts_is_not_lost():
    cs = chunks(('学校の施設', '図書館は、毎年4月に新しい利用証を配っています。'))
    assert own_facts(cs) == []
    assert corpus_facts(cs)
    sets, _ = build_dataset(cs, hold_out='wordings')
    assert sets['train']


ENGLISH = (
    'The roof snow sensor is a device that measures the weight of the snow on a roof. '
    'It was installed in 120 buildings of Yamagata Prefecture in the winter of 2019. '
    'The World Health Organization (WHO) published the guideline in 2020.'
)


@pytest.mark.parametrize('stop', ['. ', '。 '])
def test_a_paragraph_in_another_language_answers_nothing(stop):
    "Neither by the rules of a document of one's own nor by those it falls back on"
    snow = (
        '屋根雪センサーは、屋根に積もった雪の重さを測る装置である。'
        '屋根雪センサーは2019年に山形県の120棟に取り付けられた。測定値は10分ごとに送られる。'
    )
    english = f'{ENGLISH} '.replace('. ', stop)
    few = ('学校の施設', '図書館は、毎年4月に新しい利用証を配っています。')
    for good in (snow, few[1]):
        cs = chunks(
            ('屋根雪センサー', good),
            ('電源装置の概要', english),
            ('融雪計画', english + good),
            ('学校の施設', f'{few[1]} {english}'),
        )
        assert bool(own_facts(cs)) == (good is snow)
        sets, _ = build_dataset(cs, hold_out='wordings')
        rows, held, _ = build_forms(cs, sets['train'], [], own=True)
        said = [r.output for r in [*sets['train'], *rows, *held]]
        assert len(said) > 10 and not [s for s in said if 'snow' in s or 'WHO' in s]


def test_facts_of_the_report_s_rules_fill_up_where_they_stand_alone():
    from climate_ft.facts import Fact
    from climate_ft.precision import _begins_with_topic

    def good(topic, answer, subject=''):
        return _begins_with_topic(Fact('a', topic, answer, 'topic', None, 0, subject or topic))

    said = 'watchファイルは、新しいソースを公開元のサイトから入手するための設定です。'
    assert good('watchファイル', said)
    assert not good('watchファイル', said, 'watchファイル（xリリース）')
    assert not good('watchファイル', '例えば、' + said)
    assert not good('watchファイル', said.replace('は、', 'がある場合は、'))
    assert not good('Debian', 'Debianは利用者の多い大きなプロジェクトの一つとして続いている。')
