"""Readers of user files: images, tables, folders and documents."""
