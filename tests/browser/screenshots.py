"""Takes the docs' screenshots anew, from a wheel that was turned: `python -m tests.browser.screenshots`.

It shows the wheel that `make demo` leaves behind, or another one (`--config`), with the sensors off.
"""

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import FloatRect, Page, expect

from tests.assets.test_definitions import STATIONS
from tests.browser.ui import browser_page, node, open_asset, open_graph, show_markdown, turn_graph
from tests.checkout import ROOT
from tests.dev_server import DevServer, run_dev

IMAGES = ROOT / "docs" / "images"
OFF = {"FLYWHEEL_SENSORS": "off"}
SCALE = 2
MARGIN = 24
GRAPH = (1800, 2600)  # large enough that the whole graph stands in it at full size
PAGE = (1500, 1460)
COLORS = 256


def take_all(config: Path, folder: Path) -> None:
    """Write every screenshot of the docs into `folder`."""
    with tempfile.TemporaryDirectory() as scratch, run_dev(config, Path(scratch) / "dev.log", OFF) as server:
        with browser_page(GRAPH, SCALE) as page:
            take_graph(page, server, folder / "asset-graph.png")
        with browser_page(PAGE, SCALE) as page:
            take_map(page, server, folder / "data-map-in-dagster.png")


def take_graph(page: Page, server: DevServer, path: Path) -> None:
    """The whole graph, every group unfolded, from top to bottom."""
    open_graph(page, server, list(STATIONS))
    turn_graph(page, server, list(STATIONS))
    for name in (name for names in STATIONS.values() for name in names):
        expect(node(page, name)).to_be_visible()
    expect(page.get_by_text("Loading")).to_have_count(0)
    save(page.screenshot(clip=around(page, "foreignObject")), path)


def take_map(page: Page, server: DevServer, path: Path) -> None:
    """The map of the data, opened from the metadata of its asset."""
    open_asset(page, server, "structure/data_map")
    dialog = show_markdown(page, "map of images")
    dialog.get_by_alt_text("map of images").wait_for()
    page.wait_for_timeout(500)  # the dialog slides in
    save(page.screenshot(), path)


def save(png: bytes, path: Path) -> None:
    """Write a screenshot with few colors: a fraction of the bytes, and no difference to see."""
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(COLORS, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE).save(
            path, optimize=True
        )


def around(page: Page, selector: str) -> FloatRect:
    """The rectangle around all elements of a kind, with a margin."""
    boxes = [box for element in page.locator(selector).all() if (box := element.bounding_box())]
    left, top = min(box["x"] for box in boxes) - MARGIN, min(box["y"] for box in boxes) - MARGIN
    right = max(box["x"] + box["width"] for box in boxes) + MARGIN
    bottom = max(box["y"] + box["height"] for box in boxes) + MARGIN
    return FloatRect(x=left, y=top, width=right - left, height=bottom - top)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config", type=Path, default=Path("demo-images/flywheel.yaml"), help="the wheel that is shown"
    )
    parser.add_argument("--out", type=Path, default=IMAGES, help="where the pictures go")
    given = parser.parse_args()
    take_all(given.config.resolve(), given.out)
