"""What commands do to folders that they did not make: nothing."""

import json
import shutil

import pytest
from filelock import FileLock
from PIL import Image
from tests.train_toys import PLAN
from tests.unit.finetune.conftest import sentences, tiny, write_csv  # noqa: F401
from tests.unit.training.test_loop import run_toy

from graftwerk import tour
from graftwerk.commands import blocks, condition, fit
from graftwerk.errors import BadFile, Busy, Cancelled
from graftwerk.folders import MARKER, TRAINING_LOCK
from graftwerk.requests.control import ControlAblation, ControlTrain
from graftwerk.requests.finetune import Compare, Fit
from graftwerk.requests.models import RecipeRun, Tour
from graftwerk.types import Silent

TUNED = {"epochs": 3, "batch": 8, "rank": 2, "learning_rate": 3e-3, "device": "cpu"}


class StopAt(Silent):
    """Ctrl-C at a step of the training."""

    def __init__(self, step):
        self.left, self.training, self.notes = step, False, []

    def start(self, task, total=None):
        self.training = task == "training"

    def advance(self, count=1):
        self.left -= count * self.training
        if self.left <= 0:
            raise Cancelled("stopped by Ctrl-C.")

    def note(self, text):
        self.notes.append(text)


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def users_folder(path):
    """Images in two classes, which are not ours."""
    for label, location in (("a", 0), ("b", 2)):
        (path / label).mkdir(parents=True)
        for number in range(12):
            colour = [number, number, number]
            colour[location] = 240
            Image.new("RGB", (16, 16), tuple(colour)).save(path / label / f"{number}.png")
    return path


@pytest.fixture
def ask(tmp_path, tiny):  # noqa: F811
    texts = write_csv(tmp_path / "texts.csv", sentences(60))

    def request(**changes):
        given = {"data": str(texts), "model": str(tiny), "out": tmp_path / "news", "how": "lora"}
        options = TUNED if changes.get("how") != "linear" else {}
        return Fit(**(given | options | changes))

    return request


@pytest.mark.parametrize("how", ["linear", "lora"])
def test_a_folder_named_like_a_training_is_the_users(ask, tmp_path, how):
    locations = [tmp_path / "news.training", tmp_path / ".news.training"]
    before = [content(users_folder(location)) for location in locations]
    fit.run_fit(ask(how=how), Silent())
    assert [content(location) for location in locations] == before
    fit.run_fit(ask(how=how), Silent())  # and a fit of ours is replaced
    assert [content(location) for location in locations] == before
    assert not (tmp_path / ".news.training-2").exists()


def test_data_in_a_folder_named_like_a_training(tmp_path):
    data = users_folder(tmp_path / "news.training")
    before = content(data)
    fit.run_fit(Fit(data=str(data), out=tmp_path / "news", model="builtin/blocks-clip"), Silent())
    assert content(data) == before


def test_data_or_model_in_the_fit_that_is_replaced(ask, tmp_path):
    out = tmp_path / "news"
    fit.run_fit(ask(how="full"), Silent())
    before = content(out)
    shutil.copy(tmp_path / "texts.csv", out / "texts.csv")
    link = tmp_path / "link"
    link.symlink_to(out)
    for changes in (
        {"data": str(link / "texts.csv")},
        {"test": str(out / "texts.csv")},
        {"model": str(out / "model")},
    ):
        with pytest.raises(BadFile, match=r"lies in .*news, which is going to be replaced"):
            fit.run_fit(ask(**changes), Silent())
    with pytest.raises(BadFile, match=r"holds 'texts\.csv', which is not of the fit"):
        fit.run_fit(ask(), Silent())
    (out / "texts.csv").unlink()
    for how in ("linear", "full"):
        with pytest.raises(BadFile, match=r"model lies in .*news, which is going to be replaced"):
            fit.run_fit(ask(how=how, model=str(link / "model")), Silent())
    assert content(out) == before


