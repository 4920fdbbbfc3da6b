# SPDX-License-Identifier: MIT
"""What the page says of targets, soft caps and vocabularies, and whether there is room for it."""

from __future__ import annotations

import re

import pytest
from conftest import Open
from playwright.sync_api import expect
from test_page import MINUS, read, scroll_to


@pytest.mark.parametrize("width", [390, 1400])
def test_columns_of_paths_stand_in_line(opened: Open, width: int) -> None:
    page = opened("real", width=width)
    scroll_to(page, "paths")
    lefts = page.evaluate(
        """() => [...document.querySelectorAll(".paths .list-row")].map((row) =>
          [...row.children].map((cell) => Math.round(cell.getBoundingClientRect().left)))"""
    )
    assert len(lefts) > 10 and all(left == lefts[0] for left in lefts)
    value = page.locator(".paths .list-body .list-row > div:nth-child(3)").first.bounding_box()
    assert value and value["x"] + value["width"] <= width


# What is taken apart, and of which vocabulary.


def test_target_that_was_asked_for(opened: Open) -> None:
    page = opened("target")
    expect(page.locator("#paths")).to_contain_text("After . at 24 the logit of m, +8.20, is a sum over paths")
    expect(page.locator("#stream h3").first).to_have_text('What each component adds to the logit of "m"')
    for part in ("#paths", "#stream"):
        assert not re.search("predicts|predicted", page.locator(part).inner_text())
    names = page.locator("#score option").all_inner_texts()
    assert 'adds to the logit of "m", at the chosen token' in names


def test_soft_cap_is_said(opened: Open) -> None:
    page = opened("capped")
    value = read(page, "paths", "frozen_value", case=0)
    assert value - read(page, "logits", "top_value", position=5, rank=0) > 0.3
    expect(page.locator("#paths")).to_contain_text(f"its logit before the soft cap, +{value:.2f}, is a sum over paths")
    expect(page.locator("#stream .detail")).to_contain_text("before the soft cap")
    expect(page.locator("#stream figcaption")).to_contain_text("A row sums to its logit before the soft cap.")
    expect(opened("real").locator("#main")).not_to_contain_text("soft cap")


def test_two_vocabularies_are_not_mixed(opened: Open) -> None:
    page = opened("two-vocabularies", "#token=3")
    parts = page.locator("#bigram .detail section")
    assert parts.locator("h4").all_inner_texts() == ["leads to", "suppresses"]
    first = parts.first.locator(".chip").first
    name = first.inner_text()
    first.click()
    expect(page.locator("#bigram .detail h4").first).to_have_text(f"output {name}")
    assert parts.locator("h4").all_inner_texts() == ["is led to by"]
    output = int(re.search(r"token=out(\d+)", page.url).group(1))  # type: ignore[union-attr]
    led = page.evaluate("(id) => otimes.array('bigram', 'top_id').values.filter((one) => one === id).length", output)
    expect(parts.first).to_contain_text(f"{led} rows have it")
    parts.first.locator(".chip").first.click()
    assert "token=out" not in page.url and parts.count() == 2


def test_shared_keys(opened: Open) -> None:
    expect(opened("one-key").locator(".lede")).to_contain_text("3 heads, which share one set of keys and values,")


def test_scores_have_names_of_their_own(opened: Open) -> None:
    names = opened("real").locator("#score option").all_inner_texts()
    assert len(names) > 20 and len(set(names)) == len(names)


def test_small_probabilities(opened: Open) -> None:
    page = opened("bare")
    shares = [1, 0.123, 0.01, 0.0000512, 0.00000512, 8.8e-8, 0]
    texts = page.evaluate("(shares) => shares.map((share) => otimes.percent(share))", shares)
    assert texts == ["100.0%", "12.3%", "1%", "0.0051%", f"5e{MINUS}4%", f"9e{MINUS}6%", "0%"]


def test_labels_of_rows_keep_both_ends(opened: Open) -> None:
    page = opened("real")
    cut = page.evaluate("() => [otimes.drawn('abcdefghij', 5), otimes.drawn('abcde', 5), otimes.drawn('a')]")
    assert cut == ["\u2068abcd…\u2069", "\u2068abcde\u2069", "\u2068a\u2069"]


def test_long_tokens_leave_room_for_short_ones(opened: Open) -> None:
    page = opened("bare", "#head=1.1")
    cut = page.evaluate(
        """() => {
          const pair = otimes.h("span", { class: "pair", style: "width:160px" }, otimes.token("short"),
            otimes.h("span", { class: "arrow" }, "→"), otimes.token("long".repeat(10)));
          document.querySelector("#drawer .half").append(pair);
          return [...pair.querySelectorAll(".token")].map((one) => [one.scrollWidth - one.clientWidth, one.title]);
        }"""
    )
    assert cut[0] == [0, ""] and cut[1][0] > 50 and cut[1][1] == f'"{"long" * 10}"'


def test_values_and_roles_of_small_cells_stand_apart(opened: Open) -> None:
    page = opened("real", width=390)
    page.set_viewport_size({"width": 232, "height": 800})  # cells of some 40 pixels
    page.wait_for_timeout(200)
    overlap = page.evaluate(
        """() => [...document.querySelectorAll(".cell")].map((cell) =>
          [".value", ".badges"].map((name) => cell.querySelector(name)?.getBoundingClientRect()))
          .filter(([value, badges]) => value && badges).map(([value, badges]) => badges.top - value.bottom)"""
    )
    assert overlap and min(overlap) >= 0
