"""Images as values of a latent space's encoder."""

import numpy as np
import torch

from graftwerk.diffusion.sampling import to_values


def test_values_of_images_that_cannot_be_written() -> None:
    """As PIL gives them; PyTorch's warning would be an error here."""
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    images.setflags(write=False)
    values = to_values(images)
    assert values.shape == (2, 3, 4, 5)
    assert torch.equal(
        (values * 255).round().permute(0, 2, 3, 1).byte(), torch.tensor(images.copy())
    )
