// SPDX-License-Identifier: MIT
// What test_page.py asks of the page, run in it.
({
  // Elements to act on that a screen reader has no name for.
  nameless: () =>
    [...document.querySelectorAll(
      "a, button, input, select, summary, canvas, [tabindex], [role=button], [role=gridcell]",
    )]
      .filter((e) =>
        !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.textContent.trim() ||
          e.labels?.length || e.id === "main" || e.closest(".list-row"))
      )
      .map((e) => e.outerHTML.slice(0, 120)),

  // Texts whose contrast to what lies behind them is below 4.5.
  contrast: () => {
    const light = (c) => {
      const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (text) => {
      probe.clearRect(0, 0, 1, 1);
      probe.fillStyle = text;
      probe.fillRect(0, 0, 1, 1);
      const d = probe.getImageData(0, 0, 1, 1).data;
      return [...d.slice(0, 3), d[3] / 255];
    };
    const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
    const ground = (e) => {
      const layers = [];
      for (let p = e; p; p = p.parentElement) layers.unshift(rgba(getComputedStyle(p).backgroundColor));
      return layers.reduce((c, l) => over(l, c), [255, 255, 255]);
    };
    const out = [];
    for (const e of document.querySelectorAll("body *")) {
      const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
      const box = e.getBoundingClientRect();
      if (
        !own || !box.width || !box.height ||
        e.closest("#tip, .unseen, noscript, script, option, optgroup")
      ) continue;
      const style = getComputedStyle(e);
      let below = ground(e);
      const shape = e.closest(".cell, .node")?.querySelector("rect, circle");
      if (shape && e.tagName === "text") below = over(rgba(getComputedStyle(shape).fill), below);
      const color = over(rgba(e.namespaceURI.endsWith("svg") ? style.fill : style.color), below);
      let opacity = 1;
      for (let p = e; p; p = p.parentElement) opacity *= Number(getComputedStyle(p).opacity);
      const seen = over([...color, opacity], below);
      const [a, b] = [light(seen), light(below)].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 4.5) {
        out.push(
          [
            ratio.toFixed(2),
            e.tagName,
            e.className.baseVal ?? e.className,
            e.textContent.slice(0, 40),
          ].join(" "),
        );
      }
    }
    return [...new Set(out)];
  },

  // Text on the page with characters that do something instead of being seen.
  raw: () => {
    const out = [];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const n = walk.currentNode;
      if (
        !n.parentElement.closest("script, style, noscript") &&
        /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2028\u2029\ud800-\udfff]/u
          .test(n.textContent)
      ) out.push(n.textContent);
    }
    return out;
  },

  // Tokens whose rows of the bigram table have an output among their largest, the surest first.
  leading: (id) => {
    const ids = otimes.array("bigram", "top_id"), p = otimes.array("bigram", "top_log_prob");
    let rows = [];
    for (let t = 0; t < ids.length("token"); t++) {
      for (let r = 0; r < ids.length("rank"); r++) {
        if (ids.at({ token: t, rank: r }) === id) rows.push([p.at({ token: t, rank: r }), t]);
      }
    }
    return rows.sort((a, b) => b[0] - a[0]).map(([, t]) => otimes.plainById(t));
  },

  // How many paths go through a head, and what they come to.
  through: (head) => {
    const l = otimes.array("paths", "path_label").values, v = otimes.array("paths", "path_value").values;
    const own = [...l.keys()].filter((i) => l[i].split(" → ").includes(head));
    return [own.length, own.reduce((s, i) => s + v[i], 0)];
  },

  // The strongest K-composition of L1H0.
  strongest: () => {
    const a = otimes.array("compose", "score");
    let m = 0;
    for (let h = 0; h < 4; h++) {
      m = Math.max(m, a.at({ layer: 0, head: h, circuit: 1, later_layer: 1, later_head: 0 }));
    }
    return m;
  },
});
