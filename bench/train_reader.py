"""Train `builtin/reader`: where in a passage the answer to a question is, and whether it is there.

    python -m bench.train_reader OUT --qed FOLDER --covid FOLDER [--squad FILE ...] [--pairs N]
        [--export FOLDER]

OUT keeps a checkpoint, from which the same command continues. FOLDER of --qed has the training
files of QED (questions of Natural Questions with their Wikipedia paragraphs), that of --covid the
JSON files of COVID-QA, and the files of --squad are in SQuAD's format; passages of made-up
handbooks come from `bench/reader_passages.py`. The weights of `builtin/minilm` stay as they are;
LoRA of its linear layers, its two segment embeddings and three heads are trained: start and end of
the answer, and whether the passage answers. Start and end point to the first token where it does
not. To go on from trained weights (--start), a low rate and large batches are needed (`--rate 6e-5
--batch 32`): with 1.5e-4 and 16 pairs, the loss on pairs not seen rose.
"""

import argparse
import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import nn
from torch.nn import functional

from graftwerk.models.hub import builtin_folder
from graftwerk.models.language.reader import LONGEST_SPAN, encode_pair

from .reader_pairs import Pair, add_data_options, held_out, make_pairs
from .reader_passages import handbook_pairs

RANK, SCALE = 32, 2.0
LINEAR = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")


