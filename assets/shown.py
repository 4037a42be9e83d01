"""What people see in an asset's metadata: tables and pictures as Markdown, and where the result lies."""

import base64

import dagster as dg
import polars as pl

from flywheel.tables import Tables

CELL = 90  # characters of one cell


def preview(frame: pl.DataFrame, rows: int = 12) -> dg.MarkdownMetadataValue:
    """Return the first `rows` rows as a Markdown table; long cells are cut, and it says how many rows follow."""
    if frame.is_empty():
        return dg.MetadataValue.md("*(no rows)*")
    lines = [_line(frame.columns), _line(["---"] * frame.width)]
    lines += [_line([_cell(value) for value in row]) for row in frame.head(rows).iter_rows()]
    if frame.height > rows:
        lines.append(f"\n… and {frame.height - rows} more")
    return dg.MetadataValue.md("\n".join(lines))


def picture(png: bytes, text: str) -> dg.MarkdownMetadataValue:
    """Return a PNG that stands inside the metadata itself; `text` says what it shows."""
    return dg.MetadataValue.md(f"![{text}](data:image/png;base64,{base64.b64encode(png).decode()})")


def place(tables: Tables, table: str) -> dg.MetadataValue:
    """Return where a table lies: a path, or an S3 address."""
    uri = tables.uri(table)
    return dg.MetadataValue.url(uri) if uri.startswith("s3://") else dg.MetadataValue.path(uri)


def counted(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return how many rows have each value of `column`, most frequent first, ties by value."""
    return frame.group_by(column).len("rows").sort(["rows", column], descending=[True, False])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)
    text = text.replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= CELL else text[: CELL - 1] + "…"
