"""What files say of models and places: no file decides what is fetched or where is written."""

import json
import shutil
import socket
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import transformers
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tests.networks import bert, write_language_model
from tests.support import HashEncoder, use_encoder
from tests.unit.commands.test_generate_lora import write_lora

import graftwerk
from graftwerk import files, requests
from graftwerk.commands import CATALOGUE
from graftwerk.commands.generate import run_generate
from graftwerk.conditions.estimators import load_estimator
from graftwerk.errors import BadFile, Cancelled, GraftError, WrongBase
from graftwerk.generation.provenance import LOCATIONS
from graftwerk.models.checkpoint import open_folder
from graftwerk.models.transformers import build_config
from graftwerk.requests.base import MODEL_FIELDS
from graftwerk.requests.generate import Generate
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")
EVIL = "evil/x@main"


@pytest.fixture
def connections(monkeypatch):
    """What asked for a name or an address; none gets through."""
    requested = []

    def refuse(*arguments, **_):
        requested.append(arguments)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return requested


def test_the_guard_sees_a_fetch(connections) -> None:
    with pytest.raises(GraftError, match="did not deliver"):
        graftwerk.run(requests.ModelsInfo(name=EVIL))
    assert connections


def test_every_option_that_takes_a_hub_id_can_name_one() -> None:
    """A new option that takes one has to join `MODEL_FIELDS`, or it never fetches."""
    for command in CATALOGUE:
        for name, field in command.request.model_fields.items():
            predicted = [field.description or "", *map(str, get_args(field.annotation))]
            takes = any("hub id" in text for text in predicted)
            assert not takes or name in MODEL_FIELDS, f"{command.words} {name}"


def test_an_index_that_names_an_encoder_of_a_hub(tmp_path, monkeypatch, connections) -> None:
    (tmp_path / "a.md").write_text("Parents may take sixteen weeks.\n")
    index = tmp_path / "index"
    with monkeypatch.context() as patch:
        use_encoder(patch, HashEncoder(name=EVIL))
        graftwerk.run(requests.IndexAdd(paths=[str(tmp_path / "a.md")], index=index, encoder=EVIL))
    (tmp_path / "a.md").write_text("Parents may take twenty weeks.\n")
    reads = [
        (requests.Search(query="weeks", index=index), f"graft models info {EVIL}"),
        (requests.Ask(question="how many weeks?", index=index), f"graft models info {EVIL}"),
        (requests.IndexAdd(paths=[str(tmp_path / "a.md")], index=index), f"--encoder {EVIL}"),
        (requests.IndexRebuild(index=index, layer=1), f"--encoder {EVIL}"),
    ]
    for request, method in reads:
        with pytest.raises(BadFile, match="named by a file") as caught:
            graftwerk.run(request)
        assert method in caught.value.hint
    assert not connections
    with pytest.raises(GraftError, match="did not deliver"):
        graftwerk.run(requests.IndexRebuild(index=index, encoder=EVIL))
    assert connections


@pytest.mark.parametrize("name", [EVIL, f"static:{EVIL}"])
def test_a_fit_that_names_a_model_of_a_hub(tmp_path, connections, name) -> None:
    texts = tmp_path / "texts.csv"
    rows = [f"a red {n} cube,red\na blue {n} cone,blue\n" for n in range(12)]
    texts.write_text("text,label\n" + "".join(rows))
    fit = tmp_path / "fit"
    graftwerk.run(requests.Fit(data=str(texts), out=fit))
    record = json.loads((fit / "graft.json").read_text())
    record["base"]["name"] = name
    files.write_sealed_json(fit / "graft.json", record)
    for request in (
        requests.Predict(fit=fit, inputs=["a cube", EVIL]),
        requests.EvalFit(fit=fit, data=str(texts)),
    ):
        with pytest.raises(BadFile, match=r"named by a file.*say so: `model` evil/x@main"):
            graftwerk.run(request)
    assert not connections
    with pytest.raises(GraftError, match="did not deliver"):
        graftwerk.run(requests.Predict(fit=fit, inputs=["a cube"], model=name))


def change(folder: Path, name: str, **values: object) -> None:
    path = folder / name
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | values))


@pytest.mark.parametrize("kind", ["dpt", "depth_anything", "upernet", "detr", "vitpose"])
def test_a_configuration_that_names_a_backbone_of_a_hub(tmp_path, connections, kind) -> None:
    bert().save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    change(tmp_path, "config.json", model_type=kind, backbone="evil/x", use_timm_backbone=False)
    with pytest.raises(BadFile, match="names another model"):
        build_config(open_folder(tmp_path))
    assert not connections


