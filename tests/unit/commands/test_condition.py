import io

import numpy as np
import pytest
from PIL import Image

import graftwerk
from graftwerk.blocks.renderer import render
from graftwerk.blocks.sampling import sample_scene
from graftwerk.conditions.kinds import CONDITIONS
from graftwerk.errors import BadFile, BadInput, GraftError, LimitExceeded, UnknownName


class Notes:
    """A monitor that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def start(self, task: str, total: int | None = None) -> None: ...

    def advance(self, count: int = 1) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)

    def stream(self, piece: str) -> None: ...

    def chart(self, figures: object) -> None: ...

    def show(self, report: object) -> None: ...


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(render(sample_scene(5, 2), 64, 64)).save(path)
    return path


def make(kind, image, tmp_path, **options):
    monitor = Notes()
    out = tmp_path / "out.png"
    image = None if image is None else str(image)
    request = graftwerk.MakeCondition(kind=kind, image=image, out=out, **options)
    report = graftwerk.run(request, monitor)
    return report, np.asarray(Image.open(out)), monitor.notes


@pytest.mark.parametrize("kind", CONDITIONS)
def test_an_image_becomes_its_condition(kind, picture, tmp_path) -> None:
    report, sampled, notes = make(kind, picture, tmp_path)
    expected = CONDITIONS[kind].from_image(np.asarray(Image.open(picture)))
    assert np.array_equal(sampled, expected)
    assert (report.width, report.height, report.kind) == (64, 64, kind)
    assert report.drawn == pytest.approx(sampled.any(axis=-1).mean())
    assert (report.thresholds is not None) is (kind == "canny")
    built_in = report.made_by.startswith("builtin/")
    assert built_in is (kind in {"pose", "segmentation", "normals", "depth"})
    assert report.unfamiliar is (False if built_in else None)
    empty = [f"this {kind} map is empty: there is nothing to follow in it"]
    assert notes == ([] if sampled.any() else empty)


@pytest.mark.parametrize("kind", CONDITIONS)
def test_a_scene_gives_exact_conditions(kind, tmp_path) -> None:
    report, sampled, _ = make(kind, None, tmp_path, scene=4, size=48, seed=3)
    assert np.array_equal(sampled, CONDITIONS[kind].from_scene(sample_scene(3, 4), 48))
    assert report.made_by == ("Canny's method on the render" if kind == "canny" else "exact maps")


def test_all_on_one_sheet(picture, tmp_path) -> None:
    _, sheet, _ = make("all", picture, tmp_path)
    assert sheet.shape == (3 * (192 + 30) + 10, 3 * (192 + 10) + 10, 3)
    _, sheet, _ = make("all", None, tmp_path, scene=1, size=32)
    assert sheet.shape == (676, 616, 3)


def test_the_steps_of_canny(picture, tmp_path) -> None:
    report, sheet, _ = make("canny", picture, tmp_path, stages=True, thresholds="auto")
    assert sheet.shape == (2 * (192 + 30) + 10, 4 * (192 + 10) + 10, 3)
    assert "auto" in report.made_by and 0 < report.thresholds[0] < report.thresholds[1]
    absolute, _, _ = make("canny", picture, tmp_path, thresholds="50,120.5")
    assert absolute.thresholds == [50, 120.5]


def test_an_image_is_resized_where_a_size_is_given(picture, tmp_path) -> None:
    image = tmp_path / "wide.png"
    Image.open(picture).resize((192, 128)).save(image)
    made, edges, _ = make("canny", image, tmp_path, size=64)
    assert (made.width, made.height) == (96, 64) and edges.any()
    Image.new("RGB", (16, 4000)).save(image)
    with pytest.raises(LimitExceeded, match="512,000 pixels"):
        make("canny", image, tmp_path, size=2048)
    with pytest.raises(BadInput, match="not a finished map"):
        make("canny", image, tmp_path, size=64, finished=True)


def test_a_finished_map_is_checked_and_kept(picture, tmp_path) -> None:
    make("depth", picture, tmp_path)
    (tmp_path / "out.png").rename(tmp_path / "depth.png")
    report, sampled, _ = make("depth", tmp_path / "depth.png", tmp_path, finished=True)
    assert np.array_equal(sampled, np.asarray(Image.open(tmp_path / "depth.png")))
    assert report.made_by == "used as given"
    with pytest.raises(BadInput, match="not a depth map: it is in color"):
        make("depth", picture, tmp_path, finished=True)


def test_a_dark_drawing_on_white_is_turned_round(tmp_path) -> None:
    page = np.full((40, 40, 3), 250, dtype=np.uint8)
    page[10:14, 5:30] = (40, 10, 90)
    Image.fromarray(page).save(tmp_path / "drawing.png")
    _, sampled, _ = make("scribble", tmp_path / "drawing.png", tmp_path, finished=True)
    assert (sampled[10:14, 5:30] == 255).all() and sampled.any(axis=-1).sum() == 100
    Image.fromarray(page * 0).save(tmp_path / "empty.png")
    with pytest.raises(BadInput, match="not a scribble map: it is empty"):
        make("scribble", tmp_path / "empty.png", tmp_path, finished=True)


def test_an_unfamiliar_image_is_told(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    report, _, notes = make("depth", tmp_path / "noise.png", tmp_path)
    assert report.unfamiliar is True
    assert len(notes) == 1 and "--estimator" in notes[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "depth"}, "neither an image nor a scene"),
        ({"kind": "depth", "image": "a.png", "scene": 1}, "both an image and a scene"),
        ({"kind": "depth", "scene": 1, "finished": True}, "`scene` and `finished` exclude"),
        ({"kind": "depth", "image": "a.png", "stages": True}, "`stages` belongs to Canny"),
        ({"kind": "depth", "image": "a.png", "sigma": 2.0}, "`sigma` belongs to Canny"),
        ({"kind": "canny", "scene": 1, "thresholds": "auto"}, "`thresholds` belongs"),
        ({"kind": "all", "image": "a.png", "finished": True}, "`finished` is for one kind"),
        ({"kind": "canny", "image": "a.png", "thresholds": "low"}, "'low' cannot be read"),
        ({"kind": "canny", "image": "a.png", "thresholds": "0.3,0.1"}, "0.3 and 0.1 are not"),
        ({"kind": "canny", "image": "a.png", "thresholds": "nan,1"}, "nan and 1 are not"),
        ({"kind": "canny", "image": "a.png", "kernel": 4}, "no middle pixel"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_do_not_go_together(options, said) -> None:
    with pytest.raises(BadInput, match=said):
        graftwerk.run(graftwerk.MakeCondition(**options))


def test_bad_names_and_files(picture, tmp_path) -> None:
    with pytest.raises(UnknownName, match="Did you mean depth"):
        make("deph", picture, tmp_path)
    with pytest.raises(BadFile, match="cannot be a PNG file"):
        graftwerk.run(
            graftwerk.MakeCondition(kind="depth", image=str(picture), out=tmp_path / "a.jpg")
        )
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(BadFile, match="not a readable image"):
        make("canny", tmp_path / "broken.png", tmp_path)


def test_a_list_of_all_kinds() -> None:
    report = graftwerk.run(graftwerk.ConditionList())
    assert [kind.name for kind in report.kinds] == list(CONDITIONS)
    assert all(kind.about and kind.read_by and kind.measure for kind in report.kinds)
    assert [kind.name for kind in report.kinds if kind.estimators] == [
        "scribble",
        "pose",
        "segmentation",
        "normals",
        "depth",
        "lineart",
    ]


def zipped(path, **arrays):
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        for name, image, boundaries in arrays.values():
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            archive.writestr(f"{name}.png", buffer.getvalue())
            if boundaries is not None:
                buffer = io.BytesIO()
                np.savez_compressed(buffer, **boundaries)
                archive.writestr(f"{name}.npz", buffer.getvalue())
    return path


def test_edges_are_measured_from_a_zip_and_a_folder(tmp_path) -> None:
    image = np.zeros((60, 80, 3), dtype=np.uint8)
    image[:, 40:] = 200
    sampled = np.zeros((2, 60, 80), dtype=bool)
    sampled[:, :, 39] = True  # of two equal pixels the left one
    path = zipped(
        tmp_path / "data.zip",
        one=("one", image, {"boundaries": sampled}),
        two=("two", image, {"boundaries": sampled.astype(np.uint8)[:1]}),
        three=("three", image, None),
    )
    report = graftwerk.run(graftwerk.EvalEdges(data=path))
    assert (report.pictures, report.people) == (2, 3)
    assert report.ods > 0.95 and report.ois >= report.ods - 1e-9
    import zipfile

    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "folder")
    again = graftwerk.run(graftwerk.EvalEdges(data=tmp_path / "folder", plain=True))
    assert again.ods > 0.95 and again.method != report.method


def test_boundaries_that_do_not_fit(tmp_path) -> None:
    image = np.zeros((10, 12, 3), dtype=np.uint8)
    for number, (boundaries, predicted) in enumerate(
        [
            (None, "no image with boundaries beside it"),
            ({"boundaries": np.zeros((1, 12, 10), dtype=bool)}, "10 x 12 pixels, and the image"),
            ({"boundaries": np.zeros((10, 12), dtype=bool)}, r"bool of shape \(10, 12\)"),
            ({"boundaries": np.zeros((1, 10, 12))}, "float64 of shape"),
            ({"edges": np.zeros((1, 10, 12), dtype=bool)}, "contains no array 'boundaries'"),
        ]
    ):
        path = zipped(tmp_path / f"{number}.zip", one=("one", image, boundaries))
        with pytest.raises(BadInput, match=predicted):
            graftwerk.run(graftwerk.EvalEdges(data=path))
    with pytest.raises(BadFile, match="does not exist"):
        graftwerk.run(graftwerk.EvalEdges(data=tmp_path / "nowhere"))


def test_an_estimator_may_be_named_with_its_kind(tmp_path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "photo.png")
    for named in ("", "depth="):
        with pytest.raises(GraftError, match=f"'?{tmp_path}/none"):
            make("depth", tmp_path / "photo.png", tmp_path, estimator=f"{named}{tmp_path}/none")
