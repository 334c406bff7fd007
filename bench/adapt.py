"""A linear head on cached features beside ten epochs of `transformers.Trainer` on a frozen base.

Both learn from the same texts and are tested on the same others, end to end: from text to a head,
imports and the loading of the model not counted. The peer's base is frozen as a user would do it,
so each epoch runs it again. Told is CPU time, so that other work on the machine counts little.
Without a folder of public data the texts are the tour's topics.
"""

import argparse
import csv
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.trainer import arguments_of, cpu_seconds
from graftwerk.finetune.base_model import open_base
from graftwerk.finetune.linear import fit_linear
from graftwerk.finetune.methods import make_linear
from graftwerk.finetune.problem import Problem, Source, open_problem
from graftwerk.finetune.scoring import ignore
from graftwerk.finetune.tune import load_network
from graftwerk.models.trainable import Trainable
from graftwerk.tour.text import topic_table
from graftwerk.types import Silent

TRAIN, TEST = 400, 200
EPOCHS, BATCH, RATE = 10, 32, 1e-2


def tables(data: Path | None, folder: Path) -> tuple[Path, Path, str]:
    """Files to learn from and to test on, and the name of the target's column."""
    train, test = folder / "train.csv", folder / "test.csv"
    if data is None:
        lines = topic_table(TRAIN + TEST, 0).splitlines(keepends=True)
        header, rows, target = lines[:1], lines[1:], "topic"
    else:
        with (data / "ag_news/rows-4000.csv").open(encoding="utf-8", newline="") as file:
            found = list(csv.reader(file))[: TRAIN + TEST]
        rows = [f'{label},"{title} {text}"\n'.replace('""', "'") for label, title, text in
                ([c.replace('"', "'") for c in row] for row in found)]  # fmt: skip
        header, target = ["label,text\n"], "label"
    train.write_text("".join(header + rows[:TRAIN]), "utf-8")
    test.write_text("".join(header + rows[TRAIN:]), "utf-8")
    return train, test, target


class Classifier(torch.nn.Module):
    """The frozen base with a head, as `transformers.Trainer` wants it."""

    def __init__(self, trainable: Trainable, outputs: int) -> None:
        super().__init__()
        self.base = trainable.network.requires_grad_(False)
        self.vectors = trainable.vectors
        width = trainable.encode(trainable.prepare(["a text"])).shape[1]
        self.head = torch.nn.Linear(width, outputs)

    def forward(self, labels: torch.Tensor, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        inputs.pop("num_items_in_batch", None)  # the trainer's own
        # Unit vectors are short: scaled as the linear fit scales them.
        scores = self.head(self.vectors(inputs) * self.head.in_features**0.5)
        return {"loss": torch.nn.functional.cross_entropy(scores, labels), "logits": scores}


def with_trainer(problem: Problem) -> tuple[float, float]:
    """CPU seconds and accuracy of the peer."""
    from transformers import Trainer

    torch.manual_seed(0)
    trainable = load_network(problem.base, "text")
    model = Classifier(trainable, problem.targets.outputs)

    def rows(locations: np.ndarray) -> list[dict[str, Any]]:
        return [{"place": int(location)} for location in locations]

    def collate(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        locations = [one["place"] for one in batch]
        inputs = trainable.prepare([problem.examples.items[location] for location in locations])
        return {**inputs, "labels": torch.tensor(problem.targets.values[locations])}

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=arguments_of(folder, BATCH, RATE, num_train_epochs=EPOCHS),
            train_dataset=rows(problem.split.learned),
            data_collator=collate,
        )
        seconds = cpu_seconds(trainer)
    with torch.no_grad():
        batch = collate(rows(problem.split.test))
        predicted = model(**batch)["logits"].argmax(dim=1).numpy()
    return seconds, float((predicted == problem.targets.values[problem.split.test]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        train, test, target = tables(options.data, Path(folder))
        base = open_base("builtin/minilm", None, "cpu")
        source = Source(str(train), str(test), target)
        problem = open_problem(base, source, Silent())
        encode = base.encoder()
        encode(problem.examples.items[:8], ignore)
        begin = time.process_time()
        learned = [problem.examples.items[location] for location in problem.split.learned.tolist()]
        features = encode(learned, ignore)
        encoding = time.process_time() - begin
        values = problem.targets.values[problem.split.learned]
        targets = type(problem.targets)("class", problem.targets.labels, values)
        begin = time.process_time()
        fit_linear(features, targets, np.arange(len(values)), base.fingerprint)
        fitting = time.process_time() - begin
        accuracy = make_linear(problem, Silent()).score.value
        peer_seconds, peer_accuracy = with_trainer(problem)
    print(f"{len(values)} texts to learn from, {len(problem.split.test)} to test on\n")
    print("| | CPU s, end to end | accuracy |\n|---|---|---|")
    print(f"| graftwerk linear, features new | {encoding + fitting:.1f} | {accuracy:.3f} |")
    print(f"| graftwerk linear, features cached | {fitting:.2f} | {accuracy:.3f} |")
    name = f"transformers.Trainer, frozen base, {EPOCHS} epochs"
    print(f"| {name} | {peer_seconds:.1f} | {peer_accuracy:.3f} |")
    print(f"\nratio {peer_seconds / (encoding + fitting):.1f} with new features")


if __name__ == "__main__":
    main()
