"""Chapter 05b: topics, facts that stand alone, questions, and references to figures"""

import unicodedata
import pytest
from climate_ft.corpus import chunk_id, load_corpus
from climate_ft.facts import (
    chunk_facts,
    chunk_sentences,
    clean_topic,
    corpus_facts,
    figure_refs,
    heading_title,
    is_piece,
    long_sections,
    name_subjects,
    resolve_figures,
    section_title,
    topic,
    wh_question,
)
from climate_ft.workspace import REPO, Chunk, Workspace


def chunk(text, section=('5 雪氷圏',), doc='d', start=0):
    return Chunk(
        chunk_id(doc, list(section), text),
        doc,
        list(section),
        text,
        [1],
        start,
        start + len(text),
    )


def ask(text):
    fs = [f for f in chunk_facts(chunk(text)) if f.how != 'heading']
    return wh_question(fs[0]) if fs else None


@pytest.mark.parametrize(
    's,expected',
    [
        ('たとえば雪氷面は太陽光をよく反射する。', '雪氷面'),
        ('また、海氷は薄い。', '海氷'),
        ('図表 12に示すように、海氷は減った。', '海氷'),
        ('はくりゅうは雲を測る。', 'はくりゅう'),
        ('だいち2号は2014年に打ち上げられた。', 'だいち2号'),
        ('氷（海水は含まない）は白い。', '氷（海水は含まない）'),
        (
            '全球降水観測計画（GPM: Global Precipitation Measurement）は国際計画である。',
            '全球降水観測計画（GPM）',
        ),
        ('日本が打ち上げた衛星は今も動いている。', '日本が打ち上げた衛星'),
        ('可能性が高い範囲は2.5℃から4℃である。', '可能性が高い範囲'),
        ('2011年から2020年の平均気温は高かった。', '2011年から2020年の平均気温'),
        ('北極では、海氷の減少が続いている。', '海氷の減少'),
        ('◼ 現状の把握：濃度を測る。', '現状の把握'),
        ('海氷域面積とは、海氷のある海域の面積である。', '海氷域面積'),
        ('「いぶき」は2009年に打ち上げられた。', '「いぶき」'),
        ('本計画の進み具合は毎年度点検される。', '本計画の進み具合'),
        ('途切れのない観測が必要である。', '途切れのない観測'),
        ('両氷床の損失の速さは増えた。', '両氷床の損失の速さ'),
        ('最も高い料金は約3倍に当たる。', '最も高い料金'),
    ],
)
def test_topics(s, expected):
    assert topic(s)[0] == expected


@pytest.mark.parametrize(
    's',
    [
        'これは国際協力の成果である。',
        'この衛星は今も動く。',
        '同機関は東京にある。',
        '航空機、船舶が衛星を補う。',
        '図表 7は上昇の要因を示す。',
        '次のように述べた。',
        '理由は二つある。',
        'はい。',
        '',
        '。',
        '2020年には123か国が参加した。',
        '水を得るのは難しい。',
        'は、が、の。',
        'English only.',
        '本章では歴史を述べる。',
        '両者は異なる。',
        '当初は貸出よりもむしろ保存に力が注がれていた。',
        '移動図書館には、司書2名と運転手1名が乗り込む。',
        '紙くずの削減につながる返却期限が近い雑誌に印を押す。',
    ],
)
def test_no_topic(s):
    assert topic(s) is None


def test_definitions():
    assert (
        topic('アルベドとは割合である。') == ('アルベド', 'definition')
        and topic('アルベドは割合である。')[1] == 'topic'
    )


@pytest.mark.parametrize(
    'h,t',
    [
        ('5.2 海氷の変化', '海氷の変化'),
        ('１．２　海', '海'),
        ('第3章 水', '水'),
        ('コラム　氷の色', '氷の色'),
        ('付録A 略語', '略語'),
        ('海', '海'),
        ('2030年の目標', '2030年の目標'),
        ('（1）館外貸出', '館外貸出'),
        ('(1) 館外貸出', '館外貸出'),
        ('① 取組の概要', '取組の概要'),
        ('Ⅱ 調査の方法', '調査の方法'),
        ('第1 総則', '総則'),
        ('2.2.1　. 下請法の適用', '下請法の適用'),
        ('ア 原告の主張', '原告の主張'),
        ('アルベドの変化', 'アルベドの変化'),
        ('一般の利用', '一般の利用'),
    ],
)
def test_heading_titles(h, t):
    assert heading_title(h) == t


