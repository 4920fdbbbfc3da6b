// SPDX-License-Identifier: MIT
// Puts the page together: reads the data, builds each section that it has, and follows the address.
"use strict";

(() => {
  const o = globalThis.otimes;
  const { h } = o;

  // Sections of the page: id, title, one line, what of the data it needs, how it is built.
  const parts = [
    [
      "heads",
      "Heads",
      "Every attention head of the model, by what its weights say and by where it looks.",
      [
        "heads",
      ],
      (root) => o.buildGrid(root),
    ],
    [
      "composition",
      "Composition",
      "A later head reads what an earlier one wrote: by its queries, its keys or its values.",
      ["compose"],
      (root) => o.buildGraph(root),
    ],
    [
      "bigram",
      "Bigram table",
      "A transformer without layers is a bigram table, and that term lives on inside every model.",
      ["bigram"],
      (root) => o.buildBigram(root),
    ],
    [
      "text",
      "Predictions",
      "One run of the model over a text.",
      ["logits", "patterns"],
      (root) => o.buildPredict(root),
    ],
    [
      "stream",
      "Residual stream",
      "The stream at the end is a sum of what was written to it, and so is every logit.",
      ["decompose"],
      (root) => o.buildStream(root),
    ],
    ["paths", "Paths", "Which way a prediction came.", ["paths"], (root) => o.buildPaths(root)],
  ];

  function leftOut(names, title = "") {
    const reasons = names.flatMap((
      name,
    ) => [o.data.left_out?.[name], o.data.bounded?.[name], o.section(name)?.attribute("left_out")]);
    return [...new Set(reasons.filter((reason) => typeof reason === "string"))].map((reason) =>
      h(
        "p",
        { class: "note" },
        title ? h("strong", {}, `${title} is not here. `) : null,
        o.visible(`${reason}.`.replace(/\.\.$/, ".")),
      )
    );
  }

  function bar(built) {
    const theme = h("button", { type: "button", class: "tool", id: "theme" }, "");
    const name = () => {
      const next = o.theme() === "dark" ? "light" : "dark";
      theme.textContent = next === "dark" ? "Dark" : "Light";
      theme.setAttribute("aria-label", `Switch to ${next} colours`);
    };
    theme.addEventListener("click", () => {
      o.setTheme(o.theme() === "dark" ? "light" : "dark");
      name();
    });
    name();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      o.setTheme();
      name();
    });
    document.getElementById("bar").append(
      h(
        "a",
        {
          href: "#",
          class: "wordmark",
          onclick: (event) => {
            event.preventDefault();
            scrollTo({ top: 0 });
          },
        },
        h("span", { "aria-hidden": "true" }, "⊗"),
        " otimes",
      ),
      h(
        "div",
        { class: "links" },
        built.map(([id, title]) =>
          h("a", {
            href: `#${id}`,
            onclick: (event) => {
              event.preventDefault();
              document.getElementById(id).scrollIntoView();
              document.getElementById(id).focus({ preventScroll: true });
            },
          }, title)
        ),
      ),
      theme,
    );
  }

  function withoutText() {
    return h(
      "p",
      { class: "note" },
      "No text was given, so nothing here was run: attention patterns, predictions, the " +
        "residual stream and paths are left out. For them: ",
      h("code", {}, 'otimes report MODEL --text "…" -o report.html'),
    );
  }

  function section(id, title, line) {
    return h(
      "section",
      { id, class: "part", tabindex: "-1", "aria-labelledby": `${id}-title` },
      h("h2", { id: `${id}-title` }, title),
      h("p", { class: "line" }, line),
    );
  }

  function build() {
    const main = document.getElementById("main");
    o.buildCard(main);
    const built = [];
    for (const [id, title, line, names, make] of parts) {
      const root = section(id, title, line);
      main.append(root);
      const notes = leftOut(id === "heads" ? [...names, "ov", "qk", "roles"] : names);
      if (!make(root)) {
        root.remove();
        continue;
      }
      root.append(...notes);
      built.push([id, title]);
    }
    if (!o.textSection()) {
      main.append(withoutText());
    } else if (o.data.text_cut) {
      document.getElementById("text")?.append(
        h(
          "p",
          { class: "note" },
          `The text was longer: ${o.count(o.data.text_cut)} tokens behind these are left out.`,
        ),
      );
    }
    const missing = parts.filter(([id]) => !built.some(([other]) => other === id)).flatMap((
      [, title, , names],
    ) => (o.textSection() || ["heads", "compose", "bigram"].includes(names[0]) ? leftOut(names, title) : []));
    main.append(...missing);
    main.append(
      h(
        "footer",
        {},
        h(
          "p",
          {},
          "Made by ",
          h("strong", {}, "otimes"),
          ". The numbers of this page lie in it, in the form that ",
          h("code", {}, "tools/schema/report.md"),
          " describes; each figure names its array.",
        ),
      ),
    );
    bar(built);
  }

  function start() {
    o.setTheme();
    const [json, block] = ["otimes-data", "otimes-block"].map((id) => document.getElementById(id));
    const main = document.getElementById("main");
    if (!json || !block) {
      main.append(
        h("p", { class: "note" }, "This page holds no data: it is the empty page of otimes report."),
      );
      return;
    }
    try {
      o.load(json.textContent, block.textContent);
    } catch (error) {
      main.append(h("p", { class: "note" }, `The data of this page cannot be read: ${error.message}`));
      return;
    }
    o.buildDrawer();
    o.buildPattern();
    build();
    o.follow();
    if (!o.get("token") && o.startToken) {
      o.startToken();
    }
    addEventListener("hashchange", o.follow);
    addEventListener("popstate", o.follow);
    document.documentElement.dataset.ready = "yes";
  }

  start();
})();
