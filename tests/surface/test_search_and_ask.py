"""A person with a folder of documents: two commands, a grounded answer."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from graftwerk.examples import HANDBOOK, QUESTIONS

FOOSBALL = "Are we allowed to play foosball during working hours?"
CRYPTOCURRENCY = "What is the company's policy on cryptocurrency payments?"


@pytest.fixture(scope="module")
def handbook_index(commands, tmp_path_factory) -> Path:
    """An index of the example handbook, made by the command line once for this file."""
    folder = tmp_path_factory.mktemp("handbook")
    done = commands("index", "add", str(HANDBOOK), "--json", cwd=folder)
    assert '"added": 9' in done.out
    return folder


def test_ask_quotes_the_rule(graft, handbook_index) -> None:
    done = graft("ask", FOOSBALL, "--json", cwd=handbook_index)
    assert done.code == 0
    answer = done.json
    assert not answer["abstained"]
    assert answer["extractive"]
    assert "covered" in answer["answer"] or "lunch break" in answer["answer"]
    assert answer["citations"]
    for citation in answer["citations"]:
        assert citation["verdict"] == "verbatim"
        text = Path(citation["path"]).read_text()
        assert text[citation["start"] : citation["end"]].split() != []
    assert Path(answer["citations"][0]["path"]).name == "office-life.md"


def test_a_folder_that_has_a_default_may_be_named_either_way(graft, handbook_index) -> None:
    for named in ([".graftwerk"], ["--index", ".graftwerk"]):
        done = graft("chat", *named, typed="How long is parental leave?\n", cwd=handbook_index)
        assert "answered: 1" in done.out


def test_an_empty_file_is_named(graft, tmp_path) -> None:
    (tmp_path / "empty.md").write_text("\n")
    done = graft("index", "add", "empty.md", cwd=tmp_path)
    assert "empty.md: there is no text in it" in done.err
    assert "there is no passage in the index" in graft("search", "leave", cwd=tmp_path).err


def test_chat_reads_questions_from_standard_input(graft, handbook_index) -> None:
    typed = "How long is parental leave paid in full?\nWhen do I have to announce it?\n"
    done = graft("chat", "--json", typed=typed, cwd=handbook_index)
    first, second = done.json["turns"]
    assert (first["asked"], done.code) == (None, 0) and "16 weeks" in first["answer"]
    assert second["asked"] == "When do I have to announce parental leave?"
    shown = graft("chat", typed=typed, cwd=handbook_index).out
    assert shown.index("16 weeks") < shown.index(
        "asked: When do I have to announce parental leave?"
    )
    assert shown.count("extractive: quotes only") == 2
    assert shown.endswith("questions: 2, answered: 2\n")


def test_ask_abstains(graft, handbook_index) -> None:
    done = graft("ask", CRYPTOCURRENCY, cwd=handbook_index)
    assert done.code == 0
    assert "no certain answer in these documents" in done.out


def test_show_prompt_has_the_form_of_the_reference(graft, handbook_index) -> None:
    prompt = graft("ask", FOOSBALL, "--json", "--show-prompt", cwd=handbook_index).json["prompt"]
    assert prompt.startswith("I need a question answered based on our internal company policies.")
    assert "Answer it only based on the following documents." in prompt
    assert "Document 1:" in prompt
    assert prompt.rstrip().endswith(f"Question: {FOOSBALL}")


def test_the_extractive_writer_needs_documents(graft, handbook_index) -> None:
    done = graft("ask", FOOSBALL, "-k", "0", cwd=handbook_index)
    assert done.code == 2
    assert "nothing" in done.err or "no documents" in done.err


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_search_finds_the_file(graft, handbook_index, mode) -> None:
    found = graft("search", "foosball tournament", "--mode", mode, "--json", cwd=handbook_index)
    assert found.code == 0
    first = found.json["hits"][0]
    assert Path(first["path"]).name == "office-life.md"
    assert first["text"] == Path(first["path"]).read_text()[first["start"] : first["end"]]


def test_search_for_people_marks_the_match(graft, handbook_index) -> None:
    out = graft("search", "foosball", "-k", "1", cwd=handbook_index).out
    assert "office-life.md" in out
    assert "[Foosball]" in out or "[foosball]" in out


def test_search_where(graft, handbook_index) -> None:
    found = graft(
        "search", "leave", "--where", "name like %.rst", "--json", cwd=handbook_index
    ).json["hits"]
    assert found
    assert all(hit["path"].endswith(".rst") for hit in found)
    bad = graft("search", "leave", "--where", "size > 3", cwd=handbook_index)
    assert bad.code == 2
    assert "path" in bad.err


def test_status_and_verify(graft, handbook_index) -> None:
    status = graft("index", "status", "--json", cwd=handbook_index).json
    assert status["files"] == 9
    assert status["sealed"]
    check = graft("index", "verify", "--json", cwd=handbook_index).json
    assert check["sound"]
    assert check["damages"] == []
    assert check["passages"] == status["passages"]


def test_calibrate(graft, handbook_index, tmp_path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(handbook_index, folder)
    done = graft("calibrate", str(QUESTIONS), "--json", cwd=folder)
    assert done.code == 0
    assert done.json["answerable"] == 14
    assert done.json["unanswerable"] == 14
    assert 0 <= done.json["false_answer_rate"] <= done.json["promised_rate"] <= 1
    status = graft("index", "status", "--json", cwd=folder).json
    assert str(QUESTIONS) in status["calibrated"] or "questions.jsonl" in status["calibrated"]


def test_adding_again_changes_nothing_and_changes_are_followed(graft, tmp_path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(HANDBOOK, docs)
    first = graft("index", "add", "docs", "--json").json
    again = graft("index", "add", "docs", "--json").json
    assert (again["added"], again["unchanged"], again["embedded"]) == (0, first["added"], 0)
    (docs / "leave.md").unlink()
    text = (docs / "office-life.md").read_text()
    (docs / "office-life.md").write_text(text.replace("foosball", "table football"))
    third = graft("index", "add", "docs", "--json").json
    assert (third["changed"], third["removed"]) == (1, 1)
    removed = graft("index", "remove", "docs/emergency.txt", "--json").json
    assert removed["removed"] == 1
    unknown = graft("index", "remove", "docs/nothing.txt")
    assert unknown.code == 2
    assert "nothing.txt" in unknown.err
    hits = graft("search", "sabbatical", "--mode", "text", "--json").json["hits"]
    assert hits == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["index", "add", "nowhere"], "nowhere"),
        (["index", "add", "empty"], "empty"),
        (["search", "x", "--index", "empty"], "graft index add"),
        (["search", "picture.png"], "text"),
        (["index", "add", "docs", "--encoder", "builtin/minlm"], "builtin/minilm"),
        (["index", "add", "docs", "--encoder", "no/such/folder"], "no/such/folder"),
        (["ask", "x", "--writer", "no/such/folder"], "no/such/folder"),
        (
            ["ask", FOOSBALL, "--writer", "http://127.0.0.1:9/v1", "--writer-model", "m"],
            "127.0.0.1:9",
        ),
        (["embed", "x", "--out", "vectors.csv"], ".npy"),
        (["eval", "similarity", "nowhere.csv"], "nowhere.csv"),
        (["eval", "retrieval", "empty"], "empty"),
        (["calibrate", "nowhere.jsonl"], "nowhere.jsonl"),
        (["models", "info", "builtin/x"], "builtin/minilm"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(graft, handbook_index, tmp_path, arguments, expected) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(handbook_index, folder)
    (folder / "empty").mkdir()
    from PIL import Image

    Image.new("RGB", (8, 8)).save(folder / "picture.png")
    shutil.copytree(HANDBOOK, folder / "docs")
    before = sorted(path.name for path in folder.rglob("*"))
    done = graft(*arguments, cwd=folder)
    assert done.code in (1, 2)
    assert expected in done.err
    assert "Traceback" not in done.err
    assert done.err.strip().count("\n") == 0
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_another_encoder_is_refused_by_name(graft, handbook_index) -> None:
    done = graft(
        "index", "add", str(HANDBOOK), "--encoder", "builtin/minilm", "--layer", "3",
        cwd=handbook_index,
    )  # fmt: skip
    assert done.code == 2
    assert "rebuild" in done.err


def test_interrupt_keeps_what_was_finished(graft, tmp_path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(400):
        (docs / f"{number:03}.md").write_text(f"# Note {number}\n\n" + f"Word{number} stays. " * 60)
    child = subprocess.Popen(
        [sys.executable, "-m", "graftwerk", "index", "add", "docs"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    database = tmp_path / ".graftwerk" / "graft.sqlite"
    while child.poll() is None and not database.exists():
        time.sleep(0.02)
    time.sleep(1.0)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "kept" in err
    first = [f"docs/{number:03}.md" for number in range(40)]
    report = graft("index", "add", *first, "--json", "--quiet").json
    assert report["added"] + report["unchanged"] == 40


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_index_folder(graft, handbook_index) -> None:
    (handbook_index / ".graftwerk").chmod(0o500)
    try:
        done = graft("index", "remove", str(HANDBOOK), cwd=handbook_index)
        assert done.code == 1
        assert "cannot write" in done.err
    finally:
        (handbook_index / ".graftwerk").chmod(0o700)


@pytest.mark.slow
def test_the_tour_page(graft, tmp_path) -> None:
    (tmp_path / "tour").mkdir()
    (tmp_path / "tour" / "index.html").write_text("<title>Graftwerk: the tour</title>")
    done = graft("tour", "--out", "tour", "--json")
    assert done.code == 0, done.err
    page = (tmp_path / "tour" / "index.html").read_text()
    assert page.count('class="question"') == 3 + 4 + 1  # asked, searched for, guided to
    assert page.count('class="grid"') == 3  # prompts; searches; lines and scribble
    assert page.count("No certain answer in these documents.") == 1
    assert "<script" not in page
    assert "http://" not in page
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("keep me")
    refused = graft("tour", "--out", "other")
    assert refused.code == 2
    assert (tmp_path / "other" / "mine.txt").read_text() == "keep me"


def test_embed(graft, tmp_path) -> None:
    import numpy as np

    done = graft("embed", "a red cube", "a blue cone", "--out", "vectors.npy", "--json")
    assert done.code == 0
    vectors = np.load(tmp_path / "vectors.npy", allow_pickle=False)
    assert vectors.shape == (2, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    printed = graft("embed", "a red cube", "--json").json["vectors"]
    assert np.allclose(printed[0], vectors[0], atol=1e-6)


def test_models(graft) -> None:
    names = [model["name"] for model in graft("models", "list", "--json").json["models"]]
    assert "builtin/minilm" in names
    card = graft("models", "info", "builtin/minilm", "--json").json
    assert card["dimension"] == 384
    assert card["parameters"] == 22_713_216
