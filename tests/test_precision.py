"What is asked of a document that the rules have not seen (chapter 05i): real sentences"

import pytest
from climate_ft.corpus import build_corpus, run_corpus
from climate_ft.dataset import build_dataset, run_dataset, told
from climate_ft.facts import corpus_facts
from climate_ft.forms import sentence_forms
from climate_ft.pairs import base_pairs, template_pairs
from climate_ft.passages import build_forms
from climate_ft.precision import bare_sentence, clear_forms, names_section, names_something
from climate_ft.precision import own_facts, own_forms, refers, subject_of, tells, title_of
from climate_ft.workspace import *

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
        (SECURITY, '緊急地震速報(警報)'),
        ('ノードとは「結び目」や「節」を意味する単語です。', 'ノード'),
        (
            '軽油に灯油などを混ぜた「混和軽油」や「製造軽油」などを「不正軽油」といいます。',
            '「不正軽油」',
        ),
        ('黒之瀬戸のほぼ中央で最も狭い海峡の小さな岬状の突端を梶折鼻と呼ぶ。', '梶折鼻'),
        ('寿福寺は源義朝邸宅跡に建てられ、実朝の墓の隣に母の墓がある寺院である。', '寿福寺'),
        ('開発の手順の見直しは、最初に役立つロードマップの案を構築することです。', ''),
        ('オープンソースの導入は、コミュニティ全体との関係で行われる場合に効果的です。', ''),
        # what only tells one thing
        ('経済成長は、人口の増加と技術の進歩によって長い間支えられている。', ''),
        ('年次有給休暇の最小取得単位は、半日（1日の所定労働時間の50%）とする。', ''),
        ('松阪市では、2019年度の死亡者数が1,912件であり、38.8%が事前に予約している。', ''),
        ('発がん性については不確かであり、試験はリスク評価に価値を付与すると思われる。', ''),
        ('エラーは出ないが結果が間違っている、最も危険な種類のバグです。', ''),
        ('生成した値は「ハッシュ値」と呼ばれる。', ''),
        # what somebody does, and who
        ('タクシー料金を支払った場合は、必ず領収書を受領してください。', ''),
        ('共有フォルダモードを利用するには、適切なアクセス権を設定する必要があります。', ''),
        ('debootstrapを実行すると、必要なファイルを直接ダウンロードできます。', ''),
        ('会社は、業務上必要がある場合に、業務の変更を命ずることがある。', ''),
        ('モデルは、ウェブから集められた情報で学習しており、量は非常に少ない。', ''),
        # a comparison, a word whose text nobody knows
        ('「未出力」とは別物で、督促の対象ではない状態を示します。', ''),
        ('「公共」とは、直接一般の公衆の用に供されるという意味です。', ''),
    ],
)
def test_what_a_sentence_explains(s, subject):
    assert subject_of(s) == subject


def test_bullets_numbers_and_connectives_leave_a_sentence():
    assert bare_sentence('1 村は、実態を把握する。') == '村は、実態を把握する。'
    assert bare_sentence('また、村は、実態を把握する。') == '村は、実態を把握する。'
    assert bare_sentence('13 の海溝型地震がある。') == '13 の海溝型地震がある。'
    assert bare_sentence('–圏点を付けた場合、進入が無効になる。')[0] == '圏'
    option = '-w オプションは、格納するよう指示している。'
    assert bare_sentence(option) == option
    assert bare_sentence('＊空になった樽は、密閉をする。')[0] == '空'
    assert (
        bare_sentence('機械学習–機械学習は、傾向を算出する。')
        == '機械学習は、傾向を算出する。'
    )
    assert bare_sentence('多くの伝説を生んだ[注釈3]。') == '多くの伝説を生んだ。'
    fee = '個人情報の開示に際しては、1件あたり1、000円の手数料を申し受けます。'
    assert bare_sentence(fee) == fee


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
    asked = [r.instruction for r in sets['train']]
    assert asked and not [q for q in asked if '報告書' in q]  # it need not be one


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


@pytest.mark.parametrize(
    's, elsewhere',
    [
        ('女性活躍推進法(平成27年法律第64号)が平成27年9月に公布されました。', False),
        ('最初に構造の割合を推定し、次に構造の時間変化を推定する必要があります。', False),
        ('熊本県による調査結果は、2001年3月にまとめられた。', False),
        ('日本社会では、生成AIの利用機会が拡大している。', False),
        ('dh_perl(1)は、Perl依存関係を計算します。', False),
        ('マニュアルページは/usr/share/manにインストールする。', False),
        ('本市の観光客数は減少傾向で推移している。', True),
        ('制度2は、2018年4月に始まった。', True),
        ('この弁法は「生成AIサービス管理暫定弁法4」と呼ばれる。', True),
        ('残りの1区画は伐採せず、10年周期で調査のみ行っています。', True),
        ('宗谷線デザイン(下図)は、寄せられたアイデアを基にデザインした。', True),
        ('次期リリースへ向けたフリーズが2001年6月1日に始まった。', True),
    ],
)
def test_a_law_s_number_is_no_reference_and_a_footnote_s_is(s, elsewhere):
    assert refers(s) == elsewhere


def test_footnotes_and_figures_in_brackets_leave_a_sentence():
    said = '全自動で物質探索を行うシステムを令和2年に開発しました3。'
    assert bare_sentence(said) == said.replace('3。', '。')
    assert (
        bare_sentence('汎化性が期待されています（第1-4-7図）。')
        == '汎化性が期待されています。'
    )
    assert bare_sentence('インストール(項5.11参照)に使う。') == 'インストールに使う。'
    assert bare_sentence('図書館（学校図書館）を開く。') == '図書館（学校図書館）を開く。'


@pytest.mark.parametrize(
    's',
    [
        'BIOSのバージョン番号に関する情報は古いかも知れません。',
        'PAMとNSSがアクセスする注目すべき設定ファイルを次に記します。',
        '現代的なDebianシステムの基本的ネットワークインフラをレビューします。',
        'サーバーサービスへのアクセスを制限するには多くの方法があります。',
        'AIモデルは必ずしも内容に対して責任を負うものではありません。',
        'AIモデルは、論文の草案やセクションを自動的に生成することは可能です。',
        'changesファイルは最後に転送する必要があることに注意してください。',
        'LATEXパッケージには.insファイルが要ります．.dtxファイルを.insファイルで処理します。',
    ],
)
def test_what_announces_doubts_or_denies_is_not_asked(s):
    assert not tells(s)


