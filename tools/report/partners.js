// SPDX-License-Identifier: MIT
// Whom a head reads from and writes to, by its composition scores.
"use strict";

(() => {
  const o = globalThis.otimes;
  const { h } = o;

  const place = (section, layer, head) => ({
    layer: section.place("layer", layer),
    head: section.place("head", head),
  });

  // Partners of a head: [circuit, layer, head, score, z], the strongest first.
  function partners(way, layer, head) {
    const section = o.section("compose");
    const [score, z] = [section.array("score"), section.array("z")];
    const own = place(section, layer, head);
    const index = (
      l,
      hd,
      circuit,
    ) => (way === "writes"
      ? { layer: own.layer, head: own.head, later_layer: l, later_head: hd, circuit }
      : { layer: l, head: hd, later_layer: own.layer, later_head: own.head, circuit });
    const out = [];
    section.labels("circuit").forEach((circuit, c) => {
      for (let l = 0; l < section.length("layer"); l++) {
        for (let hd = 0; hd < section.length("head"); hd++) {
          const value = score.at(index(l, hd, c));
          if (Number.isFinite(value)) {
            out.push([
              circuit,
              section.label("layer", l),
              section.label("head", hd),
              value,
              z ? z.at(index(l, hd, c)) : NaN,
            ]);
          }
        }
      }
    });
    return out.sort((a, b) => b[3] - a[3]);
  }

  function partnerList(title, list) {
    const most = d3.max(list, (row) => row[3]);
    return h(
      "div",
      { class: "half" },
      h("h4", {}, title),
      list.length
        ? h(
          "ol",
          { class: "entries partners" },
          list.slice(0, 8).map(([circuit, l, hd, score, z]) =>
            h(
              "li",
              {},
              h("span", { class: `via via-${circuit.toLowerCase()}` }, circuit),
              o.headChip(l, hd),
              o.bar(score, most, false),
              h("span", { class: "num" }, o.number(score)),
              h("span", { class: "num soft" }, `z ${o.number(z)}`),
            )
          ),
        )
        : h("p", { class: "soft" }, "none: no layer on that side"),
    );
  }

  o.partnersFigure = (layer, head) => {
    if (!o.section("compose")?.has("score")) {
      return null;
    }
    const [reads, writes] = [partners("reads", layer, head), partners("writes", layer, head)];
    const figure = o.figure({
      title: "Composition",
      what: `Random subspaces of this size would score ${
        o.number(o.section("compose").attribute("baseline"))
      }; z counts deviations from that.`,
      array: o.section("compose").array("score"),
      table: () => [
        "Composition",
        ["way", "by", "head", "score", "z"],
        [["reads", reads], ["writes to", writes]].flatMap(([way, list]) =>
          list.map(([c, l, hd, s, z]) => [way, c, o.headName(l, hd), s, z])
        ),
      ],
    });
    figure.body.append(
      h("div", { class: "halves" }, partnerList("reads from", reads), partnerList("writes to", writes)),
    );
    return figure;
  };
})();
