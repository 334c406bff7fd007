"""Samplers: functions `(denoise, x, sigmas)` that return `x` at the last noise level.

All of them only use a function `denoise(x, sigma) -> x0`. `heun`, `euler`, `dpmpp_2m` and `unipc`
are deterministic, and so are `ddim` and `tcd` if `eta` is 0. `ddpm`, `euler_ancestral`,
`dpmpp_2m_sde`, `dpmpp_sde` and `lcm` need generators for fresh noise.

>>> import torch
>>> import graftwerk as gw
>>> def denoise(x, sigma):  # the exact one for data of unit variance
...     return x / (1 + sigma**2)
>>> gw.samplers.heun(denoise, torch.full((1, 1, 1, 1), 10.0), [10.0, 1.0, 0.0]).shape
torch.Size([1, 1, 1, 1])
"""

from ..diffusion.samplers import sample_ddim as ddim
from ..diffusion.samplers import sample_ddpm as ddpm
from ..diffusion.samplers import sample_dpmpp_2m as dpmpp_2m
from ..diffusion.samplers import sample_dpmpp_sde as dpmpp_sde
from ..diffusion.samplers import sample_euler as euler
from ..diffusion.samplers import sample_heun as heun
from ..diffusion.samplers import sample_lcm as lcm
from ..diffusion.samplers import sample_tcd as tcd
from ..diffusion.schedulers import sample_dpmpp_2m_sde as dpmpp_2m_sde
from ..diffusion.schedulers import sample_euler_ancestral as euler_ancestral
from ..diffusion.schedulers import sample_unipc as unipc

__all__ = [
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_sde",
    "euler",
    "euler_ancestral",
    "heun",
    "lcm",
    "tcd",
    "unipc",
]
