# SPDX-License-Identifier: MIT
"""The report's page, driven in a browser: what it shows is what the arrays say."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import Open, Pages
from playwright.sync_api import Page, expect

MINUS = "\u2212"
PROBES = (pathlib.Path(__file__).parent / "probes.js").read_text(encoding="utf-8").strip().rstrip(";")


def read(page: Page, section: str, array: str, **index: int) -> float:
    """A value of the page's data, by the page's own reader."""
    return float(page.evaluate("([s, a, i]) => otimes.array(s, a).at(i)", [section, array, index]))


def probe(page: Page, name: str, *arguments: Any) -> Any:
    """One of probes.js."""
    return page.evaluate(f"(given) => {PROBES}.{name}(...given)", list(arguments))


def shown(text: str) -> float:
    return float(text.replace(MINUS, "-").replace(",", "").replace("+", "").rstrip("%"))


def scroll_to(page: Page, part: str) -> None:
    page.evaluate("(id) => document.getElementById(id).scrollIntoView()", part)


@pytest.fixture(params=["mock", "real"])
def source(request: pytest.FixtureRequest) -> str:
    """The page made of other commands' results and the program's own show the same."""
    return str(request.param)


# The head of the page.


def test_card(opened: Open, source: str) -> None:
    page = opened(source)
    expect(page.locator("h1")).to_have_text("induction-2l")
    facts = dict(
        zip(
            page.locator(".masthead .figures dt").all_inner_texts(),
            page.locator(".masthead .figures dd").all_inner_texts(),
        )
    )
    assert facts["parameters"] == "412,416" and facts["vocabulary"] == "1,024" and facts["layers"] == "2"
    page.locator(".provenance summary").click()
    card = page.locator(".card").inner_text()
    assert "7efe4d7fe3b1…" in card and "otimes report" in card and "norm weights folded applied" in card


def test_left_out(opened: Open) -> None:
    page = opened("bare")
    expect(page.locator(".note").last).to_contain_text("--text")
    assert page.locator("#bar .links a").all_inner_texts() == ["Heads", "Composition", "Bigram table"]
    page.locator("[data-head='1.0'].cell").click()
    expect(page.locator("#drawer h3", has_text="Eigenvalues")).to_be_visible()
    assert page.locator("#drawer canvas").count() == 0


# The grid.


def test_grid_shows_scores(opened: Open, source: str) -> None:
    page = opened(source)
    assert page.locator(".cell").count() == 8
    for layer, head in ((0, 1), (1, 2)):
        cell = page.locator(f".cell[data-head='{layer}.{head}'] .value")
        assert shown(cell.text_content() or "") == pytest.approx(
            read(page, "heads", "full_OV_copying", layer=layer, head=head), abs=0.006
        )
    roles = page.locator(".cell[data-head='1.0']").get_attribute("aria-label")
    assert roles is not None and roles.endswith("induction, copying")


def test_selector(opened: Open, source: str) -> None:
    page = opened(source)
    before = page.locator(".cell[data-head='0.2'] rect").get_attribute("fill")
    page.select_option("#score", "roles.previous_token")
    cell = page.locator(".cell[data-head='0.2']")
    assert shown(cell.locator(".value").text_content() or "") == pytest.approx(
        read(page, "roles", "previous_token", layer=0, head=2), abs=0.006
    )
    assert cell.locator("rect").get_attribute("fill") != before
    expect(page.locator("#heads figcaption").first).to_contain_text(
        "roles.previous_token = mean over q of A[q, q - 1]"
    )
    assert page.url.endswith("score=roles.previous_token")
    every = page.locator("#score option").evaluate_all("(list) => list.map((option) => option.value)")
    assert {
        "heads.OV_norm",
        "heads.QK_positivity",
        "heads.OV_effective_rank",
        "roles.repeated_induction",
        "roles.text_duplicate_token",
        "patterns.entropy",
        "compose.K.reads",
        "decompose.attribution",
    } <= set(every)
    for key in every:
        page.select_option("#score", key)
        assert page.locator(".cell .value").count() == 8, key
        assert len(set(page.locator(".cell .value").all_text_contents())) > 1, key


def test_strongest_composition(opened: Open) -> None:
    page = opened("mock", "#score=compose.K.reads")
    most = probe(page, "strongest")
    assert shown(page.locator(".cell[data-head='1.0'] .value").text_content() or "") == pytest.approx(
        most, abs=0.006
    )
    assert page.locator(".cell[data-head='0.0'] .value").text_content() == "—"


def test_hover(opened: Open) -> None:
    page = opened("mock")
    page.locator(".cell[data-head='0.1']").hover()
    expect(page.locator("#tip")).to_contain_text("L0H1")
    assert shown(page.locator("#tip .big").inner_text()) == pytest.approx(
        read(page, "heads", "full_OV_copying", layer=0, head=1), abs=6e-4
    )
    expect(page.locator("#tip")).to_contain_text("same-token")


def test_grid_by_keys(opened: Open) -> None:
    page = opened("mock")
    assert page.locator(".cell[tabindex='0']").count() == 1
    page.locator(".cell[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.head") == "1.1"
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.dataset.head") == "1.3"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "head-name"
    expect(page.locator("#drawer h2")).to_have_text("L1H3")
    page.keyboard.press("Escape")
    expect(page.locator("#drawer")).to_be_hidden()
    assert page.evaluate("document.activeElement.dataset.head") == "1.3"
    assert page.locator(".cell[tabindex='0']").count() == 1


# A head.


def test_head(opened: Open, source: str) -> None:
    page = opened(source)
    page.locator(".cell[data-head='1.1']").click()
    drawer = page.locator("#drawer")
    expect(drawer.locator("h2")).to_have_text("L1H1")
    assert drawer.locator(".role-badge").all_inner_texts() == ["induction", "copying"]
    assert drawer.locator("h3").all_inner_texts() == [
        "Eigenvalues",
        "Attention on the text",
        "OV: what attending to a token does to the logits",
        "QK: which token attends to which",
        "Composition",
        "Singular values",
        "Roles",
    ]
    assert drawer.locator("circle.eigen").count() == 2 * 32
    expect(drawer.locator(".figure").nth(2).locator("figcaption")).to_contain_text("1,024 × 1,024")
    largest = drawer.locator(".figure").nth(2).locator("ol.entries").first.locator("li").first
    value = page.evaluate("otimes.array('ov', 'largest_value').at({head: 5, place: 0})")
    assert shown(largest.locator(".num").inner_text()) == pytest.approx(value, rel=1e-2)
    assert largest.locator(".token").all_inner_texts() == ["es", "es"]


def test_partners(opened: Open) -> None:
    page = opened("mock", "#head=1.0")
    first = page.locator("#drawer .partners").first.locator("li").first
    assert first.locator(".via").inner_text() == "K" and first.locator(".chip").inner_text() == "L0H2"
    assert shown(first.locator(".num").first.inner_text()) == pytest.approx(
        read(page, "compose", "score", layer=0, head=2, circuit=1, later_layer=1, later_head=0), abs=6e-4
    )
    first.locator(".chip").click()
    expect(page.locator("#drawer h2")).to_have_text("L0H2")
    expect(page.locator("#drawer .partners")).to_have_count(1)


def test_eigenvalues_of_both_spaces(opened: Open) -> None:
    page = opened("mock", "#head=1.0")
    figure = page.locator("#drawer .figure").first
    score = page.evaluate("otimes.array('heads', 'full_OV_copying').at({layer: 1, head: 0})")
    assert shown(figure.locator(".readout strong").first.inner_text()) == pytest.approx(score, abs=6e-4)
    figure.get_by_role("radio", name="stream").click()
    score = page.evaluate("otimes.array('heads', 'OV_copying').at({layer: 1, head: 0})")
    assert shown(figure.locator(".readout strong").first.inner_text()) == pytest.approx(score, abs=6e-4)
    expect(figure.locator("code").first).to_have_text("OV_eigenvalues")


def test_role_thresholds(opened: Open) -> None:
    page = opened("mock", "#head=1.0")
    row = page.locator("#drawer tr", has=page.get_by_role("rowheader", name="induction"))
    expect(row).to_contain_text("✓ yes")
    assert shown(row.locator("td").nth(1).inner_text().split(" ")[0]) == pytest.approx(
        read(page, "roles", "repeated_induction", layer=1, head=0), abs=6e-4
    )
    expect(row.locator("td").nth(1)).to_contain_text("≥ 0.300")


def test_pattern(opened: Open, source: str) -> None:
    page = opened(source, "#head=1.0&pos=24")
    canvas = page.locator("#drawer canvas")
    canvas.scroll_into_view_if_needed()
    words = page.locator("#drawer .word")
    assert words.count() == 25
    weight = read(page, "patterns", "pattern", layer=1, head=0, query_position=24, key_position=11)
    assert words.nth(11).get_attribute("aria-label") == f'11 "w", {100 * weight:.1f}%'
    words.nth(12).hover()
    expect(page.locator("#drawer .figure").nth(1).locator(".readout")).to_contain_text("at 12 attends to")
    words.nth(7).click()
    assert "pos=7" in page.url
    canvas.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#tip")).to_be_visible()
    live = page.locator("#live").inner_text()
    assert re.fullmatch(r"6 .·w. to 0 .def.: [\d.]+%", live), live
    told = read(page, "patterns", "pattern", layer=1, head=0, query_position=6, key_position=0)
    assert shown(live.split(": ")[1]) / 100 == pytest.approx(told, rel=0.06)


# The composition graph.


def test_graph_slider(opened: Open, source: str) -> None:
    page = opened(source)
    scroll_to(page, "composition")
    few = page.locator(".edge").count()
    assert 0 < few < 48
    page.locator("#least").focus()
    page.keyboard.press("Home")
    assert page.locator(".edge").count() == 48
    expect(page.locator("#composition .readout").first).to_have_text("48 of 48 pairs")
    page.keyboard.press("End")
    assert page.locator(".edge").count() == 1
    label = page.locator(".edge").get_attribute("aria-label") or ""
    best = read(page, "compose", "score", layer=0, head=2, circuit=1, later_layer=1, later_head=0)
    assert label.startswith("L0H2 → L1H0 by K") and shown(
        label.split("score ")[1].split(",")[0]
    ) == pytest.approx(best, abs=6e-4)


def test_graph_circuits(opened: Open) -> None:
    page = opened("mock")
    page.locator("#circuit-K").uncheck()
    assert page.locator(".edge").count() > 0
    assert all(
        " by K" not in (text or "")
        for text in page.locator(".edge").evaluate_all("(e) => e.map((x) => x.getAttribute('aria-label'))")
    )
    page.locator("#circuit-Q").uncheck()
    page.locator("#circuit-V").uncheck()
    assert page.locator(".edge").count() == 0


def test_graph_by_keys_and_hover(opened: Open) -> None:
    page = opened("mock")
    page.locator(".edge[tabindex='0']").focus()
    expect(page.locator("#tip")).to_contain_text("L0H2 → L1H0 by K")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tip")).to_contain_text("L0H2 → L1H1 by K")
    page.locator(".edges-list li").nth(2).hover()
    assert page.locator(".edge.lit").count() == 1
    page.locator(".node[data-head='0.2']").hover()
    assert page.locator(".edge.lit").count() == page.locator(".edge[data-from='0.2']").count() > 1
    page.locator(".node[data-head='0.2']").click()
    expect(page.locator("#drawer h2")).to_have_text("L0H2")


# The bigram table.


def test_bigram_search(opened: Open, source: str) -> None:
    page = opened(source)
    page.fill("#token-search", '" self"')
    expect(page.locator("#bigram .readout")).to_have_text("1 of 1,024 tokens")
    row = page.locator(".bigrams .list-body .list-row")
    assert row.count() == 1 and row.locator(".follow .token").first.inner_text() == "._"
    row.click()
    detail = page.locator("#bigram .detail")
    expect(detail.locator(".detail-head")).to_contain_text("#512" if "#512" in page.url else "#")
    follows = detail.locator("section").first.locator("li .token").all_inner_texts()
    assert follows[:3] == ["._", ".__", "."]
    page.fill("#token-search", "#924")
    expect(row.locator(".token").first).to_have_text("by")
    page.fill("#token-search", "no such token")
    assert row.count() == 0


def test_bigram_led_to(opened: Open) -> None:
    page = opened("mock", "#token=513")
    expected = probe(page, "leading", 513)
    part = page.locator("#bigram .detail section").nth(1)
    assert len(expected) > 0
    assert [f'"{text}"' for text in part.locator(".token").all_inner_texts()] == expected[:12]
    expect(part).to_contain_text(f"{len(expected)} rows have it" if len(expected) != 1 else "one row has it")


def test_bigram_is_virtual(opened: Open) -> None:
    page = opened("mock")
    rows = page.locator(".bigrams .list-body .list-row")
    assert rows.count() < 40
    listed = page.locator(".bigrams.list")
    listed.focus()
    page.keyboard.press("End")
    last = page.locator(".bigrams .list-row[aria-rowindex='1025']")
    expect(last).to_be_visible()
    assert rows.count() < 40 and last.locator(".num").first.inner_text() == "1023"
    page.keyboard.press("Enter")
    assert "token=1023" in page.url


# The text.


def test_predictions(opened: Open, source: str) -> None:
    page = opened(source, "#pos=24")
    first = page.locator("#text .entries li").first
    assert first.locator(".token").inner_text() == "w" and first.locator(".num").inner_text() == "44.5%"
    page.locator("#text .word").nth(6).click()
    probability = page.evaluate("Math.exp(otimes.array('logits', 'next_log_prob').at({position: 6}))")
    expect(page.locator("#text .detail")).to_contain_text("What comes is idth")
    assert shown(
        page.locator("#text .detail p").inner_text().split(": ")[1].split("%")[0]
    ) / 100 == pytest.approx(probability, abs=6e-4)
    page.keyboard.press("ArrowRight")
    assert "pos=7" in page.url


def test_stream(opened: Open, source: str) -> None:
    page = opened(source, "#pos=24")
    detail = page.locator("#stream .detail")
    expect(detail.locator(".detail-head")).to_have_text("after . the logit of w+11.3")
    rows = detail.locator(".streams li")
    assert (
        rows.first.locator(".chip").inner_text() == "L1H1"
        and rows.first.locator(".num").first.inner_text() == "+2.61"
    )
    expect(rows.first).to_contain_text("+2.02 from w 11")
    values = [shown(text) for text in rows.locator(".num:first-child").all_inner_texts()]
    assert sum(values) == pytest.approx(read(page, "decompose", "target_value", position=24), abs=0.05)
    expect(detail.locator("svg[aria-label^='Logit lens']")).to_contain_text("rank 111")
    canvas = page.locator("#stream canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 160, box["y"] + 76 + 19 * 11 + 8)
    assert "pos=11" in page.url
    expect(detail.locator(".detail-head")).to_contain_text("after w the logit of idth")


def test_paths(opened: Open, source: str) -> None:
    page = opened(source)
    scroll_to(page, "paths")
    row = page.locator(".paths .list-body .list-row")
    expect(row.first).to_contain_text("embed→L1H1+2.67")
    page.select_option("#path-head", "L0H2")
    listed = probe(page, "through", "L0H2")
    sums = page.locator("#paths .readout[role=status]").inner_text()
    assert sums.startswith(f"{listed[0]} of 57 paths, together ")
    assert shown(sums.split("together ")[1].split(" of")[0]) == pytest.approx(listed[1], rel=0.01)
    page.select_option("#path-order", "2")
    page.select_option("#path-sign", "-")
    signs = page.locator(".paths .list-body .list-row > div:nth-child(3)").all_inner_texts()
    assert signs and all(text.startswith(MINUS) for text in signs)
    assert all("L0H2" in text for text in row.all_inner_texts())
    page.fill("#path-text", "nowhere")
    assert row.count() == 0


# Links, colours, sizes.


def test_deep_links(opened: Open) -> None:
    page = opened("mock", "#head=0.2&score=roles.previous_token&pos=3&token=924")
    expect(page.locator("#drawer h2")).to_have_text("L0H2")
    assert page.input_value("#score") == "roles.previous_token"
    assert page.locator("#text .word.query").get_attribute("data-position") == "3"
    expect(page.locator("#bigram .detail-head")).to_contain_text("by")
    page.locator("[aria-label='Next head']").click()
    expect(page.locator("#drawer h2")).to_have_text("L0H3")
    page.go_back()
    expect(page.locator("#drawer h2")).to_have_text("L0H2")


@pytest.mark.parametrize(
    "bad",
    [
        "#head=9.9",
        "#head=x",
        "#pos=-1&token=99999999",
        "#score=nothing",
        "#heads",
        "#%zz",
        "#token=1e9&pos=1.5",
    ],
)
def test_bad_links(opened: Open, bad: str) -> None:
    page = opened("mock", bad)
    expect(page.locator("#drawer")).to_be_hidden()
    assert page.input_value("#score") == "heads.full_OV_copying"


@pytest.mark.parametrize("width", [390, 768, 1400])
@pytest.mark.parametrize("head", ["", "#head=1.0"])
@pytest.mark.parametrize("name", ["mock", "hostile", "bare"])
def test_no_sideways_scroll(opened: Open, name: str, head: str, width: int) -> None:
    page = opened(name, head, width=width, height=844)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(
        "document.getElementById('drawer').scrollWidth <= document.getElementById('drawer').clientWidth"
    )


def test_theme(opened: Open) -> None:
    page = opened("mock", color_scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    dark = page.locator(".cell[data-head='1.0'] rect").get_attribute("fill")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(253, 253, 251)"
    assert page.locator(".cell[data-head='1.0'] rect").get_attribute("fill") != dark


def test_tables_behind_plots(opened: Open) -> None:
    page = opened("mock", "#head=1.0")
    for button in page.locator("button[aria-label^='Table: ']").all():
        button.click()
        assert button.get_attribute("aria-expanded") == "true"
    assert page.locator("figure table tbody tr").count() > 200
    heads = page.locator("#heads table")
    assert heads.locator("tbody tr").count() == 8 and "induction, copying" in heads.inner_text()


def test_saving(opened: Open) -> None:
    page = opened("mock")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture: Layers by heads").click()
    text = download.value.path().read_text(encoding="utf-8")
    assert download.value.suggested_filename == "heads.svg"
    picture = ElementTree.fromstring(text)
    assert (
        len(list(picture.iter("{http://www.w3.org/2000/svg}rect"))) == 8
        and "rgb(" in text
        and "previous-token" in text
    )
    assert "var(--" not in re.sub(r'fill="[^"]*"|stroke="[^"]*"', "", text)
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile("Save picture: What each")).click()
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


def test_saving_two_as_one(opened: Open) -> None:
    page = opened("hostile", "#head=1.0")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture: Eigenvalues").click()
    picture = ElementTree.fromstring(download.value.path().read_text(encoding="utf-8"))
    assert len(picture) == 2 and len(list(picture.iter("{http://www.w3.org/2000/svg}circle"))) == 2 * (32 + 2)
    assert float(picture[1].get("x", "0")) >= float(picture[0].get("width", "0"))


def test_print(opened: Open) -> None:
    page = opened("mock")
    page.emulate_media(media="print")
    expect(page.locator("#bar")).to_be_hidden()
    expect(page.locator("#heads svg").first).to_be_visible()


# What everyone needs.


@pytest.mark.parametrize("name", ["mock", "hostile"])
def test_everything_has_a_name(opened: Open, name: str) -> None:
    page = opened(name, "#head=1.0")
    assert page.locator("button").count() > 80
    assert probe(page, "nameless") == []
    assert (
        page.evaluate(
            """() => [...document.querySelectorAll("[id]")].map((e) => e.id).filter((id, i, all) => all.indexOf(id) !== i)"""
        )
        == []
    )
    assert page.locator("h1").count() == 1 and page.locator("main").count() == 1
    assert (
        page.evaluate(
            """() => [...document.querySelectorAll("svg")].filter((e) => !e.getAttribute("role") && !e.getAttribute("aria-hidden")).length"""
        )
        == 0
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("score", ["heads.full_OV_copying", "heads.OV_norm"])
def test_contrast(opened: Open, scheme: str, score: str) -> None:
    page = opened("mock", f"#head=1.0&score={score}", color_scheme=scheme)
    assert probe(page, "contrast") == []


def test_tab_reaches_everything(opened: Open) -> None:
    page = opened("mock")
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                """() => { const e = document.activeElement; return e.id || e.getAttribute("aria-label") || e.textContent.trim().slice(0, 20); }"""
            )
        )
    assert {
        "score",
        "theme",
        "circuit-Q",
        "least",
        "token-search",
        "Bigram table",
        "path-head",
        "Paths by what they are worth",
    } <= reached
    assert any(text.startswith("L0H0: ") for text in reached)
    assert any(text.startswith("Contribution of each component") for text in reached)


# Token text is data.


def test_hostile_text(opened: Open) -> None:
    page = opened("hostile", "#head=1.0&token=0&pos=0")
    assert "owned" not in page.evaluate("document.title").replace("document.title='owned'", "")
    assert page.locator("img, iframe, object, script[src], b").count() == 0
    scripts = page.evaluate("document.scripts.length")
    assert scripts == opened("mock").evaluate("document.scripts.length")
    tokens = page.locator("#text .word .token").all_text_contents()
    assert tokens[0] == "</script><script>document.title='owned'</script>"[:40] + "…"
    assert tokens[2:6] == ['"', "'", "\\", "&lt;b&gt;"]
    assert tokens[8:13] == ["\\x00", "\\x07bell", "\\x1b[31mred", "\\x7f", "\\x85"]
    assert tokens[13:18] == ["\\n", "\\t\\r\\n", " ", "  two", "empty"]
    assert tokens[18:25] == [
        "\\u200e",
        "\\u200fמילה",
        "\\u202eevil",
        "\\u2066isolate",
        "\\u2028line",
        "\\u2029",
        "\\ud800",
    ]


def test_hostile_text_everywhere(opened: Open) -> None:
    page = opened("hostile", "#head=1.0&token=0")
    for button in page.locator("button[aria-label^='Table: ']").all():
        button.click()
    page.locator(".bigrams.list").focus()
    for _ in range(8):
        page.keyboard.press("PageDown")
    raw = probe(page, "raw")
    assert raw == []
    labels = page.evaluate(
        """() => [...document.querySelectorAll("[aria-label]")].map((e) => e.getAttribute("aria-label")).join("\\n")"""
    )
    assert not re.search("[\x00-\x08\x0e-\x1f\x7f\u202a-\u202e\u200e\u200f]", labels)


def test_marks_stand_on_something(opened: Open) -> None:
    page = opened("hostile")
    assert page.evaluate("otimes.token('\\u0301\\u0302').textContent") == "\u25cc\u0301\u0302"
    assert page.evaluate("otimes.token('e\\u0301').textContent") == "e\u0301"
    assert page.evaluate("otimes.token('z'.repeat(5000)).textContent.length") == 41
    assert page.evaluate("[...otimes.token('\\u200fa').children].map((e) => e.className).join()") == "escape"
    assert page.evaluate("getComputedStyle(document.querySelector('#text .token')).unicodeBidi") == "isolate"


# The file.


def test_nothing_from_outside(pages: Pages) -> None:
    text = pages["mock"].read_text(encoding="utf-8")
    head = text[: text.index('id="otimes-data"')]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', head)
    assert policy is not None and policy[1].startswith("default-src 'none'; script-src 'unsafe-inline'")
    assert re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", text) == []
    scripts = re.sub(r'<script type="application/[^>]*>.*?</script>', "", text, flags=re.S)
    scripts = "".join(part for part in scripts.split("<script>") if "d3js.org" not in part)
    assert scripts.count("SPDX-License-Identifier") > 20
    assert not re.search(
        r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\bfetch\(|XMLHttpRequest|import\(",
        scripts,
    )


def test_data_is_read_back(opened: Open, pages: Pages) -> None:
    """The reader of bytes against another: every array of numbers."""
    import base64

    import numpy as np

    page = opened("mock")
    text = pages["mock"].read_text(encoding="utf-8")
    found = re.search(
        r'id="otimes-data">(.*?)</script>\s*<script [^>]*id="otimes-block">(.*?)</script>', text, re.S
    )
    assert found is not None
    data, block = json.loads(found[1]), base64.b64decode(found[2])
    kinds = {"f64": "<f8", "f32": "<f4", "f16": "<f2", "i32": "<i4", "u16": "<u2"}
    count = 0
    for name, section in data["sections"].items():
        for key, entry in section["arrays"].items():
            if entry["type"] == "text":
                continue
            size = int(np.prod([section["axes"][axis]["length"] for axis in entry["axes"]], dtype=int))
            expected = np.frombuffer(block, kinds[entry["type"]], size, entry["at"]).astype(float)
            if entry["type"] == "u16":
                expected[expected == 65535] = -1
            got = page.evaluate(
                "([s, a]) => Array.from(otimes.array(s, a).values, (v) => Number.isFinite(v) ? v : null)",
                [name, key],
            )
            assert [None if not np.isfinite(v) else v for v in expected] == got, key
            count += 1
    assert count > 60
