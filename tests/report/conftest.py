# SPDX-License-Identifier: MIT
"""Pages to drive, and a browser that lets nothing out. OTIMES: the program (else build/otimes)."""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import hostile
import mock
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[2]
OTIMES = os.environ.get("OTIMES", str(ROOT / "build" / "otimes"))
MODEL = str(ROOT / "notebooks-data" / "induction-2l")
TEXT = "def area(self, width): self.width = width; return self.height * self."
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")

STORY = "Once upon a time, there was a little girl named Lily. She loved to play with her toys. Lily"
GOLDEN = ROOT / "tests" / "golden"
IDS = ["--tokens", "1,5,3,1,5,2"]
# Pages of other models, and of a target that was asked for.
OTHERS = {
    "target": [MODEL, "--text", TEXT, "--target", "m"],
    "capped": [str(GOLDEN / "gemma2"), *IDS],
    "one-key": [str(GOLDEN / "gpt_bigcode"), *IDS],
    "two-vocabularies": [str(GOLDEN / "transformer_lens_none"), *IDS],
    "stories": [str(ROOT.parent / "shared" / "weights" / "tinystories656k"), "--text", STORY],
}

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> mock.Page:
    """What the other commands say of the bundled model."""
    return mock.collect(OTIMES, MODEL, ["--text", TEXT], tmp_path_factory.mktemp("stored"))


class Pages(dict[str, pathlib.Path]):
    """Pages by name, each made when it is first asked for."""

    def __init__(self, stored: mock.Page, folder: pathlib.Path) -> None:
        super().__init__()
        self.stored, self.folder = stored, folder

    def __missing__(self, name: str) -> pathlib.Path:
        out = self.folder / f"{name}.html"
        if name == "mock":
            mock.write(self.stored, out)
        elif name == "hostile":
            mock.write(hostile.hostile(self.stored), out)
        elif name == "bare":
            mock.write(mock.collect(OTIMES, MODEL, [], self.folder), out)
        else:
            words = OTHERS.get(name, [MODEL, "--text", TEXT])
            subprocess.run([OTIMES, "report", *words, "-q", "-o", str(out)], check=True)
        self[name] = out
        return out


@pytest.fixture(scope="session")
def pages(stored: mock.Page, tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """Of the other commands' results (mock), of hostile text, without a text (bare), the program's (real)."""
    return Pages(stored, tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture()
def opened(browser: Browser, pages: Pages) -> Iterator[Open]:
    """opened("mock", hash="#head=1.0", width=390 ...): the page, ready. A message or a request fails a test."""
    said: list[str] = []
    contexts = []

    def open_page(
        name: str = "mock", hash: str = "", width: int = 1400, height: int = 900, **how: Any
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height}, reduced_motion="reduce", **how
        )
        contexts.append(context)
        own = pages[name].as_uri()
        page = context.new_page()
        page.on("console", lambda message: said.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error.message}"))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))

        def asked(route: Any) -> None:
            if route.request.url.split("#")[0] == own:
                route.continue_()
            else:
                said.append(f"request: {route.request.url}")
                route.abort()

        page.route("**/*", asked)
        page.goto(own + hash)
        page.wait_for_selector("html[data-ready=yes]")
        page.wait_for_function("document.querySelector('.cell') !== null")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
