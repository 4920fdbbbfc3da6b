// SPDX-License-Identifier: MIT
// A head's spectra: eigenvalues in the complex plane, singular values; and small bars for lists of numbers.
"use strict";

(() => {
  const o = globalThis.otimes;
  const { h, svg } = o;

  const placeOf = (section, layer, head) => ({
    layer: section.place("layer", layer),
    head: section.place("head", head),
  });

  // Eigenvalues of a circuit ("OV", "QK"), over the vocabulary where they are there and asked for.
  function eigenvalues(circuit, full, layer, head) {
    const section = o.section("heads");
    const name = `${full ? "full_" : ""}${circuit}_eigenvalues`;
    const [real, imag] = [section?.array(`${name}_real`), section?.array(`${name}_imag`)];
    if (!real || !imag) {
      return null;
    }
    const place = placeOf(section, layer, head);
    const re = real.along("component", place);
    const im = imag.along("component", place);
    return {
      array: real,
      points: re.map((x, i) => [x, im[i]]).filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y)),
    };
  }

  function plane(points, width, title) {
    const size = Math.min(width, 280);
    const middle = size / 2;
    const radius = middle - 18;
    const most = d3.max(points, ([x, y]) => Math.hypot(x, y)) || 1;
    const picture = svg("svg", { width: size, height: size, role: "img", "aria-label": title });
    for (const r of [0.5, 1]) {
      picture.append(svg("circle", { class: "guide", cx: middle, cy: middle, r: r * radius }));
    }
    picture.append(
      svg("line", {
        class: "guide",
        x1: middle - radius - 8,
        x2: middle + radius + 8,
        y1: middle,
        y2: middle,
      }),
      svg("line", {
        class: "guide",
        x1: middle,
        x2: middle,
        y1: middle - radius - 8,
        y2: middle + radius + 8,
      }),
      svg("text", { class: "tick", x: size - 2, y: middle - 6, "text-anchor": "end" }, "Re"),
      svg("text", { class: "tick", x: middle + 6, y: 10 }, "Im"),
    );
    const color = o.scale("diverging", 0, 1);
    for (const [x, y] of points.toReversed()) {
      picture.append(
        svg("circle", {
          class: "eigen",
          cx: middle + x / most * radius,
          cy: middle - y / most * radius,
          r: 3.6,
          fill: color(x / (Math.hypot(x, y) || 1)),
        }),
      );
    }
    return { picture, most };
  }

  function score(points) {
    return d3.sum(points, ([x]) => x) / (d3.sum(points, ([x, y]) => Math.hypot(x, y)) || 1);
  }

  function onePlane(circuit, full, layer, head) {
    const found = eigenvalues(circuit, full, layer, head);
    if (!found || !found.points.length) {
      return null;
    }
    const { points, array } = found;
    const body = h("div", { class: "plot" });
    const note = h("p", { class: "readout" });
    o.plot(body, (width) => {
      const title = `${circuit} eigenvalues of ${
        o.headName(layer, head)
      }: ${points.length}, sum over moduli ${o.number(score(points))}`;
      const { picture, most } = plane(points, width, title);
      body.replaceChildren(picture);
      note.replaceChildren(
        h("span", {}, "Re Σλ / Σ|λ| = "),
        h("strong", {}, o.signed(score(points))),
        h("span", { class: "soft" }, `  outer circle ${o.number(most)}`),
      );
    });
    return h(
      "div",
      { class: "half" },
      h("h4", {}, circuit),
      body,
      note,
      h(
        "p",
        { class: "source" },
        h("code", {}, array.name.replace(/_real$/, "")),
        " of ",
        o.formula((array.entry.long_name ?? "").replace(/^.* of /, "")),
      ),
    );
  }

  o.eigenFigure = (layer, head) => {
    const section = o.section("heads");
    const inStream = section?.has("OV_eigenvalues_real");
    const full = section?.has("full_QK_eigenvalues_real") || section?.has("full_OV_eigenvalues_real");
    if (!inStream && !full) {
      return null;
    }
    const show = (which) =>
      pair.replaceChildren(
        ...["OV", "QK"].map((circuit) => onePlane(circuit, which === "full", layer, head)).filter(
          Boolean,
        ),
      );
    const start = full ? "full" : "stream";
    const tools = inStream && full
      ? [o.choice("Space of the circuit", [["full", "vocabulary"], ["stream", "stream"]], start, show)]
      : [];
    const figure = o.figure({
      title: "Eigenvalues",
      what: "In the complex plane, the largest on the outer circle. To the right of the " +
        "middle a circuit keeps what it reads, to the left it turns it round.",
      tools,
      picture: `eigenvalues-${o.headName(layer, head)}`,
      table: () => [
        "Eigenvalues",
        ["circuit", "real", "imaginary"],
        ["OV", "QK"].flatMap((circuit) =>
          [true, false].flatMap((whole) =>
            (eigenvalues(circuit, whole, layer, head)?.points ?? []).map((
              [x, y],
            ) => [`${circuit}${whole ? ", vocabulary" : ""}`, x, y])
          )
        ),
      ],
    });
    const pair = h("div", { class: "halves" });
    figure.body.append(pair);
    show(start);
    return figure;
  };

  function fallPicture(values, width, title, rank) {
    const height = 120;
    const x = d3.scaleLinear().domain([0, Math.max(1, values.length - 1)]).range([34, width - 8]);
    const y = d3.scaleLinear().domain([0, values[0] || 1]).nice(3).range([height - 20, 8]);
    const picture = svg("svg", { width, height, role: "img", "aria-label": title });
    for (const tick of y.ticks(3)) {
      picture.append(
        svg("line", { class: "guide", x1: 34, x2: width - 8, y1: y(tick), y2: y(tick) }),
        svg("text", {
          class: "tick",
          x: 28,
          y: y(tick),
          "text-anchor": "end",
          "dominant-baseline": "central",
        }, o.tick(tick)),
      );
    }
    const line = d3.line().x((_, i) => x(i)).y((v) => y(v));
    const area = d3.area().x((_, i) => x(i)).y1((v) => y(v)).y0(y(0));
    picture.append(
      svg("path", { class: "area", d: area(values) }),
      svg("path", { class: "line", d: line(values) }),
    );
    if (Number.isFinite(rank)) {
      const at = x(Math.min(values.length - 1, rank - 1));
      picture.append(
        svg("line", { class: "rank", x1: at, x2: at, y1: 8, y2: y(0) }),
        svg("text", {
          class: "tick",
          x: at + (at > width / 2 ? -4 : 4),
          y: 14,
          "text-anchor": at > width / 2 ? "end" : "start",
        }, `effective rank ${o.number(rank)}`),
      );
    }
    picture.append(
      svg("text", { class: "tick", x: 34, y: height - 5 }, "1"),
      svg(
        "text",
        { class: "tick", x: width - 8, y: height - 5, "text-anchor": "end" },
        String(values.length),
      ),
    );
    return picture;
  }

  o.singularFigure = (layer, head) => {
    const section = o.section("heads");
    const circuits = ["OV", "QK"].filter((circuit) => section?.has(`${circuit}_singular_values`));
    if (!circuits.length) {
      return null;
    }
    const place = placeOf(section, layer, head);
    const values = (circuit) => section.array(`${circuit}_singular_values`).along("component", place);
    const figure = o.figure({
      title: "Singular values",
      what: "How much of the stream each circuit carries, and along how many directions.",
      array: section.array(`${circuits[0]}_effective_rank`),
      picture: `singular-values-${o.headName(layer, head)}`,
      table: () => [
        "Singular values",
        ["component", ...circuits],
        values(circuits[0]).map((
          _,
          i,
        ) => [String(i), ...circuits.map((circuit) => values(circuit)[i])]),
      ],
    });
    figure.body.append(h(
      "div",
      { class: "halves" },
      circuits.map((circuit) => {
        const body = h("div", { class: "plot" });
        const rank = section.array(`${circuit}_effective_rank`)?.at(place);
        o.plot(body, (width) =>
          body.replaceChildren(
            fallPicture(
              values(circuit),
              width,
              `Singular values of ${circuit}, from ${o.number(values(circuit)[0])} down`,
              rank,
            ),
          ));
        return h("div", { class: "half" }, h("h4", {}, circuit), body);
      }),
    ));
    return figure;
  };

  // A bar from the middle (or the left, where nothing is negative) as long as a number is large.
  o.bar = (value, most, signed = true) => {
    const share = Math.min(1, Math.abs(value) / (most || 1)) * (signed ? 50 : 100);
    const style = signed
      ? (value < 0 ? `right:50%;width:${share}%` : `left:50%;width:${share}%`)
      : `left:0;width:${share}%`;
    return h(
      "span",
      { class: `bar${signed ? " signed" : ""}`, "aria-hidden": "true" },
      h("span", { class: value < 0 ? "minus" : "plus", style }),
    );
  };
})();
