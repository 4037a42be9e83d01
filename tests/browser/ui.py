"""Dagster's UI in a real browser: what a person looks at and clicks, for tests and the docs' screenshots."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import quote

from playwright.sync_api import Locator, Page, ViewportSize, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.dev_server import DevServer

CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
SECONDS = 60_000  # the longest wait, in milliseconds: the machine may be busy
TRIES = 6


@contextmanager
def browser_page(size: tuple[int, int] = (1600, 1000), scale: float = 1) -> Iterator[Page]:
    """Open a browser with a fresh profile; size is in CSS pixels, each of which is `scale` pixels of a screenshot."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            viewport = ViewportSize(width=size[0], height=size[1])
            page = browser.new_context(viewport=viewport, device_scale_factor=scale).new_page()
            page.set_default_timeout(SECONDS)
            # an invitation to a community covers the page when Dagster is opened for the first time
            page.add_locator_handler(page.get_by_role("button", name="Skip"), lambda button: button.click())
            yield page
        finally:
            browser.close()


def open_graph(page: Page, server: DevServer, groups: list[str]) -> None:
    """Open the graph of all assets, with these groups unfolded."""
    unfolded = ",".join(f"global@global:{group}" for group in groups)
    page.goto(f"{server.url}/asset-groups?expanded={quote(unfolded, safe='')}")
    node(page, "model_eval").wait_for()


def turn_graph(page: Page, server: DevServer, groups: list[str]) -> None:
    """Lay the open graph out from top to bottom, at a size at which it can be read."""
    page.locator('[aria-label="settings"]').last.click()
    page.get_by_text("Change graph to vertical orientation").click()
    page.get_by_text("Change graph to horizontal orientation").wait_for()
    open_graph(page, server, groups)  # a fresh page fits the graph into the window


def node(page: Page, name: str) -> Locator:
    """The name in an asset's box, or in a group's, in the open graph."""
    return page.locator("foreignObject").get_by_text(name, exact=True).first


def open_asset(page: Page, server: DevServer, asset: str) -> None:
    """Open the page of an asset, `station/noun`, that was materialized."""
    page.goto(f"{server.url}/assets/{asset}")
    page.get_by_text("[Show Markdown]").first.wait_for()


def show_markdown(page: Page, label: str) -> Locator:
    """Return where a metadata entry that is Markdown is shown: short ones in the page, others after a click."""
    entry = page.locator("tr").filter(has=page.get_by_text(label, exact=True)).first
    entry.wait_for()
    button = entry.get_by_text("[Show Markdown]")
    dialog = page.get_by_role("dialog").filter(has_text=label)
    for _ in range(TRIES):  # the page draws itself anew while its data comes in, and a click may fall into that
        if not button.count():
            return entry
        with suppress(PlaywrightTimeout):
            button.click(timeout=SECONDS / TRIES)
            dialog.wait_for(timeout=SECONDS / TRIES)
            return dialog
    raise AssertionError(f"the entry '{label}' cannot be opened")
