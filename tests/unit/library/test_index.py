"""The public object: an index that stays open, notices others, and answers."""

import inspect
import shutil
import subprocess
import sys
import threading

import numpy as np
import pydantic
import pytest
from PIL import Image
from tests.support import HashEncoder, Recorder, use_encoder

import graftwerk as gw
from graftwerk import requests
from graftwerk.commands import CATALOGUE
from graftwerk.errors import BadFile, BadInput, Damaged, WrongBase
from graftwerk.library import index as module
from graftwerk.search.database import DATABASE

TEXTS = {
    "play.md": "# Games\n\nFoosball may be played during the lunch break.\n",
    "leave.md": "# Leave\n\nParents may take sixteen weeks.\n",
    "dogs.txt": "Dogs are welcome in the office.",
}


@pytest.fixture
def encoder(monkeypatch):
    encoder = HashEncoder(name="builtin/minilm", reads=frozenset({"text"}))
    use_encoder(monkeypatch, encoder, HashEncoder(name="test/other", dimension=48))
    return encoder


@pytest.fixture
def docs(tmp_path, encoder):
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def index(tmp_path, docs):
    with gw.Index(tmp_path / "docs.graft") as index:
        index.add(docs)
        yield index


def test_it_is_made_by_the_first_add(tmp_path, docs):
    folder = tmp_path / "new.graft"
    index = gw.Index(str(folder))
    assert repr(index) == f"<Index {str(folder)!r}: not opened yet>"
    with pytest.raises(BadFile, match="there is no index"):
        index.search("dogs")
    assert not folder.exists()
    change = index.add([docs / "dogs.txt", str(docs / "leave.md")])
    assert (change.added, change.passages, change.encoder) == (2, 2, "builtin/minilm")
    assert repr(change).startswith("<IndexChange: 2 added, 0 changed")
    assert index.status().files == 2
    assert repr(index).endswith("open>")


def test_the_hits_are_passages_with_scores(index, docs):
    found = index.search("weeks for a parent", k=2)
    assert len(found) == 2 and [*found] == found.hits
    hit = found[0]
    assert (hit.path, hit.line, hit.heading) == (str(docs / "leave.md"), 3, "Leave")
    assert [hit.text[a:b] for a, b in hit.marks] == ["Parents", "weeks"]
    assert hit.score > found[1].score
    assert repr(hit) == f"Hit({hit.score:.4f}, '{docs}/leave.md:3', '{hit.text}')"
    assert "\n" not in repr(found)


def test_json_has_the_keys_of_before(index):
    (hit,) = index.search("dogs", k=1).model_dump(mode="json")["hits"]
    assert set(hit) >= {
        "path", "kind", "heading", "line", "page", "start", "end", "score", "similarity",
        "vector_rank", "text_rank", "text", "marks",
    }  # fmt: skip
    answer = index.ask("May dogs come?")
    assert {"answer", "hits", "citations"} <= set(answer.model_dump())
    assert "text" not in answer.model_dump()


def test_where_may_be_one_condition(index):
    assert [hit.path.rpartition("/")[2] for hit in index.search("x", where="name = dogs.txt")] == [
        "dogs.txt"
    ]


def test_an_answer_cites(index, docs):
    answer = index.ask("When may foosball be played?")
    assert answer.text == answer.answer == "Foosball may be played during the lunch break. [1]"
    assert not answer.abstained and answer.evidence > 0
    assert answer.citations[0].location == f"{docs}/play.md:3"
    assert "1 citations" in repr(answer)
    silent = index.ask("When?", evidence=1.0)
    assert silent.abstained and 1 <= len(silent.nearest) <= 3
    for near in silent.nearest:
        assert near.quote in (docs / near.path.rpartition("/")[2]).read_text("utf-8")
    page = silent._repr_html_()
    assert "abstained" in page and f"<td>{silent.nearest[0].location}</td>" in page


