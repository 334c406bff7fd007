"""Diffusion models in the layout of the diffusers library, as one function `denoise(x, sigma)`."""
