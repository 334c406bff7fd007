"""Samplers: functions `(denoise, x, sigmas)` that return `x` at the last noise level.

All of them know one function, `denoise(x, sigma) -> x0`; `heun`, `euler` and `dpmpp_2m` are
deterministic, `ddim` is where `eta` is 0, and `ddpm` needs generators of its fresh noise.
"""

from ..diffusion.samplers import sample_ddim as ddim
from ..diffusion.samplers import sample_ddpm as ddpm
from ..diffusion.samplers import sample_dpmpp_2m as dpmpp_2m
from ..diffusion.samplers import sample_euler as euler
from ..diffusion.samplers import sample_heun as heun

__all__ = ["ddim", "ddpm", "dpmpp_2m", "euler", "heun"]