def test_a_training_stopped_before_there_were_markers_goes_on(ask, tmp_path):
    with pytest.raises(Cancelled):
        fit.run_fit(ask(), StopAt(8))
    retained, former = tmp_path / ".news.training", tmp_path / "news.training"
    assert (retained / MARKER).is_file()
    for marker in (retained / MARKER, retained / "checkpoints" / MARKER):
        marker.unlink()
    retained.rename(former)
    monitor = StopAt(10_000)
    fit.run_fit(ask(), monitor)
    assert any("going on after step 8" in note for note in monitor.notes)
    assert not retained.exists() and not former.exists()


@pytest.mark.parametrize("graft", [{}, {"kind": "linear"}, {"kind": "linear", "sha256": {}}])
def test_a_record_of_others_is_no_fit(ask, tmp_path, graft):
    out = tmp_path / "news"
    out.mkdir()
    (out / "graft.json").write_text(json.dumps(graft))
    with pytest.raises(BadFile, match=r"contains no fit: 'graft\.json'"):
        fit.run_fit(ask(how="linear"), Silent())


def test_compare_in_a_users_folder(tmp_path, tiny):  # noqa: F811
    texts = write_csv(tmp_path / "texts.csv", sentences(60))
    out = tmp_path / "compare"
    users_folder(out / "lora.training")
    (out / "linear").mkdir()
    before = content(out)
    requested = Compare(data=str(texts), model=str(tiny), out=out, **TUNED)
    with pytest.raises(BadFile, match="contains no comparison: 'linear'"):
        fit.run_compare(requested, Silent())
    assert content(out) == before


@pytest.fixture
def taught(text_pipeline, tmp_path):
    data = tmp_path / "pictures"
    data.mkdir()
    for number in range(2):
        Image.new("RGB", (16, 16), (200, 90 * number, 0)).save(data / f"{number}.png")

    def request(**changes):
        given = {"data": str(data), "model": str(text_pipeline), "how": "lora", "rank": 2}
        more = {"task": "generate", "caption": "a cube", "steps": 4, "out": tmp_path / "lora"}
        return Fit(**(given | more | changes))

    return request


def test_a_stopped_lora_goes_on_and_replaces_only_what_is_its_own(taught, tmp_path):
    out = tmp_path / "lora"
    out.mkdir()
    (out / TRAINING_LOCK).touch()  # as a kill before the first step leaves it
    with pytest.raises(Cancelled):
        fit.run_fit(taught(), StopAt(2))
    (out / "mine.txt").write_text("mine")
    with pytest.raises(BadFile, match=r"holds 'mine\.txt', which is not of its training"):
        fit.run_fit(taught(), Silent())
    (out / "mine.txt").unlink()
    for marker in out.rglob(MARKER):  # as it was before there were markers
        marker.unlink()
    monitor = StopAt(10_000)
    fit.run_fit(taught(), monitor)
    assert any("going on after step 2" in note for note in monitor.notes)
    assert not list(out.rglob(MARKER))
    fit.run_fit(taught(steps=2), Silent())
    with pytest.raises(BadFile, match="lies in"):
        fit.run_fit(taught(data=str(out)), Silent())


def test_checkpoints_of_others(taught, tmp_path):
    others = tmp_path / "lora" / "checkpoints"
    (others / "epoch-1").mkdir(parents=True)
    (others / "epoch-1" / "weights.bin").touch()
    with pytest.raises(BadFile, match="contains no fit: 'checkpoints'"):
        fit.run_fit(taught(), Silent())
    with pytest.raises(BadFile, match="contains no checkpoints: 'epoch-1'"):
        run_toy(tmp_path / "lora", PLAN)
    assert (others / "epoch-1" / "weights.bin").is_file()


def test_who_comes_second_is_told_that_another_trains(taught, tmp_path):
    judge = RecipeRun(name="judge", out=tmp_path / "judge", tiny=True)
    for run, requested in ((fit.run_fit, taught()), (blocks.run_recipe_run, judge)):
        requested.out.mkdir()
        held = FileLock(requested.out / TRAINING_LOCK)
        with held, pytest.raises(Busy, match="another process trains"):
            run(requested, Silent())