@pytest.mark.parametrize(
    'heading, title',
    [
        ('A.1 インストールシステム', 'インストールシステム'),
        ('2.2.1 セキュリティアップロード', 'セキュリティアップロード'),
        ('(1)妊娠中及び出産後における配慮', '妊娠中及び出産後における配慮'),
        ('①給水人口の予測', '給水人口の予測'),
        (
            '1　－2．AIを活用したシミュレーションの高度化',
            'AIを活用したシミュレーションの高度化',
        ),
        ('3.2　アップストリームのバグを修正する', 'アップストリームのバグを修正する方法'),
        ('A.1環境の設定', '環境の設定'),
        ('1-2 給水人口の予測', '給水人口の予測'),
        ('F-15戦闘機の配備計画', 'F-15戦闘機の配備計画'),
        ('不正軽油とは?', '不正軽油'),
        ('第12条 (役員の出席)', '役員の出席'),
        ('クラスの継承 {#extends}', 'クラスの継承'),
        ('新型コロナワクチンの定期接種について', '新型コロナワクチンの定期接種'),
    ],
)
def test_a_heading_without_its_number_asks_for_the_way(heading, title):
    assert title_of([heading]) == title


@pytest.mark.parametrize(
    'title',
    [
        '国民年金保険料の納付は前納がお得',
        '100万人のクラシックライブ',
        'ディスクをマウントせずに操作',
        '(行番号は筆者による)',
        '広告募集中',
        '各種ファイルの例',
    ],
)
def test_headings_that_are_no_names(title):
    assert not names_section(title)


@pytest.mark.parametrize(
    'heading, said, asked',
    [
        (
            '交付申請の方法',
            '氏名などの情報に変更が生じている場合、交付申請書は使用できません。',
            False,
        ),
        (
            'quiltのセットアップ',
            'quiltプログラムは修正を記録する、基本的な方法を提供します。',
            False,
        ),
        (
            'スペース',
            '入力ファイルにおける行頭のホワイトスペースは通常は処理系により無視されます。',
            False,
        ),
        (
            '未就学の子ども数',
            '様々な子育て支援策は、'
            '結果として出現する未就学の子ども数に応じた対応策でもあります。',
            False,
        ),
        (
            '幼児センター運動会',
            '令和7年9月28日、小中学校の体育館で幼児センターの運動会が開催されました。',
            False,
        ),
        (
            '幼児センター運動会',
            '9月28日、小中学校の体育館で幼児センターの運動会が開催されました。',
            False,
        ),
        (
            'ページスタイル',
            'LATEXでは、ヘッダ・フッタの組み合わせで三種類のページスタイルが設定できます。',
            False,
        ),
        (
            'ページスタイル',
            'ページスタイルは、ヘッダとフッタの内容や位置を組み合わせた三種類の書式です。',
            True,
        ),
    ],
)
def test_a_heading_needs_a_sentence_that_explains_it(heading, said, asked):
    facts = own_facts(chunks((heading, said)))
    assert ((heading, 'heading') in [(f.subject, f.how) for f in facts]) == asked


def test_the_second_sentence_may_be_the_one_that_answers_a_heading():
    said = (
        '自然なことです。消防フェスタの会場は、放水体験と救急車の展示が毎年行われる広場です。'
    )
    (f,) = own_facts(chunks(('消防フェスタの会場', said)))
    assert (f.how, f.answer) == ('heading', said[len('自然なことです。') :])


def test_one_sentence_answers_one_question_and_of_several_the_one_that_defines():
    said = '国民年金制度は、不慮の事故など万が一のときにも心強い味方となる制度です。'
    facts = own_facts(chunks(('国民年金制度', said)))
    assert [f.how for f in facts] == ['heading']
    twice = chunks(('年金', said), ('制度', said.replace('不慮の', '思わぬ')))
    assert [f.answer for f in own_facts(twice) if f.how == 'definition'] == [said]


def test_nobody_is_asked_for_with_what():
    said = 'Debianプロジェクトの創始者として知られるのはイアン・マードックである。'
    assert own_forms(said) == []
    said = 'イアン・マードックは、Debianプロジェクトを1993年に始めた最初の開発者である。'
    assert not [f for f in own_forms(said) if '何' in f.question]
    for who in ('議長', 'リーダー'):
        said = f'フレデリックは、自由なソフトウェアだけを集める計画を担った最初の{who}である。'
        assert tells(said) and own_forms(said) == []


def test_a_number_of_a_question_without_content_is_not_asked():
    assert own_forms('今後、音威子府村では3,000円で実施します。') == []
    (f,) = own_forms('GNU/Linuxファイルのタイムスタンプには3種類あります。')
    assert (f.question, f.answer) == (
        'GNU/Linuxファイルのタイムスタンプには何種類ある',
        '3種類',
    )


@pytest.mark.parametrize(
    's, question',
    [
        (
            '抗体創薬では、ロボティクスの活用により、抗体の多面的な最適化を実現しています。',
            '抗体創薬では、ロボティクスの活用により、何を実現している',
        ),
        ('9月7日(土)、音威子府公民館前でわくわく消防フェスタが開催されました。', None),
        ('一部のAI開発者のみにデータや利益が集中する、不公平が指摘されている。', None),
    ],
)
def test_beside_the_page_whole_phrases_in_the_last_clause_are_asked(s, question):
    asked = [f.question for f in clear_forms(s) if '何' in f.question]
    assert question in asked if question else asked == []


def test_a_short_document_has_enough_to_read_and_a_long_one_only_what_is_clear():
    plain = '9月7日、公民館前で消防フェスタが開かれた。おさしまセンターが5月に開館した。'
    clear = ''.join(
        f'{p}県の防災センターでは、地震に備える訓練の計画を作成しています。'
        f'{p}県の図書館では、古い地図を集めた展示の準備を進めています。'
        f'{p}県の農業試験場では、寒さに強い品種の種子を配布しています。'
        for p in '青森 秋田 岩手 宮城 山形 福島 茨城 栃木 群馬 埼玉 千葉 神奈川'.split()
    )

    def read(text):
        rows, _, _ = build_forms(chunks(('行事', text)), [], [], own=True)
        return {r.instruction for r in rows if r.kind == 'passage'}

    assert any('公民館前' in q for q in read(plain))
    many = read(plain + clear)
    assert len(many) > 20
    assert not any('公民館前' in q for q in many)


def test_what_explains_is_asked_for_as_what_it_is_and_one_thing_of_many_not_at_all():
    told = '屋根雪センサーは、測定値を10分ごとに山形県の観測所へ送っている。'
    what = '融雪計画とは、屋根の雪の重さを測り、雪下ろしの日を決める計画である。'
    (f,) = own_facts(chunks(('', told), ('', what)))
    asked = [r.instruction for r in base_pairs(f) + template_pairs(f)]
    assert f.answer == what and not [q for q in asked if '文書' in q]
    assert '融雪計画とは何ですか。' in asked or '融雪計画の定義を教えてください。' in asked


def test_a_sign_of_a_private_font_joins_what_does_not_belong_together():
    assert refers('中間ベンダ\uf09eベンダは、製品の脆弱性に対応する。')
    assert not refers('中間ベンダは、製品の脆弱性に対応する。')


