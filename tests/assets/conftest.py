"""One tiny wheel that was turned twice, shared by the tests of the assets; each test that changes it takes a copy."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from assets.turning import Turned, turn_wheel
from tests.assets.tiny_wheel import TinyWheel, build_wheel


@dataclass
class Finished:
    """A wheel, what its driver returned and what it said."""

    wheel: TinyWheel
    turned: Turned
    lines: list[str]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """48 pictures and 8 texts, no label at first; turn 0 and turn 1."""
    wheel = build_wheel(tmp_path_factory.mktemp("finished") / "wheel")
    wheel.add(0, 48)
    wheel.add_texts(8)
    lines: list[str] = []
    turned = turn_wheel(wheel.config_path, turns=2, announce=lines.append)
    return Finished(wheel, turned, lines)


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> TinyWheel:
    """A copy of the finished wheel, free to be changed. Its objects keep their times, so nothing looks new."""
    shutil.copytree(finished.wheel.folder, tmp_path / "wheel")
    return TinyWheel(tmp_path / "wheel")


@pytest.fixture
def turn(tmp_path: Path) -> Callable[..., list[str]]:
    """Turn a wheel and return what was said."""

    def turned(wheel: TinyWheel, **options: int) -> list[str]:
        lines: list[str] = []
        turn_wheel(wheel.config_path, announce=lines.append, **options)
        return lines

    return turned
