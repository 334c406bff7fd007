"""Read files, cut passages, store them, find them."""
