"""Tasks whose right way is known by construction: do `compare` and `fit --how auto` find it?

A small PatchTST with random weights is the frozen model, and a changed copy of it, the teacher,
labels random series by a random direction in its features. Where the teacher is the frozen model
itself a linear head is enough; where its attention and MLP projections differ by matrices of rank
2, LoRA of rank 2 is; where all its matrices differ by ones of full rank, the embedding too, it
takes full fine-tuning.
"""

import argparse
import copy
import csv
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import PatchTSTConfig, PatchTSTModel

import graftwerk

LENGTH, COUNT, RANK = 32, 4_000, 2
KINDS = {"same": "linear", "low rank": "lora", "full rank": "full"}
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj", "ff.0", "ff.3")
NEAR = 0.2  # series so near to the border, in standard deviations, are left out


def matrices(network: nn.Module) -> dict[str, nn.Parameter]:
    found = network.named_parameters()
    return {name: p for name, p in found if p.ndim == 2 and "position" not in name}


def frozen_model(seed: int) -> PatchTSTModel:
    config = PatchTSTConfig(
        num_input_channels=1,
        context_length=LENGTH,
        patch_length=4,
        patch_stride=4,
        d_model=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=64,
        attention_dropout=0.0,
        ff_dropout=0.0,
        norm_type="layernorm",
    )
    network = PatchTSTModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    for weight in matrices(network).values():
        spread = 1.5 / weight.shape[1] ** 0.5
        weight.data = spread * torch.randn(weight.shape, generator=generator)
    return network


def teacher_of(network: PatchTSTModel, kind: str, seed: int) -> PatchTSTModel:
    """A copy whose changed matrices have moved by as much as they were large."""
    changed = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in matrices(changed).items():
        out, into = weight.shape
        if kind == "full rank":
            delta = torch.randn(out, into, generator=generator)
        elif kind == "low rank" and name.removesuffix(".weight").endswith(PROJECTIONS):
            down = torch.randn(RANK, into, generator=generator)
            delta = torch.randn(out, RANK, generator=generator) @ down
        else:
            continue
        weight.data += delta * weight.data.norm() / delta.norm()
    return changed


def write_task(folder: Path, kind: str, seed: int) -> None:
    """The frozen model in `model/` and labelled series in `series.csv`."""
    network = frozen_model(seed)
    network.save_pretrained(folder / "model")
    rng = np.random.default_rng(seed)
    series = rng.normal(size=(COUNT, LENGTH)).astype(np.float32)
    with torch.no_grad():
        values = torch.from_numpy(series).unsqueeze(-1)
        states = teacher_of(network, kind, seed + 1_000)(past_values=values).last_hidden_state
    features = nn.functional.normalize(states.mean(dim=(1, 2)), dim=1).numpy()
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    scores = features @ rng.normal(size=features.shape[1])
    scores = (scores - np.median(scores)) / scores.std()
    with (folder / "series.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"t{place}" for place in range(LENGTH)), "label"])
        for row, score in zip(series, scores, strict=True):
            if abs(score) > NEAR:
                writer.writerow([*(f"{value:.5f}" for value in row), "ab"[int(score > 0)]])


def answers(folder: Path) -> tuple[str, str, str]:
    """What compare and auto recommend, and the scores that compare saw."""
    same = {
        "data": str(folder / "series.csv"),
        "model": str(folder / "model"),
        "target": "label",
        "test_share": 0.3,
        "validation_share": 0.3,
        "rank": RANK,
        "epochs": 20,
        "learning_rate": 3e-3,
        "patience": 8,
    }
    compared = graftwerk.run(graftwerk.Compare(out=folder / "compare", **same))
    fitted = graftwerk.run(graftwerk.Fit(out=folder / "fit", how="auto", **same))
    scores = ", ".join(f"{way.name} {way.score.value:.3f}" for way in compared.ways)
    return compared.recommended, fitted.how, scores


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.constructed", description=__doc__)
    parser.add_argument("--data", type=Path, help="not used here")
    parser.add_argument("--seeds", type=int, default=10, help="trials of each kind")
    options = parser.parse_args()
    right = {kind: [0, 0] for kind in KINDS}
    for seed in range(options.seeds):
        for kind, wanted in KINDS.items():
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                write_task(folder, kind, seed)
                compared, chosen, scores = answers(folder)
            right[kind][0] += compared == wanted
            right[kind][1] += chosen == wanted
            print(f"seed {seed}, {kind}: compare {compared}, auto {chosen} ({scores})", flush=True)
    print("\n| teacher | right way | compare right | auto right |\n|---|---|---|---|")
    for kind, wanted in KINDS.items():
        of = options.seeds
        print(f"| {kind} | {wanted} | {right[kind][0]} of {of} | {right[kind][1]} of {of} |")


if __name__ == "__main__":
    main()