@pytest.mark.parametrize(
    's',
    [
        # a step of a story, and what is seen in an example
        '挙兵の吉日を占いで定めると、'
        '身辺に仕えていた工藤茂光らを一人ずつ私室に呼び、事を伝えた。',
        'DbConnector ディレクトリを見ると、'
        '上流の変更が stable ブランチに取り込み済みであるとわかります。',
        # a time or a cause in front of the topic, or a span of time as the topic
        '明治に入ると廃仏毀釈により石塔の前に在った法華堂は壊され、'
        'その跡に明治5年（1872年）、白旗神社が建てられた。',
        '昇任後6か月間は仮昇任期間として、勤務成績によっては昇任を取消すことがある。',
        '災害により被害を受けた農林畜産業者又は団体に対し復旧を促進するため、'
        '融資等の支援を行う。',
        # whose brother? of whom does the book tell? a person who holds a view
        '長兄の義平は無官とみられ、次兄の朝長よりも昇進が早いことから、'
        '頼朝が嫡男として待遇されていたとみられている。',
        '『平治物語』は「年齢より大人びている」とし、'
        '平治物語絵巻断簡には頼朝と見られる若武者の姿が残る。',
        '佐藤進一は頼朝と義経の対立について、'
        '鎌倉政権内部に二つの派が並立していたことが原因であると主張している。',
        # one of several, half of a condition, nothing but that it differs
        '音声通話はもちろんデータ通信、無線LANなどの通信機能が充実し、'
        'コミュニケーション機能に優れています。',
        '高圧ガス保安法の規定による許可等の処分をしたとき、'
        '又は届出を受理したときは、速やかに道公安委員会に通報する。',
        '備品を用意または装着する場合は、所有形態および利用目的の違いによって異なります。',
        '知的財産権が存在するものを利用するとき、及び権利のある製品を利用するときは、適切な手順を導入する。',
        # a comparison, praise, a denial
        'クラウド事業者はクラウド利用者とは独立した組織である。',
        '非同期処理はJavaScriptにおけるとても重要な概念です。',
        'Pガイドラインでは、「中間ベンダ」を定義しておらず、'
        '中間ベンダに求められる対応についても明示していません。',
        '営業に使う特定のシーケンスは、標準のテンプレートの一覧の中には存在しません。',
        # no subject, no way to do it, no organisation
        '国際標準(ISO/IEC JTC1/SC42)では、'
        '透明性（適切な情報が関係者に提供されること）と定義されている。',
        'Node.jsでは`fs.readFile`関数というファイルシステムからファイルをロードする非同期処理の関数があります。'
        '',
        '非同期処理の外から例外が起きたことを知るためには、'
        '例外が発生したことを非同期処理の外へ伝える方法が必要です。',
        '岬にある愛宕神社は、下出水村の招魂社として建てられたものであったが、'
        '護国神社が合祀された後は愛宕神社として現在に至っている。',
        '元のプルリクエストの画面を閉じると、新しいほうにも表示されることがわかります。',
        '最初のメールアドレスは検証済みで、プライマリアドレスとして設定されています。',
        'インストーラーは最新からは少しですが遅れがちです。',
        # somebody who acts, and what only depends
        '期待を上回るチームメンバーは、現在のポジションの要求を一貫して上回ります。',
        'ライフタイム引数を宣言し使用する場所は、構造体フィールドかメソッド引数に関係するかによります。',
        # では belongs to a clause inside
        'Sequentialでは定義できないような複雑なニューラルネットワークを実装できる。',
        # two cells of a table, read as one
        '中間ベンダベンダは、中間ベンダに求められる対応（脆弱性の問題の切り分け）に取り組む。',
    ],
)
def test_what_no_question_can_be_made_of_is_not_asked(s):
    assert tells(s) and subject_of(s) == '' and own_forms(s) == []


@pytest.mark.parametrize(
    's',
    [
        'クラウドサービス利用者に対しては、'
        'そのようなユーティリティプログラムの使用は制限し、管理することが期待される。',
        'ある振り子時計は、固定された支点に吊るされているとき、周期が1秒である。',
        'スマートフォンに関するセキュリティ要件を網羅的に把握するためには、'
        '全体を一読してください。',
        '総会で抽選で駐車場の使用者を決定する場合には、附則第5条は、不要である。',
        '保護管理者は、個人情報ファイルについて、'
        '前2条に規定する台帳により、ファイル簿を作成する。',
        'AI法案は、システミックリスクを伴う汎用AIモデル2には、より多くの義務を課している。',
        'リスト4-4は、所有権を返す関数の定義を示す注釈のついた例です。',
        'システム管理者の利便性を重視する機能は、'
        '管理策を無効化できるユーティリティプログラムである場合がある。',
        '後白河は独自の軍事体制を構築するために、義経を活用したのである。',
        '多層ニューラルネットワークは任意のブール関数を近似的に表現する能力を持つことを説明する。',
    ],
)
def test_what_needs_another_page_or_only_comments_does_not_tell(s):
    assert not tells(s)


def asked_of(*sections):
    "Answer -> question, of a document of (heading, text)"
    facts = own_facts(chunks(*sections))
    return {f.answer: base_pairs(f)[0].instruction for f in facts}


NOTICE = '予告の日数については、解雇予告手当を支払った日数の分を30日から差し引く。'
RETURN = '休職の事由が消滅したときは、直ちに復職させる。'


def test_what_hangs_on_its_section_is_told_by_the_section_alone():
    (q,) = asked_of(('7.2　解雇の予告', NOTICE)).values()
    assert q == '文書の「解雇の予告」の節の冒頭には、何と書かれていますか。'
    assert asked_of(('解雇', NOTICE)) == {}  # a short name needs one above it
    assert asked_of(('その他', NOTICE)) == {}
    twice = ('解雇の予告', NOTICE), ('復職', RETURN), ('解雇の予告', RETURN)
    assert asked_of(*twice) == {}  # which of them?
    (q,) = asked_of(('「解雇」の手続', NOTICE)).values()
    assert '文書の「『解雇』の手続」の節の冒頭' in q
    sets, _ = build_dataset(chunks(('解雇の予告', NOTICE)), hold_out='wordings')
    rows = [r for s in ('train', 'recall', 'dev') for r in sets[s] if r.output == NOTICE]
    assert len(rows) > 4 and all('「解雇の予告」の節の冒頭' in r.instruction for r in rows)


def outline(*rows):
    "Chunks of a document of (heading, level) and paragraphs"
    blocks = [
        dict(role='heading', text=r[0], level=r[1])
        if isinstance(r, tuple)
        else dict(role='body', text=r)
        for r in rows
    ]
    return build_corpus([b | dict(doc='d', pages=[1]) for b in blocks])


FIRST = '計画の対象とする期間は、令和7年度から令和11年度までの5年間とする。'
LATER = 'そのため、途中の年度に見直しを行い、目標の達成の度合いを公表する。'
ELSEWHERE = '詳細は、次の章の表に示すとおりである。'


