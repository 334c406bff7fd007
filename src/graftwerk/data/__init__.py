"""Every reader of user files: images, tables, folders, documents; one of each."""
