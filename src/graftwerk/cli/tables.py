"""Tables of plain text."""


def table(header: list[str], rows: list[list[str]], *, figures: bool = True) -> list[str]:
    """Columns of a table; all but the first are flush right where they are `figures`."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    out = []
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [
            cell.rjust(width) if figures else cell.ljust(width)
            for cell, width in zip(row[1:], widths[1:], strict=True)
        ]
        out.append("  ".join(cells).rstrip())
    return out
