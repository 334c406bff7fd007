"""Writers: frozen models that write an answer from a prompt."""

import re
from collections.abc import Iterable, Iterator, Sequence

from ...text_safety import rewrite
from ...types import Encoder, Writer

EXTRACTIVE = "extractive"


def load_writer(
    name: str,
    *,
    model: str | None,
    encoder: Encoder,
    max_tokens: int,
    timeout: float,
    device: str,
    seed: int,
    reader: bool = True,
) -> Writer:
    """Return the writer called `name`.

    Args:
        name: `extractive`, the address of an OpenAI-compatible server, a local folder or a hub id.
        model: name of the model to ask a server for.
        encoder: compares sentences with the question in the extractive writer.
        max_tokens: longest answer.
        timeout: seconds of silence after which a server has failed.
        device: where a local model runs.
        seed: passed on to a server; the other writers leave nothing to chance.
        reader: whether the extractive writer uses the trained reader, where it fits the encoder.
    """
    if name == EXTRACTIVE:
        from .reader import load_reader
        from .reading import ExtractiveWriter

        return ExtractiveWriter(encoder, load_reader(encoder) if reader else None)
    if name.lower().startswith(("http://", "https://")):
        from .openai_server import ServerWriter

        return ServerWriter(name, model, max_tokens=max_tokens, timeout=timeout, seed=seed)
    from .local import load_local_writer

    return load_local_writer(name, max_tokens=max_tokens, device=device)


# An end that the next piece may make a mark of: a header, an opening bracket, digits of a mark.
_STARTS = "|".join("Document"[:length] for length in range(7, 0, -1))
_UNFINISHED = re.compile(
    rf"(?:\b(?:{_STARTS}|Document\s{{0,3}}\d{{0,6}}\s?:?\s{{0,3}}))?"
    r"(?:<{1,2}\s{0,3}/?\s{0,3}[0-9a-f]{0,32}\s{0,3}>?|\b[0-9a-f]{1,32})?\Z"
)
_LEAST = 6  # digits of a mark that are no accident
_SPAN = 40  # tokens that repeat what stands before them
_TIMES = 4  # copies of a short stretch
_LONG = 48  # tokens that nobody writes twice by intent: a long stretch that begins again


def without_marks(pieces: Iterable[str], mark: str) -> Iterator[str]:
    """Yield a reply without the marks that frame documents in its prompt.

    A model copies them with spaces inside, without brackets, cut short, or with a header.

    Args:
        pieces: the reply.
        mark: the random mark; empty where the prompt has none.
    """
    if not mark:
        yield from pieces
        return
    rest = "".join(f"(?:{re.escape(digit)}" for digit in mark[_LEAST:])
    start = re.escape(mark[:_LEAST]) + rest + ")?" * len(mark[_LEAST:])
    framed = re.compile(
        rf"(?:\bDocument\s{{0,3}}\d{{1,6}}\s?:\s{{0,3}})?<{{1,2}}\s{{0,3}}/?\s{{0,3}}{start}"
        rf"[0-9a-f]{{0,16}}\s{{0,3}}>{{0,2}}|\b{start}\b"
    )
    yield from rewrite(pieces, lambda text: framed.sub("", text), _UNFINISHED)


def repeats(tokens: Sequence[int]) -> bool:
    """Whether a reply has started to repeat one stretch exactly, over and over.

    >>> repeats([5, 1, 2, 3] + [7, 8] * 22), repeats(list(range(100)))
    (True, False)
    """
    end = len(tokens)
    for period in range(1, end):
        span = max(_SPAN, period * (_TIMES - 1)) if period < _LONG else _LONG
        if end < span + period:
            continue
        if all(tokens[end - n] == tokens[end - n - period] for n in range(1, span + 1)):
            return True
    return False
