"""`graft guide check`: are pictures real ones of a class, or do they only fool a classifier?"""

import time
from typing import TYPE_CHECKING

from ..contracts import Monitor
from ..reports import GuideVerdicts
from ..requests import GuideCheck

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from .guides import GuideModels
    from .witnesses import Pictures


def run(request: GuideCheck, monitor: Monitor) -> GuideVerdicts:
    """Ask the witnesses.

    Raises:
        UnknownName: a class that the guide does not have.
        BadInput: no picture can be read, or what real ones look like is not known.
        WrongBase: the guide reads another latent space.
    """
    began = time.perf_counter()
    from ..frozen.diffusion.model import load_diffusion
    from ..search.readers import read_image
    from .guides import GuideModels, Settings
    from .pictures import list_pictures
    from .witnesses import LIMIT, as_pictures, open_witnesses

    paths, skipped = list_pictures(request.images)
    for skip in skipped:
        monitor.note(f"{skip.path}: {skip.reason}")
    monitor.start("loading the models")
    model = load_diffusion(request.model, request.device)
    settings = Settings(request.guide_model, tuple(request.guide_labels), "")
    images = [read_image(path) for path in paths]
    if any(image.size != model.size for image in images):
        monitor.note(f"pictures are resized to {model.size[0]} x {model.size[1]} pixels")
    pictures = as_pictures(images, model.size)
    chances = chances_of(GuideModels(settings, model), request.class_, pictures)
    real = None if request.real is None else str(request.real)
    witnesses = open_witnesses(model, real, monitor)
    return GuideVerdicts(
        label=request.class_,
        pictures=witnesses.testify(paths, pictures, request.class_, chances),
        limit=LIMIT,
        real=witnesses.real,
        seconds=time.perf_counter() - began,
    )


def chances_of(
    models: "GuideModels", label: str | None, pictures: "Pictures"
) -> "Float[np.ndarray, ' n'] | None":
    """The guide's probability of a class in each picture; None without a class."""
    if label is None:
        return None
    import torch

    from ..frozen.diffusion.latents import values_of
    from .guide_entries import Guide

    ask = models.of_pictures(Guide("class", label, 1.0))
    values = values_of(pictures)
    with torch.no_grad():
        found = torch.cat([ask(part.to(models.device)) for part in torch.split(values, 32)])
    chances: Float[np.ndarray, " n"] = found.exp().cpu().numpy()
    return chances
