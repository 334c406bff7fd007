"""Images as values of a latent space's encoder."""

import numpy as np
import torch

from graftwerk.blocks.renderer import render
from graftwerk.blocks.sampling import sample_scene
from graftwerk.diffusion.pipeline import LATENTS_OF, LatentSpace, load_part
from graftwerk.diffusion.sampling import to_values
from graftwerk.models.hub import builtin_folder


def test_values_of_images_that_cannot_be_written() -> None:
    """As PIL gives them; PyTorch's warning would be an error here."""
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    images.setflags(write=False)
    values = to_values(images)
    assert values.shape == (2, 3, 4, 5)
    assert torch.equal(
        (values * 255).round().permute(0, 2, 3, 1).byte(), torch.tensor(images.copy())
    )


def test_an_autoencoder_for_larger_images_has_the_latents_that_it_says() -> None:
    network = load_part(builtin_folder("builtin/blocks-autoencoder"))
    kept = network.config[LATENTS_OF]
    assert LatentSpace(network).identity == kept
    for said in (None, "../../elsewhere", kept[:-1], kept.upper(), 7):
        network.register_to_config(**{LATENTS_OF: said})
        assert LatentSpace(network).identity not in {kept, str(said)}


def test_the_built_in_encoder_reads_what_the_decoder_wrote() -> None:
    network = load_part(builtin_folder("builtin/blocks-autoencoder"))
    images = np.stack([render(sample_scene(2, n), 128, 128) for n in range(4)])
    space = LatentSpace(network)
    latents = space.encode(to_values(images))
    assert latents.shape == (4, 16, 8, 8)
    again = space.encode(space.decode(latents))
    assert float((again - latents).square().mean() / latents.var()) < 0.1
