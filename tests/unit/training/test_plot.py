import io
import math

import numpy as np
import pytest
from PIL import Image

from graftwerk.training.loop import plot_losses


def ink(losses):
    entries = [{"step": n + 1, "loss": loss} for n, loss in enumerate(losses)]
    with Image.open(io.BytesIO(plot_losses(entries, "a title"))) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return pixels[..., 2] - pixels[..., 0] > 100  # the smooth line is blue


def test_a_falling_loss_falls():
    line = ink([1 / (n + 1) for n in range(200)])
    rows = [np.nonzero(line[:, column])[0].mean() for column in (150, 400, 900)]
    assert rows == sorted(rows)
    assert rows[0] < rows[2] - 100


@pytest.mark.parametrize(
    "losses", [[], [1.0], [math.nan], [2.0, 2.0], [math.nan, 1.0, 0.5], [-1.0, 0.0, 3.0]]
)
def test_odd_logs(losses):
    assert ink(losses).shape == (540, 960)
