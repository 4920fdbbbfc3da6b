// SPDX-License-Identifier: MIT
// The edges of the composition graph: all pairs of heads that have a score, and which of them are drawn.
"use strict";

(() => {
  const o = globalThis.otimes;
  const { svg } = o;
  // A picture of more would be ink, and slow.
  const drawnMost = 1500;

  // Every pair that has a score, the strongest first, as parallel arrays: there may be a hundred thousand.
  function pairs(section) {
    const [score, z] = [section.array("score"), section.array("z")];
    const out = [];
    const circuits = section.labels("circuit");
    for (let i = 0; i < score.size; i++) {
      if (Number.isFinite(score.values[i])) {
        let rest = i;
        const place = {};
        for (let a = score.axes.length - 1; a >= 0; a--) {
          place[score.axes[a]] = rest % score.shape[a];
          rest = Math.floor(rest / score.shape[a]);
        }
        out.push({
          circuit: circuits[place.circuit],
          fromLayer: section.label("layer", place.layer),
          fromHead: section.label("head", place.head),
          toLayer: section.label("later_layer", place.later_layer),
          toHead: section.label("later_head", place.later_head),
          score: score.values[i],
          z: z ? z.at(place) : NaN,
        });
      }
    }
    return out;
  }

  // How many pairs have which value, above the slider; those that are drawn are dark.
  function histogram(values, range, width) {
    const bins = d3.bin().domain(range).thresholds(
      d3.range(range[0], range[1], (range[1] - range[0]) / 60),
    )(
      values,
    );
    const y = d3.scaleSqrt().domain([0, d3.max(bins, (bin) => bin.length) || 1]).range([0, 30]);
    const step = width / bins.length;
    const picture = svg("svg", { class: "histogram", width, height: 30, "aria-hidden": "true" });
    bins.forEach((bin, i) =>
      picture.append(
        svg("rect", {
          x: i * step,
          width: Math.max(0.5, step - 1),
          y: 30 - y(bin.length),
          height: y(bin.length),
          "data-low": bin.x0,
        }),
      )
    );
    picture.mark = (least) =>
      picture.querySelectorAll("rect").forEach((rect) =>
        rect.classList.toggle("above", Number(rect.dataset.low) >= least - 1e-9)
      );
    return picture;
  }

  class Graph {
    constructor(section) {
      this.all = pairs(section);
      this.circuits = new Set(section.labels("circuit"));
      this.metric = "score";
      this.focus = 0;
      this.sort();
    }

    sort() {
      this.sorted = this.all.filter((e) => this.circuits.has(e.circuit) && Number.isFinite(e[this.metric]))
        .sort((a, b) => b[this.metric] - a[this.metric]);
      const values = this.sorted.map((e) => e[this.metric]);
      this.range = [Math.max(0, d3.min(values) ?? 0), d3.max(values) ?? 1];
      this.values = values.filter((v) => v >= this.range[0]);
      // The strongest few, not a hairball.
      this.least = values[Math.min(values.length - 1, Math.max(11, Math.min(40, 3 * o.heads.length)))] ?? 0;
    }

    shown() {
      const end = d3.bisectRight(this.sorted.map((e) => -e[this.metric]), -this.least + 1e-7);
      return this.sorted.slice(0, Math.min(drawnMost, end));
    }
  }

  Object.assign(o, { Graph, edgeHistogram: histogram, drawnMost });
})();
