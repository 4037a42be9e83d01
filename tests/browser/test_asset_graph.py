"""What a person sees in the browser after `flywheel dev`: the graph, an asset's plots and tables, a button."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.turning import turn_wheel
from tests.assets.test_definitions import STATIONS
from tests.assets.tiny_wheel import build_wheel
from tests.dev_server import DevServer, run_dev

pytest.importorskip("playwright", reason="playwright is not installed; `make install` brings it")

from playwright.sync_api import Page, expect

from tests.browser.ui import CHROMIUM, SECONDS, browser_page, node, open_asset, open_graph, show_markdown

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine (Debian: apt install chromium)"),
]

MATERIALIZATIONS = """
query Made($keys: [AssetKeyInput!]!) { assetNodes(assetKeys: $keys) { assetMaterializations { runId } } }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """Dagster on a tiny wheel that was turned once; the sensors are off."""
    folder = tmp_path_factory.mktemp("browser")
    wheel = build_wheel(folder / "wheel")
    wheel.add(0, 48, labeled=30)
    turn_wheel(wheel.config_path, announce=lambda _: None)
    with run_dev(Path(wheel.config_path), folder / "dev.log", {"FLYWHEEL_SENSORS": "off"}) as running:
        yield running


@pytest.fixture(scope="module")
def page(server: DevServer) -> Iterator[Page]:
    with browser_page() as opened:
        yield opened


def test_the_graph_shows_every_asset_in_its_group(page: Page, server: DevServer) -> None:
    open_graph(page, server, list(STATIONS))
    for station, names in STATIONS.items():
        for name in (station, *names):
            expect(node(page, name), f"{name} in the graph").to_be_visible()


def test_an_asset_shows_its_plot(page: Page, server: DevServer) -> None:
    open_asset(page, server, "structure/data_map")
    expect(page.get_by_text("One row is one content's point on a 2-D map")).to_be_visible()
    picture = show_markdown(page, "map of images").get_by_alt_text("map of images")
    expect(picture).to_be_visible()
    width, height = picture.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert width > 500 and height > 500


def test_an_asset_shows_its_tables(page: Page, server: DevServer) -> None:
    open_asset(page, server, "modeling/model_eval")
    expect(page.get_by_text("accuracy, deployed")).to_be_visible()
    table = show_markdown(page, "metrics").locator("table")
    expect(table.locator("th")).to_have_text(["arm", "slice", "metric", "value", "low", "high", "n", "baseline"])
    expect(table.locator("td", has_text="accuracy").first).to_be_visible()


def test_the_button_materializes(page: Page, server: DevServer) -> None:
    keys = [{"path": ["structure", "data_map"]}]

    def made() -> int:
        return len(server.ask(MATERIALIZATIONS, keys=keys)["assetNodes"][0]["assetMaterializations"])

    before = made()
    open_asset(page, server, "structure/data_map")
    page.get_by_role("button", name="Materialize").first.click()
    server.until(lambda: made() > before or None, "the map is materialized again", SECONDS / 1000 * 3)
