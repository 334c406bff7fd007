"""Read foreign files safely: text, pages, tables and pictures, each from a sandboxed worker."""

from .document import Block, Document
from .families import SUFFIXES, is_image_path
from .images import decode_image, read_image
from .reader import Reader

__all__ = ["SUFFIXES", "Block", "Document", "Reader", "decode_image", "is_image_path", "read_image"]
