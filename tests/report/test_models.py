# SPDX-License-Identifier: MIT
"""Pages of other trained checkpoints: all of a page used once, and what it shows held against its arrays.

tinystories656k is taken from ../shared/weights where it is. OTIMES_PAGES names further pages that
`otimes report` wrote, separated by colons: those that take too long to make for a test.
"""

from __future__ import annotations

import os
import pathlib

import pytest
from conftest import ROOT, Open, Pages
from playwright.sync_api import expect
from test_page import read, scroll_to, shown

STORIES = ROOT.parent / "shared" / "weights" / "tinystories656k"
GIVEN = [pathlib.Path(path).resolve() for path in os.environ.get("OTIMES_PAGES", "").split(":") if path]


@pytest.fixture(params=["stories", *map(str, GIVEN)])
def name(request: pytest.FixtureRequest, pages: Pages) -> str:
    name = str(request.param)
    if name == "stories" and not STORIES.is_dir():
        pytest.skip(f"{STORIES} is not there")
    if name != "stories":
        pages[name] = pathlib.Path(name)
    return name


def test_used_once(opened: Open, name: str) -> None:
    page = opened(name)
    layers, heads = page.evaluate("['layer', 'head'].map((axis) => otimes.array('heads', 'OV_norm').length(axis))")
    assert page.locator(".cell").count() == layers * heads
    for layer, head in ((0, 0), (layers - 1, heads - 1)):
        cell = page.locator(f".cell[data-head='{layer}.{head}'] .value")
        value = read(page, "heads", "full_OV_copying", layer=layer, head=head)
        assert shown(cell.text_content() or "") == pytest.approx(value, abs=0.006)
    for key in page.locator("#score option").evaluate_all("(list) => list.map((option) => option.value)"):
        page.select_option("#score", key)
        assert page.locator(".cell .value").count() == layers * heads, key

    page.locator(f".cell[data-head='{layers - 1}.0']").click()
    drawer = page.locator("#drawer")
    expect(drawer.locator("h2")).to_have_text(f"L{layers - 1}H0")
    entry = drawer.locator("ol.entries").first.locator("li .num").first
    largest = read(page, "ov", "largest_value", head=(layers - 1) * heads, place=0)
    assert shown(entry.inner_text()) == pytest.approx(largest, rel=1e-2)
    page.keyboard.press("Escape")

    scroll_to(page, "composition")
    page.locator("#least").focus()
    page.keyboard.press("End")
    few = page.locator(".edge").count()
    page.keyboard.press("Home")
    assert 0 < few < page.locator(".edge").count()

    scroll_to(page, "bigram")
    page.fill("#token-search", "#300")
    row = page.locator(".bigrams .list-body .list-row")
    expect(row).to_have_count(1)
    expect(row.locator(".follow .token").first).to_be_visible()
    for part in page.locator("#bar .links a").evaluate_all("(links) => links.map((a) => a.hash.slice(1))"):
        scroll_to(page, part)
        expect(page.locator(f"#{part} .figure").first).to_be_visible()
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0


def test_dark_and_small(opened: Open, name: str) -> None:
    page = opened(name, width=390, height=844, color_scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
