"""A causal language model from a local folder or the hub."""

from collections.abc import Iterator
from typing import Any

from ... import limits
from ...errors import BadFile, BadInput, WriterFailed
from ...text_safety import counted
from ...types import Prompt
from ..checkpoint import ModelFolder, open_folder
from ..hub import loading, locate, within
from ..text_encoder import tokenize
from ..transformers import causal_class, choose_device, load_network, quiet
from . import repeats, without_marks

_REPLACEMENT = "\ufffd"  # what a tokenizer shows for half a character


def load_local_writer(name: str, *, max_tokens: int, device: str) -> "LocalWriter":
    """Load model and tokenizer; remote code and pickled weights are refused."""
    with loading(name):
        model, tokenizer = load_language_model(
            name, open_folder(locate(name, "language model")), device
        )
        return LocalWriter(name, model, tokenizer, max_tokens)


def load_language_model(name: str, folder: ModelFolder, device: str) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer with the transformers library."""
    import torch

    class_name = causal_class(folder)
    if class_name is None:
        raise BadFile(
            f"model {name!r} is of type {folder.model_type!r}, which writes no text.",
            "Name the folder of a causal language model, or a small one to try: smollm2 (see graft "
            "models fetch).",
        )
    location = choose_device(device)
    tokenizer = load_tokenizer(name, folder)
    # Half precision is slow and lossy on a CPU, and needed for large models elsewhere.
    precision = torch.float32 if location == "cpu" else torch.bfloat16
    return load_network(folder, class_name).to(device=location, dtype=precision), tokenizer


def load_tokenizer(name: str, folder: ModelFolder) -> Any:
    """Load the tokenizer beside a network, with the transformers library.

    Raises:
        BadFile: there is none that can be read.
    """
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(
                str(folder.path), local_files_only=True, trust_remote_code=False
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise BadFile(
            f"model {name!r} has no tokenizer that can be read: {error}",
            "Copy tokenizer.json beside the weights.",
        ) from error


class LocalWriter:
    """Greedy, token-by-token writer: the same prompt gives the same answer.

    Args:
        name: as the user wrote it.
        model: a causal language model of transformers, ready to run.
        tokenizer: its tokenizer; its chat template is used where it has one.
        max_tokens: longest answer.
    """

    def __init__(self, name: str, model: Any, tokenizer: Any, max_tokens: int) -> None:
        self.name = name
        self.extractive = False
        self._model = model
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        end = model.generation_config.eos_token_id
        ends = end if isinstance(end, list) else [end]
        self._ends = {*ends, tokenizer.eos_token_id} - {None}

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens the model receives for `text`, chat template included."""
        return len(self._tokens(text))

    def write(self, prompt: Prompt) -> Iterator[str]:
        """Yield the answer as it is generated, until it repeats itself."""
        tokens = self._tokens(prompt.text)
        context = getattr(self._model.config, "max_position_embeddings", None)
        if context is not None and len(tokens) + self._max_tokens > context:
            raise BadInput(
                f"the prompt's {counted(len(tokens), 'token')} and the answer's "
                f"{self._max_tokens:,} are more than the {context:,} that {self.name} can read.",
                "Lower --budget or --max-tokens.",
            )
        yield from without_marks(self.continued(tokens), prompt.nonce)

    def continued(self, tokens: list[int]) -> Iterator[str]:
        """Yield the text that follows these tokens, in pieces, until it repeats itself."""
        written: list[int] = []
        shown = ""
        for token in self._continue(tokens):
            written.append(token)
            text = self._tokenizer.decode(written, skip_special_tokens=True)
            if not text.endswith(_REPLACEMENT) and text.startswith(shown):
                if text != shown:
                    yield text[len(shown) :]
                shown = text
            if repeats(written):
                yield "…"  # what follows would be the same again
                return
        text = self._tokenizer.decode(written, skip_special_tokens=True)
        if text.startswith(shown) and text != shown:
            yield text[len(shown) :]

    def _tokens(self, text: str) -> list[int]:
        if self._tokenizer.chat_template:
            text = _fill_template(self.name, self._tokenizer, text)
        special = not self._tokenizer.chat_template
        rows = tokenize(lambda: self._tokenizer([text], add_special_tokens=special), [text])
        return list(rows["input_ids"][0])

    def _continue(self, tokens: list[int]) -> Iterator[int]:
        import torch

        ids = torch.tensor([tokens], device=self._model.device)
        cache = None
        for _ in range(self._max_tokens):
            with torch.inference_mode():
                output = self._model(input_ids=ids, past_key_values=cache, use_cache=True)
            logits = output.logits[0, -1]
            if not bool(torch.isfinite(logits.max())):
                raise WriterFailed(
                    f"{self.name} computed values that are not numbers.",
                    "Its weights may be damaged; try --device cpu.",
                )
            token = int(logits.argmax())
            if token in self._ends:
                return
            yield token
            cache = output.past_key_values
            ids = torch.tensor([[token]], device=self._model.device)


def _fill_template(name: str, tokenizer: Any, text: str) -> str:
    """Return a text in the model's chat template.

    The template is a program that came with the model, so it gets a deadline and a little memory.
    """
    message = [{"role": "user", "content": text}]
    hint = "Take another model, or correct chat_template in its tokenizer_config.json."

    def fill() -> str:
        return str(
            tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        )

    try:
        return within(limits.CHAT_TEMPLATE_SECONDS, fill, limits.CHAT_TEMPLATE_MEMORY)
    except TimeoutError:
        reason = f"takes more than {limits.CHAT_TEMPLATE_SECONDS:g} s"
    except MemoryError:
        reason = f"takes more than {limits.CHAT_TEMPLATE_MEMORY // limits.MIB:,} MiB of memory"
    except Exception as error:  # the template may raise anything
        raise BadFile(f"the chat template of {name} fails: {error}.", hint) from error
    raise BadFile(f"the chat template of {name} {reason}.", hint)
