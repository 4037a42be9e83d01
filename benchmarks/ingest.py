"""How fast data come in: rows of table files, and many small files, from a folder and from an S3 server.

Texts are opening lines of newsgroup posts from the demo's data set, each with a number of its own. Tables hold 50,000
rows each, as CSV, JSONL and Parquet in turn. Beside it runs plain reading, which gives neither ids nor checks nor
quarantine: polars for tables, and for files boto3 downloading with as many threads. Every step is a process of its
own, and runs at a quarter of the size too, to see whether memory grows.
"""

import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.child import report, run_step
from benchmarks.registry import Benchmark, Rows

NOW = datetime(2100, 1, 1, tzinfo=UTC)
ROWS_PER_FILE = 50_000
FORMS = ("csv", "jsonl", "parquet")
THREADS = 16
PER_ARRIVAL = 20_000  # objects, as in a wheel's configuration


def run(rows: int, files: int, repeats: int) -> Rows:
    """Measure every step at two sizes; `items` counts what came out, and a step that loses any fails."""
    found: Rows = []
    with tempfile.TemporaryDirectory(prefix="ingest-") as scratch, _server(Path(scratch)) as endpoint:
        root, texts = Path(scratch), _texts()
        for count in (rows // 4, rows):
            _write_tables(root / f"tables-{count}", count, texts)
            steps = [("rows", f"tables-{count}"), ("polars", f"tables-{count}")]
            found += _steps(root, steps, count, repeats, endpoint)
        for count in (files // 4, files):
            _write_files(root / f"files-{count}", count, texts)
            run_step("benchmarks.ingest", "upload", root / f"files-{count}", f"s3://flywheel/files-{count}", endpoint)
            s3 = f"s3://flywheel/files-{count}"
            steps = [("files", f"files-{count}"), ("s3 files", s3), ("download", s3)]
            found += _steps(root, steps, count, repeats, endpoint)
    return found


def figures(rows: Rows) -> dict[str, Any]:
    """Medians over repeats at the full size; `growth_*` is peak memory at that size to that at a quarter."""
    found = {step: _median(rows, step, max) for step in {row["step"] for row in rows}}
    small = {step: _median(rows, step, min) for step in found}
    growth = {f"growth_{s.replace(' ', '_')}": round(found[s]["peak_mb"] / small[s]["peak_mb"], 2) for s in OURS}
    return {
        "rows_per_s": round(found["rows"]["items"] / found["rows"]["cpu_seconds"]),
        "files_per_s": round(found["files"]["items"] / found["files"]["cpu_seconds"]),
        "s3_files_per_s": round(found["s3 files"]["items"] / found["s3 files"]["cpu_seconds"]),
        "ratio_to_plain_download": round(found["s3 files"]["cpu_seconds"] / found["download"]["cpu_seconds"], 2),
        "ratio_to_plain_polars": round(found["rows"]["cpu_seconds"] / found["polars"]["cpu_seconds"], 1),
        "peak_mb": max(found[step]["peak_mb"] for step in OURS),
        **growth,
    }


OURS = ("rows", "files", "s3 files")


def _steps(root: Path, steps: list[tuple[str, str]], count: int, repeats: int, endpoint: str) -> Rows:
    """Run the steps in turns; each registers into tables of its own."""
    rows: Rows = []
    for repeat in range(repeats):
        for step, place in steps:
            where = place if place.startswith("s3://") else str(root / place)
            tables = root / f"tables-{step.replace(' ', '-')}-{count}-{repeat}"
            row = run_step("benchmarks.ingest", step, where, tables, endpoint)
            if row["items"] != count:
                raise RuntimeError(f"{step} took in {row['items']} of {count}")
            rows.append({"step": step, "size": count, "repeat": repeat, **row})
    return rows


def _median(rows: Rows, step: str, pick: Callable[..., int]) -> dict[str, Any]:
    """The repeat of median CPU time at the largest or the smallest size."""
    mine = [row for row in rows if row["step"] == step]
    size = pick(row["size"] for row in mine)
    mine = sorted((row for row in mine if row["size"] == size), key=lambda row: row["cpu_seconds"])
    return mine[len(mine) // 2]


def _texts() -> list[str]:
    from flywheel.demo.datasets import load_dataset

    return [" ".join(str(text).split()) for text in load_dataset("text").contents]


def _write_tables(folder: Path, count: int, texts: list[str]) -> None:
    folder.mkdir()
    for number, start in enumerate(range(0, count, ROWS_PER_FILE)):
        ids = range(start, min(count, start + ROWS_PER_FILE))
        frame = pl.DataFrame(
            {
                "id": [f"p{one}" for one in ids],
                "text": [f"{one} {texts[one % len(texts)]}" for one in ids],
                "channel": [("web", "mail", "chat")[one % 3] for one in ids],
                "year": [2000 + one % 25 for one in ids],
            }
        )
        form = FORMS[number % len(FORMS)]
        write = {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[form]
        write(folder / f"posts-{number:05d}.{form}")


def _write_files(folder: Path, count: int, texts: list[str]) -> None:
    for one in range(count):
        path = folder / f"{one // 1000:04d}" / f"{one:07d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{one} {texts[one % len(texts)]}\n", "utf-8")


@contextmanager
def _server(root: Path) -> Iterator[str]:
    """Run SeaweedFS; its keys are in the environment meanwhile."""
    from tests.servers import run_seaweedfs

    folder = root / "server"
    folder.mkdir()
    with run_seaweedfs(folder) as server:
        yield server.endpoint


def register(place: str, tables: str, endpoint: str) -> int:
    """Plan and register everything in a place; return how many items stand."""
    from flywheel.config import S3, LabelSpecConfig, SourceConfig
    from flywheel.objects import Source, open_store
    from flywheel.raw import plan_arrivals, register_arrival
    from flywheel.tables import Tables

    s3 = S3(endpoint=endpoint)
    config = SourceConfig.model_validate({"id": "bucket", "root": place})
    sources = {"bucket": Source(config, open_store(place, s3))}
    wheel, spec = Tables(tables), LabelSpecConfig(classes=("one", "two"))
    arrivals = plan_arrivals(wheel, sources, now=NOW, max_objects=PER_ARRIVAL)
    return sum(register_arrival(wheel, sources, spec, one, evaluation_share=0.2).items for one in arrivals)


def read_with_polars(place: str) -> int:
    """Read every table file and do nothing with it; return how many rows there are."""
    count = 0
    for path in sorted(Path(place).iterdir()):
        read = {".csv": pl.read_csv, ".jsonl": pl.read_ndjson, ".parquet": pl.read_parquet}[path.suffix]
        count += read(path).height
    return count


def download(place: str, endpoint: str) -> int:
    """Fetch every object with boto3 and do nothing with it; return how many there are."""
    from flywheel.config import S3
    from flywheel.objects.s3 import open_client, split_address

    client, (bucket, prefix) = open_client(S3(endpoint=endpoint)), split_address(place)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [row["Key"] for page in pages for row in page.get("Contents", [])]
    with ThreadPoolExecutor(THREADS) as pool:
        return sum(len(body) > 0 for body in pool.map(lambda key: _body(client, bucket, key), keys))


def _body(client: Any, bucket: str, key: str) -> bytes:
    return client.get_object(Bucket=bucket, Key=key)["Body"].read()


def upload(folder: str, address: str, endpoint: str) -> int:
    """Put every file of a folder into the bucket; return how many."""
    from flywheel.config import S3
    from flywheel.objects.s3 import open_client, split_address

    client, (bucket, prefix) = open_client(S3(endpoint=endpoint)), split_address(address)
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]

    def put(path: Path) -> None:
        client.put_object(Bucket=bucket, Key=prefix + path.relative_to(folder).as_posix(), Body=path.read_bytes())

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(1 for _ in pool.map(put, paths))


def step(name: str, place: str, tables: str, endpoint: str) -> int:
    """Run one step; return how many items came out."""
    if name == "upload":
        return upload(place, tables, endpoint)
    if name == "polars":
        return read_with_polars(place)
    return download(place, endpoint) if name == "download" else register(place, tables, endpoint)


BENCHMARK = Benchmark(
    name="ingest",
    summary="rows of tables and many small files, from a folder and from S3, beside plain reading",
    run=run,
    sizes={"rows": 1_000_000, "files": 100_000, "repeats": 1},
    figures=figures,
    quick={"rows": 200_000, "files": 8_000},
    quick_gates=False,
)

if __name__ == "__main__":
    logging.disable(logging.WARNING)
    report(items=step(*sys.argv[1:]))
