"""Sampling with diffusion models: noise schedules, samplers, and wrappers of a denoiser."""
