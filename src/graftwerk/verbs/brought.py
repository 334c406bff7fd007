"""Pictures and conditions as a user brings them: what branches are trained on."""

from pathlib import Path

from .. import files
from ..adapt.captioned import Shown
from ..conditions import Condition
from ..control.stored import Raw
from ..errors import BadFile, BadInput
from ..search.readers import read_image

_METADATA, _COLUMN = "metadata.jsonl", "conditioning_image"
_NAMED = 5  # files that an error lists


def raw_pairs(data: Path, conditions: Path | None, shown: Shown, condition: Condition) -> Raw:
    """Captioned pictures with their conditions: brought, or to be made.

    Args:
        data: folder of the pictures.
        conditions: folder of finished conditions; None: a column of the table, or they are made.
        shown: what was read from `data`.
        condition: what is made where nothing is brought.

    Raises:
        BadInput: some pictures have no condition.
        BadFile: a row names no file, or one outside of `data`.
    """
    paths = _brought(data, conditions, shown.paths)
    maps = None
    if paths is not None:
        maps = [read_image(str(path)).convert("RGB") for path in paths]
    return Raw(
        pictures=shown.pictures,
        captions=shown.captions,
        maps=maps,
        draw=None if maps is not None else condition.from_picture,
        identity=condition.name if maps is None else "brought",
    )


def _brought(data: Path, conditions: Path | None, pictures: tuple[Path, ...]) -> list[Path] | None:
    """Files of the conditions that the user brings; None: none are brought.

    Raises:
        BadInput: some pictures have none.
    """
    if conditions is not None:
        found = {path.stem: path for path in sorted(conditions.glob("*")) if path.is_file()}
        chosen = [found.get(path.stem) for path in pictures]
        where = str(conditions)
    else:
        tables = {
            folder: _column_of(folder / _METADATA, data) for folder in {p.parent for p in pictures}
        }
        if not any(tables.values()):
            return None
        chosen = [tables[path.parent].get(path.name) for path in pictures]
        where = f"the column {_COLUMN} of {_METADATA}"
    missing = [
        path.name
        for path, condition in zip(pictures, chosen, strict=True)
        if condition is None or not condition.is_file()
    ]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise BadInput(
            f"{len(missing)} of {len(pictures)} pictures have no condition in {where}: "
            f"{', '.join(missing[:_NAMED])}{more}.",
            "Bring one for each picture, of the same name, or none to have them made.",
        )
    return [condition for condition in chosen if condition is not None]


def _column_of(path: Path, within: Path) -> dict[str, Path]:
    """Conditions by the names of pictures; nothing where there is no such column.

    Raises:
        BadFile: a row names no file, or one outside of `within`.
    """
    if not path.is_file():
        return {}
    found = {}
    for number, row in enumerate(files.read_json_lines(path), 1):
        name, condition = row.get("file_name"), row.get(_COLUMN)
        if condition is None:
            continue
        if not isinstance(name, str) or not isinstance(condition, str):
            raise BadFile(
                f"line {number} of {path} has a {_COLUMN} that is no file name.", "Mend it."
            )
        found[name] = path.parent / condition
        if not found[name].resolve().is_relative_to(within.resolve()):
            raise BadFile(
                f"line {number} of {path} names {condition!r}, which lies outside of {within}.",
                "Name the folder that holds both, or bring the conditions with --conditions.",
            )
    return found
