// SPDX-License-Identifier: MIT
// Where a head looks: its attention pattern over the text, with the text below, in which query and keys light
// up.
"use strict";

(() => {
  const o = globalThis.otimes;
  const { h } = o;

  // weight(q, k) of a head: the pattern itself, or what the largest keys of each query say of it.
  function weights(layer, head) {
    const section = o.section("patterns");
    const place = section
      ? { layer: section.place("layer", layer), head: section.place("head", head) }
      : null;
    const length = o.textLength();
    if (!place || place.layer < 0 || place.head < 0 || !length) {
      return null;
    }
    const pattern = section.array("pattern");
    if (pattern) {
      return {
        array: pattern,
        weight: (q, k) => pattern.at({ ...place, query_position: q, key_position: k }),
      };
    }
    const [keys, values] = [section.array("top_key"), section.array("top_weight")];
    if (!keys || !values) {
      return null;
    }
    const table = new Float32Array(length * length);
    for (let q = 0; q < length; q++) {
      keys.along("rank", { ...place, query_position: q }).forEach((key, rank) => {
        if (key >= 0) {
          table[q * length + key] = values.at({ ...place, query_position: q, rank });
        }
      });
    }
    return { array: values, partly: true, weight: (q, k) => table[q * length + k] };
  }

  function strongest(weight, query, length, most = 5) {
    return d3.range(length).map((key) => [key, weight(query, key)]).filter(([, w]) => w > 0)
      .sort((a, b) => b[1] - a[1]).slice(0, most);
  }

  // The text as a row of tokens, each as strong as the query attends to it.
  function strip(weight, length, show) {
    const tokens = d3.range(length).map((position) => {
      const button = h("button", {
        type: "button",
        class: "word",
        "data-position": position,
        tabindex: "-1",
      });
      button.append(o.token(o.textToken(position).text, o.textToken(position).id));
      return button;
    });
    const root = h("div", {
      class: "words",
      role: "group",
      "aria-label": "The text: choose the token that attends",
    }, tokens);
    root.light = (query) => {
      const scale = o.scale("sequential", 0, 1);
      tokens.forEach((button, key) => {
        const value = weight(query, key) || 0;
        const color = value > 0.004 ? scale(value) : "transparent";
        button.style.background = color;
        button.style.color = value > 0.004 ? o.inkOn(color) : "";
        button.classList.toggle("query", key === query);
        button.tabIndex = key === query ? 0 : -1;
        button.setAttribute(
          "aria-label",
          `${key} ${o.plain(o.textToken(key).text ?? `#${o.textToken(key).id}`)}, ${o.percent(value)}`,
        );
      });
    };
    o.alongWords(root, tokens, show);
    return root;
  }

  // Arrow keys, pointer and click along a row of words.
  o.alongWords = (root, words, show) => {
    const positionOf = (event) => Number(event.target.closest("[data-position]")?.dataset.position ?? NaN);
    root.addEventListener("click", (event) => {
      const position = positionOf(event);
      if (Number.isInteger(position)) {
        o.set({ pos: String(position) });
      }
    });
    root.addEventListener(
      "pointerover",
      (event) => Number.isInteger(positionOf(event)) && show(positionOf(event)),
    );
    root.addEventListener("pointerleave", () => show(o.position()));
    root.addEventListener("keydown", (event) => {
      const step = {
        ArrowRight: 1,
        ArrowDown: 1,
        ArrowLeft: -1,
        ArrowUp: -1,
        Home: -Infinity,
        End: Infinity,
      }[event.key];
      if (step) {
        const next = Math.min(words.length - 1, Math.max(0, positionOf(event) + step));
        o.set({ pos: String(next) });
        words[next].focus();
        event.preventDefault();
      }
    });
  };

  o.patternFigure = (layer, head) => {
    const found = weights(layer, head);
    if (!found) {
      return null;
    }
    const length = o.textLength();
    const { weight } = found;
    const name = (position) => o.textToken(position);
    const label = (position) => `${position} ${o.drawn(name(position).text ?? `#${name(position).id}`)}`;
    const readout = h("p", { class: "readout" });
    const show = (query) => {
      words.light(query);
      readout.replaceChildren(
        o.token(name(query).text, name(query).id),
        h("span", { class: "soft" }, ` at ${query} attends to `),
        ...strongest(weight, query, length).flatMap((
          [key, w],
          i,
        ) => [
          i ? ", " : "",
          o.token(name(key).text, name(key).id),
          h("span", { class: "num" }, ` ${o.percent(w)}`),
        ]),
      );
    };
    const heat = o.heat({
      label: `Attention pattern of ${o.headName(layer, head)}: rows are queries, columns are keys`,
      rows: length,
      columns: length,
      rowFont: "mono",
      left: length > 48 ? 12 : 104,
      top: 4,
      value: (q, k) => weight(q, k),
      scale: () => o.scale("sequential", 0, 1),
      cell: (room) => {
        const size = Math.max(3, Math.min(18, Math.floor((room - 2) / length)));
        return [size, size];
      },
      rowLabel: label,
      columnLabel: label,
      chosenRow: () => o.position(),
      point: (q) => show(q >= 0 ? q : o.position()),
      pick: (q) => o.set({ pos: String(q) }),
      tip: (
        q,
        k,
      ) => [
        h(
          "span",
          {},
          o.token(name(q).text, name(q).id),
          h("span", { class: "soft" }, ` ${q} → `),
          o.token(name(k).text, name(k).id),
          h("span", { class: "soft" }, ` ${k}`),
        ),
        h("span", { class: "big" }, o.percent(weight(q, k))),
      ],
      say: (q, k) => `${label(q)} to ${label(k)}: ${o.percent(weight(q, k))}`,
    });
    const words = strip(weight, length, show);
    const figure = o.figure({
      title: "Attention on the text",
      what: `Row: the token that attends; column: the token it attends to.${
        found.partly ? " Only the largest of each row are here." : ""
      }`,
      array: found.array,
      picture: `pattern-${o.headName(layer, head)}`,
      table: () => [
        "Attention",
        ["query", "token", "attends most to", "with"],
        d3.range(length).map((q) => {
          const top = strongest(weight, q, length, 3);
          return [
            String(q),
            o.plain(name(q).text ?? `#${name(q).id}`),
            top.map(([k]) => label(k)).join(", "),
            top.map(([, w]) => o.percent(w)).join(", "),
          ];
        }),
      ],
    });
    figure.body.append(heat);
    figure.body.after(readout, words);
    o.plot(heat, (width) => {
      heat.draw(width);
      show(o.position());
    });
    figure.refresh = () => {
      heat.paint();
      show(o.position());
    };
    current = figure;
    return figure;
  };

  let current = null;
  o.buildPattern = () => o.on("pos", () => current?.isConnected && current.refresh());
})();
