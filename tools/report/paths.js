// SPDX-License-Identifier: MIT
// The paths by which a prediction came: ranked by what each is worth, with the running total.
"use strict";

(() => {
  const o = globalThis.otimes;
  const { h, svg } = o;

  function read(section) {
    const values = (name) => section.array(name)?.values ?? null;
    const [label, value, order, running, share, formula] = [
      "path_label",
      "path_value",
      "path_order",
      "path_running",
      "path_share",
      "path_formula",
    ].map(values);
    return d3.range(value.length).filter((i) =>
      Number.isFinite(value[i]) && (values("path_case")?.[i] ?? 0) === 0
    ).map((i) => ({
      i,
      label: label[i],
      value: value[i],
      order: order?.[i] ?? -1,
      running: running?.[i],
      share: share?.[i],
      formula: formula?.[i],
    }));
  }

  // "embed → L1H0" as links; heads can be opened.
  function chain(label) {
    const parts = label.split(" → ");
    return h(
      "span",
      { class: "chain" },
      parts.flatMap((part, i) => {
        const head = o.headInName(part);
        return [
          i ? h("span", { class: "arrow" }, "→") : null,
          head ? o.headChip(head.layer, head.head) : h("span", { class: "part" }, part),
        ];
      }),
    );
  }

  // Room for the longest chain, so that columns are the same in all rows.
  function chainWidth(paths) {
    const part = (name) => (o.headInName(name) ? 58 : 7.5 * name.length);
    const width = (label) => d3.sum(label.split(" → "), (name) => part(name) + 26);
    return Math.ceil(Math.min(900, Math.max(190, d3.max(paths, (path) => width(path.label)))));
  }

  function carriers(section, i) {
    const [position, value, token] = ["carrier_position", "carrier_value", "carrier_token"].map((name) =>
      section.array(name)
    );
    if (!position || !value) {
      return [];
    }
    const at = position.along("carrier", { path: i });
    return at.map((p, carrier) => ({
      p,
      v: value.at({ path: i, carrier }),
      text: token?.at({ path: i, carrier }),
    })).filter(({ p }) => p >= 0).slice(0, 2)
      .map(({ p, v, text }) =>
        h(
          "span",
          { class: "from soft" },
          `${o.signed(v)} from `,
          o.token(text ?? o.textToken(p).text, o.textToken(p).id),
          ` ${p}`,
        )
      );
  }

  function runningPicture(paths, total, width) {
    const height = 150;
    const runs = [0, ...paths.map((path) => path.running)];
    const x = d3.scaleSymlog ? d3.scaleSymlog() : d3.scalePow().exponent(0.5);
    x.domain([0, paths.length]).range([44, width - 12]);
    const y = d3.scaleLinear().domain(d3.extent([...runs, total])).nice(4).range([height - 24, 12]);
    const picture = svg("svg", {
      width,
      height,
      role: "img",
      "aria-label": `Running total of ${paths.length} paths, to ${o.number(runs.at(-1))} of ${
        o.number(total)
      }`,
    });
    for (const tick of y.ticks(4)) {
      picture.append(
        svg("line", { class: "guide", x1: 44, x2: width - 12, y1: y(tick), y2: y(tick) }),
        svg("text", {
          class: "tick",
          x: 38,
          y: y(tick),
          "text-anchor": "end",
          "dominant-baseline": "central",
        }, o.tick(tick)),
      );
    }
    picture.append(
      svg("line", { class: "rank", x1: 44, x2: width - 12, y1: y(total), y2: y(total) }),
      svg(
        "text",
        { class: "tick strong", x: width - 14, y: y(total) - 6, "text-anchor": "end" },
        `logit ${o.signed(total)}`,
      ),
      svg("path", {
        class: "line",
        d: d3.line().x((_, i) => x(i)).y((v) => y(v)).curve(d3.curveStepAfter)(runs),
      }),
    );
    for (const tick of [1, 10, 100, 1000].filter((n) => n < paths.length).concat(paths.length)) {
      picture.append(
        svg(
          "text",
          { class: "tick", x: x(tick), y: height - 6, "text-anchor": "middle" },
          o.count(tick),
        ),
      );
    }
    return picture;
  }

  function orders(section) {
    const array = section.array("order_total");
    if (!array) {
      return null;
    }
    const all = array.along("order", {});
    const totals = all.length > 8 ? [...all.slice(0, 7), d3.sum(all.slice(7))] : all;
    const name = (i) =>
      i === 0
        ? "direct"
        : i === 7 && all.length > 8
        ? "through 7 heads and more"
        : `through ${i} ${i === 1 ? "head" : "heads"}`;
    const most = d3.max(totals, Math.abs);
    return h(
      "section",
      {},
      h("h4", {}, "By heads on the way"),
      h(
        "ol",
        { class: "entries" },
        totals.map((value, i) =>
          h(
            "li",
            {},
            h("span", { class: "num" }, o.signed(value)),
            o.bar(value, most),
            h("span", { class: "part" }, name(i)),
          )
        ),
      ),
    );
  }

  function filters(paths, changed) {
    const state = { head: "", order: "", sign: "", text: "" };
    const heads = [
      ...new Set(paths.flatMap((path) => path.label.split(" → ").filter((part) => o.headInName(part)))),
    ].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const counts = [...new Set(paths.map((path) => path.order))].sort((a, b) => a - b);
    const select = (id, text, options) => {
      const element = h(
        "select",
        { id: `path-${id}` },
        options.map(([value, name]) => h("option", { value }, name)),
      );
      element.addEventListener("change", () => {
        state[id] = element.value;
        changed();
      });
      return o.field(text, element);
    };
    const input = h("input", {
      type: "search",
      id: "path-text",
      placeholder: "embed, L0H2, mlp …",
      autocomplete: "off",
      spellcheck: "false",
    });
    input.addEventListener("input", () => {
      state.text = input.value.trim().toLowerCase();
      changed();
    });
    const controls = [
      select("head", "Through", [["", "any head"], ...heads.map((name) => [name, name])]),
      select("order", "Heads", [["", "any number"], ...counts.map((n) => [String(n), String(n)])]),
      select("sign", "Sign", [["", "both"], ["+", "for it (+)"], ["-", "against it (−)"]]),
      o.field("Text", input),
    ];
    const keep = (path) =>
      (!state.head || path.label.split(" → ").includes(state.head)) &&
      (!state.order || String(path.order) === state.order) &&
      (!state.sign || (state.sign === "+") === path.value > 0) &&
      (!state.text || path.label.toLowerCase().includes(state.text));
    return { controls, keep };
  }

  function about(section) {
    const at = section.array("case_position")?.values[0] ?? o.textLength() - 1;
    const target = section.array("target_id")?.values[0] ?? -1;
    const total = section.array("frozen_value")?.values[0] ?? NaN;
    const { given, cap } = o.taken(section);
    return {
      total,
      line: h(
        "p",
        {},
        "After ",
        o.token(o.textToken(at).text, o.textToken(at).id),
        h("span", { class: "soft" }, ` at ${at} `),
        given ? "the logit of " : "the model predicts ",
        o.tokenById(target, "output_token"),
        given ? `${cap}, ` : `: its logit${cap}, `,
        h("strong", {}, o.signed(total)),
        ", is a sum over paths. ",
        h("span", { class: "soft" }, section.array("certificate")?.values[0] ?? ""),
      ),
    };
  }

  o.buildPaths = (root) => {
    const section = o.section("paths");
    if (!section?.has("path_value") || !section.has("path_label")) {
      return false;
    }
    const paths = read(section);
    if (!paths.length) {
      return false;
    }
    const { total, line } = about(section);
    const most = d3.max(paths, (path) => Math.abs(path.value));
    const sums = h("p", { class: "readout", role: "status" });
    let shown = [];
    let running = [];
    const list = o.virtualList({
      label: "Paths by what they are worth",
      columns: ["", "path", "value", "", "share", "running", "brought"],
      rowHeight: 36,
      rows: 12,
      kind: "paths",
      render: (i) => {
        const path = shown[i];
        return [
          [h("span", { class: "num soft" }, String(path.i + 1))],
          [chain(path.label)],
          [h("span", { class: "num" }, o.signed(path.value))],
          [o.bar(path.value, most)],
          [h(
            "span",
            { class: "num" },
            Number.isFinite(path.share) ? `${(100 * path.share).toFixed(1)}%`.replace("-", "−") : "",
          )],
          [h("span", { class: "num" }, o.signed(running[i]))],
          carriers(section, path.i),
        ];
      },
      open: (i) => {
        const path = shown[i];
        chosen.replaceChildren(path.formula ? h("code", {}, path.formula) : path.label);
        list.choose(i);
      },
    });
    list.style.setProperty("--chain", `${chainWidth(paths)}px`);
    const chosen = h("p", { class: "readout formula-line", "aria-live": "polite" });
    const update = () => {
      shown = paths.filter(keep);
      running = d3.cumsum(shown, (path) => path.value);
      list.update(shown.length);
      const sum = running.at(-1) ?? 0;
      sums.replaceChildren(
        `${o.count(shown.length)} of ${o.count(paths.length)} paths, together `,
        h("strong", {}, o.signed(sum)),
        ` of ${o.signed(total)}`,
      );
    };
    const { controls, keep } = filters(paths, update);
    const figure = o.figure({
      title: "Paths, the largest first",
      array: section.array("path_value"),
      what: "With attention patterns and norm scales frozen the logit is exactly a sum over " +
        "paths. Running: the sum of all shown so far. Choose a path to see its factors.",
      table: () => [
        "Paths",
        ["path", "value", "share", "running"],
        shown.map((path, i) => [path.label, path.value, path.share, running[i]]),
      ],
    });
    const picture = h("div", { class: "plot" });
    o.plot(picture, (width) => picture.replaceChildren(runningPicture(paths, total, width)));
    figure.firstChild.after(
      line,
      h(
        "div",
        { class: "beside even" },
        h("section", {}, h("h4", {}, "Running total"), picture),
        orders(section),
      ),
      h("div", { class: "controls" }, controls, sums),
    );
    figure.body.append(list, chosen);
    root.append(figure);
    update();
    return true;
  };
})();
