"""Reports of LoRA on a model's own task."""

from pydantic import Field

from .adapt import LeftOut
from .base import Report


class TaughtResult(Report):
    """What `fit --task generate` or `fit --task write` made."""

    out: str = Field(description="folder of the LoRA; peft and diffusers open it as it is")
    task: str = Field(description="generate or write")
    model: str = Field(description="the frozen model")
    items: int = Field(description="pictures or tokens that were learned from")
    left_out: list[LeftOut] = Field(description="pictures that could not be read")
    loss_before: float = Field(description="of the frozen model on held-out noise or text")
    loss_after: float = Field(description="with the LoRA, on the same noise or text")
    gain: float = Field(description="mean of before minus after")
    gain_low: float = Field(description="lower end of the 95 % interval of the gain")
    gain_high: float = Field(description="upper end of the 95 % interval of the gain")
    perplexity_before: float | None = Field(description="of held-out text (write)")
    perplexity_after: float | None = Field(description="of held-out text with the LoRA (write)")
    parameters: int = Field(description="numbers that were learned")
    layers: int = Field(description="layers that they change")
    steps: int = Field(description="steps of the optimizer")
    bytes: int = Field(description="of the folder")
    seconds: float = Field(description="time taken")
