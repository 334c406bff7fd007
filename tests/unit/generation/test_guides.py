"""Guided generation: what is generated, repeated, told and refused."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tests.support import Recorder

import graftwerk
from graftwerk.commands.generate import run_generate
from graftwerk.errors import BadInput, Failure, UnknownName, WrongBase
from graftwerk.generation.spec import Guide, parse_guide
from graftwerk.models.hub import builtin_folder
from graftwerk.requests.base import DEFAULT_GUIDE
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def draw(tmp_path):
    def request(*guides, **changes):
        given = {"steps": 3, "count": 1, "out": tmp_path / "out", "check": False}
        requested = graftwerk.Generate(guide=list(guides), **(given | changes))
        return run_generate(requested, Silent())

    return request


def pixels(report):
    return [Image.open(image.path).tobytes() for image in report.pictures]


@pytest.mark.parametrize(
    ("entry", "guide"),
    [
        ("class=cone:8", Guide("class", "cone", 8.0)),
        ("class= red cube :-2", Guide("class", "red cube", -2.0)),
        ("text=a ratio of 3:4 = x:50", Guide("text", "a ratio of 3:4 = x", 50.0)),
        ("image=a=b.png:1e1", Guide("image", "a=b.png", 10.0)),
    ],
)
def test_parsing(entry, guide):
    assert parse_guide(entry) == guide


@pytest.mark.parametrize(
    "entry",
    ["", "cone:8", "class=cone", "class=cone:", "class=:8", "class=cone:inf", "class=cone:x"],
)
def test_what_is_no_guide(entry):
    with pytest.raises(BadInput, match="class=cone:8"):
        parse_guide(entry)


def test_another_kind_of_guide_is_refused():
    with pytest.raises(UnknownName, match=r"clas.*Did you mean class"):
        parse_guide("clas=cone:8")


def test_sentences_and_images_are_not_recommended_with_the_built_in_model(tmp_path):
    options = {"steps": 2, "count": 1, "out": tmp_path / "out", "check": False}
    for guide, count in (("text=a red cube:1", 1), ("text=a red cube:0", 0), ("class=cone:1", 0)):
        monitor = Recorder()
        run_generate(graftwerk.Generate(guide=[guide], **options), monitor)
        found = [note for note in monitor.notes if "say it in the prompt" in note]
        assert len(found) == count, guide


def test_at_scale_0_the_image_is_the_unguided_one(draw, tmp_path):
    image = tmp_path / "ref.png"
    Image.new("RGB", (64, 64), (200, 30, 30)).save(image)
    plain = draw("class=red cube:0", "text=a red thing:0", f"image={image}:0")
    assert pixels(plain) == pixels(draw(out=tmp_path / "plain"))
    assert [guide.first for guide in plain.guides] == [None] * 3


def test_guides_of_all_kinds_act_together_and_are_told(draw, tmp_path):
    image = tmp_path / "ref.png"
    Image.new("RGB", (64, 64), (200, 30, 30)).save(image)
    entries = ["class=red cube:5", "text=a red thing:20", f"image={image}:20"]
    report = draw(*entries, prompt="a cube on snow", cfg=3.0)
    assert pixels(report) != pixels(draw(prompt="a cube on snow", cfg=3.0))
    assert [guide.clean for guide in report.guides] == [False, True, True]
    assert all(guide.shift > 0 for guide in report.guides)


def test_a_guide_raises_what_it_pulls_to(draw):
    plain, pulled = (
        draw(f"class=red cube:{scale}", count=4, steps=8).guides[0].last for scale in (1e-6, 15)
    )
    assert pulled > plain + 0.5


def test_outside_of_its_interval_nothing_changes(draw):
    report = draw("class=red cube:9", guide_interval="100:200")
    assert pixels(report) == pixels(draw())
    with pytest.raises(BadInput, match="interval"):
        draw("class=red cube:9", guide_interval="3:1")


def test_a_clean_classifier_guides_too(draw):
    options = {"guide_model": "builtin/blocks-clip"}
    report = draw("class=red cube:2", **options)
    assert report.guides[0].clean
    own = draw("class=a tree:2", guide_labels=["a tree", "a house"], **options)
    assert own.guides[0].first < 0
    with pytest.raises(UnknownName, match="a tree, a house"):
        draw("class=red cube:2", guide_labels=["a tree", "a house"], **options)
    with pytest.raises(BadInput, match="'a tree' is the only class"):
        draw("class=a tree:2", guide_labels=["a tree"], **options)


def test_a_repeat_is_the_same_image(draw, tmp_path):
    report = draw("class=red cube:5", count=2)
    record = json.loads(Image.open(report.pictures[1].path).text["graftwerk"])
    assert record["request"]["guide"] == ["class=red cube:5"]
    again = run_generate(
        graftwerk.Generate(from_=report.pictures[1].path, out=tmp_path / "again"), Silent()
    )
    assert pixels(again) == pixels(report)[1:]


def test_an_image_from_before_kept_shifts_is_repeated_with_the_bare_gradient(draw, tmp_path):
    report = draw("class=red cube:5", guide_plain=True)
    with Image.open(report.pictures[0].path) as image:
        record = json.loads(image.text["graftwerk"])
        del record["request"]["guide_plain"]
        metadata = PngInfo()
        metadata.add_text("graftwerk", json.dumps(record))
        image.save(tmp_path / "old.png", pnginfo=metadata)
    again = run_generate(
        graftwerk.Generate(from_=tmp_path / "old.png", out=tmp_path / "again"), Silent()
    )
    assert pixels(again) == pixels(report)


def test_a_repeat_with_another_image_to_pull_to_is_refused(draw, tmp_path):
    image = tmp_path / "ref.png"
    Image.new("RGB", (64, 64), (200, 30, 30)).save(image)
    report = draw(f"image={image}:20")
    Image.new("RGB", (64, 64), (30, 200, 30)).save(image)
    with pytest.raises(WrongBase, match=r"ref\.png"):
        run_generate(
            graftwerk.Generate(from_=report.pictures[0].path, out=tmp_path / "again"), Silent()
        )


def test_an_unknown_class_names_its_neighbours(draw):
    with pytest.raises(UnknownName, match="Did you mean red cube"):
        draw("class=red cubes:3")


def test_a_scale_that_is_too_high_says_which_held(draw):
    with pytest.raises(Failure, match=r"step 1 of 3 .*red cube at 1e\+30.*finite: class=red cube:"):
        draw("class=red cube:1e30", guide_plain=True)


def test_shifts_are_kept_short_so_that_no_scale_overflows(draw):
    report = draw("class=red cube:1e30")
    assert 0 < report.guides[0].shift <= 0.3 + 1e-6


def test_guides_that_fight_are_named(draw):
    report = draw("class=red cube:3", "class=red cube:-2.5", "text=snow:10")
    (conflict,) = [f for f in report.fights if f.cosine < -0.99]
    assert {conflict.first, conflict.second} == {"class=red cube"}


def test_a_classifier_of_another_latent_space_is_refused_by_name(draw, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(builtin_folder(DEFAULT_GUIDE), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"latents": "0" * 64}))
    with pytest.raises(WrongBase, match=r"000000000000.*builtin/blocks"):
        draw("class=red cube:3", guide_model=str(folder))


def test_a_model_of_pixels_without_prompts(draw, pixel_pipeline):
    options = {"model": str(pixel_pipeline), "check": True}
    plain, pulled = draw(**options), draw("text=a red thing:50", **options)
    assert pixels(plain) != pixels(pulled)
    assert pulled.verdicts == []  # what its real images look like is not known
    with pytest.raises(WrongBase, match="pixels"):
        draw("class=red cube:3", **options)


def test_the_witnesses_speak_of_guided_images(draw):
    report = draw("class=red cube:10", steps=12, check=True)
    (verdict,) = report.verdicts
    assert verdict.path == report.pictures[0].path
    assert [w.name for w in verdict.witnesses] == [
        "guide",
        "judge",
        "composition",
        "residual",
        "spectrum",
        "neighbours",
    ]


def test_the_stem_tells_guides_apart(draw):
    paths = {Path(draw(*g).pictures[0].path).name for g in ([], ["class=red:1"], ["class=red:2"])}
    assert len(paths) == 3