def test_a_processor_that_names_a_list_of_a_hub(tmp_path, connections) -> None:
    config = transformers.SegformerConfig(
        num_labels=3, hidden_sizes=[4] * 4, depths=[1] * 4, num_attention_heads=[1] * 4
    )
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(tmp_path)
    change(
        tmp_path,
        "preprocessor_config.json",
        image_processor_type="OneFormerImageProcessorPil",
        repo_path="evil/x",
        class_info_file="list.json",
        num_text=3,
    )
    with pytest.raises(BadFile, match="preprocessor_config"):
        load_estimator("segmentation", str(tmp_path), "cpu")
    assert not connections


def test_an_adapter_says_nothing_of_its_base(tmp_path, text_pipeline, connections) -> None:
    """`base_model_name_or_path` of peft's configuration is not followed."""
    folder = write_lora(tmp_path / "lora", text_pipeline, seed=1)
    (folder / "graft.json").unlink()
    change(folder, "adapter_config.json", base_model_name_or_path="evil/x", revision="main")
    requested = Generate(
        model=str(text_pipeline), lora=[str(folder)], count=1, steps=1, out=tmp_path / "out"
    )
    assert run_generate(requested, Silent()).pictures
    assert not connections


def test_a_language_model_with_an_adapter_beside_it(tmp_path, connections) -> None:
    model = tmp_path / "model"
    model.mkdir()
    write_language_model(model)
    change(model, "adapter_config.json", base_model_name_or_path="evil/x", peft_type="LORA")
    requested = requests.Fit(
        task="write", how="lora", data=str(tmp_path / "a.txt"), model=str(model),
        out=tmp_path / "out",
    )  # fmt: skip
    (tmp_path / "a.txt").write_text("some words " * 2000)
    with pytest.raises(BadFile, match="holds an adapter"):
        graftwerk.run(requested)
    assert not connections


def test_a_path_that_only_a_record_names_is_used_as_it_was_then_or_not(tmp_path) -> None:
    """So a record that was sent cannot make images of what it knows no more of than a path.

    The other options that name files are tested where they are at home.
    """
    private, levels = tmp_path / "private.png", np.zeros((64, 64, 3), dtype=np.uint8)
    levels[20:40, 20:40] = 255
    Image.fromarray(levels).save(private)
    control = [f"canny={private}"]
    requested = Generate(steps=1, count=1, out=tmp_path / "one", control=control)
    (image,) = run_generate(requested, Silent()).pictures
    Image.fromarray(levels[:, 5:50]).save(private)
    again = Generate(from_=Path(image.path), out=tmp_path / "two")
    with pytest.raises(WrongBase, match=r"say `control` canny=.*private\.png"):
        run_generate(again, Silent())
    assert not (tmp_path / "two").exists()
    named = Generate(from_=Path(image.path), out=tmp_path / "two", control=control)
    assert run_generate(named, Silent()).pictures


# Values that the record of an image may hold for any field, right and hostile.
_NUMBERS = st.sampled_from([0, 1, 2, 16, -1, 0.5, -0.0, 1e308, 10**30, 2**63, True])
_TEXTS = st.sampled_from(
    [
        "", "a red cube", EVIL, "evil/x", f"static:{EVIL}", "builtin/blocks", "builtin/no", "static",
        "https://evil.example/x", "//evil.example/share", "/dev/zero", "/proc/self/environ", "..",
        "EVIL", "../EVIL", "~/EVIL", "\0", "a\0b", "\ud800", "ddim", "euler", "0.5:3", "3:0.5",
        "nan:inf", "class=cone:2", f"class={EVIL}:1e400", f"image={EVIL}:1", "text=x:1e308",
        "image=p.png:1", "canny=p.png", "canny-map=p.png:1e9", "depth=https://evil.example/a.png",
        f"canny={EVIL}", "canny=builtin/blocks-canny", "p.png", "p.png:nan", "p.png:1e400",
    ]
)  # fmt: skip
_ANY = st.one_of(
    _NUMBERS,
    _TEXTS,
    st.none(),
    st.lists(_TEXTS, max_size=2),
    st.text(max_size=5),
    st.sampled_from(["NaN", "Infinity"]).map(float),
    st.dictionaries(_TEXTS, _NUMBERS, max_size=1),
)
_UNUSUAL = ("auto_map", "callback", "__class__", "writer", "steps_", "model_config")