def test_answers_are_verbatim_and_found_by_offset():
    text = (
        '海氷は太陽光を非常に強く反射する。しかし、'
        '面積は減っている。\n\n- 融解の監視：マイクロ波で毎日測る。'
        '\n\nA) 重力法は、氷の質量を直接に求める方法である。'
    )
    doc = '# 5 雪氷圏\n\n' + text
    fs = chunk_facts(chunk(text, start=len(doc) - len(text)))
    assert [f.how for f in fs] == ['heading', 'topic', 'topic', 'topic']
    assert all(doc[f.start : f.start + len(f.answer)] == f.answer for f in fs)
    assert [f.topic for f in fs[1:]] == ['海氷', '融解の監視', '重力法']


@pytest.mark.parametrize(
    's',
    [
        'しかし、海氷は減り続けている状態である。',
        'そのため、海氷は減り続けている状態だ。',
        '海は広い。',
        '海氷の役割は、次の三つにまとめられる。',
        '海氷' + 'の面' * 90 + 'は広い。',
        '海氷の監視の仕組みと今後の展望について',
        'NASAとCNESが該当する。',
    ],
)
def test_sentences_that_cannot_stand_alone(s):
    assert chunk_facts(chunk(s)) == []


def test_a_torn_sentence_gives_no_fact():
    torn = (
        '三つの観測の結果は、海面上\n\n昇の理解が正しいことの強い裏付けである。'
        '海面水位は毎年約4mm上昇している。'
    )
    assert [f.topic for f in chunk_facts(chunk(torn, section=()))] == ['海面水位']


def test_no_heading_no_heading_fact():
    assert [
        f.how
        for f in chunk_facts(
            chunk(
                '海氷は太陽光を反射する性質をもつ。海氷の面積は夏に最も小さくなる。',
                section=(),
            )
        )
    ] == ['topic', 'topic']


def test_subjects_are_unique():
    text = (
        ''.join(f'海氷域面積は{1990 + i}年に平年より小さくなった。' for i in range(9))
        + '海氷域面積は衛星で毎日測られている。海氷域面積はマイクロ波で毎日測られている。'
    )
    fs = name_subjects(chunk_facts(chunk(text, section=('5 雪氷圏', '5.2 海氷の変化'))))
    assert (
        len({f.subject for f in fs}) == len(fs) == 10
    )  # a heading, nine years; two sentences cannot be told apart
    assert {'海氷域面積', '海氷域面積（海氷の変化）', '海氷域面積（1992年）'} <= {
        f.subject for f in fs
    }


@pytest.mark.parametrize(
    's,q',
    [
        (
            '衛星「しずく」は、2012年5月18日に打ち上げられた。',
            '衛星「しずく」は、いつ打ち上げられましたか。',
        ),
        (
            '世界の海面水位は、この間に約0.20メートル上昇した。',
            '世界の海面水位は、この間にどのくらい上昇しましたか。',
        ),
        (
            '欧州宇宙機関の加盟国の数は、全部で23か国である。',
            '欧州宇宙機関の加盟国の数は、全部で何か国ですか。',
        ),
        (
            '水田の排出量は、全体の約8%を占める。',
            '水田の排出量は、全体のどのくらいを占めますか。',
        ),
        ('海氷の記録は、1978年に打ち上げられた衛星から続いている。', None),
        ('地球の気候は大きく変わりつつある。', None),
        ('海氷は1979年に測られ始めたが、船の記録は古い。', None),
        ('カナダは1995年に1号機、2007年に2号機を打ち上げた。', None),
        ('この条約は1992年に採択され、1994年に各国で発効した。', None),
        (
            '気候変動枠組条約は1992年に採択され、1994年に発効した。',
            '気候変動枠組条約は1992年に採択され、いつ発効しましたか。',
        ),
        ('図表 3のとおり、海氷は2012年に最小となった。', None),
    ],
)
def test_wh_questions(s, q):
    assert ask(s) == q


