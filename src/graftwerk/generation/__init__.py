"""Image generation: parse requests, load models, sample, record and check images."""