def _right(field: str) -> st.SearchStrategy[object]:
    """Values of a field's own kind; the steps stay few, for they are what takes time."""
    if field == "steps":
        return st.sampled_from([1, 2, 0, -1, "x"])
    kind = str(Generate.model_fields[field].annotation)
    if "list" in kind:
        return st.lists(_TEXTS, max_size=2)
    return _NUMBERS if "int" in kind or "float" in kind else _TEXTS


def _pairs(fields: list[str], unusual: bool) -> st.SearchStrategy[tuple[str, object]]:
    chosen = st.sampled_from(fields)
    if unusual:
        return st.tuples(chosen | st.sampled_from(_UNUSUAL), _ANY)
    return chosen.flatmap(lambda field: st.tuples(st.just(field), _right(field)))


_SHAPING = sorted(set(Generate.model_fields) - set(LOCATIONS))
_REQUESTS = st.one_of(
    st.lists(_pairs(_SHAPING, unusual=False), max_size=3).map(dict),
    _pairs(list(LOCATIONS), unusual=False).map(lambda pair: dict([pair])),
    st.lists(_pairs(sorted(Generate.model_fields), unusual=True), max_size=2).map(dict),
)
_BESIDE = [
    "number", "together", "fingerprint", "loras", "guides", "controls", "surroundings", "more",
]  # fmt: skip
_RECORDS = st.just({}) | st.dictionaries(
    st.sampled_from(_BESIDE),
    _ANY | st.lists(_NUMBERS, max_size=3) | st.lists(st.just("0" * 64), max_size=2),
    max_size=1,
)


@pytest.fixture(scope="module")
def drawn(text_pipeline, tmp_path_factory):
    """The record of an image, and the folder of its model."""
    out = tmp_path_factory.mktemp("drawn")
    requested = Generate(prompt="a", model=str(text_pipeline), steps=1, count=1, out=out)
    (picture,) = run_generate(requested, Silent()).pictures
    with Image.open(picture.path) as image:
        return json.loads(image.text["graftwerk"])


def listed(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", LOCATIONS)
def test_a_record_that_says_where_is_refused(drawn, tmp_path, name) -> None:
    """Nothing would be written there either way; that the image was changed has to be said."""
    default = Generate.model_fields[name].default
    values = {"out": "EVIL", "previews": "EVIL", "from_": "p.png", "grid": ["cfg=1,2"]}
    value = values.get(name, not default if isinstance(default, bool) else default)
    record = drawn | {"request": drawn["request"] | {name: value}}
    information = PngInfo()
    information.add_text("graftwerk", json.dumps(record))
    Image.new("RGB", (16, 16)).save(tmp_path / "p.png", pnginfo=information)
    with pytest.raises(BadFile, match=rf"says {name}: .* not for an image to say"):
        run_generate(Generate(from_=tmp_path / "p.png", out=tmp_path / "out"), Silent())
    assert listed(tmp_path) == {"p.png"}


class Impatient(Silent):
    """Stops what begins to draw many steps; everything before that is what is tried."""

    def __init__(self) -> None:
        self._left = 20

    def advance(self, count: int = 1) -> None:
        self._left -= count
        if self._left < 0:
            raise Cancelled("long enough")


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(request=_REQUESTS, more=_RECORDS)
@example(request={"out": "EVIL"}, more={})
@example(request={"previews": "EVIL"}, more={})
@example(request={"model": EVIL}, more={})
@example(request={"guide": ["text=x:1"], "guide_encoder": EVIL}, more={"guides": ["0" * 64]})
@example(request={}, more={"together": [-1, 0]})
def test_any_record(drawn, tmp_path, monkeypatch, connections, request, more) -> None:
    """Nothing is written but the image asked for, nothing fetched, and every error is ours."""
    work = tmp_path / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(work))
    record = drawn | more | {"request": drawn["request"] | request}
    information = PngInfo()
    information.add_text("graftwerk", json.dumps(record))
    Image.new("RGB", (16, 16)).save(work / "p.png", pnginfo=information)
    before = listed(work)
    try:
        report = run_generate(Generate(from_=Path("p.png")), Impatient())
        made = {Path(image.path) for image in report.pictures}
        assert all(path.parent == Path("pictures") for path in made)
    except GraftError:
        made = set()
    assert not connections
    assert listed(work) - before <= {"pictures", *map(str, made)}
