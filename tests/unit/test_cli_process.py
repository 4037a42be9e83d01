"""The command line as a process: exit codes, and how it starts the application of a checkout."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import flywheel
from flywheel.cli.checkout import find_checkout
from flywheel.errors import ConfigError
from tests import checkout

SHOW = """\
import json, os, sys
names = ("DAGSTER_HOME", "FLYWHEEL_CONFIG", "FLYWHEEL_SENSORS", "DAGSTER_DISABLE_TELEMETRY")
env = {name: os.environ.get(name) for name in names}
print(json.dumps({"arguments": sys.argv[1:], "cwd": os.getcwd(), "env": env}))
sys.exit(7)
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder with the library alone, as an installed wheel has it."""
    root = tmp_path / "installed"
    shutil.copytree(Path(flywheel.__file__).parent, root / "flywheel", ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture
def fake_checkout(library: Path) -> Path:
    """The library beside an application that only shows how it was started."""
    (library / "assets").mkdir()
    for name in ("__init__.py", "definitions.py"):
        (library / "assets" / name).write_text("")
    (library / "assets" / "__main__.py").write_text(SHOW)
    (library / "dagster.py").write_text(SHOW)
    (library / "workspace.yaml").write_text("load_from: []\n")
    (library / ".dagster").mkdir()
    (library / ".dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return library


def run(*arguments: str, root: Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `flywheel` as a process with the package under `root`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FLYWHEEL_", "DAGSTER_"))}
    return subprocess.run(
        [sys.executable, "-m", "flywheel.cli", *arguments],
        cwd=cwd,
        env=inherited | {"PYTHONPATH": str(root)} | env,
        capture_output=True,
        text=True,
        timeout=60,
    )


def write_config(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    done = run("init", str(folder), root=checkout.ROOT, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "flywheel.yaml"


def test_an_error_is_a_message_and_an_exit_code(tmp_path: Path) -> None:
    (tmp_path / "flywheel.yaml").write_text("sources: []\nbudgte: {}\n")
    done = subprocess.run([checkout.tool("flywheel"), "status"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'budget'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    assert run("nonsense", root=checkout.ROOT, cwd=tmp_path).returncode == 2


def test_the_library_alone_says_where_the_application_is(library: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "wheel")
    for command in (["run", "--config", str(path)], ["demo", "images"], ["dev", "--config", str(path)]):
        done = run(*command, root=library, cwd=tmp_path)
        assert done.returncode == 2, done.stdout + done.stderr
        assert str(library / "flywheel") in done.stderr
        assert "clone the repository" in done.stderr


def test_the_checkout_is_found_beside_the_package(fake_checkout: Path) -> None:
    assert find_checkout(fake_checkout / "flywheel") == fake_checkout
    (fake_checkout / "workspace.yaml").unlink()
    with pytest.raises(ConfigError, match="workspace"):
        find_checkout(fake_checkout / "flywheel")


def test_run_starts_the_application_in_the_checkout_and_returns_its_exit_code(
    fake_checkout: Path, tmp_path: Path
) -> None:
    path = write_config(tmp_path / "wheel")
    done = run("run", "--turns", "2", root=fake_checkout, cwd=path.parent)
    assert done.returncode == 7, done.stderr
    shown = json.loads(done.stdout)
    assert shown["arguments"] == ["run", f"--config={path}", "--turns=2"]
    until = json.loads(run("run", "--until", "3", root=fake_checkout, cwd=path.parent).stdout)
    assert until["arguments"] == ["run", f"--config={path}", "--until=3"]
    assert shown["cwd"] == str(fake_checkout)
    assert shown["env"]["DAGSTER_DISABLE_TELEMETRY"] == "1"


def test_run_tells_a_mistake_in_the_configuration_before_it_starts_anything(
    fake_checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / "flywheel.yaml").write_text("sources: []\n")
    done = run("run", root=fake_checkout, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")


def test_demo_passes_its_options_and_an_absolute_folder(fake_checkout: Path, tmp_path: Path) -> None:
    done = run("demo", "text", "--gap", "none", "--seed", "3", "--items", "500", root=fake_checkout, cwd=tmp_path)
    assert done.returncode == 7, done.stderr
    folder = tmp_path / "demo-text"
    expected = ["demo", "text", "--gap=none", "--seed=3", "--items=500", f"--out={folder}"]
    assert json.loads(done.stdout)["arguments"] == expected


def test_dev_opens_dagster_on_this_machine_only_with_the_wheels_own_storage(
    fake_checkout: Path, tmp_path: Path
) -> None:
    path = write_config(tmp_path / "wheel")
    done = run("dev", "--port", "3456", root=fake_checkout, cwd=path.parent)
    assert done.returncode == 7, done.stderr
    shown = json.loads(done.stdout)
    assert shown["arguments"] == ["dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", "3456"]
    home = path.parent / "wheel" / "cache" / "dagster"
    assert shown["env"] == {
        "DAGSTER_HOME": str(home),
        "FLYWHEEL_CONFIG": str(path),
        "FLYWHEEL_SENSORS": "on",
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    assert (home / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


def test_dev_leaves_to_the_operator_what_the_environment_says(fake_checkout: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "wheel")
    done = run("dev", root=fake_checkout, cwd=path.parent, DAGSTER_HOME="/elsewhere", FLYWHEEL_SENSORS="off")
    env = json.loads(done.stdout)["env"]
    assert (env["DAGSTER_HOME"], env["FLYWHEEL_SENSORS"]) == ("/elsewhere", "off")


def test_dev_shows_the_newest_demo_where_there_is_no_wheel(fake_checkout: Path, tmp_path: Path) -> None:
    old, new = write_config(tmp_path / "demo-images"), write_config(tmp_path / "demo-text")
    os.utime(old, (1, 1))
    done = run("dev", root=fake_checkout, cwd=tmp_path)
    assert json.loads(done.stdout)["env"]["FLYWHEEL_CONFIG"] == str(new)


def test_dev_without_any_wheel_shows_the_assets_with_sensors_off(fake_checkout: Path, tmp_path: Path) -> None:
    done = run("dev", root=fake_checkout, cwd=tmp_path)
    assert json.loads(done.stdout)["env"]["FLYWHEEL_SENSORS"] == "off"
    assert "flywheel init" in done.stderr
    assert run("dev", "--config", "no.yaml", root=fake_checkout, cwd=tmp_path).returncode == 2
