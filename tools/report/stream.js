// SPDX-License-Identifier: MIT
// The residual stream taken apart: what each component adds to the predicted token's logit, at every
// position.
"use strict";

(() => {
  const o = globalThis.otimes;
  const { h, svg } = o;

  // What a head moved from which position, the largest first.
  function sources(position, component) {
    const head = o.headInName(component);
    const array = o.array("decompose", "source_attribution");
    if (!head || !array) {
      return [];
    }
    const { section } = array;
    const place = {
      position,
      layer: section.place("layer", head.layer),
      head: section.place("head", head.head),
    };
    return array.along("key", place).map((value, key) => [key, value]).filter(([, value]) =>
      Number.isFinite(value) && value !== 0
    )
      .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 1);
  }

  function ranked(section, position) {
    const values = section.array("attribution").along("component", { position });
    return section.labels("component").map((name, i) => [name, values[i]]).filter(([, v]) =>
      Number.isFinite(v)
    )
      .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  }

  const componentName = (name) => {
    const head = o.headInName(name);
    return head ? o.headChip(head.layer, head.head) : h("span", { class: "part" }, name);
  };

  function contributions(section, position, most = 12) {
    const list = ranked(section, position);
    const shown = list.slice(0, most);
    const rest = d3.sum(list.slice(most), ([, v]) => v);
    const scale = Math.abs(list[0]?.[1] ?? 1);
    const row = (name, value, from) =>
      h(
        "li",
        {},
        h("span", { class: "num" }, o.signed(value)),
        o.bar(value, scale),
        name,
        from.map(([key, v]) =>
          h(
            "span",
            { class: "soft from" },
            `${o.signed(v)} from `,
            o.token(o.textToken(key).text, o.textToken(key).id),
            ` ${key}`,
          )
        ),
      );
    const items = shown.map(([name, value]) => row(componentName(name), value, sources(position, name)));
    if (list.length > most) {
      items.push(
        row(
          h(
            "span",
            { class: "part" },
            list.length - most === 1 ? "one other" : `${list.length - most} others`,
          ),
          rest,
          [],
        ),
      );
    }
    return h("ol", { class: "entries streams" }, items);
  }

  function lensPicture(points, values, width) {
    const height = 150;
    const y = d3.scaleLinear().domain(d3.extent([0, ...values])).nice(4).range([height - 30, 12]);
    const x = d3.scalePoint().domain(points).range([46, width - 34]);
    const picture = svg("svg", {
      width,
      height,
      role: "img",
      "aria-label": `Logit lens, from ${o.number(values[0])} to ${o.number(values.at(-1))}`,
    });
    for (const tick of y.ticks(4)) {
      picture.append(
        svg("line", { class: "guide", x1: 38, x2: width - 10, y1: y(tick), y2: y(tick) }),
        svg("text", {
          class: "tick",
          x: 32,
          y: y(tick),
          "text-anchor": "end",
          "dominant-baseline": "central",
        }, o.tick(tick)),
      );
    }
    picture.append(
      svg("path", { class: "line", d: d3.line().x((_, i) => x(points[i])).y((v) => y(v))(values) }),
    );
    const every = Math.ceil(points.length * 58 / width);
    return {
      picture,
      x,
      y,
      labelled: (i) => i === points.length - 1 || (i % every === 0 && points.length - 1 - i >= every),
    };
  }

  // The same logit read off the stream at each point on the way.
  function lens(section, position) {
    const array = section.array("logit_lens");
    if (!array || array.length("point") < 2) {
      return null;
    }
    const points = d3.range(array.length("point")).map((i) => String(section.label("point", i)));
    const values = array.along("point", { position });
    const [ranks, logs] = ["lens_rank", "lens_log_prob"].map((name) =>
      section.array(name)?.along("point", { position })
    );
    if (!values.every(Number.isFinite)) {
      return null;
    }
    const body = h("div", { class: "plot" });
    o.plot(body, (width) => {
      const { picture, x, y, labelled } = lensPicture(points, values, width);
      points.forEach((point, i) => {
        const rank = ranks ? `rank ${o.count(ranks[i])}` : "";
        picture.append(
          svg(
            "circle",
            { class: "knot", cx: x(point), cy: y(values[i]), r: points.length > 20 ? 2.5 : 4 },
            svg(
              "title",
              {},
              `${point}: logit ${o.number(values[i])} ${rank}${
                logs ? `, ${o.percent(Math.exp(logs[i]))}` : ""
              }`,
            ),
          ),
        );
        if (labelled(i)) {
          picture.append(
            svg("text", { class: "tick", x: x(point), y: 138, "text-anchor": "middle" }, point),
            svg("text", {
              class: "tick strong",
              x: x(point) - (i ? 0 : 2),
              y: y(values[i]) - 9,
              "text-anchor": i ? "middle" : "start",
            }, rank),
          );
        }
      });
      body.replaceChildren(picture);
    });
    return h(
      "section",
      {},
      h("h4", {}, "Logit lens", h("span", { class: "soft" }, ranks ? ", ranks from 0" : "")),
      body,
    );
  }

  function panelFor(section, position) {
    const id = section.array("target_id").at({ position });
    const { cap } = o.taken(section);
    const { text, id: own } = o.textToken(position);
    const value = section.array("target_value").at({ position });
    return [
      h(
        "div",
        { class: "detail-head" },
        h("h4", {}, "after ", o.token(text, own), " the logit of ", o.tokenById(id, "output_token"), cap),
        h("span", { class: "num strong" }, o.signed(value)),
      ),
      contributions(section, position),
      lens(section, position),
    ].filter(Boolean);
  }

  o.buildStream = (root) => {
    const section = o.section("decompose");
    const array = section?.array("attribution");
    if (!array || !o.textLength()) {
      return false;
    }
    const length = o.textLength();
    const names = section.labels("component");
    const value = (position, component) => array.at({ position, component });
    const most = d3.quantile(Array.from(array.values, Math.abs).filter(Number.isFinite), 0.998) || 1;
    const target = (position) => section.array("target_id").at({ position });
    const { given, cap, text } = o.taken(section);
    // The longer of both gives way, down to half the room.
    const label = (position, room = 16) => {
      const own = o.textToken(position).text ?? `#${o.textToken(position).id}`;
      const next = o.tokenText(target(position), "output_token") ?? `#${target(position)}`;
      const [a, b] = [own, next].map((one) => [...o.drawn(one)].length - 2);
      const part = (other) => Math.max(room / 2, room - other);
      return given ? o.drawn(own) : `${o.drawn(own, part(b))} → ${o.drawn(next, part(a))}`;
    };
    const panel = h("div", { class: "detail", "aria-live": "polite" });
    const legend = h("div", { class: "legend-place" });
    const room = names.length > 40 ? 26 : 62;
    const heat = o.heat({
      label: `Contribution of each component to ${text}, by position`,
      rows: length,
      columns: names.length,
      rowFont: "mono",
      left: 150,
      top: names.length > 90 ? 58 : room + 14,
      value,
      scale: () => o.scale("diverging", 0, most),
      cell: (width) => [Math.max(7, Math.min(34, (width - 50) / names.length)), length > 80 ? 9 : 19],
      rowLabel: label,
      columnLabel: (component) => names[component],
      chosenRow: () => o.position(),
      pick: (position) => o.set({ pos: String(position) }),
      tip: (
        position,
        component,
      ) => [
        h("strong", {}, names[component]),
        h("span", { class: "big" }, o.signed(value(position, component))),
        h(
          "span",
          { class: "soft" },
          `at ${position}, to the logit of `,
          o.tokenById(target(position), "output_token"),
        ),
      ],
      say: (position, component) =>
        `${names[component]} at ${position} ${label(position, Infinity)}: ${o.signed(value(position, component))}`,
    });
    const figure = o.figure({
      title: `What each component adds to ${text}`,
      array,
      picture: "residual-stream",
      what: `Row: a position${given ? "" : " and what is predicted there"}; column: a component of the stream.` +
        ` A row sums to its logit${cap}. Choose a row to take it apart.`,
      table: () => [
        "Contributions",
        ["position", "target", ...names],
        d3.range(length).map((
          p,
        ) => [
          String(p),
          o.plainById(target(p), "output_token"),
          ...names.map((_, c) => value(p, c)),
        ]),
      ],
    });
    figure.firstChild.after(legend);
    // Few components leave room beside them.
    const few = names.length <= 24;
    figure.body.append(few ? h("div", { class: "beside" }, heat, panel) : heat);
    if (!few) {
      figure.body.after(panel);
    }
    const show = () => {
      const [head, ...parts] = panelFor(section, o.position());
      panel.replaceChildren(head, h("div", { class: few ? "stacked" : "beside stream" }, parts));
    };
    o.plot(heat, (width) => {
      heat.draw(width);
      legend.replaceChildren(o.legend(o.scale("diverging", 0, most), "Contribution to the logit"));
    });
    o.on("pos", () => {
      heat.paint();
      show();
    });
    show();
    root.append(figure);
    return true;
  };
})();
