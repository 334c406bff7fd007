"""`graft fit`, `predict`, `eval fit`, `compare`: from data to a folder and back."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from tests.classifiers import write_classifier
from tests.unit.commands.test_readout import write_vit
from tests.unit.finetune.conftest import *  # noqa: F403
from tests.unit.finetune.conftest import sentences, write_csv
from tests.unit.models.test_familiar import gradients

from graftwerk.commands import fit
from graftwerk.commands import fit as compare
from graftwerk.commands import fit as eval_fit
from graftwerk.commands import fit as predict
from graftwerk.errors import BadFile, BadInput, Damaged, WrongBase
from graftwerk.finetune.run import starting_head
from graftwerk.library.fitting import problem_of
from graftwerk.models.encoders import load_encoder
from graftwerk.models.ood import make_familiar, save_familiar
from graftwerk.requests.finetune import Compare, EvalFit, Fit, Predict
from graftwerk.types import Silent

TUNED = {"epochs": 3, "batch": 8, "rank": 2, "learning_rate": 3e-3, "device": "cpu"}


def make(tmp_path, texts, tiny, how="linear", **options):
    options = (TUNED if how != "linear" else {}) | options
    request = Fit(data=str(texts), model=str(tiny), how=how, out=tmp_path / how, **options)
    return fit.run_fit(request, Silent())


@pytest.mark.parametrize("how", ["linear", "lora", "full"])
def test_a_fit_predicts_as_it_was_measured(tmp_path, texts, tiny, how):
    made = make(tmp_path, texts, tiny, how)
    assert (made.how, made.data.test) == (how, made.score.count)
    # Evaluating on the same file leaves out what was learned: only the test examples stay.
    found = eval_fit.run_eval_fit(EvalFit(fit=tmp_path / how, data=str(texts)), Silent())
    assert found.learned == made.data.train + made.data.validation
    assert (found.score.value, found.score.count) == (made.score.value, made.score.count)
    new = write_csv(tmp_path / "new.csv", sentences(30, seed=9))
    rows = dict(sentences(30, seed=9))
    requested = Predict(fit=tmp_path / how, inputs=list(rows))
    predicted = predict.run_predict(requested, Silent()).predictions
    right = np.mean([one.label == rows[one.input] for one in predicted])
    assert (
        right
        == eval_fit.run_eval_fit(EvalFit(fit=tmp_path / how, data=str(new)), Silent()).score.value
    )
    assert right > 0.8
    assert not list(tmp_path.glob(f".{how}*"))  # nor is its training kept


def test_that_an_earlier_result_is_replaced_is_said(tmp_path, texts, tiny, listener):
    request = Fit(data=str(texts), model=str(tiny), how="linear", out=tmp_path / "out")
    said = "the earlier result in"
    fit.run_fit(request, listener)
    assert not [note for note in listener.notes if note.startswith(said)]
    fit.run_fit(request, listener)
    assert len([note for note in listener.notes if note.startswith(said)]) == 1


def test_a_table_lacks_what_the_fit_reads(tmp_path, texts, tiny):
    """The columns of the fit are read, whatever else is there, and no others."""
    make(tmp_path, texts, tiny)
    rows = [(text, text[::-1], "x") for text, _ in sentences(5, seed=9)]
    more = write_csv(tmp_path / "more.csv", rows, ("text", "other", "note"))
    predicted = predict.run_predict(Predict(fit=tmp_path / "linear", inputs=[str(more)]), Silent())
    alone = predict.run_predict(
        Predict(fit=tmp_path / "linear", inputs=[text for text, *_ in rows]), Silent()
    )
    pairs = zip(predicted.predictions, alone.predictions, strict=True)
    assert all(a.scores == pytest.approx(b.scores, abs=1e-5) for a, b in pairs)
    other = write_csv(tmp_path / "other.csv", [("red cat", 1)], ("body", "number"))
    with pytest.raises(BadInput, match=r"no column 'text'\. Its columns: body, number"):
        predict.run_predict(Predict(fit=tmp_path / "linear", inputs=[str(other)]), Silent())
    with pytest.raises(BadInput, match=r"no column 'text'\. Its columns: body, label"):
        test = write_csv(tmp_path / "test.csv", [("red cat", "warm")], ("body", "label"))
        make(tmp_path, texts, tiny, test=str(test))


def test_predictions_of_a_table_into_a_file(tmp_path, texts, tiny):
    make(tmp_path, texts, tiny)
    out = tmp_path / "said.csv"
    requested = Predict(fit=tmp_path / "linear", inputs=[str(texts)], out=out)
    predicted = predict.run_predict(requested, Silent()).predictions
    assert len(predicted) == 120
    lines = out.read_text().splitlines()
    columns = "input,label,probability,text,given_label,probability_cold,probability_warm"
    assert lines[0] == columns
    assert len(lines) == 121
    jsonl = Predict(fit=tmp_path / "linear", inputs=["red cat red"], out=tmp_path / "s.jsonl")
    predict.run_predict(jsonl, Silent())
    assert json.loads((tmp_path / "s.jsonl").read_text())["label"] in {"warm", "cold"}


def test_a_path_is_never_taken_for_words(tmp_path, texts, tiny, monkeypatch):
    make(tmp_path, texts, tiny)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("bug.jpg")
    (tmp_path / "note.txt").write_text("red cat red")
    (tmp_path / "notes").write_text("red cat red")

    def ask(*inputs):
        return predict.run_predict(Predict(fit=tmp_path / "linear", inputs=list(inputs)), Silent())

    with pytest.raises(BadInput, match=r"reads texts, and 'bug\.jpg' is an image"):
        ask("red cat red", "bug.jpg")
    with pytest.raises(BadInput, match=r"'notes' is a file of another kind"):
        ask("notes")
    for name in ("none.csv", "no/none.png", "none.TXT"):
        with pytest.raises(BadFile, match=f"'{name}' does not exist"):
            ask(name)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(BadInput, match=r"'empty\.txt' cannot be used: it is empty"):
        ask("empty.txt")
    read, words, sentence, long = ask(
        "note.txt", "red cat red", "red cat in none.csv", "red " * 200
    ).predictions
    assert read.scores == words.scores
    assert sentence.input == "red cat in none.csv"
    assert long.label == "warm"


def test_images_foreign_to_the_model_and_few_tests_are_told(tmp_path, listener):
    generator = np.random.default_rng(0)
    folder = write_vit(tmp_path / "vit")
    encoder = load_encoder(str(folder), device="cpu")
    save_familiar(folder, make_familiar(encoder, gradients(100), 0.05))
    noise = generator.integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)
    for number, pixels in enumerate(noise):
        path = tmp_path / "noise" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    requested = Fit(
        data=str(tmp_path / "noise"), model=str(folder), out=tmp_path / "fit", device="cpu"
    )
    reported = "20 of 20 images are unlike all that"
    for _ in range(2):  # computed, then from the cache
        listener.notes.clear()
        fit.run_fit(requested, listener)
        assert [reported in note for note in listener.notes[-2:]] == [False, True]
        assert any("only 4 test examples" in note for note in listener.notes)
    listener.notes.clear()
    predict.run_predict(Predict(fit=tmp_path / "fit", inputs=[str(path)], device="cpu"), listener)
    assert len(listener.notes) == 1
    assert listener.notes[0].startswith("1 of 1 image is unlike all that")


def test_a_sweep_tries_every_layer_and_keeps_the_best(tmp_path, texts, tiny):
    made = make(tmp_path, texts, tiny, sweep=True)
    assert [one.name for one in made.tried] == [
        *(f"layer {number}" for number in range(3)),
        "last layer",
        "all layers",
    ]
    retained = [one for one in made.tried if one.kept]
    assert len(retained) == 1
    assert retained[0].score == max(one.score for one in made.tried)
    found = eval_fit.run_eval_fit(EvalFit(fit=tmp_path / "linear", data=str(texts)), Silent())
    assert (found.score.value, found.score.count) == (made.score.value, made.score.count)


def test_all_layers_side_by_side_are_a_wider_head(tmp_path, texts, tiny):
    made = make(tmp_path, texts, tiny, layer="all")
    head = load_file(tmp_path / "linear" / "head.safetensors")
    assert head["weight"].shape[1] == 3 * 16
    found = eval_fit.run_eval_fit(EvalFit(fit=tmp_path / "linear", data=str(texts)), Silent())
    assert (found.score.value, found.score.count) == (made.score.value, made.score.count)
    for layer in ("all", 1):
        with pytest.raises(BadInput, match=f"`layer` {layer} reads others"):
            make(tmp_path, texts, tiny, how="lora", layer=layer, top=1)


def test_what_is_known_by_its_files_gets_no_others(tmp_path, texts, tiny, own_cache):
    with pytest.raises(BadFile, match="lies among the fetched models"):
        fit.run_fit(
            Fit(data=str(texts), model=str(tiny), how="linear", out=own_cache / "models/out"),
            Silent(),
        )
    assert not (own_cache / "models/out").exists()


def test_a_training_that_does_not_help_is_said_to(tmp_path, texts, tiny, listener):
    options = TUNED | {"learning_rate": 1e-9, "epochs": 1}
    request = Fit(data=str(texts), model=str(tiny), how="lora", out=tmp_path / "out", **options)
    fit.run_fit(request, listener)
    record = json.loads((tmp_path / "out/graft.json").read_text())["content"]
    assert record["settings"]["best_step"] == 0
    assert [note for note in listener.notes if "its linear head was kept" in note]


@pytest.mark.parametrize(("kind", "layer"), [("resnet", "multiscale"), ("vit", "all")])
@pytest.mark.parametrize("how", ["lora", "full"])
def test_networks_of_images_are_trained_from_the_layers_that_a_head_reads(
    tmp_path, how, kind, layer
):
    """The first validation is that of the default linear head, fitted on the same examples."""
    data, generator = tmp_path / "data", np.random.default_rng(0)
    for number in range(60):
        folder = data / ("light" if number % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 140, (20, 20, 3)) + 100 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "model").mkdir()
    model = write_classifier(tmp_path / "model", kind, side=32 if kind == "vit" else 64)
    changes = TUNED | {"epochs": 1, "data": str(data), "model": str(model)}
    with pytest.raises(BadFile, match="would lie in the model"):
        fit.run_fit(Fit(how=how, out=model / "fit", **changes), Silent())
    request = Fit(how=how, out=tmp_path / how, **changes)
    made = fit.run_fit(request, Silent())
    problem = problem_of(request, Silent()).at_layer(layer)
    locations = problem.split.validation
    scores = starting_head(problem, Silent()).score(problem.features(Silent())[locations])
    record = json.loads((tmp_path / how / "graft.json").read_text())["content"]
    assert record["layer"] == layer
    start = record["settings"]["validation_score_of_linear"]
    assert start == problem.measure(scores, locations).value
    # what was saved reads the same layers again
    found = eval_fit.run_eval_fit(EvalFit(fit=tmp_path / how, data=str(data)), Silent())
    assert (found.score.value, found.score.count) == (made.score.value, made.score.count)


def test_numbers_and_labels(tmp_path, tiny):
    rows = [(text, len(text)) for text, _ in sentences(120)]
    made = make(tmp_path, write_csv(tmp_path / "n.csv", rows), tiny, task="number")
    assert made.score.name == "R2"
    assert made.score.value > 0.5
    rows = [(t, "|".join(w for w in ("cat", "dog") if w in t.split())) for t, _ in sentences(200)]
    path = write_csv(tmp_path / "l.csv", [(t, label or "none") for t, label in rows])
    shutil.rmtree(tmp_path / "linear")
    made = make(tmp_path, path, tiny, task="labels")
    assert made.score.name == "micro F1"
    assert made.score.value > made.score.baseline


@pytest.mark.parametrize("how", ["linear", "lora", "full"])
def test_another_base_is_refused_by_both_names(tmp_path, texts, tiny, how):
    make(tmp_path, texts, tiny, how)
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-9}))
    requested = Predict(fit=tmp_path / how, inputs=["red"], model=str(other))
    with pytest.raises(WrongBase) as caught:
        predict.run_predict(requested, Silent())
    assert str(tiny) in str(caught.value)
    assert str(other) in str(caught.value)


def test_damage_is_named(tmp_path, texts, tiny):
    make(tmp_path, texts, tiny)
    path = tmp_path / "linear" / "head.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Damaged, match=r"head\.safetensors"):
        predict.run_predict(Predict(fit=tmp_path / "linear", inputs=["red"]), Silent())


def test_a_full_fit_is_a_model_folder_that_loads_elsewhere(tmp_path, texts, tiny):
    from transformers import AutoModel, AutoTokenizer

    make(tmp_path, texts, tiny, "full")
    folder = tmp_path / "full" / "model"
    network = AutoModel.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("red cat")["input_ids"]
    before = AutoModel.from_pretrained(tiny).encoder.layer[0].attention.self.query.weight
    after = network.encoder.layer[0].attention.self.query.weight
    assert before.shape == after.shape


def test_folders_that_hold_something_else_are_left_alone(tmp_path, texts, tiny):
    (tmp_path / "linear").mkdir()
    (tmp_path / "linear" / "mine.txt").write_text("mine")
    with pytest.raises(BadFile, match="not empty"):
        make(tmp_path, texts, tiny)
    assert (tmp_path / "linear" / "mine.txt").read_text() == "mine"


def test_learned_examples_only_are_refused(tmp_path, texts, tiny):
    test = write_csv(tmp_path / "test.csv", sentences(20, seed=5))
    make(tmp_path, texts, tiny, test=str(test))
    with pytest.raises(BadInput, match="has learned from every example"):
        eval_fit.run_eval_fit(EvalFit(fit=tmp_path / "linear", data=str(texts)), Silent())


def test_rows_that_are_also_tested_on_are_not_learned(tmp_path, tiny):
    rows = sentences(60)
    train = write_csv(tmp_path / "train.csv", rows)
    test = write_csv(tmp_path / "test.csv", rows[:10] + sentences(20, seed=5))
    made = make(tmp_path, train, tiny, test=str(test))
    assert made.data.leaked == 10
    assert made.data.train + made.data.validation == 50


def test_a_model_that_is_no_encoder(tmp_path, texts, text_pipeline):
    with pytest.raises(BadFile, match=r"is not an encoder: .* holds a diffusion pipeline"):
        make(tmp_path, texts, text_pipeline)


def test_a_model_of_speech_is_no_encoder(tmp_path, texts):
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8,), conv_stride=(2,), conv_kernel=(3,), num_feat_extract_layers=1,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(tmp_path / "speech")
    with pytest.raises(BadInput, match=r"'wav2vec2' is not a known encoder: it takes input_values"):
        make(tmp_path, texts, tmp_path / "speech")


def test_a_static_encoder_is_distilled_first_and_takes_a_head_only(tmp_path, texts, tiny):
    assert make(tmp_path, texts, f"static:{tiny}").score.value > 0.8
    with pytest.raises(BadInput, match="no network to train"):
        make(tmp_path, texts, f"static:{tiny}", "full")


def test_auto_takes_the_cheapest_that_is_good_enough(tmp_path, texts, tiny):
    request = Fit(
        data=str(texts), model=str(tiny), how="auto", out=tmp_path / "auto", minutes=0.5, **TUNED
    )
    made = fit.run_fit(request, Silent())
    assert made.how == "linear"  # its classes are linearly separable
    names = [one.name for one in made.tried]
    assert names == ["linear", "lora rank 2 rate 0.003", "full rate 0.003"]
    assert [one.kept for one in made.tried] == [True, False, False]


def test_without_a_method_lora_is_tried_where_examples_can_choose(tmp_path, texts, tiny):
    many = write_csv(tmp_path / "many.csv", sentences(300, seed=3))
    options = {"model": str(tiny), "minutes": 0.2, **TUNED}
    made = fit.run_fit(Fit(data=str(many), out=tmp_path / "many", **options), Silent())
    assert [one.name for one in made.tried] == ["linear", "lora rank 2 rate 0.003"]
    [full] = made.others
    assert full.startswith("full: ") and full.endswith(" min (--how full)")
    few = fit.run_fit(Fit(data=str(texts), out=tmp_path / "few", **options), Silent())
    assert (few.how, few.tried) == ("linear", [])
    swept = Fit(data=str(many), out=tmp_path / "swept", sweep=True, **options)
    assert len(fit.run_fit(swept, Silent()).tried) == 5  # every layer, and all joined


def test_where_lora_cannot_be_had_the_fit_is_linear(tmp_path, tiny, listener):
    many = write_csv(tmp_path / "many.csv", sentences(300, seed=3))
    options = {"data": str(many), "model": str(tiny), "targets": ["no_such_layer"], **TUNED}
    made = fit.run_fit(Fit(out=tmp_path / "fit", **options), listener)
    assert made.how == "linear" and any("lora was tried and left out" in n for n in listener.notes)
    with pytest.raises(BadInput, match="no_such_layer"):
        fit.run_fit(Fit(out=tmp_path / "auto", how="auto", **options), Silent())


def test_a_fit_ends_with_what_other_methods_would_give(tmp_path, texts, tiny):
    hard = write_csv(
        tmp_path / "hard.csv",
        [
            (text, label if n % 3 else "odd")
            for n, (text, label) in enumerate(sentences(120, seed=4))
        ],
    )
    made = make(tmp_path, hard, tiny)
    assert [line.split(":")[0] for line in made.others] == ["lora", "full"]
    assert all("accuracy not known; it learns from" in line for line in made.others)
    perfect = make(tmp_path, texts, tiny, "lora")
    linear, full = perfect.others
    assert linear.startswith("linear: 1.000 on the validation examples, where lora has 1.000")
    assert "no gain" in full if perfect.score.high == 1 else "not known" in full


def test_compare_measures_all_and_recommends(tmp_path, texts, tiny):
    make(tmp_path, texts, tiny)
    request = Compare(
        data=str(texts), model=str(tiny), out=tmp_path / "compare",
        old=tmp_path / "linear", old_data=str(texts), rates=2, **TUNED,
    )  # fmt: skip
    found = compare.run_compare(request, Silent())
    linear, lora, full, mixed = found.ways
    assert [method.name for method in found.ways] == ["linear", "lora", "full", "wise-ft"]
    assert linear.parameters < lora.parameters < full.parameters == mixed.parameters
    assert linear.bytes < lora.bytes < full.bytes
    assert linear.drift == 0.0
    assert linear.old_score is not None
    assert linear.old_score > 0.8
    assert found.before == f"the head in {tmp_path / 'linear'}"
    assert 0 < linear.old_loss < 0.7
    assert full.old_loss != linear.old_loss
    assert found.recommended == "linear"
    assert "linear" in found.reason
    assert all(method.note.endswith((" tried)", "to full")) for method in found.ways[1:])
    assert [step.examples for step in found.curve] == sorted(step.examples for step in found.curve)
    assert "more examples" in found.more_examples
    assert (tmp_path / "compare" / "compare.png").read_bytes().startswith(b"\x89PNG")
    for method in ("linear", "lora", "full"):
        again = EvalFit(fit=tmp_path / "compare" / method, data=str(texts))
        score = next(one.score for one in found.ways if one.name == method)
        assert eval_fit.run_eval_fit(again, Silent()).score.value == score.value


def test_a_full_disk_leaves_the_former_fit_whole(tmp_path, texts, tiny, monkeypatch):
    from graftwerk import files
    from graftwerk.errors import NoRoom

    make(tmp_path, texts, tiny)
    before = (tmp_path / "linear" / "graft.json").read_bytes()

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_plain", full)
    with pytest.raises(NoRoom, match="linear"):
        make(tmp_path, texts, tiny)
    assert (tmp_path / "linear" / "graft.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "linear", "texts.csv"]


def test_photographs_without_a_named_model(photographs, scenes, texts, tmp_path, listener):
    request = Fit(data=str(photographs), how="linear", out=tmp_path / "out", device="cpu")
    made = fit.run_fit(request, listener)
    assert made.model == "imagenet" and made.score.value > made.score.baseline
    assert sum(note.startswith("no model was named: imagenet") for note in listener.notes) == 1
    one = str(photographs / "warm" / "0.png")
    found = predict.run_predict(Predict(fit=tmp_path / "out", inputs=[one]), Silent())
    assert found.predictions[0].label == "warm"
    rows = [(path.relative_to(tmp_path), path.parent.name) for path in photographs.rglob("*.png")]
    table = write_csv(tmp_path / "t.csv", rows, ("file", "label"))
    assert (
        fit.run_fit(request.model_copy(update={"data": str(table)}), Silent()).model == "imagenet"
    )
    for data in (scenes, photographs):  # these suit it not; there it is not fetched any more
        with pytest.raises(BadInput, match=r"holds images.*`model` imagenet \(graft models fetch"):
            fit.run_fit(request.model_copy(update={"data": str(data)}), Silent())
        (tmp_path / "fetched" / "models" / "imagenet" / "graft.json").unlink(missing_ok=True)
    named = Fit(data=str(photographs), model="builtin/minilm", how="linear", out=tmp_path / "named")
    with pytest.raises(BadInput, match="holds images"):
        fit.run_fit(named, Silent())


def test_texts_do_not_ask_for_a_model_of_photographs(photographs, texts, tmp_path, listener):
    request = Fit(data=str(texts), how="linear", out=tmp_path / "out", device="cpu")
    assert fit.run_fit(request, listener).model == "builtin/minilm"
    assert not any("imagenet" in note for note in listener.notes)
