"""The tour's page from few images and short trainings; `tests/surface` has the whole one."""

import html
import json
import re
import shlex
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from graftwerk import requests, tour
from graftwerk.cli.main import build_app
from graftwerk.data.images import read_image
from graftwerk.errors import BadFile, BadInput
from graftwerk.tour import images, recorded, steering, text
from graftwerk.types import Silent

SMALL = {
    text: {"TEXTS": 48, "EPOCHS": 1},
    steering: {"CONTROL_PROMPTS": ("a cube", "a sphere"), "AMBIGUOUS": ("a blue sphere",)}
    | {"CONTROL_STEPS": 2, "LIVE_COUNT": 1, "ADDED_COUNT": 1, "_HELD_OUT": 2}
    | {"SCENES": 16, "TRAINING_STEPS": 2, "BATCH": 4, "MEASURED": 2}
    | {"CLASSES": ("red cube",), "GUIDED": 2, "SWEPT": 12, "SCALES": "0,3"}
    | {"GUIDE_STEPS": 2, "DESCENT": 4}
    | {"STYLE_PROMPTS": steering.STYLE_PROMPTS[:1], "FOGGY": 8, "LORA_STEPS": 2}
    | {"STYLE_SCALES": ("0", "1"), "STYLE_STEPS": 2, "STYLE_COUNT": 2},
    images: {"PROMPTS": images.PROMPTS[:1], "SEARCHED": {"a cone": ("cone",)}, "RENDERED": 8}
    | {"CLASSIFIED": 8, "PROBED": 40, "MOVED": 1, "EVALUATED": 8},
}
RECORDED = sorted(recorded.FOLDER.glob("*.json"))
WEIGHTS = recorded.FOLDER.parents[1] / "weights"


class Notes(Silent):
    """Keeps what is said, and what the page is at the start of each chapter."""

    def __init__(self, page):
        self.page, self.notes, self.pages = page, [], []

    def note(self, text):
        self.notes.append(text)

    def start(self, task, total=None):
        if task in {chapter.title for chapter in tour.CHAPTERS}:
            self.pages.append(self.page.read_text())


def check_command(line):
    """Parse a command as the command line does; whether it could be run is not asked."""
    seen = []

    def invoke(command, values, face):
        seen.append(command.request.model_validate(values))
        return 0

    tokens = shlex.split(line, comments=True)
    assert tokens[0] == "graft", line
    build_app(invoke, tokens[1:])(tokens[1:])
    assert len(seen) == 1, line


@pytest.mark.parametrize(
    "full", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["short", "full"]
)
def test_the_page(tmp_path, monkeypatch, full):
    for module, sizes in SMALL.items():
        for name, value in sizes.items():
            assert hasattr(module, name)
            monkeypatch.setattr(module, name, value)
    monkeypatch.chdir(tmp_path)
    out = Path("tour")  # as `make tour` names it
    out.mkdir()
    (out / "index.html").write_text("<title>Graftwerk: the tour</title> of an earlier one")
    report = tour.run_tour(requests.Tour(out=out, full=full), Silent())
    page = (out / "index.html").read_text()
    for title in report.chapters:
        assert f"{title}</h2>" in page
    assert (
        page.count('class="question"') == (5 if full else 3) + 2 + 1
    )  # asked, searched, guided to
    assert page.count("No certain answer in these documents.") == 1
    assert "to come" not in page
    assert "<script" not in page and "http://" not in page
    shown = re.findall(r'<code>([^<]*)</code><span class="tag recorded">recorded 2', page)
    fetched = [line for line in shown if "--guide-model imagenet" in line]  # it may not be there
    assert len(fetched) == 1 and (len(shown) == 1) == full
    for named in page.split('src="')[1:]:
        assert (out / named.partition('"')[0]).is_file(), named
    commands = re.findall(r'<div class="command"><code>(.*?)</code>', page, re.DOTALL)
    assert len(commands) >= 20
    for lines in commands:
        for line in html.unescape(lines).splitlines():
            check_command(line)


