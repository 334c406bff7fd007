"""Log-probabilities that still have a slope where a classifier is sure."""

from collections.abc import Callable

from torch import Tensor


def softened(log_prob: Callable[[Tensor], Tensor], logits: Tensor, temperature: float) -> Tensor:
    """The value of `log_prob(logits)`, with the gradient at a temperature.

    That is of `temperature * log_prob(logits / temperature)`: alike where the classifier is in
    doubt; where it is sure, it goes on pulling.

    Args:
        log_prob: from logits to log-probabilities.
        logits: of a classifier.
        temperature: 1 for the gradient of the value itself.
    """
    value = log_prob(logits)
    if temperature == 1:
        return value
    soft = temperature * log_prob(logits / temperature)
    return soft + (value - soft).detach()