@pytest.mark.parametrize(
    's',
    [
        '図表 12',
        '図表１２',
        '図12',
        '表 3',
        '図表1-1',
        'Fig. 3',
        'Figure 3',
        'Table 2',
        '図 1.2',
        '図A-1',
        '第3図',
        '下図に示す',
        '次の表に示す',
        '図1（左）',
        '上図 4',
        '図表\u300012',
        '図１−１',
        '(fig.3)',
    ],
)
def test_figure_references(s):
    assert len(figure_refs('前' + s if s[0] in '(' else s)) == 1


@pytest.mark.parametrize(
    's',
    [
        '図書12冊',
        '表面 3',
        '発表 1 件',
        '地図',
        '地図 2',
        '代表 3 名',
        '年表 5',
        '図 3 枚',
        '図鑑 1',
        '意図 1',
        'config 3',
        '表3点',
        '図形',
        '公表した',
        '2表',
        'stable 2',
        '図を描く',
        '表情',
    ],
)
def test_not_figure_references(s):
    assert figure_refs(s) == []


def test_resolving():
    caps = {'3': '海氷域面積', '1-1': '氷床'}
    assert resolve_figures('図表 3と図１−１を見よ。', caps) in (
        '図表「海氷域面積」と図表「氷床」を見よ。',
        None,
    )
    assert (
        resolve_figures('図表 3を見よ。', caps) == '図表「海氷域面積」を見よ。'
        and resolve_figures('図表 9を見よ。', caps) is None
        and resolve_figures('海。', {}) == '海。'
    )


def test_the_report():
    texts, chunks = load_corpus(Workspace(REPO))
    fs = corpus_facts(chunks)
    assert len(fs) >= 400 and len({f.id for f in fs}) == len({f.subject for f in fs}) == len(
        fs
    )
    assert all(
        texts[f.chunk.doc][f.start :].startswith(f.answer) for f in fs if f.how != 'heading'
    )
    assert not any(f.subject.startswith('たとえば') or '図表' in f.subject for f in fs)
    assert sum(wh_question(f) is not None for f in fs) >= 50
    assert clean_topic('計画（GPM: G）') == '計画（GPM）' and list(
        chunk_sentences(chunk('一。二。'))
    )[1] == (2, '二。')


TOLD = '蔵書の購入は令和4年度から始まった取組である。寄附金は児童書の購入に充てられている。'


@pytest.mark.parametrize(
    'section,subjects',
    [
        (['第2章　町の取組', '概要'], ['町の取組の概要', '蔵書の購入', '寄附金（町の取組）']),
        (['1　貸出', '平均日数は9.5日である'], ['蔵書の購入', '寄附金（貸出）']),
    ],
)
def test_headings_that_name_nothing_by_themselves(section, subjects):
    facts = name_subjects(chunk_facts(chunk(TOLD, section)))
    assert [f.subject for f in facts] == subjects


@pytest.mark.parametrize(
    's',
    (
        '図書館の運営委員会は、次の三つを提言している。',
        '利用できる者は、次の各号のいずれかに該当する者とする。',
        '図書館の主な課題は次の通りだ。',
        '審査の項目は、下記のとおりとする。',
        '委員会の結論は、以下のとおり整理した。',
        '開館の時間については、下表のとおりとする。',
        '町の図書館は三つの方針を掲げる。',
        '図書館のカードは誰が作れるのでしょうか。',
    ),
)
def test_what_only_announces_a_list_or_asks_is_no_fact(s):
    items = '\n・蔵書の充実をさらに図ること。\n・開館の時間を延長すること。'
    assert not [f for f in chunk_facts(chunk(s + items)) if f.answer == s]


def test_a_list_within_its_sentence_is_a_fact():
    s = '館長は次の三つ、すなわち蔵書の充実、時間の延長、職員の研修の三点を提言した。'
    assert [f.answer for f in chunk_facts(chunk(s))] == [s]


