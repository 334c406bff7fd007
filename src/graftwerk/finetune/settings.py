"""How a network is tuned."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Settings:
    """How a network is tuned.

    Attributes:
        how: `lora` or `full`.
        rank: of LoRA.
        alpha: of LoRA.
        dropout: of LoRA.
        lora_plus: how many times faster B learns than A (LoRA+: Hayou et al., 2024).
        targets: names of layers that get LoRA; empty: all projections.
        top: blocks that are trained, counted from the last; None: all.
        epochs: passes over the training examples at most.
        batch: examples a step.
        learning_rate: highest one.
        patience: validations without a better score before it stops.
    """

    how: str
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    lora_plus: float = 1.0
    targets: tuple[str, ...] = ()
    top: int | None = None
    epochs: float = 6.0
    batch: int = 32
    learning_rate: float = 5e-4
    patience: int = 4

    @property
    def pace(self) -> str:
        """How fast it learns, in words."""
        faster = f", B {self.lora_plus:g} times" if self.lora_plus != 1 else ""
        return f"rate {self.learning_rate:g}{faster}"

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)
