"""Inversion, and what realism checks say of it and of real images."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support import Recorder

import graftwerk
from graftwerk.blocks.renderer import render
from graftwerk.blocks.sampling import sample_scene
from graftwerk.cli.images import sweep_lines
from graftwerk.commands import generate
from graftwerk.commands.generate import parse_scales, shape_of
from graftwerk.errors import BadFile, BadInput, Failure, UnknownName
from graftwerk.generation.results import SweepRow
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def real(tmp_path):
    """An image of a real scene."""
    path = tmp_path / "real.png"
    Image.fromarray(render(sample_scene(77, 3), 128, 128)).save(path)
    return path


@pytest.fixture
def ask(tmp_path):
    def request(to, **changes):
        given = {"to": str(to), "steps": 4, "out": tmp_path / "out"}
        return generate.run_invert(graftwerk.Invert(**(given | changes)), Silent())

    return request


@pytest.mark.parametrize("space", ["latent", "pixel", "noise"])
@pytest.mark.parametrize("to", ["class=red cube", "text=a red thing"])
def test_the_loss_falls_in_every_space(ask, space, to):
    report = ask(to, space=space, count=2)
    assert len(report.losses) == 5
    assert report.losses[-1] < report.losses[0]
    assert json.loads(Path(report.losses_file).read_text())["losses"] == report.losses
    assert len(report.pictures) == len(report.verdicts) == 2
    with Image.open(report.film) as film:
        assert film.size == (5 * 132 + 4, 136)


@pytest.mark.parametrize("space", ["latent", "pixel"])
def test_towards_an_image(ask, real, space):
    report = ask(real, space=space, steps=30)
    assert report.losses[-1] < 0.7 * report.losses[0]


def test_ddim_inversion_gives_back_what_the_autoencoder_gives(real, tmp_path):
    out = tmp_path / "out"
    request = graftwerk.Invert(to=str(real), space="noise", sampling_steps=12, out=out)
    report = generate.run_invert(request, Silent())
    assert report.psnr_db == pytest.approx(report.psnr_db_of_decoder, abs=1.0)
    assert report.psnr_db > 18
    assert report.losses == []


def test_what_is_refused(ask, real, tmp_path):
    with pytest.raises(BadInput, match="`rate`"):
        generate.run_invert(graftwerk.Invert(to=str(real), space="noise", rate=0.1), Silent())
    with pytest.raises(UnknownName, match="klass"):
        ask("klass=cone")
    with pytest.raises(UnknownName, match="Did you mean"):
        ask("class=red cubes")
    with pytest.raises(BadInput, match="begins from noise"):
        ask("class=cone", space="noise", start=str(real))
    with pytest.raises(BadInput, match="`space` latent goes through no sampler"):
        ask("class=cone", sampling_steps=5)
    with pytest.raises(BadFile, match="nowhere"):
        ask("class=cone", real=tmp_path / "nowhere")
    with pytest.raises(BadInput, match="holds 1 image; 40 are needed"):
        ask("class=cone", real=real.parent)
    assert not (tmp_path / "out").exists()


def test_steps_of_the_sampler_count_for_a_class_too(ask):
    few, many = (ask("class=cone", space="noise", sampling_steps=n, steps=1) for n in (2, 3))
    assert few.losses[0] != many.losses[0]


def test_a_real_image_is_real_and_a_strawman_is_not(ask, real, tmp_path):
    strawman = ask("class=red cube", steps=80)
    paths = [str(real), strawman.pictures[0]]
    request = graftwerk.GuideCheck(images=paths, class_="red cube")
    report = generate.run_guide_check(request, Silent())
    verdicts = {entry.path: entry for entry in report.pictures}
    assert verdicts[str(real)].strangeness < report.limit
    assert verdicts[str(real)].verdict in {"real", "not the class"}
    assert verdicts[paths[1]].strangeness > report.limit
    assert verdicts[paths[1]].verdict in {"adversarial", "strange"}


def test_a_check_without_a_class_asks_no_guide_and_of_the_judge_the_composition_alone(real):
    report = generate.run_guide_check(graftwerk.GuideCheck(images=[str(real)]), Silent())
    names = [check.name for check in report.pictures[0].witnesses]
    assert names == ["composition", "residual", "spectrum", "neighbours"]


def test_images_of_another_world_are_told(real, tmp_path):
    other = tmp_path / "other.png"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(other)
    for path, count in ((real, 0), (other, 1)):
        monitor = Recorder()
        generate.run_guide_check(graftwerk.GuideCheck(images=[str(path)]), monitor)
        found = [note for note in monitor.notes if "unlike the Blocks scenes" in note]
        assert len(found) == count
        assert all("--real" in note for note in found)


def test_a_contact_sheet_is_left_out_of_a_folder_and_judged_when_named(real):
    sheet = real.with_name("a-cone-0123abcd-sheet.png")
    sheet.write_bytes(real.read_bytes())
    for images, count in ((real.parent, 1), (sheet, 1)):
        request = graftwerk.GuideCheck(images=[str(images)])
        assert len(generate.run_guide_check(request, Silent()).pictures) == count


def test_damaged_images_of_a_folder_are_left_out_and_named(real):
    damaged = real.with_name("damaged.png")
    damaged.write_bytes(real.read_bytes()[:200])
    monitor = Recorder()
    report = generate.run_guide_check(graftwerk.GuideCheck(images=[str(real.parent)]), monitor)
    assert [entry.path for entry in report.pictures] == [str(real)]
    assert any("damaged.png" in note for note in monitor.notes)
    with pytest.raises(BadInput, match=r"damaged\.png"):
        generate.run_guide_check(graftwerk.GuideCheck(images=[str(damaged)]), Silent())


def test_a_model_whose_real_images_are_not_known(real, pixel_pipeline):
    with pytest.raises(BadInput, match="`real`"):
        generate.run_guide_check(
            graftwerk.GuideCheck(images=[str(real)], model=str(pixel_pipeline)), Silent()
        )


def test_a_sweep(tmp_path):
    request = graftwerk.GuideSweep(
        classes="red cube,grass", scales="10,0", count=10, steps=4, out=tmp_path / "sweep"
    )
    report = generate.run_guide_sweep(request, Silent())
    assert [row.scale for row in report.rows] == [0, 10]
    assert report.classes == ["red cube", "grass"]
    assert report.real.share >= 0.8
    assert all(0 <= row.precision <= 1 and row.frechet >= 0 for row in report.rows)
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {
        "curves.png",
        "scale-0.png",
        "scale-10.png",
    }
    again = generate.run_guide_sweep(request, Silent())
    assert again.rows == report.rows


def test_a_sweep_stops_below_a_scale_that_overflows(tmp_path):
    common = {"classes": "red cube", "count": 10, "steps": 3, "guide_plain": True}
    requested = graftwerk.GuideSweep(scales="0,1e30", out=tmp_path / "a", **common)
    report = generate.run_guide_sweep(requested, Silent())
    assert [row.scale for row in report.rows] == [0]
    assert report.overflow.startswith("guided values overflow at scale 1e+30, at step 1 of 3 (")
    assert report.overflow.endswith("it and higher scales are left out, 0 held")
    assert report.overflow in sweep_lines(report)
    requested = graftwerk.GuideSweep(scales="1e30", out=tmp_path / "b", **common)
    with pytest.raises(Failure, match=r"overflow at scale 1e\+30, at step 1 of 3"):
        generate.run_guide_sweep(requested, Silent())


def test_scales():
    assert parse_scales("3, 0,1e1,3") == [0, 3, 10]
    for text in ("", "1,x", "inf"):
        with pytest.raises(BadInput):
            parse_scales(text)


def test_the_shape_in_words():
    def row(scale, frechet, margin=0.4, share=0.5):
        names = ("precision", "recall", "share")
        figures = {f"{name}_margin": 0.05 for name in names} | dict.fromkeys(names, 0.5)
        figures |= {"share": share, "frechet": frechet, "frechet_margin": margin}
        return SweepRow(scale=scale, **figures)

    weak = shape_of([row(0, 5.0), row(1, 7.0), row(10, 3.0)])
    assert "scale 1 (5.00 -> 7.00)" in weak and "nearer at 10 (3.00)" in weak
    assert shape_of([row(0, 5.0), row(1, 4.0)]).startswith("no dip: nearest to real images at")
    farther = shape_of([row(0, 5.0), row(1, 6.0), row(3, 7.0)])
    assert farther.startswith(
        "farther from real images at every scale: 5.00 at 0 -> 6.00 at 1, 7.00 at 3;"
    )
    assert "at 3 and above: 5.00 at 0 -> 5.20 at 1, 7.00 at 3;" in shape_of(
        [row(0, 5.0), row(1, 5.2), row(3, 7.0)]
    )
    assert shape_of([row(1, 4.0)]).startswith("no comparison")
    # one scale is named once
    assert "5.00 at 0 -> 6.00 at 1;" in shape_of([row(0, 5.0), row(1, 6.0)])


def test_the_words_respect_the_intervals():
    def row(scale, frechet, share):
        figures = {"precision": 0.7, "recall": 0.8, "share": share, "frechet": frechet}
        margins = {"precision": 0.1, "recall": 0.1, "share": 0.1, "frechet": 50.0}
        return SweepRow(
            scale=scale, **figures, **{f"{name}_margin": value for name, value in margins.items()}
        )

    words = shape_of([row(0, 37.45, 0.1), row(10, 46.11, 0.9)])
    assert words.startswith(
        "Frechet distance 37.45 at 0, 46.11 at 10: no difference beyond the intervals"
    )
    assert "requested class 0.10 -> 0.90, precision 0.70 -> 0.70 (within the intervals)" in words
    assert "requested class 0.10 -> 0.20 (within the intervals)" in shape_of(
        [row(0, 37.45, 0.1), row(10, 46.11, 0.2)]
    )


def test_the_cache_of_real_readings_mends_itself(tmp_path):
    from graftwerk.generation.authenticity import _FAKE_KINDS, Readings, _load, _saved

    path, kinds = tmp_path / "readings.safetensors", ("real", *_FAKE_KINDS)
    assert _load(path, kinds) is None
    rows = np.zeros((2, 2))
    path.write_bytes(_saved({name: Readings(rows, rows, rows) for name in kinds}))
    assert set(_load(path, kinds)) == set(kinds)
    assert _load(path, (*kinds, "another")) is None
    path.write_bytes(path.read_bytes()[:100])
    assert _load(path, kinds) is None