@pytest.mark.parametrize(
    'mark',
    '1．|- １）|(ア)|ア　|ア．|i)|【例】|※|⇒|Q1．|注１　|第２条　|一．|－ |例）'.split('|'),
)
def test_the_mark_of_an_item_is_no_part_of_a_fact(mark):
    s = '操縦士は毎年の講習を必ず受けなければならない。'
    (f,) = chunk_facts(chunk(unicodedata.normalize('NFKC', mark[:-1]) + mark[-1] + s))
    assert (f.topic, f.answer) == ('操縦士', s)


@pytest.mark.parametrize(
    's,told',
    [
        ('町の特別な休日とはならない。', None),  # no definition
        ('電子の申請は、紙での受付とは異なる。', '電子の申請'),
        ('紙での受付とは異なる手順で進む。', None),
        ('港の北に倉庫をはじめ4つの建物が残る。', None),
        ('石垣、井戸、門など貴重なものが多い。', None),
        ('費用が不明であるため工事計画は延期された。', None),
        ('校庭の整備と漸次校舎としての設備の充実がなされた。', '校舎としての設備の充実'),
        ('本来図書整理は夏の仕事である。', '図書整理'),
        ('保存年限についての記載事項が欠けている。', None),
        ('どのような設備が求められるかを調べる。', None),
        ('2010年代以降は人口が減り続けた。', None),
        ('高い峠を越えていて、勾配は急である。', None),
        ('入居を望む人がいる場合は、役場が相談を受ける。', None),
        ('若い職員が役場で働くことを応援する。', None),
        ('来館者はもとより、職員も驚いた。', None),
        ('町の名物はなんなのか、あらためて考える。', None),
        ('調べた資料が不足していることから、結論は次の年に延ばされた。', '結論'),
    ],
)
def test_a_topic_is_a_whole_phrase_of_the_main_statement(s, told):
    got = topic(s)
    assert (got and got[0]) == told


def test_headings_that_are_labels_or_half_sentences_name_nothing():
    text = '水位は低い。水温は毎年12月に最も低くなる。'
    for heading in ('メモ', 'その他', 'はじめに', '備考', 'Notes', '水質の改善を目指して'):
        facts = name_subjects(chunk_facts(chunk(text, section=('川の観測', heading))))
        assert not [f for f in facts if heading in f.subject], heading
    facts = name_subjects(chunk_facts(chunk(text, section=('川の観測', '水の状態'))))
    assert [f.subject for f in facts][0] == '水の状態（川の観測）'


def test_what_only_says_that_its_topic_is_needed_is_no_fact():
    assert chunk_facts(chunk('できるだけ多くの職員のための研修が必要となります。')) == []
    assert len(chunk_facts(chunk('司書のための研修は、毎年4月に県立図書館が開く。'))) == 1


@pytest.mark.parametrize(
    's',
    [
        'には沿線の高尾野町も不参加の意向を示した。',
        'の、第2回の協議の場で、会社は試算を県に示した。',
        'で活用する取組が広く展開されている。',
        'なり、地域鉄道としての利便性は向上した。',
        '万倍に高速化するとともに、様々な物質への適用を可能にした。',
        '的な処理が可能になり、画像の生成ができるようになった。',
        '幅広い論議が必要」との声を受け、非沿線自治体にも参加を要請した。',
        '計算の速さを従来の数る研究開発が進められている。',
        '駅の増設や列車ダイヤの⊥夫によって、鉄道は黒字経営を続けている。',
        '経営の分離では、長野一篠ノ井問の非分離は状況が似ている。',
        '13個人情報漏えいの事案が起きた場合は、公表を要請している。',
        '15 6月29日になって、鹿児島県は試算を公表している。',
        '19これについては、整備新幹線の評価が必要な点は指摘しておきたい。',
    ],
)
def test_a_piece_of_a_sentence_is_not_asked(s):
    assert is_piece(s)
    assert not [f for f in chunk_facts(chunk(s)) if f.how != 'heading']


