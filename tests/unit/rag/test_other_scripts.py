# ruff: noqa: RUF001  punctuation of other scripts
"""Questions in scripts without spaces: words stand for words there too, and no rate is promised."""

import pytest

import graftwerk as gw
from graftwerk.models.language.sentences import content_stems

DOCUMENTS = (
    "明日は午前九時から会議室で安全講習を行います。全員必ず参加してください。",
    "食堂は土曜日に閉まります。お弁当を持参してください。",
    "新的停车场在大楼后面，访客请先在前台登记。",
    "図書室の本は二週間借りることができます。",
    "エレベーターの点検は毎月第一月曜日に行われます。",
)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for number, text in enumerate(DOCUMENTS):
        (folder / f"{number}.txt").write_text(text)
    with gw.Index(tmp_path_factory.mktemp("index") / "i") as opened:
        opened.add(folder)
        yield opened


@pytest.mark.parametrize(
    ("question", "document"),
    [
        ("安全講習はどこで行いますか", 0),
        ("食堂はいつ閉まりますか", 1),
        ("停车场在哪里", 2),
        ("図書室の本は何週間借りられますか", 3),
        ("エレベーターの点検はいつですか", 4),
    ],
)
def test_what_the_documents_say_is_answered(index, question, document):
    answer = index.ask(question)
    assert not answer.abstained
    assert answer.text.partition("。")[0] in DOCUMENTS[document]
    assert "no rate of false answers is promised" in answer.notes[0]


@pytest.mark.parametrize("question", ["プールは何時に開きますか", "咖啡多少钱", "猫は飼えますか"])
def test_what_they_do_not_say_is_not(index, question):
    assert index.ask(question).abstained


def test_english_is_as_it_was(index):
    assert index.ask("When does the canteen close?").notes == []
    text = "The café's rates rose; naïve readers asked why it isn't 20."
    assert content_stems(text) == {"cafés", "rat", "ris", "naïve", "reader", "ask", "isnt", "20"}


def test_words_of_scripts_without_spaces_are_pairs_of_letters():
    assert content_stems("会議室で安全講習") == {"会議", "議室", "安全", "全講", "講習"}
    assert content_stems("ください") == {"ください"}
    assert content_stems("停车场在哪里吗") == {"停车", "车场", "场在", "在哪", "里吗"}
    assert content_stems("tool-itgc后五十条") == {"tool", "itgc", "后五", "五十", "十条"}
