"""The rules of the tree: who imports whom, what is pinned, what an operator may set."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import flywheel
from tests import checkout

ROOT = checkout.ROOT
ENGINE = ROOT / "flywheel"
# the order in which data flows; what stands later may import what stands earlier
# fmt: off
STATIONS = (
    "objects", "raw", "encoders", "index", "structure", "turns", "corpus", "gaps", "selection", "vendors", "quality",
    "modeling", "feedback", "report",
)
# fmt: on
ABOVE = ("history", "erasure", "search", "cli", "demo")
# (who, whom): why this one import of a later station is right
ALLOWED: dict[tuple[str, str], str] = {
    ("raw", "encoders"): "read_contents hands out the encoders' own record `Content`, and nothing else of theirs",
}


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_flywheel_is_ours() -> None:
    assert Path(flywheel.__file__).parent == ENGINE


def test_importing_the_whole_engine_loads_no_orchestrator() -> None:
    done = run_python(
        "import importlib, pkgutil, sys, flywheel\n"
        "names = [m.name for m in pkgutil.walk_packages(flywheel.__path__, 'flywheel.')]\n"
        "[importlib.import_module(name) for name in names if not name.endswith('__main__')]\n"
        "above = {'dagster', 'assets', 'resources', 'sensors'} & set(sys.modules)\n"
        "assert len(names) > 20, names\n"
        "assert not above, above\n"
    )
    assert done.returncode == 0, done.stderr


def test_asking_for_help_loads_nothing_heavy() -> None:
    done = run_python(
        "import sys\n"
        "from flywheel.cli.app import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'polars', 'transformers', 'dagster', 'faiss', 'matplotlib', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("place", "line", "refused"),
    [
        ("flywheel/planted.py", "import dagster as dg\n\ndg.asset()\n", True),
        ("flywheel/planted.py", "from assets import partitions\n\npartitions.turns()\n", True),
        ("flywheel/cli/planted.py", "from resources import stores\n\nstores.x()\n", True),
        ("assets/planted.py", "import dagster as dg\n\ndg.asset()\n", False),
    ],
)
def test_ruff_refuses_the_orchestrator_in_the_engine_only(place: str, line: str, refused: bool) -> None:
    done = subprocess.run(
        [checkout.tool("ruff"), "check", "--no-cache", "--select", "TID251", "--stdin-filename", place, "-"],
        cwd=ROOT,
        input=line,
        capture_output=True,
        text=True,
    )
    assert ("TID251" in done.stdout, done.returncode) == (refused, int(refused)), done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]])
def test_the_tree_passes_ruff(arguments: list[str]) -> None:
    done = subprocess.run(
        [checkout.tool("ruff"), *arguments, "--no-cache", "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_tree_passes_pyright() -> None:
    done = subprocess.run([checkout.tool("pyright")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_no_station_imports_a_later_one() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports flywheel.{station}"
        for path in sorted(ENGINE.rglob("*.py"))
        for line, station in imported_stations(path)
        if not may_import(own_place(path), station)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_check_of_the_order_sees_every_way_to_import(tmp_path: Path) -> None:
    path = tmp_path / "planted.py"
    path.write_text(
        "import flywheel.report\nfrom flywheel.gaps import report_gaps\nfrom flywheel import selection\n"
        "def later():\n    from flywheel.quality.consensus import vote\n"
    )
    assert [station for _, station in imported_stations(path)] == ["report", "gaps", "selection", "quality"]
    assert may_import("gaps", "structure")
    assert not may_import("structure", "gaps")
    assert not may_import("tables", "objects")
    assert not may_import("report", "cli")
    assert may_import("cli", "report")


def test_every_allowed_exception_is_still_needed() -> None:
    used = {(own_place(path), station) for path in ENGINE.rglob("*.py") for _, station in imported_stations(path)}
    assert set(ALLOWED) <= used


@pytest.mark.parametrize("station", STATIONS)
def test_a_station_says_what_it_reads_and_writes(station: str) -> None:
    folder, module = ENGINE / station / "__init__.py", ENGINE / f"{station}.py"
    path = folder if folder.exists() else module
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    assert re.search(r"\b(read|reads|write|writes|written)\b", text), f"{path} does not say what it reads or writes"


def test_every_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [one for group in project["optional-dependencies"].values() for one in group]
    pins = constraints()
    for requirement in [*project["dependencies"], *extras]:
        name, rest = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?(.*)", requirement).groups()  # type: ignore[union-attr]
        assert canonical(name) in pins, f"{name} is not in constraints.txt"
        if rest.startswith("=="):
            assert pins[canonical(name)] == rest[2:], f"{name} has two pins"


def test_pins_name_no_build_of_one_machine() -> None:
    assert not [pin for pin in constraints().values() if "+" in pin]


def test_every_setting_of_the_environment_is_in_the_example() -> None:
    listed = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
    sources = [
        path for folder in ("flywheel", "assets", "resources", "sensors") for path in (ROOT / folder).rglob("*.py")
    ]
    found = {name for path in sources for name in re.findall(r"\b(FLYWHEEL_[A-Z_]+)\b", path.read_text("utf-8"))}
    assert found <= listed, f"not in .env.example: {sorted(found - listed)}"
    assert {"QDRANT_URL", "QDRANT_API_KEY", "LABEL_STUDIO_TOKEN"} <= listed


@pytest.mark.parametrize(
    ("commands", "chosen"), [({"python3": "3.11"}, "python3"), ({"python3.11": "3.11"}, "python3.11")]
)
def test_installation_finds_python(commands: dict[str, str], chosen: str, tmp_path: Path) -> None:
    done = find_python(commands, tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / chosen)), done.stderr


@pytest.mark.parametrize("commands", [{}, {"python3": "3.12"}])
def test_installation_without_python_3_11_says_so(commands: dict[str, str], tmp_path: Path) -> None:
    done = find_python(commands, tmp_path)
    assert done.returncode == 1
    assert "Python 3.11 is needed" in done.stderr
    assert all(version in done.stderr for version in commands.values())


def find_python(commands: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the search for Python where only `commands` exist, each claiming a version."""
    for name, version in commands.items():
        command = folder / name
        command.write_text(f"#!/bin/sh\necho {version}\n")
        command.chmod(0o755)
    shell = shutil.which("bash")
    assert shell
    return subprocess.run(
        [shell, str(ROOT / ".ci" / "find-python")], env={"PATH": str(folder)}, capture_output=True, text=True
    )


def own_place(path: Path) -> str:
    """The station, or other first word below the engine, that a file belongs to."""
    return path.relative_to(ENGINE).parts[0].removesuffix(".py")


def may_import(who: str, station: str) -> bool:
    """Whether code of `who` may import `station` (or search, cli, demo)."""
    if who == station or who in ABOVE or (who, station) in ALLOWED:
        return True
    return who in STATIONS and station in STATIONS and STATIONS.index(station) < STATIONS.index(who)


def imported_stations(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and name of each station, or part above the stations, that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        for name in imported_names(node):
            head, _, rest = name.partition(".")
            if head == "flywheel" and rest.split(".")[0] in (*STATIONS, *ABOVE):
                yield node.lineno, rest.split(".")[0]


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        return [f"{module}.{alias.name}" for alias in node.names] if module == "flywheel" else [module]
    return []


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return {canonical(name): pin for name, _, pin in (line.partition("==") for line in lines if line[:1] not in "#")}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
