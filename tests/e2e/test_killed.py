"""The wheel killed at random moments and run again: in the end it is the wheel that nobody disturbed."""

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flywheel.raw import current_items
from tests.checkout import ROOT
from tests.e2e.comparison import assert_same_tables, index_content, snapshots
from tests.e2e.small_wheel import BROKEN, SmallWheel, build_small_wheel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SEED_VARIABLE = "FLYWHEEL_KILL_SEED"
LEAST_KILLS = 30
RANDOM_WHEELS = 2
KILLS_PER_WHEEL = 14
LAST_TURN = 2
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")} | {"POLARS_MAX_THREADS": "1"}

# moments that matter, in the order in which a wheel meets them: each is hit on one wheel, whatever the seed
NAMED = [
    "write:objects:before",
    "write:annotation_events:after",  # labels of a manifest stand, its items do not
    "write:items:before",
    "encode:after",  # paid for, not yet written
    "write:embeddings:after",
    "write:clusters:after",  # their names are still missing
    "index.upsert:before",
    "index.upsert:after",
    "file:after",  # a model's file stands, its row does not
    "write:predictions:before",
    "write:jobs:after",  # the intent
    "submit:before",
    "submit:after",  # between the vendor's answer and our write
    "fetch:after",  # answers are read, not yet written
    "write:annotation_events:before",
    "write:labels:after",
    "write:evaluations:after",
]


class Killable:
    """A process that turns wheels in children (see `tests.e2e.killable`)."""

    def __init__(self, process: "subprocess.Popen[str]"):
        self._process = process

    def ask(self, request: object) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        text = request if isinstance(request, str) else json.dumps(request)
        print(text, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"the process ended with {self._process.wait()}"
        return json.loads(answer)


@dataclass
class Fate:
    """What happened to one wheel."""

    wheel: SmallWheel
    log: Path
    kills: list[dict[str, Any]] = field(default_factory=list)  # those that struck

    def events(self) -> list[str]:
        return self.log.read_text().splitlines()

    def output(self) -> str:
        path = self.log.with_suffix(".out")
        return path.read_text()[-3000:] if path.exists() else "(it was killed before it said anything)"


@contextmanager
def killable(config: str) -> Iterator[Killable]:
    """Start a process that turns wheels; ready when it has loaded what this configuration needs."""
    command = [sys.executable, "-m", "tests.e2e.killable"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | ONE_THREAD, text=True, **pipes) as process:
        served = Killable(process)
        assert served.ask(config)["ready"]
        yield served
        assert process.stdin
        process.stdin.close()


def random_kill(draw_from: random.Random) -> dict[str, Any]:
    """Draw a moment: at a step, a little later, or by the clock alone."""
    if draw_from.random() < 0.4:
        return {"seconds": round(draw_from.uniform(0.1, 5.0), 3)}
    delay = draw_from.choice([0.0, round(draw_from.uniform(0.0, 0.3), 3)])
    return {"event": draw_from.randrange(1, 25), "delay": delay}


def live(server: Killable, wheel: SmallWheel, plan: list[dict[str, Any]]) -> Fate:
    """Turn a wheel to its last turn, killing it as planned; what is left of the plan when it is done is dropped."""
    fate = Fate(wheel, wheel.folder.with_suffix(".log"))
    request = {"config": wheel.config_path, "log": str(fate.log)}
    for portion, until in ((1, 1), (2, LAST_TURN)):
        wheel.land(portion)
        while True:
            kill = plan.pop(0) if plan else None
            ended = server.ask({**request, "until": until, "kill": kill})
            if ended["code"] == 0:
                break
            killed = ended["code"] == -signal.SIGKILL and kill and not ended["late"]
            assert killed, f"{wheel.folder.name}, {kill}: {ended}\n{fate.output()}"
            fate.kills.append(kill)
    return fate


@pytest.fixture(scope="module")
def fates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fate, list[Fate]]:
    """A wheel that nobody disturbed, and others that were killed again and again."""
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(10**6))
    print(f"killing at random moments; to repeat them: {SEED_VARIABLE}={seed}")
    folder = tmp_path_factory.mktemp("killed")
    template = build_small_wheel(folder / "template")
    draw_from = random.Random(seed)
    plans: dict[str, list[dict[str, Any]]] = {
        "named": [{"point": point} for point in NAMED],
        **{
            f"random-{number}": [random_kill(draw_from) for _ in range(KILLS_PER_WHEEL)]
            for number in range(RANDOM_WHEELS)
        },
        "undisturbed": [],
    }
    wheels = {name: template.copy(folder / name) for name in plans}
    template.land(1)
    queue = list(plans)

    def work(server: Killable) -> list[Fate]:
        return [live(server, wheels[name], plans[name]) for name in iter(lambda: queue.pop(0) if queue else None, None)]

    with killable(template.config_path) as one, killable(template.config_path) as other, ThreadPoolExecutor(2) as pool:
        done = [fate for fates in pool.map(work, (one, other)) for fate in fates]
    killed = sorted(
        (fate for fate in done if fate.wheel.folder.name != "undisturbed"), key=lambda f: f.wheel.folder.name
    )
    [calm] = [fate for fate in done if fate.wheel.folder.name == "undisturbed"]
    return calm, killed


def test_it_was_killed_often_and_everywhere(fates: tuple[Fate, list[Fate]]) -> None:
    _, killed = fates
    kills = [kill for fate in killed for kill in fate.kills]
    print(f"{len(kills)} kills: {[[*kill.values()] for kill in kills]}")
    assert len(kills) >= LEAST_KILLS
    assert {kill["point"] for kill in kills if "point" in kill} == set(NAMED)
    assert any("seconds" in kill for kill in kills)


def test_the_tables_are_those_of_an_undisturbed_wheel(fates: tuple[Fate, list[Fate]]) -> None:
    calm, killed = fates
    for fate in killed:
        assert_same_tables(fate.wheel.tables, calm.wheel.tables)
        assert snapshots(fate.wheel) == snapshots(calm.wheel)


def test_no_item_is_lost_and_none_is_doubled(fates: tuple[Fate, list[Fate]]) -> None:
    _, killed = fates
    for fate in killed:
        landed = {path.name for path in (fate.wheel.folder / "photos").iterdir() if path.suffix != ".csv"}
        landed.remove(BROKEN)
        keys = current_items(fate.wheel.tables)["key"]
        assert sorted(keys) == sorted(landed)
        embedded = fate.wheel.tables.read("embeddings")
        assert embedded.select("content_id", "encoder_id").is_duplicated().sum() == 0
        assert embedded.height == keys.len()


def test_no_job_is_paid_twice(fates: tuple[Fate, list[Fate]]) -> None:
    calm, killed = fates
    expected = [(order.idempotency_key, order.tasks, order.votes) for order in calm.wheel.vendor.orders()]
    assert len(expected) == LAST_TURN
    for fate in killed:
        orders = fate.wheel.vendor.orders()
        assert [(order.idempotency_key, order.tasks, order.votes) for order in orders] == expected
        accepted = Counter(line for line in fate.events() if line.startswith("submit:after"))
        assert all(times == 1 for times in accepted.values()), accepted
        uids = fate.wheel.tables.read("annotation_events")["annotation_uid"]
        assert uids.is_duplicated().sum() == 0


def test_the_index_is_that_of_an_undisturbed_wheel(fates: tuple[Fate, list[Fate]]) -> None:
    calm, killed = fates
    expected = index_content(calm.wheel)
    assert len(expected) == current_items(calm.wheel.tables).height
    for fate in killed:
        assert index_content(fate.wheel) == expected
