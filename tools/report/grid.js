// SPDX-License-Identifier: MIT
// Layers by heads, coloured by a score: the map of the model. Arrow keys move, Enter opens a head.
"use strict";

(() => {
  const o = globalThis.otimes;
  const { h, svg } = o;
  const left = 34;
  const top = 22;

  function picker(onchange) {
    const groups = d3.groups(o.scoreList, (score) => score.group);
    const select = h(
      "select",
      { id: "score" },
      groups.map(([name, scores]) =>
        h(
          "optgroup",
          { label: name },
          scores.map((score) => h("option", { value: score.key }, score.name)),
        )
      ),
    );
    select.value = o.currentScore().key;
    select.addEventListener("change", () => onchange(select.value));
    return select;
  }

  // Cells are squares; of few heads they may be wider, so that the roles stand in them as words.
  function cellSize(width) {
    const room = Math.max(11, Math.floor((width - left) / o.heads.length));
    return { w: Math.min(168, room), size: Math.min(92, room) };
  }

  // As many decimals for every cell, so that they can be compared.
  const inCell = (
    value,
    most,
  ) => (Number.isFinite(value)
    ? d3.format(most < 2 ? ".2f" : most < 100 ? ".1f" : ",.0f")(value).replace("-", "\u2212")
    : "—");

  function describeCell(score, layer, head) {
    const roles = o.rolesOf(layer, head).map(({ name }) => name).join(", ");
    return `${o.headName(layer, head)}: ${o.number(score.value(layer, head))}${roles ? `, ${roles}` : ""}`;
  }

  const wordsOf = (layer, head) => o.rolesOf(layer, head).map(({ name }) => name).join(", ");
  // Roles as words where they fit into every cell, else as letters.
  const wordsFit = (width) =>
    o.layers.every((l) => o.heads.every((hd) => wordsOf(l, hd).length * 5.6 < width - 14));

  function badges(layer, head, size, inWords, ink) {
    const roles = o.rolesOf(layer, head);
    if (roles.length && inWords) {
      return svg(
        "text",
        { class: "badges words", x: 8, y: size - 10, fill: ink },
        wordsOf(layer, head),
      );
    }
    if (!roles.length || size < 16) {
      return null;
    }
    if (size < 40) {
      return svg("circle", { class: "dot", cx: size - 5, cy: 5, r: 2, fill: ink });
    }
    const text = roles.map(({ letter }) => letter).join(" ");
    return svg("text", { class: "badges", x: 5, y: size - 7, fill: ink }, text);
  }

  function cell(score, scale, { w, size, inWords }, layer, head) {
    const value = score.value(layer, head);
    const missing = !Number.isFinite(value);
    const color = missing ? "var(--wash)" : scale(value);
    const ink = missing ? "var(--soft)" : o.inkOn(color);
    const gap = size > 24 ? 2 : 1;
    const parts = [
      svg("rect", { width: w - gap, height: size - gap, rx: size > 40 ? 3 : 1, fill: color }),
    ];
    if (size >= 40) {
      parts.push(
        svg("text", {
          class: w > 110 ? "value large" : "value",
          x: (w - gap) / 2,
          y: size < 60 && o.rolesOf(layer, head).length ? size * 0.34 : size / 2 - (size > 60 ? 2 : 1),
          fill: ink,
        }, inCell(value, scale.most)),
      );
    } else if (missing) {
      parts.push(svg("line", { x1: 2, y1: size - 3, x2: w - 3, y2: 2, stroke: "var(--line)" }));
    }
    parts.push(badges(layer, head, size, inWords, ink));
    return svg("g", {
      class: "cell",
      role: "gridcell",
      tabindex: "-1",
      "data-head": o.headKey(layer, head),
      "aria-label": describeCell(score, layer, head),
    }, ...parts.filter(Boolean));
  }

  function draw(root, width, score, scale) {
    const { w, size } = cellSize(width);
    const inWords = wordsFit(w);
    const [nLayers, nHeads] = [o.layers.length, o.heads.length];
    const every = Math.ceil(16 / size);
    const picture = svg("svg", {
      width: left + nHeads * w,
      height: top + nLayers * size,
      role: "grid",
      "aria-label": `Heads by ${score.name}`,
      "aria-rowcount": nLayers,
      "aria-colcount": nHeads,
    });
    const names = svg("g", { class: "axis-labels", "aria-hidden": "true" });
    o.heads.forEach((head, i) =>
      i % every === 0 &&
      names.append(
        svg("text", { x: left + i * w + w / 2 - 1, y: top - 8, "text-anchor": "middle" }, `H${head}`),
      )
    );
    o.layers.forEach((layer, i) =>
      i % every === 0 &&
      names.append(
        svg("text", {
          x: left - 8,
          y: top + i * size + size / 2,
          "text-anchor": "end",
          "dominant-baseline": "central",
        }, `L${layer}`),
      )
    );
    picture.append(names);
    o.layers.forEach((layer, i) => {
      const row = svg("g", {
        role: "row",
        "aria-label": `layer ${layer}`,
        transform: `translate(0,${top + i * size})`,
      });
      o.heads.forEach((head, j) => {
        const g = cell(score, scale, { w, size, inWords }, layer, head);
        g.setAttribute("transform", `translate(${left + j * w},0)`);
        row.append(g);
      });
      picture.append(row);
    });
    root.replaceChildren(picture);
    return picture;
  }

  function tipOf(score, layer, head) {
    const roles = o.rolesOf(layer, head);
    return [
      h("strong", {}, o.headName(layer, head)),
      h("span", { class: "big" }, o.number(score.value(layer, head))),
      roles.length ? h("span", { class: "soft" }, roles.map(({ name }) => name).join(" · ")) : null,
    ].filter(Boolean);
  }

  function roleList() {
    const roles = o.roles();
    if (!roles.length) {
      return null;
    }
    const items = roles.map(({ name, letter, meaning, role }) => {
      const bearers = o.layers.flatMap((l) =>
        o.heads.filter((hd) => o.hasRole(role, l, hd)).map((hd) => [l, hd])
      );
      return h(
        "li",
        { class: bearers.length ? null : "nobody", "data-role": role },
        h(
          "div",
          { class: "role-name" },
          h("span", { class: "letter", "aria-hidden": "true" }, letter),
          h("strong", {}, name),
        ),
        h("p", {}, meaning),
        h(
          "div",
          { class: "chips" },
          bearers.length
            ? bearers.slice(0, 24).map(([l, hd]) => o.headChip(l, hd))
            : h("span", { class: "soft" }, "no head"),
          bearers.length > 24 ? h("span", { class: "soft" }, `and ${bearers.length - 24} more`) : null,
        ),
      );
    });
    return h(
      "section",
      { class: "roles", "aria-label": "Roles" },
      h("h3", {}, "Roles"),
      h("ul", { class: "plainlist" }, items),
    );
  }

  o.headChip = (layer, head) =>
    h("button", {
      type: "button",
      class: "chip head-chip",
      "data-head": o.headKey(layer, head),
      onclick: (event) => o.openHead(layer, head, event.currentTarget),
    }, o.headName(layer, head));

  // Moving from cell to cell; one of them is in the order of tabs.
  function keys(figure, state) {
    const at = (l, hd) => figure.body.querySelector(`[data-head="${o.headKey(o.layers[l], o.heads[hd])}"]`);
    state.mark = () => {
      figure.body.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
      at(state.row, state.column)?.setAttribute("tabindex", "0");
    };
    figure.body.addEventListener("keydown", (event) => {
      const moves = {
        ArrowUp: [-1, 0],
        ArrowDown: [1, 0],
        ArrowLeft: [0, -1],
        ArrowRight: [0, 1],
        Home: [0, -1e6],
        End: [0, 1e6],
        PageUp: [-1e6, 0],
        PageDown: [1e6, 0],
      };
      if (moves[event.key]) {
        state.row = Math.min(o.layers.length - 1, Math.max(0, state.row + moves[event.key][0]));
        state.column = Math.min(o.heads.length - 1, Math.max(0, state.column + moves[event.key][1]));
        state.mark();
        at(state.row, state.column).focus();
        event.preventDefault();
      } else if (event.key === "Enter" || event.key === " ") {
        o.openHead(o.layers[state.row], o.heads[state.column], at(state.row, state.column));
        event.preventDefault();
      }
    });
  }

  function pointing(figure, state) {
    const headAt = (event) => o.parseHead(event.target.closest?.("[data-head]")?.dataset.head);
    const point = (event) => {
      const found = headAt(event);
      state.legend?.point(found ? o.currentScore().value(found.layer, found.head) : null);
      if (found) {
        o.showTip(
          event.target.closest("[data-head]").getBoundingClientRect(),
          ...tipOf(o.currentScore(), found.layer, found.head),
        );
      } else {
        o.hideTip();
      }
    };
    figure.body.addEventListener("pointerover", point);
    figure.body.addEventListener("focusin", point);
    figure.body.addEventListener("pointerleave", () => o.hideTip());
    figure.body.addEventListener("focusout", () => o.hideTip());
    figure.body.addEventListener("click", (event) => {
      const found = headAt(event);
      if (found) {
        state.row = o.layers.indexOf(found.layer);
        state.column = o.heads.indexOf(found.head);
        state.mark();
        o.openHead(found.layer, found.head, event.target.closest("[data-head]"));
      }
    });
  }

  o.buildGrid = (root) => {
    o.scoreList ??= o.scores();
    if (!o.scoreList.length || !o.layers.length) {
      return false;
    }
    const select = picker((key) => o.set({ score: key }));
    const state = { row: 0, column: 0, legend: null };
    const figure = o.figure({
      title: "Layers by heads",
      picture: "heads",
      table: () => [
        `Heads by ${o.currentScore().name}`,
        ["head", o.currentScore().name, "roles"],
        o.layers.flatMap((l) =>
          o.heads.map((
            hd,
          ) => [
            o.headName(l, hd),
            o.currentScore().value(l, hd),
            o.rolesOf(l, hd).map(({ name }) => name).join(", "),
          ])
        ),
      ],
    });
    const legend = h("div", { class: "legend-place" });
    figure.firstChild.after(h("div", { class: "controls" }, o.field("Colour by", select), legend));
    const redraw = o.plot(figure.body, (width) => {
      const score = o.currentScore();
      const scale = o.scoreScale(score);
      const focused = figure.body.contains(document.activeElement);
      draw(figure.body, width, score, scale);
      state.legend = o.legend(scale, score.name);
      legend.replaceChildren(state.legend);
      select.value = score.key;
      figure.describe("Each cell is one head, with its roles.", score.array);
      state.mark();
      markOpen();
      if (focused) {
        figure.body.querySelector('[tabindex="0"]')?.focus({ preventScroll: true });
      }
    });
    const markOpen = () =>
      figure.body.querySelectorAll(".cell").forEach((g) =>
        g.classList.toggle("open", g.dataset.head === o.get("head"))
      );
    keys(figure, state);
    pointing(figure, state);
    o.on("score", redraw);
    o.on("head", markOpen);
    o.on("pos", () => o.currentScore().moves && redraw());
    // A map of few layers leaves no room beside it worth having.
    root.append(h("div", { class: o.layers.length <= 4 ? "split flat" : "split" }, figure, roleList()));
    return true;
  };
})();
