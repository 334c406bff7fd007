"""Encode prompts into the states that a U-Net or transformer attends to."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import BadFile, BadInput, UnknownName
from ..models.checkpoint import open_folder, refuse_unsafe
from ..models.transformers import load_network, quiet
from .checkpoint import DIT, PipelineFolder, read_config, tokenizer_of
from .single_file import build_encoder

Weights = Mapping[str, Mapping[str, Tensor]]  # of each text encoder


@dataclass(frozen=True, slots=True)
class TextStates:
    """The encoding of one or more prompts, as a network reads it.

    Attributes:
        states: token states, one row per prompt; for classes the class number alone.
        pooled: one vector per prompt; None unless the model needs it (SDXL).
        scale: guidance scale that the network itself reads (Flux); None for other networks.
    """

    states: Float[Tensor, "n t d"]
    pooled: Float[Tensor, "n e"] | None = None
    scale: float | None = None

    def __len__(self) -> int:
        return len(self.states)


def join(first: TextStates, second: TextStates) -> TextStates:
    """Concatenate the prompts of both."""
    pooled = None
    if first.pooled is not None and second.pooled is not None:
        pooled = torch.cat([first.pooled, second.pooled])
    return TextStates(torch.cat([first.states, second.states]), pooled, first.scale)


_LEAST_TOKENS = 3  # a start, one token and an end


class TextReader:
    """The tokenizers and text encoders of a pipeline.

    With two encoders (SDXL) the states are their hidden states before the last layer,
    concatenated, and the second one also returns a pooled vector.

    Attributes:
        t5_length: tokens of a prompt that a T5 encoder reads.
    """

    t5_length = 512

    def __init__(self, folder: PipelineFolder, device: str, weights: Weights | None = None) -> None:
        encoders = folder.layout.encoders
        self._names = tuple(encoders)
        self._encoders: list[Any] = [
            _load_encoder(folder.path / name, kind, weights) for name, kind in encoders.items()
        ]
        self._tokenizers = [
            _load_tokenizer(
                folder.path / tokenizer_of(name), "T5" if kind.startswith("T5") else "CLIP"
            )
            for name, kind in encoders.items()
        ]
        for number, name in enumerate(encoders):
            encoder, tokenizer = self._encoders[number], self._tokenizers[number]
            if self._length(number) < _LEAST_TOKENS:
                path, most = folder.path / tokenizer_of(name), self._length(number)
                raise BadFile(
                    f"{path} reads at most {most} tokens (model_max_length); a prompt "
                    f"takes at least {_LEAST_TOKENS}.",
                    "Copy the whole folder again.",
                )
            if len(tokenizer) > encoder.config.vocab_size:
                raise BadFile(
                    f"the tokenizer of {name} in {folder.path} knows {len(tokenizer)} tokens, the "
                    f"encoder {encoder.config.vocab_size}.",
                    "Copy the whole folder again.",
                )
        self._device = device
        self._zeros_for_nothing = bool(folder.index.get("force_zeros_for_empty_prompt", True))

    @property
    def encoders(self) -> dict[str, Any]:
        """The text encoders, by the names of their parts."""
        return dict(zip(self._names, self._encoders, strict=True))

    def with_encoders(self, encoders: Mapping[str, Any]) -> "TextReader":
        """Return the same reader with some of its encoders replaced."""
        reader = copy.copy(self)
        reader._encoders = [encoders.get(part, own) for part, own in self.encoders.items()]
        return reader

    @torch.no_grad()
    def read(self, prompts: Sequence[str]) -> TextStates:
        """Encode prompts; overlong ones are truncated, see `cut_from`."""
        if len(self._encoders) == 1:
            return TextStates(self._run(0, prompts).last_hidden_state)
        outputs = [self._run(number, prompts) for number in range(len(self._encoders))]
        states = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        return TextStates(states, outputs[-1].text_embeds)

    def read_nothing(self, like: TextStates) -> TextStates:
        """Return the unconditional states, zeros or an empty prompt, as the model was trained."""
        if self._zeros_for_nothing and like.pooled is not None:
            zeros = torch.zeros_like
            return TextStates(zeros(like.states[:1]), zeros(like.pooled[:1]))
        return self.read([""])

    def cut_from(self, prompt: str) -> str:
        """Return the end of a prompt that is truncated; empty if all of it fits."""
        read = [self._read_of(prompt, number) for number in range(len(self._tokenizers))]
        return prompt[min(read) :].strip()

    def _read_of(self, prompt: str, number: int) -> int:
        """Return how many characters of a prompt a text encoder reads."""
        with quiet():
            found = self._tokenizers[number](
                prompt, return_offsets_mapping=True, add_special_tokens=False
            )
        spans = found["offset_mapping"]
        # without start and end tokens; T5 has no start
        room = self._length(number) - (1 if self._is_t5(number) else 2)
        return int(spans[room][0]) if len(spans) > room else len(prompt)

    def _is_t5(self, number: int) -> bool:
        return bool(self._encoders[number].config.model_type == "t5")

    def _run(self, number: int, prompts: Sequence[str]) -> Any:
        tokenizer, encoder = self._tokenizers[number], self._encoders[number]
        with quiet():
            tokens = tokenizer(
                list(prompts),
                padding="max_length",
                max_length=self._length(number),
                truncation=True,
                return_tensors="pt",
            ).to(self._device)
        masked = getattr(encoder.config, "use_attention_mask", False)
        return encoder(
            tokens.input_ids,
            attention_mask=tokens.attention_mask if masked else None,
            output_hidden_states=len(self._encoders) > 1 and not self._is_t5(number),
        )

    def _length(self, number: int) -> int:
        if self._is_t5(number):
            return self.t5_length
        locations = self._encoders[number].config.max_position_embeddings
        return int(min(self._tokenizers[number].model_max_length, locations))


class JointTextReader(TextReader):
    """The text encoders of SD3: two of CLIP side by side, and T5 behind them, or zeros without."""

    t5_length = 256

    def __init__(self, folder: PipelineFolder, device: str) -> None:
        super().__init__(folder, device)
        self._width = int(read_config(folder.path / folder.layout.trunk)["joint_attention_dim"])

    @torch.no_grad()
    def read(self, prompts: Sequence[str]) -> TextStates:
        """Encode prompts; overlong ones are truncated, see `cut_from`."""
        outputs = [self._run(number, prompts) for number in (0, 1)]
        clip = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        clip = nn.functional.pad(clip, (0, self._width - clip.shape[-1]))
        if len(self._encoders) > len(outputs):
            t5 = self._run(len(outputs), prompts).last_hidden_state
        else:
            t5 = clip.new_zeros(len(clip), self.t5_length, self._width)
        pooled = torch.cat([output.text_embeds for output in outputs], dim=-1)
        return TextStates(torch.cat([clip, t5], dim=1), pooled)

    def read_nothing(self, like: TextStates) -> TextStates:  # noqa: ARG002
        """Return the states of an empty prompt."""
        return self.read([""])

    def cut_from(self, prompt: str) -> str:
        """Return the end of a prompt that no encoder reads; T5 reads more than CLIP."""
        return prompt[self._read_of(prompt, len(self._encoders) - 1) :].strip()

    def _length(self, number: int) -> int:
        return super()._length(0) if number == 1 else super()._length(number)


class FluxTextReader(JointTextReader):
    """The text encoders of Flux: T5 for the token states, CLIP for the pooled vector."""

    t5_length = 512

    @torch.no_grad()
    def read(self, prompts: Sequence[str]) -> TextStates:
        """Encode prompts; overlong ones are truncated, see `cut_from`."""
        return TextStates(
            self._run(1, prompts).last_hidden_state, self._run(0, prompts).pooler_output
        )

    def _length(self, number: int) -> int:
        return TextReader._length(self, number)


class ClassReader(TextReader):
    """Reads the name or number of a class, for DiT."""

    def __init__(self, folder: PipelineFolder, device: str) -> None:
        self._names, self._encoders, self._tokenizers = (), [], []
        self._device = device
        config = read_config(folder.path / folder.layout.trunk)
        self._count = int(config["num_embeds_ada_norm"])
        named = folder.index.get("id2label")
        self.labels: dict[str, int] = {}
        for number, names in (named if isinstance(named, dict) else {}).items():
            for name in str(names).split(","):
                self.labels[name.strip()] = int(number)

    def read(self, prompts: Sequence[str]) -> TextStates:
        """Return the numbers of classes; an empty prompt is the class of no class.

        Raises:
            UnknownName: there is no such class.
        """
        numbers = [float(self._number_of(prompt.strip())) for prompt in prompts]
        return TextStates(torch.tensor(numbers, device=self._device).view(-1, 1, 1))

    def _number_of(self, name: str) -> int:
        if not name:
            return self._count
        if name in self.labels:
            return self.labels[name]
        if name.isdecimal() and int(name[:9]) < self._count:
            return int(name)
        if self.labels:
            raise UnknownName("class", name, self.labels)
        raise BadInput(
            f"the prompt {name!r} is not the number of a class, and the model names none.",
            f"Give a number from 0 to {self._count - 1}.",
        )

    def read_nothing(self, like: TextStates) -> TextStates:  # noqa: ARG002
        """Return the class of no class."""
        return self.read([""])

    def cut_from(self, prompt: str) -> str:  # noqa: ARG002
        """Return an empty text: a class is read whole."""
        return ""


def make_reader(folder: PipelineFolder, device: str, weights: Weights | None) -> TextReader | None:
    """Return what reads the prompts of a pipeline; None for an unconditional one."""
    match folder.layout.network:
        case "SD3Transformer2DModel":
            return JointTextReader(folder, device)
        case "FluxTransformer2DModel":
            return FluxTextReader(folder, device)
        case _ if folder.layout.network == DIT:
            return ClassReader(folder, device)
    return TextReader(folder, device, weights) if folder.layout.encoders else None


def _load_encoder(folder: Path, kind: str, weights: Weights | None) -> nn.Module:
    if weights is not None:
        return build_encoder(folder, kind, weights[folder.name])
    return load_network(open_folder(folder), kind)


def _load_tokenizer(folder: Path, kind: str) -> Any:
    import transformers

    for file in sorted(folder.glob("*.json")):
        refuse_unsafe(file)
    # Without these the library silently creates a tokenizer with an empty vocabulary.
    layouts = [{"tokenizer.json"}, *([] if kind == "T5" else [{"vocab.json", "merges.txt"}])]
    if not any(all((folder / name).is_file() for name in layout) for layout in layouts):
        no = "no" if kind == "T5" else "neither vocab.json and merges.txt nor"
        raise BadFile(
            f"the tokenizer in {folder} has {no} tokenizer.json.", "Copy the whole folder again."
        )
    try:
        with quiet():
            made = getattr(transformers, f"{kind}Tokenizer")
            return made.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadFile(
            f"the tokenizer in {folder} cannot be read: {error}", "Copy the whole folder again."
        ) from error
