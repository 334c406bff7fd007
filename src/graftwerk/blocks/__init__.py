"""The Blocks world: scenes made from a seed, rendered with exact maps, and described in words."""
