"""Markdown tables whose cells come from data: they stay text, whatever they hold."""

from collections.abc import Iterable, Sequence

CELL = 120  # characters of one cell
ACTIVE = "\\|<>[]`*_"  # what could become a column, a tag, a link or markup


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; long cells are cut, and nothing in them is markup."""
    lines = [header, ["---"] * len(header), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cell(text: str) -> str:
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    plain = plain if len(plain) <= CELL else plain[: CELL - 1] + "…"
    return "".join(f"\\{sign}" if sign in ACTIVE else sign for sign in plain)