def test_the_beginning_of_a_section_is_what_its_first_paragraph_says():
    facts = own_facts(outline(('計画の期間', 1), FIRST + LATER))
    said = [(f.subject, f.how, f.answer) for f in facts]
    assert said == [('文書の「計画の期間」の節の冒頭', 'section', FIRST + LATER)]
    (f,) = own_facts(outline(('計画の期間', 1), FIRST + LATER, '市民の意見も聴く。'))
    assert f.subject == '文書の「計画の期間」の節の冒頭'
    (f,) = own_facts(outline(('計画の期間', 1), FIRST + ELSEWHERE + LATER))
    assert (f.subject, f.answer) == ('文書の「計画の期間」の節の冒頭', FIRST)
    assert own_facts(outline(('計画の期間', 1), LATER + FIRST)) == []
    asked = {r.instruction for r in base_pairs(f) + template_pairs(f)}
    assert len(asked) == 4 and all('「計画の期間」の節の冒頭' in q for q in asked)


def test_the_beginning_of_a_section_ends_before_200_characters():
    rest = [f'{x}区の図書館では、平日の夜も本を借りることができる。' for x in '東西南北中上下']
    (f,) = own_facts(outline(('計画と利用の時間', 1), FIRST + ''.join(rest)))
    assert FIRST + rest[0] in f.answer and 150 < len(f.answer) <= 200
    assert f.answer.endswith('。') and f.subject.endswith('の節の冒頭')


def test_a_general_heading_is_quoted_with_the_one_above_it():
    parts = [('施設の計画', 1), ('概要', 2), FIRST, ('人材の事業', 1), ('概要', 2)]
    (f, g) = own_facts(outline(*parts, FIRST.replace('計画', '事業')))
    assert f.subject == '文書の「施設の計画」の「概要」の節の冒頭'
    assert g.subject == '文書の「人材の事業」の「概要」の節の冒頭'
    assert own_facts(outline(('概要', 1), FIRST)) == []


@pytest.mark.parametrize('turn', ('しかし、', '一方で、', 'ただし、', '他方、'))
def test_a_beginning_that_the_next_sentence_takes_back_is_not_asked(turn):
    back = f'{turn}財政の見通しにより、期間を途中で改めることも検討の対象に含める。'
    more = '計画に掲げる事業は、毎年度の予算の範囲において、その成果を確かめながら進める。' * 3
    assert own_facts(outline(('計画の期間', 1), FIRST, back)) == []
    (f,) = own_facts(outline(('計画の期間', 1), FIRST + back + more))
    assert f.answer.startswith(FIRST + back)


def test_a_section_with_others_below_it_is_asked_only_for_its_beginning():
    (f,) = own_facts(
        outline(('計画の期間', 1), FIRST, ('事業の期間', 2), LATER + FIRST, ('計画', 1), FIRST)
    )
    assert f.subject == '文書の「計画の期間」の節の冒頭'
    for heading in '今後の計画6.2.1期間', '※計画の期間', '計画4-5-1期間', '計画について1期間':
        assert own_facts(outline((heading, 1), FIRST)) == []


ASKED = '裁判を予定しているときに、認知処理療法を始めてもよいでしょうか？'
REPLY = '始める時期は、認知処理療法を受ける人と話し合って決める。裁判の費用も確かめておく。'


@pytest.mark.parametrize(
    'question, reply, said',
    [
        (ASKED, REPLY, REPLY),
        ('Q12．' + ASKED, 'A12. はい。' + REPLY, 'はい。' + REPLY),
        ('問3 ' + ASKED, '（答）\n\n' + REPLY, REPLY),
        (ASKED, REPLY + '詳しくは次の章を参照してください。', REPLY),
        (ASKED, '次のとおりである。' + REPLY, ''),
        (ASKED, '受けられる。しかし、費用は自分で負担しなければならない。', ''),
        ('この場合、認知処理療法を始めてもよいでしょうか？', REPLY, ''),  # which?
        ('認知処理療法の記録の用紙に記入してください。', REPLY, ''),
    ],
)
def test_a_question_that_the_document_asks_is_asked_as_it_stands(question, reply, said):
    facts = [f for f in own_facts(outline('面接の手引である。', question, reply)) if f.own]
    facts = [f for f in facts if f.how == 'question']
    assert [f.answer for f in facts] == ([said] if said else [])
    for f in facts:
        asked = [r.instruction for r in base_pairs(f) + template_pairs(f)]
        assert asked[0] == f.subject == ASKED[:-1] + '。'
        assert len(asked) == 4 and all(f.subject in q for q in asked)


def test_one_of_a_list_of_questions_is_not_asked():
    two = 'この療法を始める前に、認知処理療法の記録を付けているでしょうか？'
    facts = own_facts(outline('面接の手引である。', two.replace('この', ''), ASKED, REPLY))
    assert [f for f in facts if f.how == 'question'] == []


def test_a_section_with_a_box_on_its_first_page_may_begin_with_it():
    blocks = [
        dict(role='heading', text='計画の期間', level=1, pages=[1]),
        dict(role='body', text=FIRST, pages=[1]),
        dict(
            role='column',
            text='期間の見直しは、毎年度の予算の編成の前に行うものである。',
            pages=[1],
        ),
    ]
    blocks = [b | dict(doc='d') for b in blocks]
    assert [f for f in own_facts(build_corpus(blocks)) if '計画の期間' in f.subject] == []
    blocks[2]['pages'] = [2]
    (f,) = [f for f in own_facts(build_corpus(blocks)) if '計画の期間' in f.subject]
    assert f.answer == FIRST


@pytest.mark.parametrize(
    's',
    [
        '一般社団法人みとよAI社会推進機構（MAiZM）は、2019年4月に設立された。',
        'ID・パスワード（PWD）の変更は、毎年度の初めに窓口で受け付ける。',
        '自動車の会社は、新会社トヨタ・リサーチ・インスティテュート（TRI）を設立した。',
    ],
)
def test_a_name_that_is_torn_off_has_no_abbreviation(s):
    assert [f for f in own_forms(s) if '略' in f.question] == []


def test_a_question_may_be_a_heading():
    (f,) = [f for f in own_facts(outline((ASKED, 1), REPLY)) if f.how == 'question']
    assert (f.subject, f.answer) == (ASKED[:-1] + '。', REPLY)


def test_a_heading_keeps_its_first_character_beside_one_that_is_only_a_number():
    rows = ('戦略の展望', 2), FIRST.replace('計画', '戦略'), ('8.', 2), LATER
    facts = own_facts(outline(('体制', 1), ('1計画の整備', 2), FIRST, *rows))
    assert any('「戦略の展望」の節' in f.subject for f in facts)


def test_two_headings_in_one_and_one_that_stands_twice_are_not_quoted():
    for heading in (
        '設計の基本(a)計画の期間',
        '部材①計画の期間',
        '切土（標準）1. 計画の期間',
        '計画の期間：2026年8月19日',
        '計画計画の期間の期間',
    ):
        assert own_facts(outline((heading, 1), FIRST)) == []
    again = ('計画の期間', 1), FIRST, ('施設の整備', 1), '(2)計画の期間', LATER
    assert own_facts(outline(*again)) == []
    assert own_facts(outline(('計画の期間', 1), FIRST, ('施設の整備', 1), LATER))


