"What is asked of a document that the rules have not seen (chapter 05i): real sentences"

import pytest
from climate_ft.corpus import build_corpus
from climate_ft.dataset import build_dataset
from climate_ft.facts import corpus_facts
from climate_ft.forms import sentence_forms
from climate_ft.pairs import base_pairs, template_pairs
from climate_ft.passages import build_forms
from climate_ft.precision import bare_sentence, clear_forms, names_section, names_something
from climate_ft.precision import own_facts, own_forms, refers, subject_of, tells, title_of

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
    assert '緊急地震速報(警報)について、文書には何と書かれていますか。' in asked
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
    's, subject',
    [
        (
            '北海道警察公式防犯アプリ「ほくとポリス」では、特殊詐欺被害の発生情報を配信しています。',
            '北海道警察公式防犯アプリ「ほくとポリス」',
        ),
        (
            '2012年度に実施した高校生アンケートでは、村への定住が困難な現状が浮き彫りになりました。',
            '2012年度に実施した高校生アンケート',
        ),
        (
            '業法・規制法がない重要インフラ等に関しては、技術の変化に応じて機動的な対応が望まれる。',
            '業法・規制法がない重要インフラ等',
        ),
        (
            '軽油に灯油などを混ぜた「混和軽油」や「製造軽油」などを「不正軽油」といいます。',
            '「不正軽油」',
        ),
        (
            '1966年にはワイゼンバウム博士により、初の自然言語処理プログラム「ELIZA」が開発されました。',
            '「ELIZA」',
        ),
        (
            '中頓別ウィンドファーム合同株式会社では、陸上風力発電事業に関する手続を進めています。',
            '中頓別ウィンドファーム合同株式会社の取組',
        ),
        (
            '第2回策定審議会では、10年後の村の在り方について意見交換を行いました。',
            None,
        ),
        ('上川地方では、最小湿度30%以下を予想した場合に注意報を発表します。', None),
        ('料金収入については、現行料金で算出しています。', None),
        ('親子競技では、お父さんやお母さんと協力して、真剣に競技へ取り組んでいました。', None),
        ('find(1)はしばしば慣用的なスタイルで使われます。', None),
        (
            'RAID6 RAID6はパリティデバイスが1つではなく2つである点を除きRAID5と似ています。',
            None,
        ),
        ('あなたのデバイスのサポートは、カーネルを再コンパイルすれば追加できます。', None),
        (
            'AIモデルの使用を認めている場合、論文内に使用について記載するよう求めています。',
            None,
        ),
    ],
)
def test_what_a_topic_must_have(s, subject):
    assert tells(s)
    assert (subject_of(s) or (None,))[0] == subject


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
            '様々な子育て支援策は、結果として出現する未就学の子ども数に応じた対応策でもあります。',
            False,
        ),
        (
            '幼児センター運動会',
            '令和7年9月28日、小中学校の体育館で幼児センターの運動会が開催されました。',
            True,
        ),
        (
            '幼児センター運動会',
            '9月28日、小中学校の体育館で幼児センターの運動会が開催されました。',
            False,
        ),
        (
            'ページスタイル',
            'LATEXでは、ヘッダ・フッタの組み合わせで三種類のページスタイルが設定できます。',
            True,
        ),
    ],
)
def test_a_heading_needs_a_sentence_of_which_it_is_topic_subject_or_object(
    heading, said, asked
):
    facts = own_facts(chunks((heading, said)))
    assert ((heading, 'heading') in [(f.subject, f.how) for f in facts]) == asked


def test_the_second_sentence_may_be_the_one_that_answers_a_heading():
    said = (
        '自然なことです。消防フェスタの会場では、放水体験と救急車の展示が毎年行われています。'
    )
    (f,) = own_facts(chunks(('消防フェスタの会場', said)))
    assert (f.how, f.answer) == ('heading', said[len('自然なことです。') :])


def test_one_sentence_answers_one_question_and_of_several_the_one_that_defines():
    said = '国民年金制度は、不慮の事故など万が一のときにも心強い味方となる制度です。'
    facts = own_facts(chunks(('国民年金制度', said)))
    assert [f.how for f in facts] == ['heading']
    said = 'LATEXでは、ヘッダ・フッタの組み合わせで三種類のページスタイルが設定できます。'
    assert subject_of(said) == ('LATEX', 'topic')
    facts = own_facts(chunks(('ページスタイル', said)))
    assert [f.how for f in facts] == ['heading']
    first = '高校生アンケートは、生活の不便さを定住への課題として示している。'
    second = '高校生アンケートは、就業の場の不足を村への定住が困難な理由として示している。'
    assert [f.answer for f in own_facts(chunks(('結果', first)))] == [first]
    facts = own_facts(chunks(('結果', first), ('考察', second)))
    assert [f.answer for f in facts] == [second]  # the longer one
    third = first.replace('生活の不便さ', '交通の不便さ')
    many = ('結果', first), ('考察', second), ('まとめ', third)
    assert own_facts(chunks(*many)) == []  # one of many
    said = '高校生アンケートは、村への定住の意向を毎年尋ねる調査である。'
    assert [f.answer for f in own_facts(chunks(*many, ('方法', said)))] == [said]


def test_nobody_is_asked_for_with_what():
    said = 'Debianプロジェクトの創始者として知られるのはイアン・マードックである。'
    assert own_forms(said) == []
    said = 'イアン・マードックは、Debianプロジェクトを1993年に始めた最初の開発者である。'
    assert not [f for f in own_forms(said) if '何' in f.question]
    for who in ('議長', 'リーダー'):
        said = f'フレデリックは、自由なソフトウェアだけを集める計画を担った最初の{who}である。'
        assert tells(said) and own_forms(said) == []
    assert (
        subject_of('赤崎鹿児島市長は、6月の市議会において協議会に参加する意向を表明した。')
        is None
    )


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


def test_a_sentence_that_tells_one_thing_of_many_is_asked_for_as_what_the_document_says():
    told = '屋根雪センサーは、測定値を10分ごとに山形県の観測所へ送っている。'
    what = '融雪計画とは、屋根の雪の重さを測り、雪下ろしの日を決める計画である。'
    act = '観測所の予備電源を切り替えるには、配電盤の赤いレバーを下に引きます。'
    cs = chunks(('運用', told), ('用語', what), ('手順', act))
    asked = {}
    for f in own_facts(cs):
        asked[f.answer] = [r.instruction for r in base_pairs(f) + template_pairs(f)]
    assert asked.keys() == {told, what, act}
    assert all('文書' in q and '屋根雪センサー' in q for q in asked[told])
    sets, _ = build_dataset(cs, hold_out='wordings')
    rows = [r.instruction for r in sets['train'] if r.output == told and r.source_id]
    assert len(rows) > 3 and all('文書' in q for q in rows)
    assert not [q for q in asked[what] + asked[act] if '文書' in q]
    assert (
        '融雪計画とは何ですか。' in asked[what]
        or '融雪計画の定義を教えてください。' in asked[what]
    )


def test_a_sign_of_a_private_font_joins_what_does_not_belong_together():
    assert refers('中間ベンダ\uf09eベンダは、製品の脆弱性に対応する。')
    assert not refers('中間ベンダは、製品の脆弱性に対応する。')
