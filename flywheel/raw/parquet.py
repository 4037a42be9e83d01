"""Reads Parquet that nobody vouches for.

A single wrong byte in a Parquet file can make its decoder ask for more memory than there is, which ends the whole
process and cannot be caught. So the file is decoded in a child process with limits, which hands back an Arrow file.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import polars as pl

from flywheel.raw.reasons import TOO_LARGE, UNDECODABLE, Refused

MAX_ROWS = 5_000_000  # of one file, whose size on disk says little about its rows
SLICE = 10_000  # rows held at once
SECONDS = 300  # for decoding one file
MEMORY = 16 << 30  # bytes of address space of the child
OUTPUT = 4 << 30  # bytes of the decoded file

_CHILD = """
import resource, sys
memory, output = int(sys.argv[3]), int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_FSIZE, (output, output))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import polars as pl
try:
    pl.scan_parquet(sys.argv[1]).sink_ipc(sys.argv[2], compression="uncompressed")
except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, MemoryError) as error:
    sys.exit("\\n" + type(error).__name__ + ": " + str(error).strip().split("\\n")[0])
"""


def parquet_rows(
    content: bytes, key: str, check_header: Callable[[list[str]], None]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a Parquet file, numbered from 1, as plain values.

    Args:
        content: the file's bytes.
        key: what to call it.
        check_header: called with the columns before any row is read; raises `Refused` where they will not do.

    Raises:
        Refused: it is no readable Parquet, or has more than `MAX_ROWS` rows.
    """
    with tempfile.TemporaryDirectory(prefix="flywheel-") as folder:
        source = Path(folder) / "in.parquet"
        source.write_bytes(content)
        decoded = decode_parquet(source, key, Path(folder))
        frame = pl.scan_ipc(decoded)
        check_header(frame.collect_schema().names())
        total = cast(int, frame.select(pl.len()).collect().item())
        if total > MAX_ROWS:
            raise Refused(TOO_LARGE, f"{key} has {total:,} rows, at most {MAX_ROWS:,} are read; split it")
        for offset in range(0, total, SLICE):
            rows = frame.slice(offset, SLICE).collect().iter_rows(named=True)
            yield from enumerate(rows, offset + 1)


def decode_parquet(source: Path, key: str, folder: Path) -> Path:
    """Decode a file in a child process; return the Arrow file that it wrote into `folder`.

    Raises:
        Refused: it is no readable Parquet, or takes too much time or space.
    """
    target = folder / "out.arrow"
    command = [sys.executable, "-I", "-c", _CHILD, str(source), str(target), str(MEMORY), str(OUTPUT)]
    try:
        child = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Refused(TOO_LARGE, f"{key} was not decoded within {SECONDS} s; split it into several files") from None
    if child.returncode == 0:
        return target
    told = child.stderr.decode("utf-8", "replace").strip().split("\n")[-1][:200] if child.returncode == 1 else ""
    told = (told or "its decoder gave up").replace(str(source), key)
    raise Refused(UNDECODABLE, f"{key} is not readable Parquet ({told}); write it again")