@pytest.mark.parametrize(
    's',
    [
        'とはいえ、この地域の鉄道は黒字である。',
        'にもかかわらず、鉄道の利用者は減った。',
        '9月25日に知事は議会で答弁した。',
        '23.8GHz付近は水蒸気の量に敏感である。',
        '5市6町での第三セクターの設立が決まった。',
        '引き続き、鉄道の利便性を高める。',
        '鉄道（第三セクター）は「黒字」を続けている。',
    ],
)
def test_a_whole_sentence_is_no_piece(s):
    assert not is_piece(s)


@pytest.mark.parametrize(
    'heading,title',
    [
        ('1　－2．AIを活用した予測', ''),
        ('-5', ''),
        ('付録2脆弱性の取扱い', ''),
        ('2022年5月', ''),
        ('TCFD', ''),
        ('B-2-1利用状況のパターン', '利用状況のパターン'),
        ('2024年度の概況', '2024年度の概況'),
        ('3つの柱', '3つの柱'),
        ('2　プラスチック類の回収', 'プラスチック類の回収'),
    ],
)
def test_a_scrap_of_a_heading_names_nothing(heading, title):
    assert section_title([heading]) == title


@pytest.mark.parametrize(
    's',
    [
        '2025年度は14名が訓練を修了し、そのうち6名が合格しました。',
        '主電源が入っている間は、循環運転が2時間ごとに行われます。',
        '暗号化されている無線通信を傍受して元に戻す行為（鍵を解読して通信内容を復号すること）は、'
        '法律に触れる可能性があります。',
        '申請には、母子健康手帳または被保険者証の提示が必要です。',
        '異常が発生すると、表示部にエラー番号が表示されます。',
        '研究の例としては、材料を量り取るロボットがあります。',
        '会場には手話通訳者を配置し、当日の説明は後日に配信します。',
        '補助金の申請は、購入した日から6か月以内に行ってください。',
        '可能となったことを、量子計算機で取り組む分野の研究が加速しています。',
        'つまり、会社の示した条件は必ずしもマイナス要因とはいえないのである。',
        '例えば、AIモデルは、論文の草案を自動的に生成します。',
        '例えば、入力により脆弱性の有無を検証するツール等が該当します。',
        '届出の様式の一覧は、次のURLからダウンロードできます。',
        'AIという言葉は、1955年に米国で初めて使われました。',
        '個人の端末ではすべてを管理する必要はなく、対象を選択します。',
        '注記これよりも広い定義が使われることもある。',
        '洗剤を使って洗う必要はありません。',
        'AIモデルにより文書を執筆することはできますが、出版社は認めていません。',
        '不正アクセスを禁じる法に対しては慎重な扱いが求められます。',
        '生成AIでは「自己教師あり学習4」が用いられています。',
        '製品開発者に係る法的な論点は、付録を参照してください。',
        '当該基盤保有事業者は、政府の計画で定める事業者とします。',
        '届け出られた脆弱性が他社の部品に含まれる例も考えられるため、その場合の対応を検討しておく。',
    ],
)
def test_what_is_only_mentioned_is_no_topic(s):
    assert not [f for f in chunk_facts(chunk(s)) if f.how != 'heading']


def test_the_mark_of_an_answer_leaves_and_the_answer_stays():
    [f] = chunk_facts(
        chunk('答　水ですすいでも汚れが落ちないものは、燃えるごみに出してください。')
    )
    assert f.topic == '水ですすいでも汚れが落ちないもの'
    assert f.answer.startswith('水ですすいでも')
    [f] = chunk_facts(chunk('b)クラウド事業者は、合意に基づき情報を開示する。'))
    assert f.topic == 'クラウド事業者'


def test_a_common_word_without_a_section_is_no_subject():
    fs = chunk_facts(chunk('収入は、運賃などから8億円になる見込みである。', ()))
    fs += chunk_facts(chunk('JR九州は、新幹線の線路を保有する会社である。', ()))
    assert [f.subject for f in name_subjects(fs)] == ['JR九州']


def test_the_name_of_a_section_over_many_pages_is_not_trusted():
    cs = [chunk('文である。', ('長い節',)), chunk('別の文である。', ('長い節',))]
    cs.append(chunk('短い文である。', ('短い節',)))
    cs[1].pages = [5]
    assert long_sections(cs) == {('d', '長い節')}
