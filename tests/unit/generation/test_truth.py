"""What is said of images is true: realism checks that test themselves, chance levels, remarks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.pipelines import write_text_pipeline

import graftwerk
from graftwerk.blocks.captions import not_understood, remark_on
from graftwerk.blocks.networks import Judgement, Seen
from graftwerk.cli.images import guide_lines, self_test_lines
from graftwerk.commands.generate import run_generate
from graftwerk.conditions.base import shuffled
from graftwerk.conditions.kinds import condition_named
from graftwerk.diffusion.guidance import GuidanceTrace, Term
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.generation.authenticity import (
    LIMIT,
    _verdict,
    is_possible,
    open_realism_check,
)
from graftwerk.generation.guidance_report import GradientTraces
from graftwerk.generation.provenance import Record, write_png
from graftwerk.generation.realism_measures import fakes_of
from graftwerk.generation.spec import options_of
from graftwerk.recipes.scenes import open_scenes
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")


class Notes(Silent):
    def __init__(self) -> None:
        self.lines = []

    def note(self, text) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def blocks():
    return load_diffusion("builtin/blocks", "cpu")


def photographs(count, seed):
    """Images with the spectrum of photographs, which no Blocks scene has the look of."""
    rng = np.random.default_rng(seed)
    radius = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)) + 1 / 128
    waves = np.fft.fft2(
        rng.normal(size=(count, 3, 128, 128)) + rng.normal(size=(count, 1, 128, 128))
    )
    rows = np.fft.ifft2(waves / radius ** rng.uniform(1.0, 1.6, (count, 1, 1, 1))).real
    rows = rows / rows.std(axis=(1, 2, 3), keepdims=True) * 50 + 120
    return np.clip(rows, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def verdicts(check, images):
    found = check.testify([""] * len(images), np.ascontiguousarray(images), None, None)
    return [one.verdict for one in found]


def test_in_its_own_world_it_passes_its_self_test_and_tells_fakes(blocks):
    check = open_realism_check(blocks, None, Silent())
    test = check.self_test
    assert test.passed and min(test.noise, test.blurred, test.shuffled) >= 0.9
    assert "Blocks scenes" in test.world and test.unlike < 0.1
    real = open_scenes("pictures", 4, 24, 128, Silent()).rows(np.arange(24))["picture"]
    assert verdicts(check, real).count("real") >= 22
    for name, fakes in fakes_of(real).items():
        assert verdicts(check, fakes).count("strange") >= 15, name
    assert set(verdicts(check, photographs(8, 1))) == {"strange"}
    assert "found strange: noise 100%" in self_test_lines(test)[0]


def test_among_photographs_it_says_that_it_cannot_tell_and_calls_no_noise_real(blocks, tmp_path):
    for number, rows in enumerate(photographs(60, 0)):
        Image.fromarray(rows).save(tmp_path / f"{number:03d}.png")
    check = open_realism_check(blocks, str(tmp_path), Silent())
    test = check.self_test
    assert not test.passed and test.unlike > 0.9
    assert "calls none real" in self_test_lines(test)[0]
    found = verdicts(check, photographs(12, 2))
    assert set(found) <= {"no verdict", "strange"} and found.count("no verdict") >= 9
    noise = np.random.default_rng(3).integers(0, 256, (12, 128, 128, 3), dtype=np.uint8)
    assert set(verdicts(check, noise)) == {"strange"}


def test_one_strong_measure_is_enough(blocks):
    check = open_realism_check(blocks, None, Silent())
    real = open_scenes("pictures", 4, 8, 128, Silent()).rows(np.arange(8))["picture"]
    blurred = fakes_of(real)["blurred"]
    for one in check.testify([""] * 8, blurred, None, None):
        readings = {witness.name: witness.reading for witness in one.witnesses}
        assert readings["spectrum"] > LIMIT > max(readings["residual"], readings["neighbours"])
        assert one.strangeness >= readings["spectrum"]
        assert one.verdict == "strange"


def test_what_the_world_does_not_make():
    def seen(*things):
        objects = tuple(Seen(kind, colour, 0.5, 0.5, 1.0) for colour, kind in things)
        return Judgement(objects, "grass", "day")

    cube, cone = ("purple", "cube"), ("purple", "cone")
    assert is_possible(seen(cube)) and is_possible(seen(cube, cone))
    assert not is_possible(seen()) and not is_possible(seen(cube, cube, cube))
    assert not is_possible(seen(*((colour, "cube") for colour in "abcde")))


@pytest.mark.parametrize("kind", ["canny", "segmentation", "depth", "pose"])
def test_fidelity_stands_beside_chance(kind):
    condition = condition_named(kind)
    rows = open_scenes("maps", 4, 12, 64, Silent()).rows(np.arange(12))
    maps, images = condition.from_rows(rows), np.ascontiguousarray(rows["picture"])
    found = condition.fidelity(maps, images)
    assert found.score > found.chance_score + 0.2
    # of one image alone its own condition is moved
    there = int(np.argmax(maps.any(axis=3).sum(axis=(1, 2))))
    alone = condition.fidelity(maps[there][None], images[there][None])
    assert alone.score > alone.chance_score + 0.1
    # noise keeps as much of a condition as of shuffled ones
    noise = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    by_noise = condition.fidelity(maps, noise)
    assert abs(by_noise.score - by_noise.chance_score) < 0.1


def test_shuffled_conditions_are_never_the_own_one():
    several = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 4, 8, 3), np.uint8)
    assert len(shuffled(several)) == 3
    assert all((other[:, 0, 0, 0] != np.arange(5)).all() for other in shuffled(several))
    one = np.repeat(np.random.default_rng(0).integers(0, 9, (1, 4, 8, 3), np.uint8), 2, axis=0)
    assert len(shuffled(one)) == 6
    assert not any((other == one).all() for other in shuffled(one))


def test_words_outside_of_the_captions_are_named():
    assert not_understood("two red cubes and a bicycle") == ["two", "cubes", "bicycle"]
    assert not_understood("A waving person in blue, with arms out, on stone at sunset") == []
    assert remark_on("a red cube and a blue cone on grass at night") is None
    assert remark_on("A red cube") is None
    assert "not understood: dog, riding" in remark_on("a dog riding a cube")
    assert "worded otherwise: 'red cube'" in remark_on("red cube")


def generate(tmp_path, prompt, **options):
    monitor = Notes()
    request = graftwerk.Generate(
        prompt=prompt, count=1, steps=2, device="cpu", out=tmp_path / "out", **options
    )
    return run_generate(request, monitor), monitor.lines


def test_a_photograph_and_a_prompt_of_another_world_are_told(tmp_path):
    photo, scene = tmp_path / "photo.png", tmp_path / "scene.png"
    Image.fromarray(photographs(1, 5)[0]).save(photo)
    image = open_scenes("pictures", 4, 1, 128, Silent()).rows(np.arange(1))["picture"][0]
    Image.fromarray(image).save(scene)
    unlike = "unlike the Blocks scenes that builtin/blocks knows"
    for options in ({"control": [f"canny={photo}"]}, {"init": photo}):
        report, lines = generate(tmp_path, "a red cube", **options)
        assert sum(unlike in line for line in lines) == 1
    assert report.start.changed > 0
    report, lines = generate(tmp_path, "two bicycles", control=[f"canny={scene}"])
    assert not any(unlike in line for line in lines)
    assert any(line.endswith("not understood: two, bicycles") for line in lines)
    [control] = report.controls
    assert control.chance == pytest.approx(report.pictures[0].chance["canny"])
    assert 0 <= control.chance <= 1
    _, lines = generate(tmp_path, "a red cube", control=[f"canny-map={edges_of(scene)}"])
    assert lines == []


def test_a_prompt_in_other_words_is_read_as_a_caption_and_repeats(tmp_path):
    report, lines = generate(tmp_path, "Two big RED balls on the lawn")
    caption = "a red sphere and a red sphere on grass"
    assert (report.prompt, report.read_as) == ("Two big RED balls on the lawn", caption)
    assert f"read as: {caption}; not understood: big" in lines
    said, lines = generate(tmp_path, caption)
    assert (said.prompt, said.read_as, lines) == (caption, "", [])
    [path], [other] = ([Path(one.path) for one in found.pictures] for found in (report, said))
    assert path.read_bytes() == other.read_bytes()
    request = graftwerk.Generate(from_=path, device="cpu", out=tmp_path / "again")
    again = run_generate(request, Notes())
    assert Path(again.pictures[0].path).read_bytes() == path.read_bytes()
    assert again.read_as == ""


def test_an_image_of_a_version_that_read_prompts_as_they_are_repeats(tmp_path):
    pipe = graftwerk.Pipeline("builtin/blocks", device="cpu")
    options = options_of(graftwerk.Generate(prompt="red balls", count=1, steps=2, device="cpu"))
    job, notes = pipe.prepare(options, Notes(), literal=True), Notes()
    assert job.request.prompt == "red balls"
    assert pipe.prepare(options, notes).request.prompt == "a red sphere and a red sphere"
    [made] = job.run(job.groups(), Notes())
    record = Record(
        request=job.request,
        fingerprint=job.model.fingerprint,
        number=0,
        together=(0,),
        surroundings=job.environment,
    )
    write_png(tmp_path / "old.png", made.image, record)
    request = graftwerk.Generate(from_=tmp_path / "old.png", device="cpu", out=tmp_path / "again")
    again = run_generate(request, Notes())
    with Image.open(again.pictures[0].path) as image:
        assert np.array_equal(image, made.image)
    changed = request.model_copy(update={"prompt": "red box"})
    assert run_generate(changed, Notes()).read_as == "a red cube"


def test_prompts_for_other_models_stay_as_they_are(tmp_path):
    folder = tmp_path / "model"
    write_text_pipeline(folder)
    report, lines = generate(tmp_path, "two red balls", model=str(folder))
    assert report.read_as == "" and not any("read as" in line for line in lines)


def edges_of(path):
    made = path.with_name("edges.png")
    graftwerk.conditions.canny(path).save(made)
    return made


def test_a_guide_that_loses_to_the_prompt_says_so():
    traces = GradientTraces()
    for sigma, value in ((10.0, -3.5), (0.1, -8.0)):
        traces(GuidanceTrace(sigma, ("class=red cube",), (value,), (0.1,), ()))
    term = Term("class=red cube", lambda x, sigma: x.sum(), 30.0, limit=0.3)
    [lost] = traces.reports([term], 5.0)
    assert "prompt (--cfg 5) was stronger" in lost.lost and "--guide-plain" in lost.lost
    [alone] = traces.reports([term], None)
    assert "lost ground" in alone.lost and "--cfg" not in alone.lost
    won = GradientTraces()
    won(GuidanceTrace(10.0, ("class=red cube",), (-3.5,), (0.1,), ()))
    won(GuidanceTrace(0.1, ("class=red cube",), (-0.1,), (0.1,), ()))
    assert won.reports([term], 5.0)[0].lost is None
    assert (
        traces.reports([Term("class=red cube", lambda x, sigma: x.sum(), -3.0)], 5.0)[0].lost
        is None
    )


def test_what_lost_is_printed(tmp_path):
    report, _ = generate(tmp_path, "a red cube", cfg=2.0)
    traces = GradientTraces(
        [GuidanceTrace(s, ("a",), (v,), (0.1,), ()) for s, v in ((9.0, 1.0), (1.0, 0.5))]
    )
    term = Term("a", lambda x, sigma: torch.zeros(len(x)), 1.0)
    lines = guide_lines(report.model_copy(update={"guides": traces.reports([term], 2.0)}))
    assert lines[1].strip() == "the prompt (--cfg 2) was stronger than this guide: lower --cfg"


@pytest.mark.parametrize(
    ("strangeness", "chance", "seen", "verdict"),
    [
        (2.0, 0.99, False, "adversarial"),
        (2.0, 0.99, None, "adversarial"),  # no judge to ask
        (2.0, 0.99, True, "strange"),  # the class is there: nobody was fooled
        (2.0, 0.2, False, "strange"),
        (1.0, 0.99, True, "real"),
        (1.0, 0.99, False, "not the class"),
        (1.0, 0.2, None, "not the class"),
    ],
)
def test_only_what_fools_the_guide_alone_is_adversarial(strangeness, chance, seen, verdict):
    found = _verdict("a.png", strangeness, {"spectrum": strangeness}, chance, seen)
    assert found.verdict == verdict
