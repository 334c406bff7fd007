"""Eight conditions of images: made exactly from scenes, read from images, measured."""
