"""The value stays, the slope does not vanish."""

import pytest
import torch
from torch.nn import functional

from graftwerk.diffusion.noisy_classifier import softened


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_value_and_slope(temperature):
    logits = torch.tensor([-3.0, 0.0, 12.0], dtype=torch.float64, requires_grad=True)
    value = softened(functional.logsigmoid, logits, temperature)
    torch.testing.assert_close(value, functional.logsigmoid(logits))
    (slope,) = torch.autograd.grad(value.sum(), logits)
    torch.testing.assert_close(slope, torch.sigmoid(-logits / temperature).detach())
