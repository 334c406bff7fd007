"""Writers: frozen models that write an answer from a prompt."""

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
    """
    if name == EXTRACTIVE:
        from .extractive import ExtractiveWriter

        return ExtractiveWriter(encoder)
    if name.lower().startswith(("http://", "https://")):
        from .openai_server import ServerWriter

        return ServerWriter(name, model, max_tokens=max_tokens, timeout=timeout, seed=seed)
    from .local import load_local_writer

    return load_local_writer(name, max_tokens=max_tokens, device=device)
