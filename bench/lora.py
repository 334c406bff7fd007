"""LoRA beside peft under `transformers.Trainer`: one step, and a whole training of the top alone.

Both sides have the same network, LoRA layers, texts in the same batches, optimizer and precision,
and one thread. What is told is CPU time, so that other work on the machine counts little. Without
a folder of public data the texts are the tour's topics.
"""

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from bench.adapt import tables
from bench.trainer import arguments_of, cpu_seconds
from graftwerk.adapters.linear_head import LinearHead
from graftwerk.finetune.base_model import open_base
from graftwerk.finetune.problem import Problem, Source, open_problem
from graftwerk.finetune.run import plan_of, starting_head
from graftwerk.finetune.scoring import Settings
from graftwerk.finetune.tune import Tuning, load_network
from graftwerk.settings import settings
from graftwerk.training.loop import train
from graftwerk.training.session import Precision, Session
from graftwerk.training.state import fast_precision
from graftwerk.types import Silent

RANK, ALPHA, BATCH, RATE = 8, 16.0, 16, 5e-4
STEPS, EPOCHS = 20, 6
TOPS = (1, 2)  # last blocks that carry LoRA


def tuning_of(problem: Problem, head: LinearHead, epochs: float, top: int | None) -> Tuning:
    chosen = Settings("lora", RANK, ALPHA, top=top, epochs=epochs, batch=BATCH, learning_rate=RATE)
    return Tuning(problem, load_network(problem.base, "text"), head, chosen)


def ours(problem: Problem, tuning: Tuning, precision: Precision) -> tuple[float, float]:
    """CPU seconds of the whole training, states and the last checkpoint counted, and of a step."""
    plan = plan_of(problem, tuning.settings)
    ends: list[float] = []

    def note_end(*_state: object) -> bool:
        ends.append(time.process_time())
        return False

    with tempfile.TemporaryDirectory() as folder:
        session = Session(Path(folder), {}, precision=precision, watch=note_end)
        begin = time.process_time()
        if tuning.kept is not None:
            tuning.kept.fill(Silent())
        with tuning.running():
            train(tuning, plan, session, Silent())
        return time.process_time() - begin, step_of(ends)


def step_of(ends: list[float]) -> float:
    """The median time between the ends of two steps."""
    return float(np.median(np.diff(ends))) if len(ends) > 1 else math.nan


