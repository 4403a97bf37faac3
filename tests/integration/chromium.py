"""The Chromium of this machine, for tests that need a real browser. Without one they are skipped."""

import contextlib
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",  # CI is root
    "--disable-gpu",
    "--disable-lcd-text",  # grey edges: the screenshots are smaller
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextlib.contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Start Chromium with these flags and those above."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip(f"no Chromium on PATH ({', '.join(BROWSERS)}): tests that need a browser are skipped")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*FLAGS, *flags])
        yield browser
        browser.close()
