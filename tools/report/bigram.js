// SPDX-License-Identifier: MIT
// The bigram table, W_E W_U: what each token leads to, and which tokens lead to it.
"use strict";

(() => {
  const o = globalThis.otimes;
  const { h } = o;

  // Inputs and outputs may be different vocabularies; then an output is chosen as "out12".
  const oneVocabulary = () => {
    const info = o.section("info");
    return !info || info.attribute("d_vocab") === info.attribute("d_vocab_out");
  };
  const outputKey = (id) => (oneVocabulary() ? String(id) : `out${id}`);

  function chosenToken() {
    const match = /^(out)?(\d+)$/.exec(o.get("token") ?? "");
    return match && { id: Number(match[2]), output: Boolean(match[1]) && !oneVocabulary() };
  }

  const rowIds = () => o.array("bigram", "token_id")?.values ?? null;
  const tokenOf = (row) => rowIds()?.[row] ?? row;

  function rowOf(id) {
    const ids = rowIds();
    return ids ? ids.indexOf(id) : id;
  }

  // Where each output stands among the largest of a row: the table read by columns.
  let inverse = null;

  function leading(id) {
    const top = o.array("bigram", "top_id");
    if (!inverse) {
      inverse = new Map();
      const ranks = top.length("rank");
      top.values.forEach((output, at) => {
        if (output >= 0) {
          const list = inverse.get(output);
          if (list) {
            list.push(at);
          } else {
            inverse.set(output, [at]);
          }
        }
      });
      inverse.ranks = ranks;
    }
    const value = o.array("bigram", "top_log_prob") ?? o.array("bigram", "top_value");
    return (inverse.get(id) ?? []).map((at) => ({
      row: Math.floor(at / inverse.ranks),
      rank: at % inverse.ranks,
      value: value.values[at],
    }))
      .sort((a, b) => b.value - a.value);
  }

  // What is written beside an entry: its probability where that is known, else its value.
  function measure() {
    const section = o.section("bigram");
    const probability = section.array("top_log_prob");
    return probability
      ? {
        name: "probability",
        array: probability,
        text: (v) => o.percent(Math.exp(v)),
        size: (v) => Math.exp(v),
      }
      : {
        name: "logit",
        array: section.array("top_value"),
        text: o.signed,
        size: (v) => Math.max(0, v),
      };
  }

  function found(query, count) {
    const text = query.trim();
    const byId = /^#(\d+)$/.exec(text);
    if (byId) {
      const row = rowOf(Number(byId[1]));
      return row >= 0 && row < count ? [row] : [];
    }
    if (query === "") {
      return null;
    }
    const quoted = /^"(.*)"$/.exec(query);
    const wanted = (quoted ? quoted[1] : query).toLowerCase();
    const [equal, begins, holds] = [[], [], []];
    for (let row = 0; row < count; row++) {
      const label = o.section("bigram").label("token", row);
      const lower = typeof label === "string" ? label.toLowerCase() : `#${label}`;
      if (quoted ? lower === wanted : lower.trim() === wanted.trim() && wanted.trim() !== "") {
        equal.push(row);
      } else if (!quoted && lower.trimStart().startsWith(wanted)) {
        begins.push(row);
      } else if (!quoted && lower.includes(wanted)) {
        holds.push(row);
      }
    }
    return [...equal, ...begins, ...holds];
  }

  const rowToken = (row) => {
    const label = o.section("bigram").label("token", row);
    return o.token(typeof label === "string" ? label : null, tokenOf(row));
  };

  function entries(list) {
    const most = d3.max(list, (entry) => Math.abs(entry.size)) || 1;
    const signed = list.some((entry) => entry.size < 0);
    return h(
      "ol",
      { class: "entries" },
      list.map((entry) =>
        h(
          "li",
          {},
          h("span", { class: "num" }, entry.text),
          o.bar(entry.size, most, signed),
          h(
            "button",
            { type: "button", class: "chip", onclick: () => o.set({ token: entry.key }) },
            entry.token,
          ),
        )
      ),
    );
  }

  function following(row) {
    const section = o.section("bigram");
    const { array, text, size } = measure();
    const ids = section.array("top_id").along("rank", { token: row });
    return array.along("rank", { token: row }).map((v, i) => ({
      id: ids[i],
      key: outputKey(ids[i]),
      text: text(v),
      size: size(v),
      token: o.tokenById(ids[i], "output_token"),
    })).filter(({ id }) => id >= 0);
  }

  function suppressed(row) {
    const array = o.array("bigram", "bottom_value");
    const axis = array?.axes[1];
    const ids = o.array("bigram", "bottom_id")?.along(axis, { token: row }) ?? [];
    return ids.map((id, i) => ({ id, value: array.at({ token: row, [axis]: i }) })).filter(({ id }) =>
      id >= 0
    )
      .map(({ id, value }) => ({
        key: outputKey(id),
        text: o.signed(value),
        size: value,
        token: o.tokenById(id, "output_token"),
      }));
  }

  function detail({ id, output }) {
    const { text, size, name } = measure();
    const row = output ? -1 : rowOf(id);
    const rows = o.section("bigram").length("token");
    const into = output || oneVocabulary() ? leading(id) : [];
    const rank = row >= 0 && row < rows ? o.array("bigram", "diagonal_rank")?.at({ token: row }) ?? -1 : -1;
    const part = (title, note, list) =>
      h("section", {}, h("h4", {}, title), h("p", { class: "soft" }, note), list);
    const follows = row >= 0 && row < rows ? following(row) : [];
    return [
      h(
        "div",
        { class: "detail-head" },
        h("h4", {}, output ? "output " : null, o.tokenById(id, output ? "output_token" : "token")),
        h("span", { class: "soft" }, `#${id}`),
        rank >= 0
          ? h(
            "span",
            { class: "soft" },
            rank === 0 ? "expects itself first" : `itself at rank ${o.count(rank)}`,
          )
          : null,
      ),
      h(
        "div",
        { class: "thirds" },
        !output && part(
          "leads to",
          `largest of its row, ${name}`,
          follows.length ? entries(follows) : h("p", { class: "soft" }, "its row is not among those here"),
        ),
        (output || oneVocabulary()) && part(
          "is led to by",
          into.length
            ? into.length === 1
              ? "one row has it among its largest"
              : `${o.count(into.length)} rows have it among their largest`
            : "no row has it among its largest",
          entries(
            into.slice(0, 12).map((entry) => ({
              key: String(tokenOf(entry.row)),
              text: text(entry.value),
              size: size(entry.value),
              token: rowToken(entry.row),
            })),
          ),
        ),
        follows.length && o.array("bigram", "bottom_id")
          ? part("suppresses", "smallest of its row, logit", entries(suppressed(row)))
          : null,
      ),
    ];
  }

  // What is shown before a token is chosen: the row that is the surest of what follows.
  function firstToken(array, count) {
    return tokenOf(d3.maxIndex(d3.range(count), (row) => array.at({ token: row })));
  }

  function searchBox(onchange) {
    const input = h("input", {
      type: "search",
      id: "token-search",
      placeholder: 'self, " self" or #924',
      autocomplete: "off",
      spellcheck: "false",
    });
    input.addEventListener("input", () => onchange(input.value));
    return o.field("Find", input);
  }

  o.buildBigram = (root) => {
    const section = o.section("bigram");
    if (!section?.has("top_id")) {
      return false;
    }
    const count = section.length("token");
    const { array, text } = measure();
    let rows = null;
    const at = (i) => (rows ? rows[i] : i);
    const hits = h("p", { class: "readout", role: "status" });
    const panel = h("div", { class: "detail", "aria-live": "polite" });
    const render = (i) => {
      const row = at(i);
      const ids = section.array("top_id").along("rank", { token: row });
      const values = array.along("rank", { token: row });
      return [
        [h("span", { class: "num soft" }, `${tokenOf(row)}`)],
        [rowToken(row)],
        ids.slice(0, 8).filter((id) => id >= 0).map((id, rank) =>
          h(
            "span",
            { class: "follow" },
            o.tokenById(id, "output_token"),
            h("span", { class: "num soft" }, ` ${text(values[rank])}`),
          )
        ),
      ];
    };
    const list = o.virtualList({
      label: "Bigram table",
      columns: ["id", "token", "what follows"],
      rowHeight: 36,
      rows: 11,
      kind: "bigrams",
      render,
      open: (i) => o.set({ token: String(tokenOf(at(i))) }),
    });
    const search = (query) => {
      rows = found(query, count);
      list.update(rows ? rows.length : count);
      hits.textContent = rows
        ? `${o.count(rows.length)} of ${o.count(count)} tokens`
        : `${o.count(count)} tokens`;
    };
    const show = () => {
      const chosen = chosenToken() ?? { id: firstToken(array, count), output: false };
      const row = chosen.output ? -1 : rowOf(chosen.id);
      list.choose(rows ? rows.indexOf(row) : row);
      return panel.replaceChildren(...detail(chosen));
    };
    const figure = o.figure({
      title: "What follows what, before any head has looked around",
      array: section.array("top_value"),
      what: "Row: a token; beside it the outputs that the direct path from embedding to " +
        "unembedding favours most.",
    });
    figure.firstChild.after(h("div", { class: "controls" }, searchBox(search), hits));
    figure.body.append(h("div", { class: "beside" }, list, panel));
    root.append(figure);
    search("");
    o.on("token", show);
    o.startToken = () => show();
    return true;
  };
})();
