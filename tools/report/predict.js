// SPDX-License-Identifier: MIT
// The text and what the model expects after each of its tokens. A token that is chosen here is chosen
// everywhere.
"use strict";

(() => {
  const o = globalThis.otimes;
  const { h } = o;

  // Probability of the token that does come after a position; NaN at the last.
  function nextProbability(position) {
    const array = o.array("logits", "next_log_prob");
    return array ? Math.exp(array.at({ position })) : NaN;
  }

  function words(length) {
    const scale = o.scale("sequential", 0, 1);
    const buttons = d3.range(length).map((position) => {
      const { id, text } = o.textToken(position);
      // How expected the token itself was: that is told at the position before it.
      const value = position > 0 ? nextProbability(position - 1) : NaN;
      const button = h("button", {
        type: "button",
        class: "word",
        "data-position": position,
        tabindex: "-1",
        "aria-label": `${position} ${o.plain(text ?? `#${id}`)}${
          Number.isFinite(value) ? `, expected with ${o.percent(value)}` : ""
        }`,
      }, o.token(text, id));
      if (Number.isFinite(value)) {
        const color = scale(value);
        button.style.background = color;
        button.style.color = o.inkOn(color);
      }
      return button;
    });
    return h("div", {
      class: "words large",
      role: "group",
      "aria-label": "The text; colour is how expected each token was",
    }, buttons);
  }

  function expected(position) {
    const [ids, logs] = ["top_id", "top_log_prob"].map((name) =>
      o.array("logits", name)?.along("rank", { position }) ?? []
    );
    const list = ids.map((id, i) => [id, Math.exp(logs[i])]).filter(([id]) => id >= 0);
    const most = list[0]?.[1] ?? 1;
    return h(
      "ol",
      { class: "entries expected" },
      list.map(([id, p]) =>
        h(
          "li",
          {},
          h("span", { class: "num" }, o.percent(p)),
          o.bar(p, most, false),
          o.tokenById(id, "output_token"),
        )
      ),
    );
  }

  function verdict(position, length) {
    const rank = o.array("logits", "next_rank")?.at({ position }) ?? -1;
    if (position + 1 >= length || rank < 0) {
      return h("p", { class: "soft" }, "The text ends here: this is what the model would go on with.");
    }
    const next = o.textToken(position + 1);
    return h(
      "p",
      {},
      "What comes is ",
      o.token(next.text, next.id),
      `: ${o.percent(nextProbability(position))}, ${
        rank === 0 ? "the first choice" : `rank ${o.count(rank)}, counted from 0`
      }.`,
    );
  }

  o.buildPredict = (root) => {
    const length = o.textLength();
    if (!length) {
      return false;
    }
    const section = o.section("logits");
    const loss = section?.array("loss")?.values[0];
    const place = h("div", {});
    const panel = h("div", { class: "detail", "aria-live": "polite" });
    const figure = o.figure({
      title: "The text, token by token",
      what: section
        ? "Colour: the probability that the model gave the token before it came. Choose a " +
          "token to see what was expected behind it."
        : null,
      array: section?.array("next_log_prob"),
      table: section?.has("next_log_prob")
        ? () => [
          "The text",
          ["position", "token", "next token's probability", "rank"],
          d3.range(length).map((
            p,
          ) => [
            String(p),
            o.plain(o.textToken(p).text ?? `#${o.textToken(p).id}`),
            nextProbability(p),
            section.array("next_rank").at({ position: p }),
          ]),
        ]
        : null,
    });
    if (Number.isFinite(loss)) {
      figure.firstChild.after(
        h(
          "p",
          { class: "readout" },
          `mean loss ${o.number(loss, { digits: 4 })} nats a token, perplexity ${
            o.number(Math.exp(loss), { digits: 4 })
          }`,
        ),
      );
    }
    const show = (position = o.position()) => {
      place.querySelectorAll(".word").forEach((button) => {
        const here = Number(button.dataset.position) === position;
        button.classList.toggle("query", here);
        button.tabIndex = here ? 0 : -1;
        button.setAttribute("aria-pressed", String(here));
      });
      const { text, id } = o.textToken(position);
      panel.replaceChildren(
        h(
          "div",
          { class: "detail-head" },
          h("h4", {}, "after ", o.token(text, id)),
          h("span", { class: "soft" }, `position ${position}`),
        ),
        ...(section ? [verdict(position, length), expected(position)] : []),
      );
    };
    figure.body.append(h("div", { class: "beside text" }, place, panel));
    o.plot(place, () => {
      const row = words(length);
      o.alongWords(row, [...row.children], () => {});
      place.replaceChildren(row);
      show();
    });
    o.on("pos", () => show());
    root.append(figure);
    return true;
  };
})();