def test_until_now_and_some_sort_of_point_nowhere():
    assert not refers('これまでの河川の改修に、流域の対策を加える。') and refers(
        'これを加える。'
    )
    assert refers('技術資料の評価は、11～16頁に示す基準に基づき行う。')
    assert not refers('通信回線から何らかの影響を受ける。') and refers(
        'それまでの改修を続ける。'
    )


def test_a_heading_of_two_general_words_needs_the_one_above_it():
    said = FIRST.replace('期間', '範囲')
    assert own_facts(outline(('対象範囲', 1), said)) == []
    parts = ('図書館の施設', 1), ('対象範囲', 2), said, ('人材の事業', 1), LATER
    (f,) = own_facts(outline(*parts))
    assert f.subject == '文書の「図書館の施設」の「対象範囲」の節の冒頭'


@pytest.mark.parametrize(
    's',
    [
        '下層路盤の施工は、次により行うものとする。',
        '切ばりのバネ定数は、一般には、次式により算出してよい。',
        '企業体の取引金融機関は、とし、代表者名義の口座によって取引する。',
        '許容応力度の割増しの係数は、式（2-6-6）から求めることができる。',
        '先に示したように、学習に用いるデータは、形を変えてモデルに残る。',
    ],
)
def test_what_announces_a_list_or_has_a_blank_does_not_tell(s):
    assert not tells(s)


def test_what_somebody_is_doing_or_a_case_explains_nothing():
    said = '図書館員の協会は、図書館員の能力を高めるための教材と研修の仕組みを{}である。'
    assert own_facts(chunks(('協会', said.format('開発中')))) == []
    case = (
        '日本の海運の売主は代金の支払いを受けておらず、貨物は港に向かっているという{}である。'
    )
    assert own_facts(chunks(('貿易', case.format('事例')))) == []


def test_only_what_is_defined_with_toha_is_asked_for_by_its_definition():
    said = '高規格堤防は、計画を超える洪水に対して壊れないように幅を広くした堤防である。'
    (f,) = own_facts(chunks(('河川', said)))
    assert not any('定義' in r.instruction for r in template_pairs(f))
    (f,) = own_facts(chunks(('河川', said.replace('堤防は、', '堤防とは、', 1))))
    asked = [template_pairs(f, seed=k)[0].instruction for k in range(6)]
    assert any('定義' in q for q in asked)


@pytest.mark.parametrize(
    'heading',
    [
        'Ⅳ．4計画の期間',
        '第34計画の期間',
        '3-20計画の期間',
        '第1章：計画の期間',
        '第32条の2 計画の期間',
    ],
)
def test_all_of_a_number_leaves_a_heading(heading):
    (f,) = own_facts(outline((heading, 1), FIRST))
    assert f.subject == '文書の「計画の期間」の節の冒頭'


def test_a_pointer_in_brackets_leaves_a_heading():
    (f,) = own_facts(outline(('計画の期間〔p.21参照〕', 1), FIRST))
    assert f.subject == '文書の「計画の期間」の節の冒頭'
    for heading in 'メリット', 'タイプ3｜単純な移行':
        assert own_facts(outline((heading, 1), FIRST)) == []


def test_the_letter_of_a_heading_is_no_part_of_its_name_and_a_first_letter_is():
    rows = ('ア計画の整備', 2), FIRST, ('イ 事業の更新', 2), FIRST.replace('計画', '事業')
    facts = own_facts(
        outline(('体制', 1), *rows, ('ウェブの公開', 2), FIRST.replace('計画', '公開'))
    )
    names = [f.subject.split('「')[1].split('」')[0] for f in facts]
    assert names == ['計画の整備', '事業の更新', 'ウェブの公開']
    rows = ('1計画の整備', 1), FIRST, ('2事業の広がり', 1), FIRST.replace('計画', '事業')
    facts = own_facts(outline(*rows, ('3年の活動', 1), FIRST.replace('計画', '活動')))
    names = [f.subject.split('「')[1].split('」')[0] for f in facts if f.how == 'section']
    assert names == ['計画の整備', '事業の広がり', '3年の活動']
    (f,) = own_facts(outline(('ウェブの公開', 1), FIRST.replace('計画', '公開')))
    rows = ('スキルの作り方', 2), FIRST.replace('計画', 'スキル'), ('シナリオの例', 2), LATER
    (f,) = own_facts(outline(('体制', 1), *rows))
    assert '「スキルの作り方」' in f.subject
    (f,) = own_facts(outline(('ウェブの公開', 1), FIRST.replace('計画', '公開')))
    assert f.subject == '文書の「ウェブの公開」の節の冒頭'
    assert bare_sentence('1「世帯」とは、住居を共にする者の集まりをいう。')[0] == '「'


@pytest.mark.parametrize(
    'heading, said',
    [
        # it leans on the page before, tells a story, is an exercise or an item, is too short
        ('計画の期間', 'この計画の対象とする期間は、令和7年度から令和11年度までとする。'),
        ('計画の期間', 'また、計画の対象とする期間は、令和11年度までの5年間とする。'),
        ('利用の許諾', 'お客様から装置を組み立てる作業を電話で依頼されました。'),
        ('台車の運動', '台車が床の上を一定の速さで動く。この台車の加速度を求めよ。'),
        ('演習', FIRST),
        ('上限の時間', '限度を超えて延長する場合の上限の時間を労使で定めること。'),
        ('グラスの温度', 'グラスを水で冷やしておく。'),
        ('計画の期間は', FIRST),
        ('計画の期間', '3計画の対象とする期間は、令和7年度から令和11年度までの5年間とする。'),
        ('計画の期間', '6.2.4 計画の対象とする期間は、令和7年度から令和11年度までとする。'),
        ('計画の期間', '受けている場合は、計画の対象とする期間の写しを市の窓口に提出する。'),
        ('一般会計との違い', FIRST),  # it says nothing of what the heading names
        ('計画の期間', '計画の対象とする期間計画の対象とする期間は、令和11年度までとする。'),
        ('Q1. 期間はいつまでですか', FIRST),
    ],
)
def test_what_is_no_beginning_of_a_section(heading, said):
    assert own_facts(outline((heading, 1), said)) == []


def test_what_explains_its_topic_is_asked_for_as_a_definition():
    asked = asked_of(('地震のときの行動', SECURITY))
    assert asked[SECURITY] == '緊急地震速報(警報)について教えてください。'


@pytest.mark.parametrize(
    's',
    [
        RETURN,
        'TVモードで使用する場合は、ドックに自動化装置を接続します。',
        '動作を止めたい場合は、ボタンを長押しするか、ケーブルを差し直します。',
        '記述をテストするには、log コマンドを実行して出力を確かめます。',
    ],
)
def test_an_act_and_a_state_are_no_topics(s):
    assert tells(s) and subject_of(s) == ''


