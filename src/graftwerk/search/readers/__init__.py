"""Read foreign files safely: text, pages, tables and pictures, each from a sandboxed worker."""

from .document import Block, Document
from .families import PICTURES, SUFFIXES, is_image_path, refuse_missing, size_and_hash
from .images import decode_image, read_image, read_image_and_hash
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
    "read_image_and_hash",
    "refuse_missing",
    "size_and_hash",
]
