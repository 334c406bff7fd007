"""A request for images: what is asked, generated, recorded and checked."""
