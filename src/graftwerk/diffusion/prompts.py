"""Encode prompts into the states that a U-Net attends to."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import BadFile
from ..models.checkpoint import open_folder, refuse_unsafe
from ..models.transformers import load_network, quiet
from .checkpoint import PipelineFolder, tokenizer_of

CLASSES = {"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection"}


@dataclass(frozen=True, slots=True)
class TextStates:
    """The encoding of one or more prompts, as a U-Net reads it.

    Attributes:
        states: token states, one row per prompt.
        pooled: one vector per prompt; None unless the model needs it (SDXL).
    """

    states: Float[Tensor, "n t d"]
    pooled: Float[Tensor, "n e"] | None = None

    def __len__(self) -> int:
        return len(self.states)


def join(first: TextStates, second: TextStates) -> TextStates:
    """Concatenate the prompts of both."""
    pooled = None
    if first.pooled is not None and second.pooled is not None:
        pooled = torch.cat([first.pooled, second.pooled])
    return TextStates(torch.cat([first.states, second.states]), pooled)


_LEAST_TOKENS = 3  # a start, one token and an end


class TextReader:
    """The tokenizers and text encoders of a pipeline.

    With two encoders (SDXL) the states are their hidden states before the last layer,
    concatenated, and the second one also returns a pooled vector.
    """

    def __init__(
        self,
        folder: PipelineFolder,
        device: str,
        weights: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> None:
        encoders = folder.layout.encoders
        self._encoders: list[Any] = [
            _load_encoder(folder.path / name, weights).to(device) for name in encoders
        ]
        self._tokenizers = [_load_tokenizer(folder.path / tokenizer_of(name)) for name in encoders]
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
        return dict(zip(CLASSES, self._encoders, strict=False))

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
        retained = len(prompt)
        for number, tokenizer in enumerate(self._tokenizers):
            with quiet():
                found = tokenizer(prompt, return_offsets_mapping=True, add_special_tokens=False)
            spans = found["offset_mapping"]
            room = self._length(number) - 2  # without start and end tokens
            if len(spans) > room:
                retained = min(retained, spans[room][0])
        return prompt[retained:].strip()

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
            output_hidden_states=len(self._encoders) > 1,
        )

    def _length(self, number: int) -> int:
        locations = self._encoders[number].config.max_position_embeddings
        return int(min(self._tokenizers[number].model_max_length, locations))


def _load_encoder(folder: Path, weights: Mapping[str, Mapping[str, Tensor]] | None) -> nn.Module:
    if weights is not None:
        from .single_file import build_encoder

        return build_encoder(folder, folder.name, weights[folder.name])
    return load_network(open_folder(folder), CLASSES[folder.name])


def _load_tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    for file in sorted(folder.glob("*.json")):
        refuse_unsafe(file)
    # Without these the library silently creates a tokenizer with an empty vocabulary.
    layouts = [{"tokenizer.json"}, {"vocab.json", "merges.txt"}]
    if not any(all((folder / name).is_file() for name in layout) for layout in layouts):
        raise BadFile(
            f"the tokenizer in {folder} has neither tokenizer.json nor vocab.json and merges.txt.",
            "Copy the whole folder again.",
        )
    try:
        with quiet():
            return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadFile(
            f"the tokenizer in {folder} cannot be read: {error}", "Copy the whole folder again."
        ) from error
