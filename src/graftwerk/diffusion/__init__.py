"""Drawing with a diffusion model: noise schedules, samplers, and what wraps a denoiser."""