def test_the_page_grows_and_says_what_it_costs(tmp_path, monkeypatch):
    def build(folder, request, monitor):
        return {"sheet": {"out": folder / "scene.png"}}

    chapters = [
        tour.Chapter(name, "coming.html.jinja", build, "a line", (seconds, 60 * seconds))
        for name, seconds in {"One": 7, "Two": 8}.items()
    ]
    templates = tmp_path / "templates"
    templates.mkdir()
    for name in ("page.html.jinja", "parts.html.jinja"):
        (templates / name).write_text((tour.TEMPLATES / name).read_text())
    (templates / "coming.html.jinja").write_text("<img src={{ relative(sheet.out) }}>")
    monkeypatch.setattr(tour, "CHAPTERS", tuple(chapters))
    monkeypatch.setattr(tour, "TEMPLATES", templates)
    monitor = Notes(tmp_path / "tour" / "index.html")
    tour.run_tour(requests.Tour(out=tmp_path / "tour"), monitor)
    assert "about 15 seconds" in monitor.notes[0] and "10 MB" in monitor.notes[0]
    assert "--full" in monitor.notes[1] and "about 15 minutes" in monitor.notes[1]
    assert [page.count("Still to come") for page in monitor.pages] == [2, 1]
    assert [page.count("<img src=scene.png>") for page in monitor.pages] == [0, 1]
    assert monitor.page.read_text().count("<img src=scene.png>") == 2


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_was_done_is_shown_at_once_when_it_goes_on(tmp_path, monkeypatch, stop):
    out, built, stops = tmp_path / "tour", [], [stop()]

    def first(folder, request, monitor):
        built.append("first")
        return {}

    def second(folder, request, monitor):
        built.append("second")
        if stops:
            raise stops.pop()
        return {}

    templates = tmp_path / "templates"
    templates.mkdir()
    for name in ("page.html.jinja", "parts.html.jinja"):
        (templates / name).write_text((tour.TEMPLATES / name).read_text())
    for one in (first, second):
        (templates / one.__name__).write_text(f"<p>{one.__name__} is done</p>")
    chapters = [
        tour.Chapter(one.__name__, one.__name__, one, "", (5, 5)) for one in (first, second)
    ]
    monkeypatch.setattr(tour, "CHAPTERS", tuple(chapters))
    monkeypatch.setattr(tour, "TEMPLATES", templates)
    with suppress(stop):
        tour.run_tour(requests.Tour(out=out), Silent())
    assert "first is done" in (out / "index.html").read_text()
    monitor = Notes(out / "index.html")
    tour.run_tour(requests.Tour(out=out), monitor)
    assert built == ["first", "second", "second"]
    assert "1 of 2 chapters done" in monitor.notes[0]
    assert "about 5 seconds" in monitor.notes[1]  # of what is left
    assert "first is done" in monitor.pages[0] and "second is done" not in monitor.pages[0]
    page = (out / "index.html").read_text()
    assert "first is done" in page and "second is done" in page


@pytest.mark.parametrize("path", RECORDED, ids=[path.stem for path in RECORDED])
def test_recorded_results_name_their_commands(path, tmp_path):
    entry = recorded.load(path.stem, tmp_path)
    check_command(entry["source"]["command"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry["source"]["made"])
    stored = sorted(one for one in (recorded.FOLDER / path.stem).rglob("*") if one.is_file())
    copied = sorted(one for one in tmp_path.rglob("*") if one.is_file())
    # no image that nothing shows, and none that is missing
    assert [one.name for one in copied] == [one.name for one in stored]


def test_recorded_figures_are_those_of_the_models_that_ship():
    def figures(model):
        return json.loads((WEIGHTS / model / "graft.json").read_text())["figures"]

    def content(name):
        return json.loads((recorded.FOLDER / f"{name}.json").read_text())["content"]

    for name, one in content("evaluation")["evaluation"].items():
        assert one["value"] == pytest.approx(figures("blocks")[name], abs=5e-4)
    for one in content("training")["kinds"]:
        card = figures(f"blocks-{one['kind']}")
        assert one["branch"] == pytest.approx(card["fidelity"], abs=5e-4)
        assert one["alone"] == pytest.approx(card["fidelity_uncontrolled"], abs=5e-4)
        assert one["real"] == pytest.approx(card["fidelity_of_real"], abs=5e-4)


def test_recorded_prompts_are_the_full_tours():
    entry = json.loads((recorded.FOLDER / "control.json").read_text())["content"]
    assert entry["prompts"] == list(steering.CONTROL_PROMPTS[:2])
    entry = json.loads((recorded.FOLDER / "prompts.json").read_text())["content"]
    assert [one["prompt"] for one in entry["generated"]] == list(images.PROMPTS)
    entry = json.loads((recorded.FOLDER / "style.json").read_text())["content"]
    assert entry["steps"] == steering.LORA_STEPS and entry["scales"] == list(steering.STYLE_SCALES)


def test_an_entry_is_read_as_it_was_saved(tmp_path, monkeypatch):
    images_of_a_run = tmp_path / "run"
    images_of_a_run.mkdir()
    Image.new("RGB", (4, 4), "red").save(images_of_a_run / "one.png")
    content = {"sheet": str(images_of_a_run / "one.png"), "out": str(tmp_path), "rows": [(1, "a")]}
    folder = tmp_path / "recorded"
    folder.mkdir()
    recorded.save("trial", content, {"command": "graft tour"}, folder)
    monkeypatch.setattr(recorded, "FOLDER", folder)
    entry = recorded.load("trial", tmp_path / "tour")
    assert str(tmp_path) not in (folder / "trial.json").read_text()  # no path of this machine
    assert entry["content"]["rows"] == [[1, "a"]]
    shown = Path(entry["content"]["sheet"])
    assert shown.is_relative_to(tmp_path / "tour") and read_image(str(shown)).size == (4, 4)
    (folder / "trial.json").write_text("[]")
    with pytest.raises(BadFile, match="not a recorded result"):
        recorded.load("trial", tmp_path / "tour")


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(BadInput, match=r"contains no tour: 'mine\.txt' is there"):
        tour.run_tour(requests.Tour(out=tmp_path), Silent())
    with pytest.raises(BadInput, match="is not a folder"):
        tour.run_tour(requests.Tour(out=tmp_path / "mine.txt"), Silent())
    assert (tmp_path / "mine.txt").read_text() == "keep me"
