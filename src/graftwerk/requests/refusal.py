"""What pydantic refuses, in the words of this house."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_WORDS = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "below {lt}",
    "literal_error": "one of {expected}",
    "enum": "one of {expected}",
    "multiple_of": "a multiple of {multiple_of}",
    "finite_number": "a finite number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a text",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "missing": "it must be given",
    "extra_forbidden": "there is no such field",
}


def allowed(error: "ErrorDetails") -> str:
    """What is allowed where a field was refused, without a full stop.

    >>> allowed({"type": "less_than", "loc": (), "msg": "", "input": 3, "ctx": {"lt": 1.0}})
    'below 1'
    """
    words = _WORDS.get(error["type"])
    if words is None:
        return error["msg"].removeprefix("Value error, ").rstrip(".")
    if error.get("ctx", {}).get("min_length") == 1:
        return "it must not be empty"
    bounds = {
        name: f"{bound:,.12g}"
        if isinstance(bound, float)
        else f"{bound:,}"
        if isinstance(bound, int)
        else bound
        for name, bound in error.get("ctx", {}).items()
    }
    return words.format(**bounds)
