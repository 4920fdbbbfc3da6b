// SPDX-License-Identifier: MIT
// The composition graph: heads by layer, an edge where an earlier head writes what a later one reads.
"use strict";

(() => {
  const o = globalThis.otimes;
  const { h, svg } = o;

  function layout(width) {
    const pitch = Math.max(13, Math.min(64, 460 / o.heads.length));
    const height = 34 + pitch * o.heads.length;
    const x = d3.scalePoint().domain(o.layers).range([
      34,
      Math.min(width - 26, 34 + 560 * (o.layers.length - 1)),
    ]);
    const y = (head) => 30 + pitch * (o.heads.indexOf(head) + 0.5);
    return { x, y, height, radius: Math.max(3.5, Math.min(12, pitch * 0.36)) };
  }

  function curve(space, edge) {
    const [x0, y0, x1, y1] = [
      space.x(edge.fromLayer) + space.radius,
      space.y(edge.fromHead),
      space.x(edge.toLayer) - space.radius,
      space.y(edge.toHead),
    ];
    const bend = (x1 - x0) * 0.5;
    // Edges of different circuits between the same heads lie beside each other.
    const shift = { Q: -2.5, K: 0, V: 2.5 }[edge.circuit] ?? 0;
    return `M${x0},${y0 + shift}C${x0 + bend},${y0 + shift} ${x1 - bend},${y1 + shift} ${x1},${y1 + shift}`;
  }

  const edgeText = (e) =>
    `${o.headName(e.fromLayer, e.fromHead)} → ${o.headName(e.toLayer, e.toHead)} by ${e.circuit}: score ${
      o.number(e.score)
    }, z ${o.number(e.z)}`;
  const edgeTip = (
    e,
  ) => [
    h(
      "span",
      {},
      h("strong", {}, o.headName(e.fromLayer, e.fromHead)),
      " → ",
      h("strong", {}, o.headName(e.toLayer, e.toHead)),
      ` by ${e.circuit}`,
    ),
    h("span", { class: "big" }, o.number(e.score)),
    h("span", { class: "soft" }, `z = ${o.number(e.z)}`),
  ];

  // The strongest edges in words; pointing at one lights it in the picture.
  function edgeList(edges, metric) {
    return h(
      "ol",
      { class: "entries edges-list" },
      edges.slice(0, 12).map((e, i) =>
        h(
          "li",
          { "data-line": i },
          h("span", { class: `via via-${e.circuit.toLowerCase()}` }, e.circuit),
          h(
            "span",
            { class: "chain" },
            o.headChip(e.fromLayer, e.fromHead),
            h("span", { class: "arrow" }, "→"),
            o.headChip(e.toLayer, e.toHead),
          ),
          o.bar(e[metric], edges[0][metric], false),
          h("span", { class: "num" }, o.number(e.score)),
          h("span", { class: "num soft" }, `z ${o.number(e.z)}`),
        )
      ),
    );
  }

  function draw(root, graph, width) {
    const space = layout(width);
    const edges = graph.shown();
    const strength = d3.scaleLinear().domain([graph.least, graph.range[1]]).range([0.25, 1]).clamp(true);
    const picture = svg("svg", {
      width,
      height: space.height,
      role: "group",
      "aria-label": `${edges.length} edges between heads; arrow keys go from edge to edge`,
    });
    o.layers.forEach((layer) =>
      picture.append(
        svg("line", {
          class: "rail",
          x1: space.x(layer),
          x2: space.x(layer),
          y1: 26,
          y2: space.height,
        }),
        svg(
          "text",
          { class: "tick", x: space.x(layer), y: 14, "text-anchor": "middle" },
          `L${layer}`,
        ),
      )
    );
    const lines = svg("g", { class: "edges" });
    edges.forEach((edge, i) => {
      const style = o.circuitStyle(edge.circuit);
      const d = curve(space, edge);
      const own = strength(edge[graph.metric]);
      lines.append(
        svg(
          "g",
          {
            class: "edge",
            role: "img",
            tabindex: "-1",
            "data-edge": i,
            "aria-label": edgeText(edge),
            "data-from": o.headKey(edge.fromLayer, edge.fromHead),
            "data-to": o.headKey(edge.toLayer, edge.toHead),
          },
          svg("path", { class: "reach", d }),
          svg("path", {
            class: "ink",
            d,
            stroke: style.color,
            "stroke-dasharray": style.dash === "none" ? null : style.dash,
            "stroke-width": 0.8 + 2.6 * own,
            "stroke-opacity": 0.25 + 0.75 * own,
          }),
        ),
      );
    });
    lines.append(...[...lines.children].reverse());
    picture.append(lines);
    const score = o.currentScore();
    const scale = o.scoreScale(score);
    o.layers.forEach((layer) =>
      o.heads.forEach((head) => {
        const value = score.value(layer, head);
        const color = Number.isFinite(value) ? scale(value) : "var(--wash)";
        picture.append(
          svg(
            "g",
            {
              class: "node",
              role: "button",
              tabindex: "-1",
              "data-head": o.headKey(layer, head),
              "aria-label": `Open head ${o.headName(layer, head)}`,
            },
            svg("circle", {
              cx: space.x(layer),
              cy: space.y(head),
              r: space.radius,
              fill: color,
            }),
            space.radius >= 9
              ? svg("text", {
                x: space.x(layer),
                y: space.y(head),
                fill: Number.isFinite(value) ? o.inkOn(color) : "var(--soft)",
              }, String(head))
              : null,
          ),
        );
      })
    );
    root.replaceChildren(picture);
    root.querySelector(`[data-edge="${Math.min(graph.focus, edges.length - 1)}"]`)?.setAttribute(
      "tabindex",
      "0",
    );
    return edges;
  }

  function interact(figure, graph, edgesNow) {
    const { body } = figure;
    const light = (target) => {
      const line = target?.closest?.("[data-line]")?.dataset.line;
      const edge = line ? body.querySelector(`[data-edge="${line}"]`) : target?.closest?.("[data-edge]");
      const node = target?.closest?.(".node");
      const root = body.querySelector("svg");
      root?.classList.toggle("some", Boolean(edge || node));
      body.querySelectorAll(".lit").forEach((element) => element.classList.remove("lit"));
      if (edge) {
        edge.classList.add("lit");
        for (const key of [edge.dataset.from, edge.dataset.to]) {
          body.querySelector(`.node[data-head="${key}"]`)?.classList.add("lit");
        }
        body.querySelector(`[data-line="${edge.dataset.edge}"]`)?.classList.add("lit");
        const curved = edge.querySelector(".ink");
        const middle = curved.getPointAtLength(curved.getTotalLength() / 2);
        const box = root.getBoundingClientRect();
        o.showTip({
          left: box.left + middle.x,
          top: box.top + middle.y - 4,
          width: 0,
          bottom: box.top + middle.y + 4,
        }, ...edgeTip(edgesNow()[edge.dataset.edge]));
      } else if (node) {
        body.querySelectorAll(`[data-from="${node.dataset.head}"],[data-to="${node.dataset.head}"]`)
          .forEach((
            element,
          ) => element.classList.add("lit"));
        node.classList.add("lit");
        const head = o.parseHead(node.dataset.head);
        o.showTip(
          node.getBoundingClientRect(),
          h("strong", {}, o.headName(head.layer, head.head)),
          h("span", { class: "soft" }, `${body.querySelectorAll(".edge.lit").length} edges shown`),
        );
      } else {
        o.hideTip();
      }
    };
    body.addEventListener("pointerover", (event) => light(event.target));
    body.addEventListener("pointerleave", () => light(null));
    body.addEventListener("focusin", (event) => light(event.target));
    body.addEventListener("focusout", () => light(null));
    body.addEventListener("click", (event) => {
      const head = o.parseHead(event.target.closest?.(".node")?.dataset.head);
      if (head) {
        o.openHead(head.layer, head.head);
      }
    });
    body.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const edges = edgesNow();
      if (!event.target.closest("svg")) {
        return;
      }
      if (step && edges.length) {
        body.querySelector('.edge[tabindex="0"]')?.setAttribute("tabindex", "-1");
        graph.focus = (graph.focus + step + edges.length) % edges.length;
        const next = body.querySelector(`[data-edge="${graph.focus}"]`);
        next.setAttribute("tabindex", "0");
        next.focus();
        event.preventDefault();
      } else if (event.key === "Enter" && edges[graph.focus]) {
        o.openHead(edges[graph.focus].toLayer, edges[graph.focus].toHead, event.target);
      }
    });
  }

  function circuitBoxes(section, graph, changed) {
    const hints = { Q: "queries", K: "keys", V: "values" };
    return h(
      "fieldset",
      { class: "boxes" },
      h("legend", { class: "unseen" }, "Circuits"),
      section.labels("circuit").map((circuit) => {
        const style = o.circuitStyle(circuit);
        const box = h("input", { type: "checkbox", id: `circuit-${circuit}`, checked: true });
        box.addEventListener("change", () => {
          graph.circuits[box.checked ? "add" : "delete"](circuit);
          changed();
        });
        return h(
          "label",
          { for: `circuit-${circuit}` },
          box,
          svg(
            "svg",
            { width: 26, height: 8, "aria-hidden": "true" },
            svg("line", {
              x1: 0,
              x2: 26,
              y1: 4,
              y2: 4,
              stroke: style.color,
              "stroke-width": 2.5,
              "stroke-dasharray": style.dash,
            }),
          ),
          `${circuit} `,
          h("span", { class: "soft" }, hints[circuit] ?? ""),
        );
      }),
    );
  }

  o.buildGraph = (root) => {
    const section = o.section("compose");
    if (!section?.has("score") || o.layers.length < 2) {
      return false;
    }
    const graph = new o.Graph(section);
    let edges = [];
    const slider = h("input", { type: "range", id: "least", min: 0, max: 1000, step: 1 });
    const output = h("output", { for: "least", class: "num" });
    const bars = h("div", { class: "bars-place" });
    const count = h("p", { class: "readout", role: "status" });
    const figure = o.figure({
      title: "Who reads whom",
      array: section.array("score"),
      picture: "composition",
      what:
        "Left to right through the layers; the number in a node is its head, its colour the score chosen above. " +
        `Random subspaces would score ${o.number(section.attribute("baseline"))}.`,
      table: () => [
        "Edges shown",
        ["from", "to", "by", "score", "z"],
        edges.map((
          e,
        ) => [
          o.headName(e.fromLayer, e.fromHead),
          o.headName(e.toLayer, e.toHead),
          e.circuit,
          e.score,
          e.z,
        ]),
      ],
    });
    const value = () => graph.range[0] + (graph.range[1] - graph.range[0]) * slider.value / 1000;
    let bins = null;
    let width = 0;
    const picture = h("div", { class: "plot" });
    const strongest = h("section", {});
    figure.body.append(h("div", { class: "beside graph" }, picture, strongest));
    const redraw = () => {
      edges = draw(picture, graph, width);
      strongest.replaceChildren(h("h4", {}, "the strongest"), edgeList(edges, graph.metric));
      output.textContent = `≥ ${o.number(graph.least)}`;
      slider.setAttribute(
        "aria-valuetext",
        `${graph.metric} at least ${o.number(graph.least)}, ${edges.length} edges`,
      );
      bins?.mark(graph.least);
      const capped = edges.length === o.drawnMost ? ", the strongest of more" : "";
      count.textContent = `${o.count(edges.length)} of ${o.count(graph.all.length)} pairs${capped}`;
    };
    const resort = () => {
      graph.sort();
      graph.focus = 0;
      slider.value = 1000 * (graph.least - graph.range[0]) / (graph.range[1] - graph.range[0] || 1);
      bins = o.edgeHistogram(graph.values, graph.range, 220);
      bars.replaceChildren(bins);
      if (width) {
        redraw();
      }
    };
    slider.addEventListener("input", () => {
      graph.least = value();
      redraw();
    });
    const metric = o.choice("Measure", [["score", "score"], ["z", "z"]], "score", (name) => {
      graph.metric = name;
      resort();
    });
    figure.firstChild.after(
      h(
        "div",
        { class: "controls" },
        circuitBoxes(section, graph, resort),
        metric,
        h(
          "div",
          { class: "slider" },
          bars,
          h("label", { for: "least", class: "unseen" }, "Draw pairs from"),
          slider,
        ),
        output,
        count,
      ),
    );
    resort();
    interact(figure, graph, () => edges);
    const repaint = o.plot(picture, (now) => {
      width = now;
      redraw();
    });
    o.on("score", repaint);
    root.append(figure);
    return true;
  };
})();
