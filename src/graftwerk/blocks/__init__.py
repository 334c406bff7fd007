"""The Blocks world: scenes generated from a seed, rendered with exact maps and captioned."""
