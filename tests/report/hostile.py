# SPDX-License-Identifier: MIT
"""Text that tries to be something else than text, and pages whose vocabulary is made of it."""

from __future__ import annotations

import copy
from typing import Any

import mock

HOSTILE = [
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    '"',
    "'",
    "\\",
    "&lt;b&gt;",
    "<!--",
    "]]>",
    "\x00",
    "\x07bell",
    "\x1b[31mred",
    "\x7f",
    "\x85",
    "\n",
    "\t\r\n",
    " ",
    "  two",
    "",
    "\u200e",
    "\u200fמילה",
    "\u202eevil",
    "\u2066isolate",
    "\u2028line",
    "\u2029",
    "\ud800",
    "<0xE6>",
    "<U+D800>",
    "\u0301\u0302",
    "e\u0301\u0327",
    "z" * 5000,
    "عربي",
    "\U000e0041",
    "\ufeff",
    "javascript:alert(1)",
    "${document.title='owned'}",
    "__proto__",
    "constructor",
    "👩‍👩‍👧",
]


def hostile(page: mock.Page) -> mock.Page:
    """The same page, every label of a vocabulary and every token of the text another of these."""
    bad = copy.copy(page)
    bad.data = copy.deepcopy(page.data)
    longest = max(len(labels) for labels in bad.data["labels"])
    for labels in bad.data["labels"]:
        if len(labels) == longest:
            labels[:] = [HOSTILE[i % len(HOSTILE)] for i in range(len(labels))]
    for section in bad.data["sections"].values():
        spoil(section)
    bad.data["model"] = "</title><script>document.title='owned'</script>"
    bad.data["command_line"] = "otimes report '</script>' \u202e"
    return bad


def spoil(section: dict[str, Any]) -> None:
    for name in ("token", "carrier_token"):
        texts = section["arrays"].get(name, {}).get("text", [])
        texts[:] = [HOSTILE[i % len(HOSTILE)] for i in range(len(texts))]
