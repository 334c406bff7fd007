"""The public objects: they own models and state; commands, server and scripts call them."""