def test_what_notebooks_show_is_escaped(tmp_path, encoder):
    evil = "The <script>alert(1)</script> of \u202e & <b>foosball</b> rules."
    (tmp_path / "<i>.txt").write_text(evil)
    with gw.Index(tmp_path / "index") as index:
        index.add(tmp_path / "<i>.txt")
        found = index.search("foosball rules")
        for page in (found._repr_html_(), found[0]._repr_html_(), index.ask(evil)._repr_html_()):
            assert "&lt;script&gt;" in page or "&lt; script&gt;" in page
            assert "&lt;i&gt;.txt" in page
            assert "<script" not in page and "<b>" not in page and "<i>" not in page
            assert "\u202e" not in page


def test_it_stays_open(index, encoder, monkeypatch):
    index.search("dogs")
    opened = index._storage
    monkeypatch.setattr(module, "load_encoder", lambda *_, **__: pytest.fail("loaded again"))
    monkeypatch.setattr(module.storage, "open_index", lambda *_: pytest.fail("opened again"))
    encoder.texts.clear()
    index.search("dogs")
    index.search("parents")
    index.ask("When may foosball be played?")
    assert index._storage is opened
    assert encoder.texts[:2] == ["dogs", "parents"]


def test_what_others_add_is_found(index, docs):
    assert index.search("pigeons", mode="text").hits == []
    (docs / "new.txt").write_text("Pigeons are not welcome.")
    with gw.Index(index.folder) as other:
        other.add(docs)
    assert index.search("pigeons", mode="text")[0].text == "Pigeons are not welcome."
    assert index.search("Pigeons are not welcome.", mode="vector")[0].similarity > 0.99
    index.remove(docs / "new.txt")
    assert index.search("pigeons", mode="text").hits == []


def test_another_encoder_by_others_is_noticed(index):
    assert index.search("dogs", mode="vector").hits
    with gw.Index(index.folder) as other:
        assert other.rebuild(encoder="test/other").encoder == "test/other"
        assert other.search("dogs", mode="vector")[0].text == TEXTS["dogs.txt"]
    assert index.search("dogs", mode="vector")[0].text == TEXTS["dogs.txt"]
    assert index.status().dimension == 48
    assert index.ask("When may foosball be played?").text


def test_an_index_in_the_place_of_another(index, docs, tmp_path):
    index.search("dogs")
    shutil.rmtree(index.folder)
    with pytest.raises(BadFile, match="there is no index"):
        index.search("dogs")
    with pytest.raises(BadFile, match="there is no index"):
        index.verify()
    with gw.Index(index.folder) as other:
        other.add(docs / "leave.md")
    assert index.search("dogs").searched == 1


def test_a_closed_index_says_so(index, docs):
    index.search("dogs")
    index.close()
    index.close()
    assert repr(index).endswith("closed>")
    for call in (
        lambda: index.search("dogs"),
        lambda: index.ask("dogs?"),
        lambda: index.add(docs),
        lambda: index.remove(docs),
        lambda: index.calibrate(["a"], ["b"]),
        index.status,
        index.verify,
        index.rebuild,
    ):
        with pytest.raises(BadInput, match="was closed"):
            call()


def test_a_named_encoder_must_be_the_one_that_made_it(index):
    other = gw.Index(index.folder, encoder="test/other")
    for call in (lambda: other.search("dogs"), lambda: other.add(index.folder.parent / "docs")):
        with pytest.raises(WrongBase, match="builtin/minilm"):
            call()
    assert gw.Index(index.folder, encoder="builtin/minilm").search("dogs")


def test_verify_mends(index, docs):
    assert index.verify().sound
    (docs / "dogs.txt").write_text("Cats.")
    assert index.verify(sources=True).sources.changed == 1
    (index.folder / "vectors.safetensors").write_bytes(b"broken")
    assert not index.verify().sound
    assert index.verify(repair=True).sound
    (index.folder / DATABASE).write_bytes(b"no database" * 500)
    assert not index.verify().sound
    with pytest.raises(Damaged):
        index.search("dogs")


