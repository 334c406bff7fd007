"""Every recipe in its tiny form, from rendering to a model that its own library opens."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from graftwerk.commands import blocks
from graftwerk.conditions.kinds import CONDITIONS
from graftwerk.diffusion.pipeline import LatentSpace, load_diffusion, load_part
from graftwerk.errors import BadFile, BadInput, Cancelled, UnknownName, WrongBase
from graftwerk.recipes import autoencoder
from graftwerk.recipes.registry import RECIPES
from graftwerk.requests.models import RecipeEval, RecipeList, RecipeRun
from graftwerk.training.loop import Log
from graftwerk.types import Silent

FIGURES = {
    "judge": {"kind_and_colour", "whole_scene", "ground", "time"},
    "clip": {"zero_shot", "text_to_image_recall_at_1", "image_to_text_recall_at_1"},
    "perception": {"mean_iou", "depth_rmse_percent", "normals_degrees", "keypoints_pck"},
    "autoencoder": {
        "psnr_db",
        "psnr_db_worst_twentieth",
        "edge_f1",
        "edge_f1_by_chance",
        "objects",
        "objects_by_chance",
        "objects_of_real",
        "frechet",
        "scaling_factor",
    },
    "diffusion": {
        "one_object",
        "two_objects",
        "four_objects",
        "ground_and_time",
        "frechet",
        "frechet_of_real",
        "frechet_unprompted",
        "unprompted_with_objects",
    },
    "noisy-classifier": {
        f"{figure}_at_{level}"
        for figure in ("accuracy", "precision")
        for level in ("0.1", "0.5", "1", "2", "5")
    },
}


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


class StopAt(Silent):
    """Ctrl-C in a step of the training, not while scenes are rendered."""

    def __init__(self, step):
        self.left, self.training = step, False

    def start(self, task, total=None):
        self.training = task == "training"

    def advance(self, count=1):
        self.left -= count * self.training
        if self.left <= 0:
            raise Cancelled("stopped by Ctrl-C.")


def make(name, out, monitor=None, **options):
    request = RecipeRun(name=name, out=out, tiny=True, **options)
    return blocks.run_recipe_run(request, monitor or Silent())


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny networks are faster so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """All models; the folders of their trainings by recipe."""
    root = tmp_path_factory.mktemp("recipes")
    reports = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graftwerk.recipes.diffusion._STEPS", 2)
        for entry in RECIPES:
            made_from = {name: root / name for name in entry.needs}
            if entry.judged:
                made_from["judge"] = root / "judge"
            reports[entry.name] = make(entry.name, root / entry.name, **made_from)
    return root, reports


@pytest.mark.parametrize("name", FIGURES)
def test_result(models, name):
    root, reports = models
    report = reports[name]
    assert (report.steps, report.planned, report.finished) == (4, 4, True)
    assert set(report.figures) == FIGURES[name]
    model = Path(report.model)
    assert model == root / name / "model"
    record = json.loads((model / "graft.json").read_text())
    assert record["recipe"] == name
    assert record["steps"] == 4
    assert record["figures"] == report.figures
    assert any(file.endswith(".safetensors") for file in record["sha256"])
    for file, digest in record["sha256"].items():
        assert hashlib.sha256((model / file).read_bytes()).hexdigest() == digest
    card = (model / "README.md").read_text()
    for words in (f"# {name}", "4 of 4", "12 different ones", "PyTorch", "held-out"):
        assert words in card
    for figure in report.figures:
        assert figure in card
    assert len((root / name / "log.jsonl").read_text().splitlines()) == 4
    assert not list((root / name).glob(".*.tmp"))


def test_the_catalogue():
    listed = blocks.run_recipe_list(RecipeList(), Silent()).recipes
    controls = [f"control-{kind}" for kind in CONDITIONS]
    names = [recipe["name"] for recipe in listed if recipe["name"] not in ("policy", "series")]
    assert names == [*FIGURES, *controls] and len(listed) == len(names) + 2
    assert all(recipe["aims"] for recipe in listed)
    needs = {recipe["name"]: recipe["needs"] for recipe in listed}
    assert needs["diffusion"] == ["clip", "autoencoder"]


def test_clip_opens_in_transformers(models):
    from transformers import CLIPModel, CLIPTokenizer

    folder = models[0] / "clip" / "model"
    network = CLIPModel.from_pretrained(folder)
    tokens = CLIPTokenizer.from_pretrained(str(folder))(["a red cube"], return_tensors="pt")
    with torch.inference_mode():
        vector = network.get_text_features(**tokens).pooler_output
    from graftwerk.models.encoders import load_encoder

    ours = load_encoder(str(folder), device="cpu").encode_texts(["a red cube"])
    np.testing.assert_allclose(ours, vector / vector.norm(), atol=1e-5)


def test_diffusion_opens_in_diffusers_and_draws_what_graft_draws(models):
    from diffusers import StableDiffusionPipeline

    from graftwerk.diffusion.pipeline import load_diffusion

    folder = models[0] / "diffusion" / "model"
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    ours = load_diffusion(str(folder), "cpu")
    assert {pipeline.unet.dtype, pipeline.vae.dtype, pipeline.text_encoder.dtype} == {torch.float32}
    states = pipeline.encode_prompt("a red cube on grass", "cpu", 1, False)[0]
    torch.testing.assert_close(ours.reader.read(["a red cube on grass"]).states, states)
    assert ours.noise.prediction == "v_prediction"
    assert ours.size == (64, 64)


def test_the_autoencoder_gives_latents_of_unit_variance(models):
    from graftwerk.diffusion.pipeline import load_part
    from graftwerk.recipes.cached import open_latents
    from graftwerk.recipes.registry import TRAINING_WORLD
    from graftwerk.recipes.scenes import open_scenes

    network = load_part(models[0] / "autoencoder" / "model")
    scenes = open_scenes("pictures", TRAINING_WORLD, 12, 64, Silent())
    latents = open_latents(network, "test of unit variance", scenes, "cpu", Silent())
    everything = latents.of(np.arange(12))
    assert everything.shape == (12, 4, 8, 8)
    assert float(everything.std()) == pytest.approx(1, abs=0.01)
    assert torch.equal(latents.of(np.array([5])), everything[5:6])


def test_weights_lie_in_half_precision(models):
    from safetensors.torch import load_file

    root, _ = models
    for path in root.glob("*/model/**/*.safetensors"):
        kinds = {tensor.dtype for tensor in load_file(path).values() if tensor.is_floating_point()}
        assert kinds == {torch.float16}, path


def test_an_image_half_trained_further_keeps_the_texts(models, tmp_path):
    from safetensors.torch import load_file

    root, _ = models
    make("clip", tmp_path / "further", clip=root / "clip")
    name = "model/model.safetensors"
    before, after = load_file(root / "clip" / name), load_file(tmp_path / "further" / name)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed and all(key.startswith(("vision_model.", "visual_proj")) for key in changed)


def test_a_decoder_trained_further_keeps_the_latents(models, tmp_path):
    """And so a training on them can go on with it."""
    from safetensors.torch import load_file

    root, _ = models
    folder = tmp_path / "further"
    report = make("autoencoder", folder, autoencoder=root / "autoencoder")
    beside = {f"{figure}_before" for figure in autoencoder._BESIDE}
    assert set(report.figures) == FIGURES["autoencoder"] | beside
    name = "model/diffusion_pytorch_model.safetensors"
    before, after = load_file(root / "autoencoder" / name), load_file(folder / name)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed and all(key.startswith(("decoder.", "post_quant_conv.")) for key in changed)

    diffusion = tmp_path / "diffusion"
    made_from = {"clip": root / "clip", "judge": root / "judge"}
    make("diffusion", diffusion, autoencoder=root / "autoencoder", steps=1, **made_from)
    make("diffusion", diffusion, autoencoder=folder, steps=2, **made_from)
    part = "model/vae/diffusion_pytorch_model.safetensors"
    assert (diffusion / part).read_bytes() == (folder / name).read_bytes()
    make("autoencoder", tmp_path / "another", seed=1)
    with pytest.raises(BadInput, match="another `out`"):
        make("diffusion", diffusion, autoencoder=tmp_path / "another", **made_from)


def test_a_finished_diffusion_model_is_trained_further(models, tmp_path):
    from safetensors.torch import load_file

    root, _ = models
    made_from = {"clip": root / "clip", "judge": root / "judge", "diffusion": root / "diffusion"}
    folder = tmp_path / "further"
    make("diffusion", folder, autoencoder=root / "autoencoder", steps=1, **made_from)
    name = "model/unet/diffusion_pytorch_model.safetensors"
    before, after = load_file(root / "diffusion" / name), load_file(folder / name)
    moved = {key: float((before[key] - after[key]).abs().max()) for key in before}
    card = (folder / "model" / "README.md").read_text()
    assert "trained further" in card
    assert "| before that | 16 items in 4 steps and 0 minutes on cpu" in card
    record = json.loads((folder / "model" / "graft.json").read_text())
    assert [one["steps"] for one in record["before"]] == [4]
    assert 0 < max(moved.values()) < 0.01  # a step from where it was, not from fresh weights
    make("autoencoder", tmp_path / "another", seed=1)
    with pytest.raises(WrongBase, match="`autoencoder`"):
        make("diffusion", tmp_path / "d", autoencoder=tmp_path / "another", **made_from)


def test_stopped_and_run_again_gives_the_same_files(models, tmp_path):
    with pytest.raises(Cancelled, match="2 of 4 steps are kept"):
        make("judge", tmp_path / "judge", monitor=StopAt(2))
    assert not (tmp_path / "judge" / "model").exists()
    monitor = Notes()
    make("judge", tmp_path / "judge", monitor=monitor)
    weights = "model/model.safetensors"
    assert (tmp_path / "judge" / weights).read_bytes() == (
        models[0] / "judge" / weights
    ).read_bytes()
    assert any("after step 2 of 4" in note for note in monitor.notes)


def test_out_of_time_and_further(tmp_path):
    report = make("judge", tmp_path / "judge", minutes=1e-9)
    assert (report.steps, report.finished) == (1, False)
    assert (tmp_path / "judge/model/model.safetensors").is_file()
    report = make("judge", tmp_path / "judge", steps=5)
    assert (report.steps, report.planned, report.finished) == (5, 5, True)


def test_batch_rate_and_scenes_can_be_others(tmp_path):
    make("judge", tmp_path / "judge", batch=6, learning_rate=1e-4, scenes=20, steps=2)
    record = json.loads((tmp_path / "judge/model/graft.json").read_text())
    sizes = record["configuration"]["sizes"]
    assert (sizes["plan"]["batch"], sizes["scenes"]) == (6, 20)
    rates = [entry["learning_rate"] for entry in Log(tmp_path / "judge" / "log.jsonl").read()]
    assert max(rates) == 1e-4
    with pytest.raises(BadInput, match="batch 6, not 4"):
        make("judge", tmp_path / "judge", learning_rate=1e-4, scenes=20)


def test_another_configuration_is_refused(models):
    folder = models[0] / "judge"
    with pytest.raises(BadInput, match="seed 0, not 1"):
        make("judge", folder, seed=1)
    with pytest.raises(BadInput, match="recipe 'judge', not 'perception'"):
        make("perception", folder)


def test_folders_that_cannot_be(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for out in ("full", "full/notes.txt"):
        with pytest.raises(BadFile, match="`out`"):
            make("judge", tmp_path / out)
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_ingredients(models, tmp_path):
    root, _ = models
    with pytest.raises(BadInput, match="does not need `clip`"):
        make("judge", tmp_path / "j", clip=root / "clip")
    with pytest.raises(BadInput, match="'judge', not 'clip'"):
        make("diffusion", tmp_path / "d", clip=root / "judge", autoencoder=root / "autoencoder")
    with pytest.raises(BadFile, match="no finished model"):
        make("diffusion", tmp_path / "d", clip=tmp_path, autoencoder=root / "autoencoder")
    assert not (tmp_path / "d").exists()


def test_an_autoencoder_for_larger_images_keeps_its_latents(models, tmp_path):
    root, _ = models
    out, finished = tmp_path / "large", root / "autoencoder" / "model"
    report = make("autoencoder", out, autoencoder=root / "autoencoder", side=128)
    assert report.figures["latents_unexplained"] > 0
    identities = [LatentSpace(load_part(one)).identity for one in (finished, out / "model")]
    assert identities[0] == identities[1]
    large = load_part(out / "model")
    assert (large.config.sample_size, LatentSpace(large).factor) == (128, 16)
    diffusion = tmp_path / "diffusion"
    rest = {"clip": root / "clip", "judge": root / "judge", "autoencoder": out}
    make("diffusion", diffusion, **rest)
    assert load_diffusion(str(diffusion / "model"), "cpu").size == (128, 128)
    with pytest.raises(BadInput, match="`clip` 64, `side` 128"):  # it would be trained on them
        make("clip", tmp_path / "clip", clip=root / "clip", side=128)


def test_names():
    with pytest.raises(UnknownName, match="Did you mean clip"):
        make("clipp", Path("nowhere"))


def test_evaluation_repeats_the_figures_of_the_card(models):
    root, reports = models
    for name in ("judge", "autoencoder"):
        judge = root / "judge" if name == "autoencoder" else None
        request = RecipeEval(name=name, model=root / name / "model", judge=judge, count=8)
        found = blocks.run_recipe_eval(request, Silent())
        figures = {key: found.figures[key] for key in FIGURES[name]}
        assert figures == pytest.approx(reports[name].figures)
        assert set(found.reached) == set(found.aims)
        assert not any(found.reached.values())


def test_reconstructions_beside_those_of_the_built_in_autoencoder(models, tmp_path):
    from PIL import Image

    model, path = tmp_path / "large", tmp_path / "sheet.png"
    make("autoencoder", model, autoencoder=models[0] / "autoencoder", side=128)
    request = RecipeEval(name="autoencoder", model=model, count=8, sheet=path)
    figures = blocks.run_recipe_eval(request, Silent()).figures
    own = blocks.run_recipe_eval(RecipeEval(name="autoencoder", count=8), Silent()).figures
    for name in autoencoder._BESIDE:
        assert figures[f"{name}_before"] == own[name]
        assert (own[name] > figures[name]) == (name != "frechet")
    assert own["objects_of_real"] >= own["objects"] > 0.8 > own["objects_by_chance"]
    assert own["edge_f1"] > 0.6 > 0.3 > own["edge_f1_by_chance"]
    with Image.open(path) as sheet:
        width, height = sheet.size
    assert width > 3 * 128 and height > 12 * 128
    request = RecipeEval(name="autoencoder", model=models[0] / "autoencoder", count=8)
    small = blocks.run_recipe_eval(request, Silent()).figures
    assert not any(figure.endswith("_before") for figure in small)  # of other images
    with pytest.raises(BadInput, match="no `sheet`"):
        request = RecipeEval(name="judge", model=models[0] / "judge", sheet=path)
        blocks.run_recipe_eval(request, Silent())


def test_a_world_of_larger_images(models, tmp_path, monkeypatch):
    monkeypatch.setattr("graftwerk.recipes.diffusion._STEPS", 2)
    root, _ = models
    made = {name: tmp_path / name for name in ("judge", "perception", "clip", "autoencoder")}
    for name in ("judge", "perception", "clip"):
        make(name, made[name], side=128)
    both = {name: made[name] for name in ("judge", "perception")}
    make("autoencoder", made["autoencoder"], **both)
    diffusion, small = tmp_path / "diffusion", root / "autoencoder"
    rest = {name: made[name] for name in ("judge", "clip")}
    with pytest.raises(BadInput, match="`clip` 128, `autoencoder` 64, `judge` 128"):
        make("diffusion", diffusion, autoencoder=small, **rest)
    with pytest.raises(BadInput, match="`judge` 128, `side` 64"):
        make("autoencoder", tmp_path / "small", side=64, **both)
    make("diffusion", diffusion, autoencoder=made["autoencoder"], **rest)
    make("control-canny", tmp_path / "canny", diffusion=diffusion, judge=made["judge"])
    assert load_diffusion(str(diffusion / "model"), "cpu").size == (128, 128)
    assert "| images | 128 x 128 pixels |" in (diffusion / "model/README.md").read_text()
    with pytest.raises(BadInput, match="seed"):
        make("judge", made["judge"], seed=1)
    request = RecipeEval(
        name="autoencoder", model=made["autoencoder"], judge=made["judge"], count=8
    )
    beside = {f"{figure}_before" for figure in autoencoder._BESIDE}  # of the built-in one
    assert set(blocks.run_recipe_eval(request, Silent()).figures) == FIGURES["autoencoder"] | beside
    request = RecipeEval(name="diffusion", model=diffusion, judge=made["judge"], count=8)
    assert set(blocks.run_recipe_eval(request, Silent()).figures) == FIGURES["diffusion"]
    judged = blocks.run_recipe_eval(request.model_copy(update={"judge": None}), Silent())
    assert set(judged.figures) == FIGURES["diffusion"]  # by the built-in judge, at half the size


def test_evaluation_with_a_judge(models, monkeypatch):
    from graftwerk.recipes import diffusion

    monkeypatch.setattr(diffusion, "_STEPS", 2)
    root, _ = models
    request = RecipeEval(name="diffusion", model=root / "diffusion", judge=root / "judge", count=8)
    found = blocks.run_recipe_eval(request, Silent())
    assert set(found.figures) > set(found.aims)
    assert found.figures["frechet"] >= 0
    assert blocks.run_recipe_eval(request, Silent()).figures == found.figures


def test_evaluations_that_cannot_be(models, tmp_path):
    root, _ = models
    for changes, error, words in (
        ({"name": "clip"}, BadInput, "'judge', not 'clip'"),
        ({"model": tmp_path}, BadFile, "graft recipe run judge"),
        ({"judge": root / "judge"}, BadInput, "without a judge"),
        ({"name": "jugde"}, UnknownName, "judge"),
    ):
        request = RecipeEval(**({"name": "judge", "model": root / "judge"} | changes))
        with pytest.raises(error, match=words):
            blocks.run_recipe_eval(request, Silent())


def test_lower_is_better_for_errors():
    entry = next(entry for entry in RECIPES if entry.name == "perception")
    figures = {"mean_iou": 0.9, "depth_rmse_percent": 3.0, "keypoints_pck": 0.2}
    reached = blocks._reached(entry, figures)
    assert reached == {"mean_iou": True, "depth_rmse_percent": True, "keypoints_pck": False}
