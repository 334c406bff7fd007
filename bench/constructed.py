"""Tasks whose right way is known by construction: do `compare` and `fit --how auto` find it?

A small network with random weights is the frozen model, and a changed copy of it, the teacher,
labels random data by a random direction in its features.

- same: the teacher is the frozen model, a PatchTST that reads series. A linear head is enough.
- low rank: its attention and MLP projections differ by matrices of rank 2. LoRA of rank 2 is
  enough.
- full rank: the frozen model is a BERT with 300 words in 32 dimensions, and its teacher reads a
  cipher, where each word stands for another one. The two matrices of word vectors differ by one of
  full rank. LoRA changes how vectors are mixed, not the vectors, and no map of 32 dimensions
  permutes 300 vectors; full fine-tuning learns the vectors themselves.
"""

import argparse
import copy
import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PatchTSTConfig, PatchTSTModel

import graftwerk

COUNT, RANK, WIDTH = 4_000, 2, 32
SERIES = 32  # values
WORDS, TEXT = 300, 6  # words that there are, words of a text
SPECIAL = ("[PAD]", "[UNK]")
KINDS = {"same": "linear", "low rank": "lora", "full rank": "full"}
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj", "ff.0", "ff.3")
NEAR = 0.2  # examples so near to the border, in standard deviations, are left out


def draw_weights(network: nn.Module, deviation: float, seed: int) -> None:
    """Fill all matrices with noise that grows or shrinks what passes by `deviation`."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        if weight.ndim == 2 and "position" not in name:
            one = 1.0 if "word_embeddings" in name else deviation / weight.shape[1] ** 0.5
            weight.data = one * torch.randn(weight.shape, generator=generator)


def reader_of_series(seed: int) -> PatchTSTModel:
    config = PatchTSTConfig(
        num_input_channels=1,
        context_length=SERIES,
        patch_length=4,
        patch_stride=4,
        d_model=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=2 * WIDTH,
        attention_dropout=0.0,
        ff_dropout=0.0,
        norm_type="layernorm",
    )
    network = PatchTSTModel(config).eval()
    draw_weights(network, 1.5, seed)
    return network


def reader_of_texts(seed: int) -> BertModel:
    config = BertConfig(
        vocab_size=len(SPECIAL) + WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=TEXT,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    network = BertModel(config, add_pooling_layer=False).eval()
    draw_weights(network, 0.7, seed)
    return network


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of `WORDS` words between blanks."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = [*SPECIAL, *(word(number) for number in range(WORDS))]
    numbers = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token=SPECIAL[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=TEXT,
        pad_token=SPECIAL[0],
        unk_token=SPECIAL[1],
    ).save_pretrained(folder)


def word(number: int) -> str:
    return f"w{number}"


def add_low_rank(network: PatchTSTModel, seed: int) -> None:
    """Move each projection by as much as it is large, in `RANK` directions."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        if name.removesuffix(".weight").endswith(PROJECTIONS):
            out, into = weight.shape
            down = torch.randn(RANK, into, generator=generator)
            delta = torch.randn(out, RANK, generator=generator) @ down
            weight.data += delta * weight.data.norm() / delta.norm()


def read_as_cipher(network: BertModel, seed: int) -> None:
    """Let each word stand for another one."""
    generator = torch.Generator().manual_seed(seed)
    vectors = network.embeddings.word_embeddings.weight.data[len(SPECIAL) :]
    vectors.copy_(vectors[torch.randperm(WORDS, generator=generator)].clone())


def write_series_task(folder: Path, kind: str, seed: int) -> None:
    network = reader_of_series(seed)
    network.save_pretrained(folder / "model")
    teacher = copy.deepcopy(network)
    if kind == "low rank":
        add_low_rank(teacher, seed + 1_000)
    rng = np.random.default_rng(seed)
    series = rng.normal(size=(COUNT, SERIES)).astype(np.float32)
    with torch.no_grad():
        values = torch.from_numpy(series).unsqueeze(-1)
        states = teacher(past_values=values).last_hidden_state.flatten(1, 2)
    names = [f"t{location}" for location in range(SERIES)]
    write_table(folder, names, [[f"{value:.5f}" for value in row] for row in series], states, rng)


def write_text_task(folder: Path, seed: int) -> None:
    network = reader_of_texts(seed)
    network.save_pretrained(folder / "model")
    write_tokenizer(folder / "model")
    teacher = copy.deepcopy(network)
    read_as_cipher(teacher, seed + 1_000)
    rng = np.random.default_rng(seed)
    texts = rng.integers(0, WORDS, size=(COUNT, TEXT))
    with torch.no_grad():
        states = teacher(input_ids=torch.from_numpy(texts + len(SPECIAL))).last_hidden_state
    rows = [[" ".join(word(number) for number in text)] for text in texts.tolist()]
    write_table(folder, ["text"], rows, states, rng)


def write_table(
    folder: Path,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    states: Tensor,
    rng: np.random.Generator,
) -> None:
    """Label rows by a random direction in the teacher's features, the mean of its states."""
    features = nn.functional.normalize(states.mean(dim=1), dim=1).numpy()
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    scores = features @ rng.normal(size=features.shape[1])
    scores = (scores - np.median(scores)) / scores.std()
    with (folder / "data.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "label"])
        for row, score in zip(rows, scores, strict=True):
            if abs(score) > NEAR:
                writer.writerow([*row, "ab"[int(score > 0)]])


def answers(folder: Path) -> tuple[str, str, str]:
    """What compare and auto recommend, and the scores that compare saw."""
    same: dict[str, Any] = {
        "data": str(folder / "data.csv"),
        "model": str(folder / "model"),
        "target": "label",
        "test_share": 0.3,
        "validation_share": 0.3,
        "rank": RANK,
        "epochs": 20,
        "learning_rate": 3e-3,
        "rates": 3,
        "patience": 8,
    }
    compared = graftwerk.run(graftwerk.Compare(out=folder / "compare", **same))
    fitted = graftwerk.run(graftwerk.Fit(out=folder / "fit", how="auto", **same))
    scores = ", ".join(f"{method.name} {method.score.value:.3f}" for method in compared.ways)
    return compared.recommended, fitted.how, scores


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.constructed", description=__doc__)
    parser.add_argument("--data", type=Path, help="not used here")
    parser.add_argument("--seeds", type=int, default=10, help="trials of each kind")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    options = parser.parse_args()
    right = {kind: [0, 0] for kind in options.kinds}
    for seed in range(options.seeds):
        for kind in options.kinds:
            requested = KINDS[kind]
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                if kind == "full rank":
                    write_text_task(folder, seed)
                else:
                    write_series_task(folder, kind, seed)
                compared, chosen, scores = answers(folder)
            right[kind][0] += compared == requested
            right[kind][1] += chosen == requested
            print(f"seed {seed}, {kind}: compare {compared}, auto {chosen} ({scores})", flush=True)
    print("\n| teacher | right way | compare right | auto right |\n|---|---|---|---|")
    for kind in options.kinds:
        of = options.seeds
        print(f"| {kind} | {KINDS[kind]} | {right[kind][0]} of {of} | {right[kind][1]} of {of} |")


if __name__ == "__main__":
    main()