class Network(nn.Module):
    """The encoder with peft's LoRA layers and a head, as `transformers.Trainer` wants it."""

    def __init__(self, problem: Problem, tuning: Tuning, head: LinearHead) -> None:
        from peft import LoraConfig, get_peft_model

        super().__init__()
        trainable = load_network(problem.base, "text")
        steered = tuning.trainable.network.named_modules()
        names = [path for path, module in steered if hasattr(module, "lora_A")]
        config = LoraConfig(r=RANK, lora_alpha=int(ALPHA), target_modules=names)
        self.network = get_peft_model(trainable.network, config)
        for module in self.network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # as on the other side
        self.vectors = trainable.vectors
        self.head = nn.Linear(head.weight.shape[1], head.weight.shape[0])
        self.head.weight.data = torch.from_numpy(head.weight)
        self.head.bias.data = torch.from_numpy(head.bias)

    def forward(self, labels: torch.Tensor, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        inputs.pop("num_items_in_batch", None)  # the trainer's own
        scores = self.head(self.vectors(inputs))
        return {"loss": nn.functional.cross_entropy(scores, labels), "logits": scores}


def theirs(problem: Problem, tuning: Tuning, network: Network) -> tuple[float, float]:
    """CPU seconds of `transformers.Trainer` on the batches of `tuning`, and of a step."""
    from transformers import Trainer, TrainerCallback

    steps = plan_of(problem, tuning.settings).steps
    prepare = tuning.trainable.prepare
    rows = [location for step in range(steps) for location in tuning.batch(step * BATCH, BATCH)[1]]

    def collate(locations: list[int]) -> dict[str, torch.Tensor]:
        inputs = prepare([problem.examples.items[location] for location in locations])
        return {**inputs, "labels": torch.tensor(problem.targets.values[locations])}

    ends: list[float] = []

    class NoteEnd(TrainerCallback):
        def on_step_end(self, *_state: Any, **_more: Any) -> None:
            ends.append(time.process_time())

    class InOrder(Trainer):
        def get_train_dataloader(self) -> Any:
            return DataLoader(rows, batch_size=BATCH, collate_fn=collate)  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as folder:
        trainer = InOrder(
            model=network,
            args=arguments_of(folder, BATCH, RATE, max_steps=steps),
            train_dataset=rows,  # type: ignore[arg-type]
            callbacks=[NoteEnd()],
        )
        return cpu_seconds(trainer), step_of(ends)


def their_scores(problem: Problem, network: Network, prepare: Callable[..., Any]) -> np.ndarray:
    locations, found = problem.split.test, []
    with torch.no_grad():
        for start in range(0, len(locations), BATCH):
            part = locations[start : start + BATCH].tolist()
            vectors = network.vectors(
                prepare([problem.examples.items[location] for location in part])
            )
            found.append(network.head(vectors).numpy())
    return np.concatenate(found)


def one_step(problem: Problem, head: LinearHead) -> None:
    """A step with LoRA on every block."""
    epochs = STEPS * BATCH / len(problem.split.train)
    fastest = fast_precision("cpu")
    spent: dict[str, float] = {}
    tuning = tuning_of(problem, head, epochs, None)
    spent["graftwerk"] = ours(problem, tuning, "float32")[1]
    tuning = tuning_of(problem, head, epochs, None)
    network = Network(problem, tuning, head)
    spent["peft under transformers.Trainer"] = theirs(problem, tuning, network)[1]
    if fastest != "float32":
        tuning = tuning_of(problem, head, epochs, None)
        spent[f"graftwerk in {fastest}, its default here"] = ours(problem, tuning, fastest)[1]
    peer = spent["peft under transformers.Trainer"]
    print(f"a step: LoRA of rank {RANK} on all blocks, {BATCH} texts, median of {STEPS} steps\n")
    print("| | CPU ms a step | of the peer |\n|---|---|---|")
    for name, seconds in spent.items():
        print(f"| {name} | {1000 * seconds:.0f} | {seconds / peer:.2f} |")


def top_alone(problem: Problem, head: LinearHead, top: int) -> None:
    """A whole training with LoRA on the last blocks."""
    tuning = tuning_of(problem, head, EPOCHS, top)
    blocks = len(tuning.trainable.blocks())
    seconds, _ = ours(problem, tuning, "float32")
    with tuning.running():
        reached = tuning.scores(problem.split.test, "float32")
    tuning = tuning_of(problem, head, EPOCHS, top)
    if tuning.kept is not None:
        tuning.kept.fill(Silent())  # only for the order of its batches
    network = Network(problem, tuning, head)
    peer, _ = theirs(problem, tuning, network)
    prepare = tuning.trainable.prepare
    peer_reached = their_scores(problem, network, prepare)
    right, peer_right = (
        problem.measure(s, problem.split.test).value for s in (reached, peer_reached)
    )
    print(f"\nLoRA on the last {top} of {blocks} blocks, {EPOCHS} epochs, end to end\n")
    print("| | CPU s | accuracy |\n|---|---|---|")
    print(f"| graftwerk, what lies below computed once | {seconds:.1f} | {right:.3f} |")
    print(f"| peft under transformers.Trainer | {peer:.1f} | {peer_right:.3f} |")
    # In passes through one block; the way back through a frozen one with LoRA costs about one.
    whole, retained = EPOCHS * (blocks + top), blocks - top + EPOCHS * 2 * top
    print(
        f"\nratio {peer / seconds:.2f}; by the passes through blocks alone {whole / retained:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.lora", description=__doc__)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["GRAFTWERK_CACHE"] = str(folder / "cache")  # nothing is known beforehand
        settings.cache_clear()
        train_file, test_file, target = tables(options.data, folder)
        base = open_base("builtin/minilm", None, "cpu")
        problem = open_problem(base, Source(str(train_file), str(test_file), target), Silent())
        head = starting_head(problem, Silent())
        parts = problem.split
        print(f"{len(parts.train)} texts to learn from, {len(parts.test)} to test on\n")
        one_step(problem, head)
        for top in TOPS:
            top_alone(problem, head, top)


if __name__ == "__main__":
    main()
