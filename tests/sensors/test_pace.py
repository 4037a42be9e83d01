"""How often the sensors look: as they say themselves, unless the environment says otherwise."""

import pytest

from flywheel.errors import ConfigError
from sensors.common import PACE, pace


def test_a_sensor_keeps_its_own_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PACE, raising=False)
    assert pace(30) == 30
    monkeypatch.setenv(PACE, " ")
    assert pace(30) == 30


def test_the_environment_sets_the_pace_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PACE, "5")
    assert (pace(30), pace(60)) == (5, 5)


@pytest.mark.parametrize("asked", ["0", "-3", "2.5", "often"])
def test_a_pace_that_is_none_is_refused(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PACE, asked)
    with pytest.raises(ConfigError, match=f"{PACE} must be a whole number of seconds, at least 1; found '{asked}'"):
        pace(30)
