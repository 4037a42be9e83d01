"""The documentation: links lead somewhere, what is shown as a command runs, what is shown as a configuration loads.

A fenced block after the line `<!-- tested -->` is run (bash) or loaded (yaml). The blocks of one page run in order, in
one empty folder; `<!-- tested: file=NAME -->` writes the block to that file instead of running it.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from flywheel import __version__
from flywheel.config import load_config, parse_config
from flywheel.raw.reasons import CATALOGUE
from flywheel.records import PARTITION, SCHEMAS
from tests.checkout import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(
    r"^<!-- tested(?:: file=(?P<file>\S+))? -->\n```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One tested block of a page."""

    kind: str
    file: str | None
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(found["kind"], found["file"], found["text"], text[: found.start()].count("\n") + 1)
        for found in BLOCK.finditer(text)
    ]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [link for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]
    broken = [link for link in targets if not leads_somewhere(page, link)]
    assert not broken


def leads_somewhere(page: Path, link: str) -> bool:
    place, _, anchor = link.partition("#")
    target = (page.parent / place).resolve() if place else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or anchor in anchors(target)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [page for page in PAGES if "<!-- tested" in page.read_text("utf-8")], ids=name_of)
def test_every_mark_stands_before_a_block(page: Path) -> None:
    assert len(blocks(page)) == len(re.findall(r"^<!-- tested", page.read_text("utf-8"), re.MULTILINE))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name_of)
def test_what_is_shown_works(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.file:
            (tmp_path / block.file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / block.file).write_text(block.text)
            if block.file.endswith("flywheel.yaml"):
                load_config(tmp_path / block.file)
        elif block.kind == "yaml":
            parse_config(yaml.safe_load(block.text), tmp_path, where=f"{name_of(page)}, line {block.line}")
        else:
            assert block.kind == "bash", f"{name_of(page)}, line {block.line}: {block.kind} cannot be tested"
            run_block(block, page, tmp_path)


def run_block(block: Block, page: Path, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("FLYWHEEL_", "DAGSTER_HOME"))}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=folder,
        env=env | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{name_of(page)}, line {block.line}:\n{done.stdout}\n{done.stderr}"


def test_the_changelog_has_the_current_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\S+)$", text, re.MULTILINE)
    assert versions[0][0] == __version__
    assert re.fullmatch(r"unreleased|\d{4}-\d{2}-\d{2}", versions[0][1])


def test_the_architecture_page_names_every_table_and_its_partition() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    documented = {table: row[3].split()[0] for row in rows if len(row) == 5 for table in re.findall(r"`(\w+)`", row[1])}
    expected = {table: PARTITION.get(table, "whole") for table in SCHEMAS}
    assert {table: documented.get(table) for table in SCHEMAS} == expected


def test_the_page_about_refusals_explains_every_code_as_the_catalogue_does() -> None:
    lines = (ROOT / "docs" / "why-was-my-file-refused.md").read_text("utf-8").splitlines()
    expected = [
        f"| `{reason.code}` | {reason.meaning} | {'; '.join(reason.causes)} | {reason.next_step} |"
        for reason in CATALOGUE.values()
    ]
    first = lines.index("| code | meaning | usual causes | next step |") + 2
    assert lines[first : first + len(expected) + 1] == [*expected, ""]


def test_the_pages_name_every_asset_and_every_sensor() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "assets").glob("*.py"))
    assets = set(re.findall(r'key=\["\w+", "(\w+)"\]', code))
    sensors = {path.stem for path in (ROOT / "sensors").glob("*.py")} - {"__init__", "common"}
    assert len(assets) >= 15
    assert not [name for name in assets | sensors if name not in text]


def test_the_tree_in_the_readme_is_the_tree() -> None:
    text = (ROOT / "README.md").read_text("utf-8").split("## The tree")[1].split("```")[1]
    shown = re.findall(r"^(  )?(\S+)  ", text, re.MULTILINE)
    missing = [name for inner, name in shown if not (ROOT / ("flywheel" if inner else "") / name).exists()]
    assert not missing
    folders = {path.parent.name + "/" for path in (ROOT / "flywheel").glob("*/__init__.py")}
    assert not folders - {name for inner, name in shown if inner}


def test_decisions_are_numbered_and_say_what_they_must() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for path in records:
        text = path.read_text("utf-8")
        titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert titles == ["Context", "Decision", "Consequences", "Alternatives"], path.name
        assert text.startswith(f"# {int(path.name[:4])}. "), path.name


def test_the_readme_shows_the_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    shown = {name for page in PAGES for name in re.findall(r"\bmake +([a-z][a-z-]+)", "\n".join(code_of(page)))}
    assert shown <= targets, shown - targets


def code_of(page: Path) -> list[str]:
    """The code of a page: fenced and inline."""
    text = page.read_text("utf-8")
    return [*re.findall(r"```bash\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)]


def test_no_page_speaks_of_one_machine() -> None:
    words = re.compile(r"/root/|/work/|/tmp/|\bsession\b", re.IGNORECASE)
    assert not [name_of(page) for page in PAGES if words.search(page.read_text("utf-8"))]