def test_a_theme_of_the_document_is_asked_only_where_it_is_explained():
    said = [
        f'スマートフォンは、{x}の業務でも利用者の端末を会社の網につなぐために使われます。'
        for x in '営業 保守 経理 受付'.split()
    ]
    cs = chunks(*((f'{x}での利用', s) for x, s in zip('店舗 工場 本部 窓口'.split(), said)))
    assert {f.how for f in own_facts(cs)} == {'section'}
    what = 'スマートフォンは、電話と小型のコンピューターの働きを一つにまとめた端末である。'
    (f,) = [f for f in own_facts([*cs, *chunks(('用語', what))]) if f.how != 'section']
    assert (f.topic, f.answer) == ('スマートフォン', what)


def rules(*paragraphs):
    "Chunks of a document whose articles are no headings"
    blocks = [dict(role='heading', text='管理規約', level=1)]
    blocks += [dict(role='body', text=p) for p in paragraphs]
    return build_corpus([b | dict(doc='d', pages=[1]) for b in blocks])


DUTY = (
    '区分所有者は、円滑な共同生活を維持するため、'
    'この規約及び総会の決議を誠実に遵守しなければならない。'
)
ALSO = '区分所有者は、同居する者に対してこの規約及び総会の決議を遵守させなければならない。'


def test_an_article_of_rules_is_asked_for_by_the_name_above_it():
    cs = rules(
        '（規約の遵守義務）',
        f'第3条{DUTY}', f'- 2{ALSO}',
        '（組合員の資格）',
        '第30条組合員の資格は、区分所有者となったときに取得し、'
        '区分所有者でなくなったときに喪失する。',
        '（役員の任期）',
        '第36条役員の任期は、次のとおりとする。',
        '- 4役員が組合員でなくなった場合には、その役員はその地位を失う。',
        '（出席の要件）',
        '第5条に定める者の出席がなければ、総会を開くことはできないものとする。',
        '（雑則）',
        '第72条この規約に定めのない事項については、'
        '区分所有法その他の法令の定めるところによる。',
    )  # fmt: skip
    facts = {f.subject: f for f in own_facts(cs)}
    assert facts['規約の遵守義務'].answer == DUTY + ALSO
    assert facts['組合員の資格'].answer.startswith('組合員の資格は、区分所有者となったとき')
    assert len({f.id for f in facts.values()}) == len(facts)
    assert not facts.keys() & {'雑則', '出席の要件'}
    (f,) = own_facts(
        chunks(
            (
                '第12条　副業・兼業',
                '社員は、勤務時間外において、他の会社等の業務に従事することができる。',
            )
        )
    )
    assert (f.subject, f.how) == ('副業・兼業', 'heading')
    assert own_facts(chunks(('副業・兼業', f.answer))) == []  # no article


def test_an_article_in_a_list_begins_like_one_beside_it():
    hours = '第37条　運転者の1日（24時間）の拘束時間は、原則として13時間以内とするものとする。'
    first = (
        '（特則）',
        '第35条　前章で定めるもののほか、運転者の拘束時間は、本章の定めによる。',
    )
    for rest in (hours, f'- {hours}'):
        rows = ('第5章　運転者の拘束時間等', 1), *first, '（拘束時間）', rest
        cs = outline(*rows, ('第6章　運転者の休日', 1), LATER)
        assert not any('拘束時間等' in f.subject for f in own_facts(cs))


def test_the_letter_of_an_item_is_no_part_of_an_answer():
    said = FIRST.replace('計画の', 'ア計画の')
    assert said != FIRST
    for s in (said, f'- {said}', f'- ア {FIRST}'):
        (f,) = own_facts(outline(('計画の期間', 1), s))
        assert f.answer == FIRST
    assert bare_sentence('- カ国語の計画') == 'カ国語の計画'


@pytest.mark.parametrize('label', ('【甲案】', '【丁案】', '〔備考〕'))
def test_the_label_of_an_option_is_no_name_of_a_section(label):
    parts = ('図書館の施設', 1), (label, 2), LATER, ('計画の期間', 1), (label, 2), FIRST
    assert own_facts(outline(*parts)) == []


def test_what_is_planned_is_not_asked_as_if_it_were_over():
    s = '運動の評価は、2010年度に最終評価を{}。'
    asked = [f.question for f in own_forms(s.format('行い、その後の運動の推進に反映させる'))]
    assert not any(q.endswith('た') or 'たのは' in q for q in asked)
    over = own_forms(s.format('行い、その後の運動の推進に反映させた'))
    assert any('行った' in f.question for f in over)


def test_a_short_heading_is_named_with_the_one_above_it():
    said = FIRST.replace('計画の対象とする期間', '工事に使う材料の調達')
    rows = ('ア 法面の保護', 1), LATER, ('使用材料', 2), said, ('イ 人材の育成', 1), LATER
    assert [f.subject for f in own_facts(outline(*rows))] == [
        '文書の「法面の保護」の「使用材料」の節の冒頭'
    ]
    long = *rows[:2], ('使用する材料の調達', 2), *rows[3:]
    assert [f.subject for f in own_facts(outline(*long))] == [
        '文書の「使用する材料の調達」の節の冒頭'
    ]


def test_the_parties_of_a_contract_are_nobody():
    assert refers('乙は、甲による応援が必要と判断した場合は、甲に応援を要請することができる。')
    assert not refers('甲種防火対象物の管理者は、消防計画を定めなければならない。')


def test_what_another_paper_rules_is_no_answer():
    said = '設計図面の記載については、記載要領によるほか、記載注意事項による。'
    assert own_facts(outline(('設計図面の記載', 1), said)) == []
    said = '設計図面の記載については、縮尺と単位を図面ごとに定めなければならない。'
    assert own_facts(outline(('設計図面の記載', 1), said))


def test_a_note_of_a_table_is_no_beginning_and_a_letter_no_part_of_a_name():
    assert own_facts(outline(('計画の期間', 1), f'※{FIRST}')) == []
    assert bare_sentence('- ａ「現場救急」とは、航空機の出動をいう。')[0] == '「'


def test_a_section_in_one_of_its_own_name_is_not_quoted():
    parts = ('第1章 水門の工事', 1), ('第3節 計画の期間', 2), ('2. 計画の期間', 3), FIRST
    assert own_facts(outline(*parts, ('人材の事業', 1), LATER)) == []


def test_an_answer_is_asked_for_once():
    parts = [('水門の工事', 1), LATER, ('計画の期間', 2), FIRST]
    parts += [('堤防の工事', 1), LATER, ('計画の期間', 2), FIRST]
    (f,) = own_facts(outline(*parts))
    assert f.subject == '文書の「水門の工事」の「計画の期間」の節の冒頭'


