"""Training a branch on a tiny pipeline: the check at step 0, resuming, what is written."""

import json
import shutil

import pytest
import torch
from PIL import Image
from tests.pipelines import control_request

from graftwerk.commands import condition, generate
from graftwerk.controlnet.branch import Shape, make_branch
from graftwerk.controlnet.convergence import Meter, Verdict
from graftwerk.controlnet.pairs import PairSource, store_pairs
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.errors import BadFile, BadInput, Cancelled, Diverged
from graftwerk.requests.generate import Generate
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = ["a red cube", "a blue sphere", "a green cone on grass", "a cube and a sphere"]


class StopsAfter(Silent):
    """A user who presses Ctrl-C after some steps of the training."""

    def __init__(self, steps):
        self.left, self.trains = steps, False

    def start(self, task, total=None):
        self.trains = task == "training"

    def advance(self, count=1):
        self.left -= self.trains
        if self.trains and self.left == 0:
            raise Cancelled("stopped")


@pytest.fixture(scope="module")
def pictures(captioned_images):
    return captioned_images


def weights(out):
    from safetensors.torch import load_file

    return load_file(out / "branch" / "diffusion_pytorch_model.safetensors")


def test_it_trains_resumes_to_the_same_bits_and_draws(tmp_path, pictures, text_pipeline):
    whole = condition.run_control_train(
        control_request(pictures, text_pipeline, tmp_path / "a"), Silent()
    )
    assert whole.controlnet and whole.finished and (whole.steps, whole.pairs) == (4, 4)
    assert whole.verdict in {"not yet", "not learning"}
    first = weights(tmp_path / "a")
    with pytest.raises(Cancelled):
        condition.run_control_train(
            control_request(pictures, text_pipeline, tmp_path / "b"), StopsAfter(2)
        )
    condition.run_control_train(control_request(pictures, text_pipeline, tmp_path / "b"), Silent())
    resumed = weights(tmp_path / "b")
    assert all(torch.equal(value, first[key]) for key, value in resumed.items())
    meters = [(tmp_path / name / "meter.jsonl").read_text() for name in "ab"]
    assert meters[0] == meters[1]
    assert any(bool(v.any()) for k, v in first.items() if k.startswith("controlnet_down_blocks"))
    again = condition.run_control_train(
        control_request(pictures, text_pipeline, tmp_path / "a"), Silent()
    )
    assert again.steps == 4
    assert all(torch.equal(v, first[k]) for k, v in weights(tmp_path / "a").items())
    meter = (tmp_path / "a" / "meter.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in meter] == [0, 2, 4]
    assert (tmp_path / "a" / "convergence.png").stat().st_size > 1000
    assert (tmp_path / "a" / "samples" / "strips.png").is_file()
    sampled = generate.run_generate(
        Generate(
            prompt="a red cube",
            model=str(text_pipeline),
            control=[f"canny={pictures / '0.png'}:0.7"],
            branch=[f"canny={tmp_path / 'a' / 'branch'}"],
            out=tmp_path / "drawn",
            count=2,
            best_of=2,
            steps=3,
            reuse=2,
            device="cpu",
        ),
        Silent(),
    )
    assert len(sampled.pictures) == 2 and sampled.controls[0].kind == "canny"


def test_a_light_branch_is_kept_in_our_own_form(tmp_path, pictures, text_pipeline):
    report = condition.run_control_train(
        control_request(pictures, text_pipeline, tmp_path / "a", body="light", start="gaussian"),
        Silent(),
    )
    assert not report.controlnet
    assert (tmp_path / "a" / "branch" / "model.safetensors").is_file()


def test_conditions_that_are_brought(tmp_path, pictures, text_pipeline):
    provided = tmp_path / "conditions"
    provided.mkdir()
    for number in range(7):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(provided / f"{number}.png")
    with pytest.raises(BadInput, match=r"1 of 8 images have no condition.*7\.png"):
        condition.run_control_train(
            control_request(pictures, text_pipeline, tmp_path / "a", conditions=provided), Silent()
        )


def test_conditions_are_found_by_names_that_tell_images_apart(tmp_path, pictures, text_pipeline):
    pictures = shutil.copytree(pictures, tmp_path / "pictures")
    (pictures / "more").mkdir()
    shutil.copy(pictures / "0.png", pictures / "more" / "0.png")
    provided = tmp_path / "conditions"
    provided.mkdir()
    for number in range(8):
        noise(provided / f"{number}.png", number)
    with pytest.raises(BadInput, match=r"several images have the same name \(0\)"):
        condition.run_control_train(
            control_request(
                pictures, text_pipeline, tmp_path / "a", conditions=provided, caption="a line"
            ),
            Silent(),
        )


def noise(path, number, size=(32, 32)):
    """A white line on black, in another place for each number."""
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), (number, 0, number + 2, size[1]))
    image.save(path)


