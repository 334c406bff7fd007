"""The energy on the guide's page works as it stands there."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "guide.md"


def test_an_energy_of_ones_own_darkens_pictures() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names: dict = {}
    exec(code, names)
    plan = replace(names["plan"], pull=None)
    plain = names["decode"](names["model"], names["draw_batch"](names["model"], plan, range(4)))
    guided, unguided = (
        np.mean([np.asarray(picture).mean() for picture in pictures])
        for pictures in (names["pictures"], plain)
    )
    assert guided < 0.8 * unguided
