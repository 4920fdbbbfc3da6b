// SPDX-License-Identifier: MIT
// One head: what it is called, its spectra, strongest entries, whom it reads and whom it writes to, where it
// looks.
"use strict";

(() => {
  const o = globalThis.otimes;
  const { h } = o;
  let opener = null;

  const place = (section, layer, head) => ({
    layer: section.place("layer", layer),
    head: section.place("head", head),
  });

  function facts(layer, head) {
    const section = o.section("heads");
    const wanted = [
      ["full_OV_copying", "OV copying"],
      ["full_QK_positivity", "QK positivity"],
      ["OV_norm", "|W_OV|"],
      ["QK_norm", "|W_QK|"],
      ["OV_effective_rank", "OV eff. rank"],
      ["QK_effective_rank", "QK eff. rank"],
    ];
    return h(
      "dl",
      { class: "figures small" },
      wanted.filter(([name]) => section?.has(name)).map(([name, text]) => {
        const value = section.array(name).at(place(section, layer, head));
        return h(
          "div",
          { title: section.array(name).entry.long_name },
          h("dt", {}, o.formula(text)),
          h("dd", {}, o.number(value)),
        );
      }),
    );
  }

  const bounded = (
    name,
  ) => (typeof o.data.bounded?.[name] === "string"
    ? ` Not all of it: ${o.visible(o.data.bounded[name])}.`.replace(/\.\.$/, ".")
    : "");

  // ov: source -> output; qk: query <- key.
  function entryList(circuit, layer, head) {
    const section = o.section(circuit);
    const at = section
      ? d3.range(section.length("head")).find((i) =>
        section.array("head_layer").values[i] === layer &&
        section.array("head_index").values[i] === head
      )
      : undefined;
    if (at === undefined || !section.has("largest_value")) {
      return null;
    }
    const columnOf = circuit === "ov" ? "output_token" : "token";
    const values = (name) => section.array(name).along("place", { head: at });
    const most = Math.max(
      Math.abs(values("largest_value")[0]),
      Math.abs(values("smallest_value")?.[0] ?? 0),
    );
    const list = (which, title) => {
      const [value, row, column] = ["value", "row", "column"].map((part) => values(`${which}_${part}`));
      return h(
        "div",
        { class: "half" },
        h("h4", {}, title),
        h(
          "ol",
          { class: "entries" },
          value.map((v, i) => [v, row[i], column[i]])
            .filter(([, r]) => r >= 0).slice(0, 12).map(([v, r, c]) =>
              h(
                "li",
                {},
                h("span", { class: "num" }, o.signed(v)),
                o.bar(v, most),
                h(
                  "span",
                  { class: "pair" },
                  o.tokenById(r),
                  h("span", { class: "arrow" }, circuit === "ov" ? "→" : "←"),
                  o.tokenById(c, columnOf),
                ),
              )
            ),
        ),
      );
    };
    const all = ["largest", "smallest"].flatMap((which) =>
      values(`${which}_value`).map((
        v,
        i,
      ) => [
        which,
        v,
        o.plainById(values(`${which}_row`)[i]),
        o.plainById(values(`${which}_column`)[i], columnOf),
      ])
    );
    const names = circuit === "ov" ? ["source", "output"] : ["query", "key"];
    const figure = o.figure({
      title: circuit === "ov"
        ? "OV: what attending to a token does to the logits"
        : "QK: which token attends to which",
      what: `The largest and smallest of all ${o.count(section.attribute("row_count") ?? 0)} × ${
        o.count(section.attribute("column_count") ?? 0)
      } entries: ${names.join(circuit === "ov" ? " → " : " ← ")}.${bounded(circuit)}`,
      array: section.array("largest_value"),
      table: () => ["Strongest entries", ["end", "value", ...names], all],
    });
    figure.body.append(
      h("div", { class: "halves" }, list("largest", "largest"), list("smallest", "smallest")),
    );
    return figure;
  }

  // By which scores each role is told, and what it asks for.
  function roleTable(layer, head) {
    const section = o.section("roles");
    if (!section?.has("label_side")) {
      return null;
    }
    const at = place(section, layer, head);
    const words = { 1: "meets it", 0: "does not", [-1]: "not told" };
    const scores = {
      weights: {
        "previous-token": "previous_token",
        induction: "induction",
        "same-token": "same_token",
        copying: "OV_copying",
        "copy-suppression": "lowest_share",
      },
      attention: Object.fromEntries(o.roles().map(({ name }) => [name, name.replaceAll("-", "_")])),
    };
    const value = (name, side) => {
      const base = scores[side][name];
      const order = ["current-token", "first-token"].includes(name)
        ? ["text_", "repeated_"]
        : ["repeated_", "text_"];
      const array = side === "weights"
        ? base
        : order.map((prefix) => prefix + base).find((full) => section.has(full));
      return section.array(array ?? "")?.at(at) ?? NaN;
    };
    const cell = (name, role, side, s) => {
      const told = section.array("label_side").at({ ...at, role, side: s });
      const least = section.array("threshold").at({ role, side: s });
      const score = value(name, side);
      if (told < 0 && !Number.isFinite(score)) {
        return h("span", { class: "soft" }, "—");
      }
      return h(
        "span",
        { class: told === 1 ? "met" : "unmet" },
        o.number(score),
        h(
          "span",
          { class: "soft" },
          Number.isFinite(least) ? ` ${told === 1 ? "≥" : "<"} ${o.number(least)}` : ` ${words[told]}`,
        ),
      );
    };
    const sides = section.labels("side");
    const rows = o.roles().map(({ name, role }) => {
      const label = section.array("label").at({ ...at, role });
      return h(
        "tr",
        { class: label === 1 ? "is" : null },
        h("th", { scope: "row" }, name),
        sides.map((side, s) => h("td", {}, cell(name, role, side, s))),
        h("td", {}, { 1: "✓ yes", 0: "no" }[label] ?? "—"),
      );
    });
    const figure = o.figure({
      title: "Roles",
      what: "A head bears a role where every side that can be told meets its threshold.",
      array: section.array("label"),
    });
    figure.body.append(
      h(
        "div",
        { class: "scroll" },
        h(
          "table",
          {},
          h("caption", { class: "unseen" }, "Roles"),
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              ["role", ...sides.map((side) => `by ${side}`), "called so"].map((text) =>
                h("th", { scope: "col" }, text)
              ),
            ),
          ),
          h("tbody", {}, rows),
        ),
      ),
    );
    return figure;
  }

  function neighbour(layer, head, step) {
    const all = o.layers.flatMap((l) => o.heads.map((hd) => [l, hd]));
    const at = all.findIndex(([l, hd]) => l === layer && hd === head);
    return all[(at + step + all.length) % all.length];
  }

  function build(layer, head) {
    const drawer = document.getElementById("drawer");
    const name = o.headName(layer, head);
    const step = (by, label, sign) =>
      h("button", {
        type: "button",
        class: "tool",
        "aria-label": label,
        onclick: () => o.openHead(...neighbour(layer, head, by)),
      }, sign);
    const roles = o.rolesOf(layer, head);
    drawer.setAttribute("aria-label", `Head ${name}`);
    drawer.replaceChildren(
      h(
        "div",
        { class: "drawer-head" },
        h("h2", { id: "head-name", tabindex: "-1" }, name),
        h(
          "div",
          { class: "tools" },
          step(-1, "Previous head", "←"),
          step(1, "Next head", "→"),
          h("button", {
            type: "button",
            class: "tool",
            onclick: () => {
              o.copy(location.href);
              o.say("Link copied");
            },
          }, "Copy link"),
          h("button", {
            type: "button",
            class: "tool",
            "aria-label": "Close",
            onclick: o.closeHead,
          }, "✕"),
        ),
      ),
      h(
        "p",
        { class: "role-line" },
        roles.length
          ? roles.map(({ name: role, meaning }) => h("span", { class: "role-badge", title: meaning }, role))
          : h("span", { class: "soft" }, "no known role"),
      ),
      facts(layer, head),
    );
    for (
      const make of [
        o.eigenFigure,
        o.patternFigure,
        (l, hd) => entryList("ov", l, hd),
        (l, hd) => entryList("qk", l, hd),
        o.partnersFigure,
        o.singularFigure,
        roleTable,
      ]
    ) {
      const figure = make(layer, head);
      if (figure) {
        drawer.append(figure);
      }
    }
  }

  o.openHead = (layer, head, from = null) => {
    opener = from ?? opener;
    o.set({ head: o.headKey(layer, head) }, { step: true });
    document.getElementById("head-name")?.focus({ preventScroll: true });
    o.hideTip();
    o.say(`Head ${o.headName(layer, head)} opened`);
  };

  o.closeHead = () => {
    const key = o.get("head");
    o.set({ head: null }, { step: true });
    const back = opener?.isConnected ? opener : document.querySelector(`.cell[data-head="${key}"]`);
    opener = null;
    back?.focus();
  };

  o.showHead = () => {
    const drawer = document.getElementById("drawer");
    const found = o.parseHead(o.get("head"));
    drawer.hidden = !found;
    document.body.classList.toggle("with-drawer", Boolean(found));
    if (found) {
      build(found.layer, found.head);
      drawer.scrollTop = 0;
    } else {
      drawer.replaceChildren();
    }
  };

  o.buildDrawer = () => {
    o.on("head", o.showHead);
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && o.get("head")) {
        o.closeHead();
      }
    });
  };
})();
