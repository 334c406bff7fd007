"""Text of documents and file names, made safe for a terminal."""

import unicodedata

_KEPT = {"\n", "\t"}


def printable(text: str, keep_lines: bool = False) -> str:
    r"""Replace control, format (right-to-left marks) and surrogate characters by escapes.

    >>> printable("a\x1b[31mred\u202e")
    'a\\x1b[31mred\\u202e'
    """
    kept = _KEPT if keep_lines else {"\t"}
    return "".join(
        character
        if character in kept or unicodedata.category(character) not in {"Cc", "Cf", "Cs"}
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
