"""`python -m assets run`: what a person sees, and the exit codes a script sees."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from assets.__main__ import app
from tests.assets.tiny_wheel import TinyWheel


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["run", *arguments])


def test_what_is_done_already_is_no_error(copied: TinyWheel) -> None:
    result = run("--config", copied.config_path, "--until", "1")
    assert (result.exit_code, result.exception) == (0, None)
    assert "Nothing new has arrived since arrival-00001." in result.output
    assert "No turn was left to do." in result.output


def test_a_batch_that_waits_for_a_person_exits_with_5(copied: TinyWheel) -> None:
    path = Path(copied.config_path)
    path.write_text(path.read_text().replace("auto_approve: true", "auto_approve: false"))
    copied.add(48, 3)
    result = run("--config", copied.config_path)
    assert result.exit_code == 5
    assert "`flywheel approve 2`" in " ".join(result.output.split())
    assert copied.tables.read("jobs", turn=2).is_empty()


@pytest.mark.parametrize(("text", "named"), [("sources: []\n", "label_spec"), ("a: [", "not valid YAML")])
def test_a_wrong_configuration_exits_with_2(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "flywheel.yaml").write_text(text)
    result = run("--config", str(tmp_path / "flywheel.yaml"))
    assert result.exit_code == 2
    assert named in result.output