def test_an_article_is_not_named_with_an_item_of_the_one_before():
    said = '第4条医師が付添人を必要と認めた場合は、原則として1名に限り搭乗することができる。'
    rows = ('人材の事業', 1), LATER, ('救急の要領', 1), LATER, ('(3)航空室の任務', 2), LATER
    cs = outline(*rows, '（付添人の搭乗）', said, '2その者は、次の書類を示すものとする。')
    assert not any('航空室の任務' in f.subject for f in own_facts(cs))


@pytest.mark.parametrize('label', ('深刻', '高い容易', '平均的', '　　', '★ ★'))
def test_a_rating_is_no_heading(label):
    said = FIRST.replace('計画', '図書館')
    parts = ('図書館の施設', 1), LATER, (label, 2), said, ('人材の事業', 1), LATER
    assert own_facts(outline(*parts)) == []


def test_a_word_that_begins_like_the_letter_of_an_item_stays_whole():
    first = FIRST.replace('計画', 'アプリケーション')
    rows = ('アプリケーションの期間', 1), first, ('インジェクションの対策', 1), LATER
    assert [f.subject for f in own_facts(outline(*rows))] == [
        '文書の「アプリケーションの期間」の節の冒頭'
    ]


def test_a_numbered_question_of_a_check_list_is_not_answered_by_what_follows():
    told = '脆弱性の修正には、計画と反復のプロセスが必要であり、担当者を定めておく必要がある。'
    asked = '開発フレームワークのセキュリティ設定は適切に理解されますか。'
    for q in (f'5. {asked}', f'(5) {asked}'):
        assert not any(f.how == 'question' for f in own_facts(outline(q, told)))


def test_a_section_whose_text_is_in_a_box_on_its_page_is_left_out():
    box = dict(role='column', text='堰の設置位置は、その目的に応じて選定する。' * 2)
    said = '設置位置の検討に当たっては、河道の湾曲部を避け、支川の合流点からも離すものとする。'

    def blocks(*more):
        rows = [dict(role='heading', text='周辺環境', level=1), dict(role='body', text=LATER)]
        rows += [*more, dict(role='heading', text='堰の設置位置', level=1)]
        return [b | dict(doc='d', pages=[1]) for b in (*rows, dict(role='body', text=said))]

    assert own_facts(build_corpus(blocks(box))) == []
    (f,) = own_facts(build_corpus(blocks()))
    assert f.subject == '文書の「堰の設置位置」の節の冒頭'


def test_the_number_of_a_standard_is_no_abbreviation():
    assert (
        own_forms('上端部と横断部には、合成樹脂系シーリング材（JISA5758）を施工する。') == []
    )


def test_the_heading_of_an_act_is_asked_for_as_a_section():
    told = (
        'デバイスを初期設定する際には、機種の違いにより、'
        '設定や機能制限に制約がある場合があります。'
    )
    (f,) = own_facts(chunks(('6.2.4　デバイスを初期設定する', told)))
    assert f.how == 'section' and '「デバイスを初期設定する」の節の冒頭' in f.subject


def test_exercises_state_no_facts():
    said = (
        '滑らかな水平面の上に置かれた長さ2メートルの台車は、床の上を一定の速さで動いている。'
    )
    sliding = '小球を台の中心からわずかに離れた位置に置いた場合、小球は単振動の運動を続ける。'
    assert len(own_facts(chunks(('台車の運動', said + sliding)))) == 1
    assert own_facts(chunks(('台車の運動', said + sliding + '小球の周期を求めよ。'))) == []
    assert own_facts(chunks(('例題', said + sliding))) == []
    s = 'RAID5は少なくとも3つのアクティブなパーティションから成る。'
    assert own_forms(s, '構成') and own_forms(s, '演習3') == []


@pytest.mark.parametrize(
    's, asked',
    [
        (
            'クラウド利用者の経営陣は評価（Evaluate）をベースに、コミットメントとして、'
            '方向づけ（Direct）を行うことができる。',
            [],
        ),
        (
            '脆弱性の届出は独立行政法人情報処理推進機構（IPA）が受け付ける。',
            [('独立行政法人情報処理推進機構は何と略される', 'IPA')],
        ),
        (
            'Git におけるブランチとは、'
            '特定のコミットを指すチェックサムを記録したファイルである。',
            [
                (
                    'Git におけるブランチとは何',
                    '特定のコミットを指すチェックサムを記録したファイル',
                )
            ],
        ),
        (
            'スマートフォンは技術的な側面では発展段階であり、導入企業向けの情報も十分ではなく、'
            '業務利用においては解決しなければならない課題が多く存在するのも事実です。',
            [],
        ),
    ],
)
def test_an_english_word_is_no_abbreviation_and_a_name_is_short(s, asked):
    assert [(f.question, f.answer) for f in own_forms(s)] == asked


def test_a_label_above_a_sentence_does_not_tear_it_and_half_a_sentence_does():
    what = '脆弱性検証とは、受け取った脆弱性関連情報について、再現性を検証することです。'

    def facts(before):
        blocks = [('heading', '用語の定義', 1), ('body', before, 0), ('body', what, 0)]
        blocks = [dict(role=r, text=t, level=n, doc='d', pages=[1]) for r, t, n in blocks]
        return [f.topic for f in own_facts(build_corpus(blocks))]

    assert facts('7.脆弱性検証') == ['脆弱性検証']
    assert facts('調整機関は製品開発者と連絡を取り、公表日を決めるために') == []


def test_a_document_without_facts_falls_back_on_sentences_that_stand_alone():
    alone = '図書館は、毎年4月に新しい利用証を配っています。'
    leans = '図書館は、前項の規定により、本市の住民に利用証を配っています。'
    cs = chunks(('学校の施設', alone + leans))
    assert own_facts(cs) == [] and len(corpus_facts(cs)) == 2
    sets, _ = build_dataset(cs, hold_out='wordings')
    asked = {r.output for r in sets['train'] if r.kind == 'base'}
    assert asked == {alone}


def test_a_document_with_few_questions_says_so_in_its_summary(tmp_path):
    leans = 'この章では、前項の規定により、本市の住民に利用証を配る手続を定めています。'
    blocks = [('heading', '第11条　復職の時期', 1), ('body', RETURN + leans * 3, 0)]
    blocks = [dict(role=r, text=t, level=n, doc='d', pages=[1]) for r, t, n in blocks]
    ws = Workspace(tmp_path)
    write_json(ws.path('cleaned_blocks'), dict(blocks=blocks, captions=[]))
    run_corpus(ws)
    report = run_dataset(ws, hold_out='wordings')
    assert report['facts']['train'] == 1 and report['alone'] == 0
    assert any(
        s.startswith('few sentences can be asked about alone: 1 of 4;') for s in told(report)
    )
    assert 'alone' not in run_dataset(ws) and len(told(run_dataset(ws))) == 1


