import json
import math

import pytest
import torch
from tests.networks import write_language_model
from tests.support import Recorder

from graftwerk.adapters.lora import Rank
from graftwerk.errors import BadFile, BadInput, Cancelled
from graftwerk.finetune.lora_language import train_on_text
from graftwerk.finetune.lora_training import LoraJob
from graftwerk.models.language.local import load_local_writer
from graftwerk.training.session import Plan
from graftwerk.types import Prompt, Silent

pytestmark = pytest.mark.usefixtures("one_thread")
PLAN = Plan(steps=60, batch=4, learning_rate=2e-2, warm_up=5, average_decay=0.9)
TEXT = "a b c d e f g h " * 60


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_language_model(tmp_path_factory.mktemp("writer"))


@pytest.fixture
def lesson(model, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)

    def make(**changes):
        given = {"data": tmp_path / "text.txt", "out": tmp_path / "lora", "plan": PLAN}
        return LoraJob(model=str(model), rank=Rank(4), device="cpu", **(given | changes))

    return make


def test_perplexity_of_what_comes_after_falls(lesson, tmp_path):
    trained, tokens, sample, _ = train_on_text(lesson(), Silent())
    assert (tokens.length, tokens.held_out.shape) == (12, (4, 12))
    assert len(tokens.learned) + tokens.held_out.numel() == 480
    assert trained.change.gain > 5 * trained.change.margin > 0
    assert math.exp(trained.change.after) < 0.6 * math.exp(trained.change.before)
    text = " ".join(f"{sample.prompt} {sample.after}".split())
    assert sample.after.strip() and text in TEXT and sample.before != sample.after
    record = json.loads((tmp_path / "lora" / "graft.json").read_text())
    metrics = record["content"]["metrics"]
    assert metrics["perplexity_after"] == pytest.approx(math.exp(trained.change.after))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_peft_opens_it_and_measures_the_same(lesson, model, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    trained, tokens, *_ = train_on_text(lesson(), Silent())
    base = AutoModelForCausalLM.from_pretrained(str(model))
    opened = PeftModel.from_pretrained(base, str(tmp_path / "lora"))
    with torch.no_grad():
        loss = opened(input_ids=tokens.held_out, labels=tokens.held_out).loss
    assert float(loss) == pytest.approx(trained.change.after, rel=1e-5)


def test_the_writer_itself_stays_as_it_is(lesson, model):
    def written():
        writer = load_local_writer(str(model), max_tokens=8, device="cpu")
        return list(writer.write(Prompt(text="a b c", question="?")))

    before = written()
    train_on_text(lesson(), Silent())
    assert written() == before


def test_stopped_and_run_again_it_ends_with_the_same_bytes(lesson, tmp_path):
    train_on_text(lesson(out=tmp_path / "whole"), Silent())
    with pytest.raises(Cancelled):
        train_on_text(lesson(out=tmp_path / "cut"), Recorder(stop_after=30))
    train_on_text(lesson(out=tmp_path / "cut"), Silent())
    weights = [tmp_path / name / "adapter_model.safetensors" for name in ("whole", "cut")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_bad_texts(lesson, tmp_path):
    (tmp_path / "short.txt").write_text("a b c")
    with pytest.raises(BadInput, match="has 3 tokens; that is too little"):
        train_on_text(lesson(data=tmp_path / "short.txt"), Silent())
    with pytest.raises(BadFile, match="is not a file"):
        train_on_text(lesson(data=tmp_path / "none.txt"), Silent())