class LowRank(nn.Module):
    """A frozen linear layer plus a trained one of low rank."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(RANK, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, RANK))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added = functional.linear(functional.linear(x, self.down), self.up) * SCALE
        return self.base(x) + added


class Reader(nn.Module):
    """MiniLM with LoRA and three heads."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertModel

        folder = builtin_folder("builtin/minilm")
        self.bert: Any = BertModel.from_pretrained(folder, add_pooling_layer=False)
        self.bert.requires_grad_(False)
        for layer in self.bert.encoder.layer:
            for name, module in list(layer.named_modules()):
                if isinstance(module, nn.Linear) and name.endswith(LINEAR):
                    parent, _, last = name.rpartition(".")
                    setattr(layer.get_submodule(parent), last, LowRank(module))
        self.bert.embeddings.token_type_embeddings.requires_grad_(True)
        self.spans = nn.Linear(384, 2)
        self.relevance = nn.Linear(384, 1)

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of start and end [b, 2, t], and those of relevance [b]."""
        states = self.bert(
            input_ids=batch["ids"], attention_mask=batch["mask"], token_type_ids=batch["types"]
        ).last_hidden_state
        spans = self.spans(states).transpose(1, 2)
        spans = spans.masked_fill(batch["allowed"][:, None] == 0, -1e4)
        return spans, self.relevance(states[:, 0])[:, 0]

    def trained(self) -> dict[str, torch.Tensor]:
        return {n: p for n, p in self.state_dict(keep_vars=True).items() if p.requires_grad}


@dataclass
class Item:
    """A pair as tokens: which may be answers, and the first and last token of the answer.

    If `loose`, the answer is some of these tokens.
    """

    ids: list[int]
    second: int
    allowed: int
    start: int
    end: int
    loose: bool


class Tokens:
    """Makes items of pairs."""

    def __init__(self, longest: int) -> None:
        from tokenizers import Tokenizer

        file = builtin_folder("builtin/minilm") / "tokenizer.json"
        self.tokenizer = Tokenizer.from_file(str(file))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.longest = longest

    def item(self, pair: Pair) -> Item | None:
        """Return the item; None if its answer is beyond the longest input."""

        parts = (pair.question, pair.heading, pair.passage)
        found = encode_pair(self.tokenizer, *parts, self.longest)
        start = end = 0
        if pair.span is not None:
            inside = [
                n for n, (a, b) in enumerate(found.offsets) if b > pair.span[0] and a < pair.span[1]
            ]
            if not inside or found.passage + inside[-1] >= len(found.ids) - 1:
                return None
            start, end = found.passage + inside[0], found.passage + inside[-1]
        return Item(found.ids, found.second, found.passage, start, end, pair.loose)


def collate(items: list[Item]) -> dict[str, torch.Tensor]:
    width = max(len(one.ids) for one in items)
    shape = (len(items), width)
    batch = {name: torch.zeros(shape, dtype=torch.long) for name in ("ids", "mask", "types")}
    batch["allowed"] = torch.zeros(shape, dtype=torch.long)
    for row, one in enumerate(items):
        length = len(one.ids)
        batch["ids"][row, :length] = torch.tensor(one.ids)
        batch["mask"][row, :length] = 1
        batch["types"][row, one.second : length] = 1
        batch["allowed"][row, one.allowed : length - 1] = 1
        batch["allowed"][row, 0] = 1
    batch["first"] = torch.tensor(
        [[one.start, one.start if one.loose else one.end] for one in items]
    )
    batch["last"] = torch.tensor([[one.end if one.loose else one.start, one.end] for one in items])
    return batch


def loss_of(reader: Reader, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    spans, relevance = reader(batch)
    tokens = torch.arange(spans.shape[2])
    right = (tokens >= batch["first"][..., None]) & (tokens <= batch["last"][..., None])
    within = spans.masked_fill(~right, -torch.inf).logsumexp(2)
    pointed = (spans.logsumexp(2) - within).mean()
    answered = (batch["first"][:, 0] > 0).float()
    return pointed + 0.5 * functional.binary_cross_entropy_with_logits(relevance, answered)


def grouped(items: list[Item], batch: int, chance: random.Random) -> list[list[Item]]:
    """Batches of items of similar length, in random order."""
    order = list(items)
    chance.shuffle(order)
    batches = []
    for start in range(0, len(order), batch * 40):
        pool = sorted(order[start : start + batch * 40], key=lambda one: len(one.ids))
        cut = [pool[n : n + batch] for n in range(0, len(pool), batch)]
        chance.shuffle(cut)
        batches += cut
    return batches


@torch.no_grad()
def evaluate(reader: Reader, items: list[Item]) -> str:
    """Exact match and F1 of tokens of answered pairs, and accuracy of relevance on all.

    Where only the sentence is known, both are the share of spans within it.
    """
    reader.eval()
    exact, f1, right = [], [], []
    order = sorted(items, key=lambda one: len(one.ids))
    for n in range(0, len(order), 16):
        rows = order[n : n + 16]
        spans, relevance = reader(collate(rows))
        for one, pair, logit in zip(rows, spans, relevance, strict=True):
            right.append((logit > 0).item() == (one.start > 0))
            if one.start:
                pair[:, 0] = -1e4
                scores = pair[0][:, None] + pair[1][None]
                allowed = torch.ones_like(scores, dtype=torch.bool).triu().tril(LONGEST_SPAN - 1)
                scores = scores.masked_fill(~allowed, -1e5)
                start, end = divmod(int(scores.argmax()), scores.shape[1])
                shared = min(end, one.end) - max(start, one.start) + 1
                if one.loose:
                    exact.append(shared == end - start + 1)
                    f1.append(float(exact[-1]))
                    continue
                exact.append((start, end) == (one.start, one.end))
                total = end - start + one.end - one.start + 2
                f1.append(max(0, shared) * 2 / total)
    return (
        f"exact {np.mean(exact):.3f}, F1 {np.mean(f1):.3f} of {len(f1)} answered; "
        f"relevance right {np.mean(right):.3f} of {len(right)}"
    )


def optimizer_of(reader: Reader, rate: float) -> torch.optim.AdamW:
    named = reader.trained()
    up = [p for n, p in named.items() if n.endswith(".up")]
    heads = [p for n, p in named.items() if n.startswith(("spans", "relevance"))]
    rest = [p for n, p in named.items() if not n.endswith(".up") and p not in set(heads)]
    groups = [
        {"params": up, "lr": rate * 2},
        {"params": heads, "lr": rate},
        {"params": rest, "lr": rate / 2},
    ]
    return torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.98))


def train(reader: Reader, batches: list[list[Item]], held: dict[str, list[Item]], options: Any):
    """Train on the batches in order; continue where a checkpoint is."""
    optimizer = optimizer_of(reader, options.rate)
    steps, warm = len(batches), max(1, len(batches) // 20)

    def share(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.02 + 0.49 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    rates = [group["lr"] for group in optimizer.param_groups]
    file = options.out / "checkpoint.pt"
    first = 0
    if file.exists():
        saved = torch.load(file, weights_only=True)
        reader.load_state_dict(saved["reader"], strict=False)
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
        print(f"continues at step {first}", flush=True)
    begin, losses, pairs = time.perf_counter(), [], 0
    for step in range(first, steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * share(step)
        loss = loss_of(reader, collate(batches[step]))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(list(reader.trained().values()), 1.0)
        optimizer.step()
        losses.append(loss.item())
        pairs += len(batches[step])
        done = step + 1
        if done % 25 == 0 or done == steps:
            rate = pairs / (time.perf_counter() - begin)
            print(
                f"{done}/{steps} loss {np.mean(losses[-100:]):.3f}, {rate:.1f} pairs/s", flush=True
            )
        if done % 100 == 0 or done == steps:
            state = {
                "reader": {n: p.detach() for n, p in reader.trained().items()},
                "optimizer": optimizer.state_dict(),
                "step": done,
            }
            torch.save(state, options.out / "checkpoint.part")
            (options.out / "checkpoint.part").replace(file)
        if done % options.evaluate == 0 or done == steps:
            for name, items in ((n, i) for n, i in held.items() if i):
                print(f"  {name}: {evaluate(reader, items)}", flush=True)


def lowered(trained: dict[str, torch.Tensor], rank: int) -> dict[str, torch.Tensor]:
    """LoRA as close as one of this rank can be, by singular values."""
    found = {name: value.detach() for name, value in trained.items()}
    for name in [one for one in found if one.endswith(".up")]:
        down = f"{name.removesuffix('.up')}.down"
        left, values, right = torch.linalg.svd(found[name] @ found[down], full_matrices=False)
        roots = values[:rank].sqrt()
        found[name], found[down] = left[:, :rank] * roots, roots[:, None] * right[:rank]
    return found


def export(reader: Reader, folder: Path, longest: int, rank: int) -> None:
    """Write LoRA in 8 bits with a step for each row, the rest in 16 bits."""
    tensors: dict[str, np.ndarray] = {}
    for name, value in lowered(reader.trained(), rank).items():
        array = np.ascontiguousarray(value.numpy())  # as save_file writes it
        if not name.endswith((".up", ".down")):
            short = "types" if "token_type" in name else name
            tensors[short] = array.astype(np.float16)
            continue
        array = array * (SCALE if name.endswith(".up") else 1.0)
        short = name.removeprefix("bert.encoder.layer.")
        step = np.abs(array).max(axis=1, keepdims=True) / 127
        step = np.maximum(step, 1e-8).astype(np.float32)
        tensors[short] = np.round(array / step).astype(np.int8)
        tensors[f"{short}_step"] = step[:, 0]
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    config = {
        "model_type": "graftwerk-reader",
        "base": "builtin/minilm",
        "rank": rank,
        "max_length": longest,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def exported(folder: Path) -> dict[str, torch.Tensor]:
    """Read what `export` wrote; a lower rank is filled up without changing what is computed."""
    tensors = load_file(folder / "model.safetensors")
    found: dict[str, torch.Tensor] = {}
    chance = torch.Generator().manual_seed(0)
    for name, value in sorted(tensors.items()):
        if name.endswith(".down"):
            low = torch.from_numpy(value * tensors[f"{name}_step"][:, None])
            further = torch.randn(RANK - len(low), low.shape[1], generator=chance)
            found[f"bert.encoder.layer.{name}"] = torch.cat([low, further / low.shape[1] ** 0.5])
        elif name.endswith(".up"):
            high = torch.from_numpy(value * tensors[f"{name}_step"][:, None] / SCALE)
            further = torch.zeros(len(high), RANK - high.shape[1])
            found[f"bert.encoder.layer.{name}"] = torch.cat([high, further], 1)
        elif name == "types":
            found["bert.embeddings.token_type_embeddings.weight"] = torch.from_numpy(value).float()
        elif not name.endswith("_step"):
            found[name] = torch.from_numpy(value).float()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    add_data_options(parser)
    parser.add_argument("--handbooks", type=int, default=5000, help="pairs of made-up handbooks")
    parser.add_argument("--pairs", type=int, default=20_000, help="in total")
    parser.add_argument("--steps", type=int, help="fewer steps than the pairs make")
    parser.add_argument("--length", type=int, default=176, help="most tokens of a pair")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--start", type=Path, help="a folder of exported weights to start from")
    parser.add_argument("--evaluate", type=int, default=400, help="steps between evaluations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", type=Path, help="folder for the weights")
    parser.add_argument("--rank", type=int, default=RANK, help="of the exported weights")
    parser.add_argument("--mean", type=Path, help="exported weights to average the result with")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    chance = random.Random(options.seed)
    tokens = Tokens(options.length)
    made = handbook_pairs(options.handbooks, chance)
    rest = max(0, options.pairs - len(made))
    pairs = [*make_pairs(options, rest, chance), *made]
    held = {
        **held_out(options, chance),
        "handbooks": handbook_pairs(150, chance),
    }
    items = [item for pair in pairs if (item := tokens.item(pair)) is not None]
    print(
        f"{len(items)} pairs, {np.mean([len(one.ids) for one in items]):.0f} tokens, "
        f"{np.mean([one.start > 0 for one in items]):.2f} answered",
        flush=True,
    )
    batches = grouped(items, options.batch, chance)[: options.steps]
    known = {
        name: [item for pair in found if (item := tokens.item(pair)) is not None]
        for name, found in held.items()
    }
    reader = Reader()
    if options.start:
        reader.load_state_dict(exported(options.start), strict=False)
    train(reader, batches, known, options)
    if options.mean:
        other = exported(options.mean)
        both = {name: (value + other[name]) / 2 for name, value in reader.trained().items()}
        reader.load_state_dict(both, strict=False)
    if options.export:
        export(reader, options.export, 288, options.rank)


if __name__ == "__main__":
    main()