@pytest.mark.parametrize(
    's',
    [
        '調査に使用したサンプルプログラムは、[後半](#使用したサンプルプログラム)に記載している。',
        '旅費規程の支給の基準は、旅費規程集に定める。',
        '設定を変更する権限は、[管理者の手引き](#設定)の担当者が利用者に与える。',
        '通勤手当は、月額円までの範囲内において、通勤に要する実費に相当する額を支給する。',
        '業務外の傷病による欠勤がか月を超えた労働者は、所定の期間、休職とする。',
        '労働者として新たに採用した者については、採用した日からか月間を試用期間とする。',
        '休職の申出書は、医師の診断書を添えて、休業を始めた日から日以内に会社へ提出する。',
        '服務規律に違反した労働者は、第　条に定めるところにより懲戒処分の対象とする。',
        '労基法第38条労働時間は、事業場を異にする場合においても、'
        '労働時間に関する規定の適用については通算する。',
        'Option型の関連する処理である戻り値をサンプルプログラムで確認すると、'
        'eaxレジスタへ1が、edxレジスタへ2が格納されている。',
        'リリースビルドでは最適化の影響で関数呼び出しを確認できなかったが、'
        '管理用構造体の更新が行われる。',
        '片方だけを変更すると、生成された繰越行が繰越として認識されなくなる。',
        '製品に利用するOSSのライセンス条件でOSSを配布する際は、'
        'ソースコードも配布することが定められていたので、'
        'Webサイトでソースを配布しようとしています。',
    ],
)
def test_a_pointer_a_blank_and_one_run_of_an_example_state_nothing(s):
    assert not tells(s) and own_forms(s) == []


@pytest.mark.parametrize(
    's',
    [
        '試用期間中の労働者は、採用した日から3か月間を試用期間とする。',
        '表彰及び制裁に関する事項は、必ず就業規則に記載しなければなりません。',
        '休職の申出書は、休業を始めた日から 6 か月以内に会社へ提出する。',
        '育児・介護休業等の取扱いについては、「育児・介護休業等に関する規則」で定める。',
        '労基法第38条の労働時間は、労働時間に関する規定の適用については通算する。',
        '休業させた場合は、休業1日につき労基法第12条に規定する平均賃金の6割を支給する。',
    ],
)
def test_a_counter_with_its_number_and_a_cited_law_may_stay(s):
    assert tells(s)


def test_the_marker_of_a_list_is_no_part_of_a_topic():
    said = '振替休日は、休日に働いた職員が平日に休むために4週に4日まで申し出る制度である。'
    for marker in 'ウ', 'a. ', '①', 'ア ':
        (f,) = own_facts(chunks(('', marker + said)))
        assert (f.topic, f.answer) == ('振替休日', said)
    for word in 'リスク対応は、', 'ソ連軍は、', 'カ国語は、', 'ア、':
        assert bare_sentence(word) == word
    assert subject_of('EU・' + said) == subject_of('ケ' + said) == ''


LEAVE = '年次有給休暇の期間は、所定労働時間労働したときに支払われる通常の賃金を支払う。'
BIRTH = '産前産後の休業の期間は、賃金を支払わないものとし、その日数を欠勤に数えない。'


def test_an_article_is_asked_for_by_its_name_if_the_answer_is_all_of_it():
    facts = own_facts(chunks(('第41条　休暇の賃金', LEAVE + '2前項の期間は、通算する。')))
    assert 'heading' not in [f.how for f in facts]
    (f,) = own_facts(chunks(('第41条　休暇の賃金', LEAVE)))
    assert (f.topic, f.how) == ('休暇の賃金', 'heading')


STRATEGY = (
    '音威子府村の総合戦略においては、音威子府村の最大の強みであるという観点から、'
    '高等学校を中心に置き、すべての基本目標と連動させることとします。'
)
PERIOD = '総合戦略の対象期間は、国の総合戦略と同じく2015年度から2019年度までとします。'
FIELDS = (
    '各政策分野を構成する施策・事業については、'
    '効果を客観的に検証するための重要業績評価指標(KPI)を設定しています。'
)


def test_the_title_of_a_document_is_no_topic_and_no_place():
    blocks = [
        ('heading', '音威子府村まち・ひと・しごと創生総合戦略', 1),
        ('body', FIELDS + PERIOD, 0),
        ('heading', '基本的な視点', 2),
        ('body', STRATEGY, 0),
    ]
    blocks = [dict(role=r, text=t, level=n, doc='d', pages=[1]) for r, t, n in blocks]
    assert {f.topic: f.how for f in own_facts(build_corpus(blocks))} == {
        '文書の「基本的な視点」の節の冒頭': 'section',
    }
    assert own_facts(chunks(('', STRATEGY))) == []


def test_a_question_names_the_object_of_its_verb():
    s = '議員でなくなった場合は、議員でなくなった日から30日以内に{}提出しなければならない。'
    assert tells(s.format('')) and own_forms(s.format('')) == []
    (f,) = own_forms(s.format('収支報告書を'))
    assert f.answer == '30日以内'


@pytest.mark.parametrize(
    'title, said',
    [
        (
            'クリーンアップ処理',
            'ユーザー定義main関数の呼び出し後のクリーンアップ処理を行う。',
        ),
        (
            'カード登録方法の選択',
            'カード情報を入力して「保存」をクリックすると、'
            '「カード登録方法の選択」ダイアログが表示されます。',
        ),
    ],
)
def test_that_something_is_done_or_shown_does_not_answer_its_heading(title, said):
    assert 'heading' not in [f.how for f in own_facts(chunks((title, said)))]


def test_who_does_what_when_answers_a_heading():
    said = (
        '労働者に対しては、採用の際及び毎年1回（深夜労働に従事する者は6か月ごとに1回）、'
        '定期に健康診断を行う。'
    )
    (f,) = own_facts(chunks(('第58条　健康診断', said)))
    assert (f.topic, f.answer) == ('健康診断', said)


@pytest.mark.parametrize(
    's',
    [
        '予告の日数については、解雇予告手当を支払った日数だけ短縮することができる。',
        'Windows-MSVC環境ではpackedのみが有効となっているため、'
        '実行ファイルサイズや実行ファイルから得られる情報に影響しない。',
        'AI利用を加速するためには、データを学習して作り上げるAIの前提である'
        'データ連携基盤の構築が極めて重要である。',
        '二つのライセンス条件を同時に満たせない状態を「両立しない」という。',
        '各政策分野を構成する施策・事業については、効果を検証するための指標を設定しています。',
    ],
)
def test_a_proviso_and_a_sentence_without_its_subject_are_no_answers(s):
    assert tells(s) and subject_of(s) == ''


def test_what_hangs_on_its_type_and_what_ends_in_a_proviso_are_not_asked():
    said = '文字列本体は.rdataセクションに配置される。'
    assert own_facts(chunks(('&str', said))) == []
    vote = '評議員選任・解任委員会の決議は、委員の過半数が出席し、その過半数をもって行う。'
    more = 'ただし、外部委員の1名以上が出席し、かつ、賛成することを要する。'
    (f,) = own_facts(chunks(('評議員の選任', vote + more)))
    assert f.answer == vote + more
    assert own_facts(chunks(('', vote + 'ただし、次の者を除く。'))) == []  # half of it
