"""The energy on the guide's page works as it stands there."""

import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "guide.md"


def test_an_energy_of_ones_own_darkens_images() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names: dict = {}
    exec(code, names)
    plain = names["pipe"].generate(n=4, steps=12, seed=7, cfg=1.0).images
    guided, unguided = (
        np.mean([np.asarray(image).mean() for image in images])
        for images in (names["images"], plain)
    )
    assert guided < 0.8 * unguided
