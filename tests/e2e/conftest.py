"""One small wheel that took in two portions and turned twice after its base line, shared by the tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook

from assets.turning import Turned, turn_wheel
from resources.encoders import EncodersResource
from tests.e2e.small_wheel import SmallWheel, build_small_wheel


@dataclass
class Cost:
    """What the encoders had to do."""

    encoded: dict[str, int] = field(default_factory=dict)  # contents by modality
    forward_passes: int = 0  # of any network, for contents or for words


@dataclass
class TwoTurns:
    """The wheel after each step, what the driver returned, and what it cost."""

    after_first: SmallWheel  # a copy: base line and turn 1, one portion
    wheel: SmallWheel  # two portions, turn 2 closed
    turned: tuple[Turned, Turned]
    costs: tuple[Cost, Cost]


def turn(wheel: SmallWheel, until: int) -> tuple[Turned, Cost]:
    """Turn a wheel in this process; return what was done, and what it cost."""
    with counted(wheel) as cost:
        turned = turn_wheel(wheel.config_path, announce=lambda line: None, until=until)
    return turned, cost


@contextmanager
def counted(wheel: SmallWheel) -> Iterator[Cost]:
    """Count what the encoders of its pictures and texts do within the block."""
    opened: dict[str, Any] = EncodersResource(config_path=wheel.config_path).create_resource(None)  # type: ignore[arg-type]
    encoders = {modality: opened[modality] for modality in ("image", "text")}
    before = {modality: encoder.contents_encoded for modality, encoder in encoders.items()}
    cost = Cost()

    def note(module: torch.nn.Module, arguments: object, result: object) -> None:
        cost.forward_passes += 1

    hook = register_module_forward_hook(note)
    try:
        yield cost
    finally:
        hook.remove()
        cost.encoded = {modality: encoder.contents_encoded - before[modality] for modality, encoder in encoders.items()}


@pytest.fixture(scope="session")
def two_turns(tmp_path_factory: pytest.TempPathFactory) -> TwoTurns:
    """Turn 0 and turn 1 on the first portion, turn 2 with the second."""
    folder = tmp_path_factory.mktemp("two-turns")
    wheel = build_small_wheel(folder / "wheel")
    wheel.land(1)
    first = turn(wheel, until=1)
    after_first = wheel.copy(folder / "after-first")
    wheel.land(2)
    second = turn(wheel, until=2)
    return TwoTurns(after_first, wheel, (first[0], second[0]), (first[1], second[1]))


@pytest.fixture
def finished(two_turns: TwoTurns, tmp_path: Path) -> SmallWheel:
    """A copy of the finished wheel, free to be changed."""
    return two_turns.wheel.copy(tmp_path / "wheel")