def test_conditions_that_are_brought_are_looked_at(tmp_path, pictures, text_pipeline):
    provided = tmp_path / "conditions"
    provided.mkdir()

    class Notes(Silent):
        def __init__(self):
            self.notes = []

        def note(self, text):
            self.notes.append(text)

    def train(out):
        monitor = Notes()
        requested = control_request(pictures, text_pipeline, tmp_path / out, conditions=provided)
        condition.run_control_train(requested, monitor)
        return monitor.notes

    for number in range(8):
        Image.new("RGB", (32, 32)).save(provided / f"{number}.png")
    with pytest.raises(BadInput, match="all 8 canny conditions are empty"):
        train("a")
    for number in range(6):
        noise(provided / f"{number}.png", number)
    assert any("2 of 8 canny conditions are empty" in note for note in train("b"))
    noise(provided / "7.png", 3, (32, 16))
    with pytest.raises(BadInput, match=r"7\.png has 32 x 16 pixels, its image 32 x 32"):
        train("c")
    Image.linear_gradient("L").resize((32, 32)).convert("RGB").save(provided / "7.png")
    with pytest.raises(BadInput, match=r"7\.png is not a canny map"):
        train("d")
    assert not (tmp_path / "d").exists()


def test_what_diverged_is_not_handed_over(tmp_path, pictures, text_pipeline, monkeypatch):
    worse = Verdict("diverged", None, "the held-out loss is nan.")
    monkeypatch.setattr("graftwerk.controlnet.train.judge", lambda *_: worse)
    with pytest.raises(Diverged, match="no branch is written: the held-out loss is nan"):
        condition.run_control_train(
            control_request(pictures, text_pipeline, tmp_path / "a"), Silent()
        )
    assert not (tmp_path / "a" / "branch").exists()
    assert (tmp_path / "a" / "convergence.png").is_file()


def test_the_newborn_branch_is_checked(tmp_path, pictures, text_pipeline):
    model = load_diffusion(str(text_pipeline), "cpu")
    images = [Image.open(path).convert("RGB") for path in sorted(pictures.glob("*.png"))]
    raw = PairSource(images, [WORDS[0]] * len(images), images, None, "brought")
    pairs = store_pairs(raw, model, tmp_path / "pairs", Silent())
    branch = make_branch(model.unet, Shape(model.factor), torch.Generator().manual_seed(0))
    meter = Meter(model, branch, pairs, 8)
    assert meter.check_birth()
    assert meter.measure(0).gap == 0
    with torch.no_grad():
        branch.joins[-1].bias.add_(0.1)
    assert not meter.check_birth()
    assert meter.plain_guess > 0


def test_a_table_cannot_name_a_condition_outside_of_the_data(pictures, text_pipeline, tmp_path):
    data, secret = tmp_path / "data", tmp_path / "secret.png"
    data.mkdir()
    for folder in (data / "0.png", secret):
        folder.write_bytes((pictures / "0.png").read_bytes())
    row = {"file_name": "0.png", "caption": "a red cube", "conditioning_image": "../secret.png"}
    (data / "metadata.jsonl").write_text(json.dumps(row))
    with pytest.raises(BadFile, match=r"line 1 of .* names '../secret.png', which lies outside"):
        condition.run_control_train(
            control_request(data, text_pipeline, tmp_path / "out"), Silent()
        )
    assert not (tmp_path / "out").exists()


def test_another_accumulation_is_another_training(pictures, text_pipeline, tmp_path):
    condition.run_control_train(
        control_request(pictures, text_pipeline, tmp_path / "out"), Silent()
    )
    with pytest.raises(BadInput, match="accumulate 1, not 2"):
        condition.run_control_train(
            control_request(pictures, text_pipeline, tmp_path / "out", accumulate=2), Silent()
        )
