import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from flywheel.errors import DataError
from flywheel.modeling import Interval
from flywheel.report import write_report
from flywheel.report.charts import Bar, draw_accuracy
from flywheel.report.facts import gather_turn
from flywheel.report.page import percent, points, span, spread
from flywheel.report.previews import SNIPPET, snippet
from tests.unit.modeling_world import World
from tests.unit.report_world import ReportWorld, make_world

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ReportWorld:
    return make_world(tmp_path_factory.mktemp("images"))


def write(world: ReportWorld | World, **options: object) -> Path:
    given = {"title": "A <b>title</b>", "notes": ["A note & more"]} | options
    sources = world.sources if isinstance(world, ReportWorld) else {}
    return Path(write_report(world.tables, sources, world.files, world.config, **given))  # type: ignore[arg-type]


class Page(HTMLParser):
    """The elements, attributes and text of a page."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def images(self) -> list[str]:
        return [attributes["src"] or "" for tag, attributes in self.tags if tag == "img"]


@pytest.fixture(scope="module")
def page(world: ReportWorld) -> Iterator[Page]:
    yield Page(write(world).read_text("utf-8"))


def test_the_page_is_one_file_that_loads_and_runs_nothing(page: Page) -> None:
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "base", "form")]
    assert all(source.startswith("data:image/") for source in page.images())
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all((attributes["href"] or "").startswith("#") for tag, attributes in page.tags if tag == "a")
    [policy] = [attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes]
    assert policy and policy.startswith("default-src 'none'")


def test_hostile_names_are_shown_and_never_become_elements(page: Page) -> None:
    assert "<script>alert('x')</script>" in page.text
    assert "A <b>title</b>" in page.text and "ann <i>" in page.text and "<b>bold</b>" in page.text
    assert "i" not in {tag for tag, _ in page.tags}
    keys = [attributes["alt"] or "" for tag, attributes in page.tags if tag == "img"]
    assert any(key.startswith("<img src=x onerror=alert(1)>") for key in keys)


def test_the_headline_says_what_the_evaluations_say(world: ReportWorld, page: Page) -> None:
    turn = gather_turn(world.tables, world.config, 1, shown=5, examples=3)
    overall = turn.overall
    assert overall and overall.before and overall.gain
    after, before = (percent(part.value).replace("\N{NO-BREAK SPACE}", " ") for part in (overall.after, overall.before))
    assert f"is right on {after} of {overall.n} held-out items" in page.text
    assert f"before this turn it was {before} on the same items" in page.text
    assert points(overall.gain.value) + " points" in page.text
    assert turn.equal_budget and turn.equal_budget[0] == 36
    assert overall.after.value > overall.before.value


def test_each_turn_shows_its_map_its_chart_its_gaps_and_its_batch(world: ReportWorld, page: Page) -> None:
    large = [source for source in page.images() if source.startswith("data:image/png") and len(source) > 20_000]
    assert len(large) == 4  # a map and a chart for each of two turns
    assert "where 33% was expected" in page.text and "label about 20 of the 35 unlabeled items there" in page.text
    assert "1 part of the data is hard" in page.text
    assert "Chosen by the wheel: 14 items" in page.text and "Random control: 12 items" in page.text
    # 24 seed, 24 of the evaluation arm, 14 chosen, 12 random, 8 examples for each of two gaps
    small = [source for source in page.images() if source.startswith("data:image/jpeg")]
    assert len(small) == 24 + 24 + 14 + 12 + 16


def test_it_says_what_was_simulated_and_what_the_model_cannot_know(page: Page) -> None:
    assert "206 of the answers come from simulated annotators" in page.text
    assert "A note & more" in page.text
    assert "No training label yet of: <b>bold</b>." in page.text


def test_label_quality_and_quarantine_have_their_numbers(world: ReportWorld, page: Page) -> None:
    quality = gather_turn(world.tables, world.config, 1, shown=5, examples=3).quality
    assert quality and quality.new == 26
    numbers = {number for arm in ("chosen", "random") for number in asked(world, arm)}
    split = sum(number % 10 == 0 for number in numbers)
    assert quality.doubted == split > 0
    people = {person["author"]: (person["answers"], round(person["agreed"], 6)) for person in quality.people}
    assert people == {"ann <i>": (26, 1.0), "bob": (26, round(1 - split / 26, 6))}
    assert "1 object or row could not be taken in" in page.text.replace("objects", "object")
    assert "broken.png" in page.text


def asked(world: ReportWorld, arm: str) -> list[int]:
    batch = world.tables.read("batches", turn=1, arm=arm)
    return world.items.join(batch, on="item_id", how="semi")["number"].to_list()


def test_texts_are_shown_and_answers_of_people_raise_no_notice_of_simulation(tmp_path: Path) -> None:
    page = Page(write(make_world(tmp_path, "text", vendor_kind="human"), notes=[]).read_text("utf-8"))
    assert "Note 1 <script>alert('x')</script> about square $x^: words" in page.text
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert not [source for source in page.images() if source.startswith("data:image/jpeg")]
    assert "imulated annotators" not in page.text and "Simulated parts" not in page.text
    assert "human (206)" in page.text


def test_writing_the_same_report_again_changes_nothing(world: ReportWorld) -> None:
    path = write(world)
    stamp = path.stat().st_mtime_ns
    assert write(world) == path and path.stat().st_mtime_ns == stamp
    assert "Turn 0" not in Page(write(world, turns=[1]).read_text("utf-8")).text


def test_an_item_its_source_no_longer_has_leaves_a_place(world: ReportWorld) -> None:
    key = world.row(asked(world, "chosen")[0])["key"]
    picture = world.folder / "source" / key
    content = picture.read_bytes()
    picture.unlink()
    try:
        assert "no longer shown by its source" in Page(write(world).read_text("utf-8")).text
    finally:
        picture.write_bytes(content)


def test_a_wheel_without_turns_labels_or_map_has_a_page_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert "No turn has been opened yet" in write(world).read_text("utf-8")
    world.arrive()
    world.open(0)
    text = Page(write(world).read_text("utf-8")).text
    assert "No model has been judged yet" in text and "None were found" in text and "Nothing was refused" in text


def test_a_turn_that_was_never_opened_is_an_error(world: ReportWorld) -> None:
    with pytest.raises(DataError, match="never opened"):
        write(world, turns=[7])


def test_the_chart_takes_any_name_and_is_the_same_every_time() -> None:
    sure = Interval(0.8, 0.7, 0.9)
    names = ["$x^{ broken math", "数据 flywheel", "", "long " * 40]
    bars = [Bar(name, 20, sure if place else None, sure) for place, name in enumerate(names)]
    picture = draw_accuracy(bars)
    assert picture.startswith(PNG) and picture == draw_accuracy(bars)


def test_snippets_are_short_single_lines_without_control_characters() -> None:
    found = snippet("a\x00b\n\tc" + chr(0x202E) + "d " + "long " * 500)
    assert found.startswith("a b c d long") and len(found) <= SNIPPET + 1 and found.endswith("…")


def test_numbers_read_like_numbers() -> None:
    space = "\N{NO-BREAK SPACE}"
    assert percent(0.8412) == f"84.1{space}%" and percent(None) == "–"
    assert points(-0.021) == "−2.1" and points(0.03) == "+3.0"
    assert span(Interval(0.5, 0.4, 0.6)) == f"40.0–60.0{space}%"
    assert spread(Interval(0.0, -0.01, 0.02)) == "−1.0 to +2.0"
