"""Read foreign files safely: text, pages, tables and pictures, each from a sandboxed worker."""

from .document import Block, Document
from .families import SUFFIXES, is_image_path
from .images import read_image
from .reader import Reader

__all__ = ["SUFFIXES", "Block", "Document", "Reader", "is_image_path", "read_image"]
