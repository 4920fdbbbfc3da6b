// SPDX-License-Identifier: MIT
// Light and dark, and the scales of colour of each: orange below 0 and blue above, as in `otimes plot`; one hue from
// 0 up. Both can be told apart by those who see red and green alike, and in grey by how light they are.
"use strict";

(() => {
  const o = globalThis.otimes;
  const palettes = {
    light: {
      diverging: ["#9a3d04", "#e79a55", "#f4f3ef", "#5d93c8", "#163f75"],
      sequential: ["#f4f3ef", "#c4ddd0", "#7dbba4", "#34877a", "#0b4546"],
    },
    dark: {
      diverging: ["#ffc590", "#b0652a", "#25282e", "#3f77b5", "#a5d0ff"],
      sequential: ["#25282e", "#1f4f4b", "#2f8576", "#78c5aa", "#d9f6e6"],
    },
  };
  const circuits = { Q: 0, K: 1, V: 2 };

  o.theme = () => document.documentElement.dataset.theme;

  // Sets the theme: what was asked for, else what the system says.
  o.setTheme = (asked) => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = asked ?? (dark ? "dark" : "light");
    o.redrawAll();
  };

  const ramp = (kind) => d3.piecewise(d3.interpolateLab, palettes[o.theme()][kind]);

  // value -> colour. diverging: from -most to most. sequential: from least to most.
  o.scale = (kind, least, most) => {
    const color = ramp(kind);
    const span = kind === "diverging" ? 2 * most : most - least;
    const from = kind === "diverging" ? -most : least;
    // 512 colours are as good as all of them, and are mixed once.
    const mixed = new Map();
    const scale = (value) => {
      const step = Math.round(512 * Math.min(1, Math.max(0, span > 0 ? (value - from) / span : 0.5)));
      if (!mixed.has(step)) {
        mixed.set(step, color(step / 512));
      }
      return mixed.get(step);
    };
    return Object.assign(scale, { kind, least: from, most, color });
  };

  // Black or white, whichever is read more easily on a colour.
  o.inkOn = (color) => {
    const { r, g, b } = d3.rgb(color);
    const [x, y, z] = [r, g, b].map((
      c,
    ) => (c <= 10.31475 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z > 0.1791 ? "#000" : "#fff";
  };

  o.circuitStyle = (circuit) => ({
    color: `var(--${circuit.toLowerCase()})`,
    dash: ["1.5 4", "none", "6 3"][circuits[circuit]],
  });

  // A legend: the ramp with its ends, and a mark where a value lies.
  o.legend = (scale, name) => {
    const stops = d3.range(0, 1.001, 0.125).map((t) => scale.color(t)).join(",");
    const mark = o.h("span", { class: "legend-mark" });
    const ends = scale.kind === "diverging" ? [scale.least, 0, scale.most] : [scale.least, scale.most];
    const root = o.h(
      "div",
      {
        class: "legend",
        role: "img",
        "aria-label": `${name}: colours from ${ends.map(o.tick).join(" to ")}`,
      },
      o.h(
        "div",
        { class: "legend-ramp", style: `background:linear-gradient(to right,${stops})` },
        mark,
      ),
      o.h("div", { class: "legend-ends" }, ends.map((value) => o.h("span", {}, o.tick(value)))),
    );
    root.point = (value) => {
      const t = (value - scale.least) / (scale.most - scale.least);
      mark.style.left = `${100 * Math.min(1, Math.max(0, t))}%`;
      mark.style.opacity = Number.isNaN(t) || value === null ? 0 : 1;
    };
    root.point(null);
    return root;
  };
})();
