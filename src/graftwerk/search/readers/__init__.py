"""Read foreign files safely: text, pages, tables and pictures, each from a sandboxed worker."""

from .document import Block, Document
from .families import PICTURES, SUFFIXES, is_image_path, refuse_missing
from .images import decode_image, read_image
from .reader import Reader

__all__ = [
    "PICTURES",
    "SUFFIXES",
    "Block",
    "Document",
    "Reader",
    "decode_image",
    "is_image_path",
    "read_image",
    "refuse_missing",
]