@pytest.mark.parametrize("name", ["pairs", "checkpoints", "judge"])
def test_trainings_in_a_users_folder(taught, tmp_path, name):
    out = tmp_path / "out"
    (out / name).mkdir(parents=True)
    (out / name / "mine.txt").write_text("mine")
    (out / "zero-0" / "checkpoints").mkdir(parents=True)
    before = content(out)
    more = {"data": taught().data, "condition": "canny", "caption": "x", "out": out}
    more["model"] = "no-such-model"  # for nothing is loaded before
    for run, requested in (
        (condition.run_control_train, ControlTrain(**more)),
        (condition.run_control_ablation, ControlAblation(**more)),
        (blocks.run_recipe_run, RecipeRun(name="judge", out=out, tiny=True)),
    ):
        with pytest.raises(BadFile, match=f"not empty and contains no .*: {name!r} is there"):
            run(requested, Silent())
    assert content(out) == before
    assert (out / "zero-0" / "checkpoints").is_dir()


def short_tour(monkeypatch, folder, *chapters):
    """A tour of these chapters, whose templates say how often they were built."""
    folder.mkdir()
    for name in ("page.html.jinja", "parts.html.jinja"):
        shutil.copy(tour.TEMPLATES / name, folder)
    for chapter in chapters:
        (folder / chapter.__name__).write_text("<p>{{ text }}</p>")
    listed = [tour.Chapter(one.__name__, one.__name__, one) for one in chapters]
    monkeypatch.setattr(tour, "CHAPTERS", tuple(listed))
    monkeypatch.setattr(tour, "TEMPLATES", folder)


def test_a_tour_that_was_stopped_goes_on(tmp_path, monkeypatch):
    built = []

    def first(folder, request, monitor):
        built.append("first")
        return {"text": f"first {len(built)}"}

    def second(folder, request, monitor):
        built.append("second")
        if len(built) == 2:
            raise Cancelled("stopped by Ctrl-C.")
        return {"text": "second <b>"}

    short_tour(monkeypatch, tmp_path / "templates", first, second)
    out = tmp_path / "tour"
    with pytest.raises(Cancelled):
        tour.run_tour(Tour(out=out), Silent())
    tour.run_tour(Tour(out=out), Silent())
    assert built == ["first", "second", "second"]
    page = (out / "index.html").read_text()
    assert "<p>first 1</p>" in page and "<p>second &lt;b&gt;</p>" in page
    tour.run_tour(Tour(out=out), Silent())  # a whole one is made again
    assert built[3:] == ["first", "second"]
    built.clear()
    with pytest.raises(Cancelled):
        tour.run_tour(Tour(out=out), Silent())
    tour.run_tour(Tour(out=out, seed=1), Silent())  # another tour: nothing of the former is shown
    assert built == ["first", "second", "first", "second"]


def test_a_tour_is_not_written_into_a_web_site(tmp_path):
    site = tmp_path / "site"
    for name in ("pictures/wedding.jpg", "style/site.css", "index.html"):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text("<title>my site</title>")
    before = content(site)
    with pytest.raises(BadFile, match=r"contains no tour: 'index\.html' is there"):
        tour.run_tour(Tour(out=site), Silent())
    (site / "index.html").write_text("<html><title>Graftwerk: the tour</title>")
    (site / "about.html").touch()
    with pytest.raises(BadFile, match=r"contains no tour: 'about\.html' is there"):
        tour.run_tour(Tour(out=site), Silent())
    (site / "about.html").unlink()
    (site / "index.html").write_text("<title>my site</title>")
    assert content(site) == before


def test_a_tour_that_is_older_than_markers_is_replaced(tmp_path, monkeypatch):
    out = tmp_path / "tour"
    (out / "pictures").mkdir(parents=True)
    (out / "index.html").write_text("<html><title>Graftwerk: the tour</title>")
    short_tour(monkeypatch, tmp_path / "templates")
    tour.run_tour(Tour(out=out), Silent())
    assert (out / MARKER).is_file()