def test_calibrating(index):
    yes = [f"When may foosball be played on day {n}?" for n in range(12)]
    no = [f"Which dentist does plan {n} pay?" for n in range(12)]
    recorder = Recorder()
    made = index.calibrate(yes, no, monitor=recorder)
    assert recorder.counts == [24]
    assert index.calibration()[0] == made
    assert index.ask(no[0]).abstained
    assert not index.ask(yes[0]).abstained


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda index: index.search("x", k=-1), r"k -1 is not valid: it must be at least 0"),
        (lambda index: index.search(""), r"query '' is not valid: it must not be empty"),
        (lambda index: index.ask("x", budget=3), r"budget 3 is not valid: it must be at least 64"),
        (
            lambda index: index.ask("x", evidence=2.0),
            r"evidence 2.0 is not valid: it must be at most 1",
        ),
        (lambda index: index.add([]), r"paths \[\] is not valid"),
        (lambda index: index.calibrate([], [], false_answer_rate=1.5), r"below 1"),
        (lambda index: gw.Index(""), "index '' is not valid"),
    ],
)
def test_arguments_have_the_limits_of_the_commands(index, call, message):
    with pytest.raises(BadInput, match=message):
        call(index)


@pytest.mark.parametrize(
    ("method", "request_class"),
    [
        ("search", requests.Search),
        ("ask", requests.Ask),
        ("add", requests.IndexAdd),
        ("remove", requests.IndexRemove),
        ("rebuild", requests.IndexRebuild),
        ("verify", requests.IndexVerify),
    ],
)
def test_arguments_have_the_defaults_of_the_commands(method, request_class):
    parameters = inspect.signature(getattr(gw.Index, method)).parameters
    fields = request_class.model_fields
    shared = set(parameters) & set(fields)
    assert shared == set(parameters) - {"self", "monitor"}
    for name in shared:
        if fields[name].is_required():
            assert parameters[name].default is inspect.Parameter.empty
        else:
            default = fields[name].get_default(call_default_factory=True)
            assert parameters[name].default == (() if default == [] else default)


def test_threads_share_it(index, docs):
    errors, texts = [], []
    start = threading.Barrier(5)

    def read():
        try:
            start.wait()
            for _ in range(10):
                texts.append(index.search("foosball lunch", k=1)[0].text)
                index.ask("When may foosball be played?")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    start.wait()
    for n in range(5):
        (docs / f"{n}.txt").write_text(f"Harbour {n}.")
        index.add(docs)
    for thread in threads:
        thread.join()
    assert errors == []
    assert set(texts) == {"Foosball may be played during the lunch break."}
    assert index.status().files == 8


def test_results_describe_their_dataclasses():
    search = next(command for command in CATALOGUE if command.words == ("search",))
    schema = pydantic.TypeAdapter(search.results[0]).json_schema(mode="serialization")
    for name, field in schema["$defs"]["Hit"]["properties"].items():
        assert field["description"], name


@pytest.mark.slow
def test_the_objects_import_what_they_need_only(tmp_path):
    (tmp_path / "rules.md").write_text("Foosball may be played during the lunch break.\n")
    code = (
        "import sys, graftwerk as gw\n"
        "assert 'numpy' not in sys.modules\n"
        f"index = gw.Index({str(tmp_path / 'index')!r})\n"
        f"index.add({str(tmp_path / 'rules.md')!r})\n"
        "print(index.ask('When may foosball be played?').text)\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    for _ in range(2):  # the first run makes the graph of the encoder
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["Foosball may be played during the lunch break. [1]", "[]"]


def test_an_image_in_memory_is_a_query(tmp_path):
    for name in ("red", "blue"):
        Image.new("RGB", (64, 64), name).save(tmp_path / f"{name}.png")
    with gw.Index(tmp_path / "index", encoder="builtin/blocks-clip") as index:
        index.add(tmp_path)
        path = tmp_path / "blue.png"
        with Image.open(path) as image:
            found = [index.search(one).hits for one in (path, str(path), image, np.array(image))]
        assert [hits[0].path for hits in found] == [str(path)] * 4
        assert found[0] == found[2]


@pytest.mark.parametrize("condition", ["name = ", "name =", "page >= "])
def test_half_a_condition_is_refused(docs, tmp_path, condition):
    with gw.Index(tmp_path / "index") as index:
        index.add(docs)
        with pytest.raises(BadInput, match="is not of the form"):
            index.search("dogs", where=condition)


def test_none_is_no_path():
    code = """
import graftwerk as gw
for call in (gw.Index("index").add, gw.Index("index").remove):
    try:
        call(None)
    except gw.GraftError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert done.stdout.splitlines() == ["None is not a path. Give a path, or a list of them."] * 2
