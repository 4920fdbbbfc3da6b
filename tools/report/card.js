// SPDX-License-Identifier: MIT
// The head of the page: which model this is, how large, how its weights were processed, and how the page was
// made.
"use strict";

(() => {
  const o = globalThis.otimes;
  const { h } = o;

  function sentence(get) {
    const layers = get("n_layers");
    const kind = layers === 0 ? "zero-layer" : get("d_mlp") === 0 ? "attention-only" : "";
    const groups = get("n_kv_heads") === 1 ? "one set" : `${get("n_kv_heads")} sets`;
    const shared = get("n_kv_heads") !== get("n_heads") && get("n_kv_heads")
      ? `, which share ${groups} of keys and values,`
      : "";
    const body = layers === 0
      ? "no layers: its logits are the bigram table alone"
      : `${layers} ${layers === 1 ? "layer" : "layers"} of ${
        get("n_heads")
      } ${get("n_heads") === 1 ? "head" : "heads"}${shared} over a residual stream of ${o.count(get("d_model"))} dimensions`;
    const article = kind === "attention-only" ? "An" : "A";
    return `${article} ${kind ? `${kind} ` : ""}transformer with ${body}, and ${
      o.count(get("d_vocab"))
    } tokens.`;
  }

  function figures(get, parameters) {
    const most = Math.max(0, ...(parameters ? [parameters] : []));
    const list = [
      ["parameters", most],
      ["layers", get("n_layers")],
      ["heads a layer", get("n_heads")],
      ["d_model", get("d_model")],
      ["d_head", get("d_head")],
      ["d_mlp", get("d_mlp")],
      ["vocabulary", get("d_vocab")],
      ["context", get("n_ctx")],
    ];
    return h(
      "dl",
      { class: "figures" },
      list.filter(([, value]) => value > 0).map(([name, value]) =>
        h("div", {}, h("dt", {}, name), h("dd", { title: o.count(value) }, o.count(value)))
      ),
    );
  }

  function processing(get) {
    const steps = [
      ["fold_ln", "norm weights folded"],
      ["center_writing_weights", "writing weights centred"],
      ["center_unembed", "unembedding centred"],
      ["fold_value_biases", "value biases folded"],
    ];
    return h(
      "ul",
      { class: "plainlist" },
      steps.filter(([key]) => get(key) !== null).map(([key, name]) =>
        h("li", {}, h("span", {}, name), h("span", { class: "soft" }, ` ${get(key)}`))
      ),
    );
  }

  function hashes(text) {
    return String(text ?? "").split("\n").filter(Boolean).map((line) => {
      const [hex, ...file] = line.split(/\s+/);
      return h(
        "div",
        {},
        o.copyable(hex, o.visible(`${hex.slice(0, 12)}…`), "Copy sha256"),
        h("span", { class: "soft" }, o.visible(` ${file.join(" ")}`)),
      );
    });
  }

  function provenance(get) {
    const { data } = o;
    const plain = (key) => (get(key) === null ? null : o.visible(get(key)));
    const architecture = [plain("architecture"), plain("model_format"), plain("dtype")].filter(Boolean)
      .join(
        " · ",
      );
    const rows = [
      ["architecture", architecture],
      ["norm, positions", [plain("norm"), plain("positions")].filter(Boolean).join(" · ")],
      ["attention score", plain("attention_score")],
      ["weights", processing(get)],
      ["sha256", hashes(data.model_sha256 || get("model_sha256"))],
      [
        "made by",
        data.command_line
          ? o.copyable(data.command_line, o.visible(data.command_line), "Copy command")
          : null,
      ],
      ["on", [data.date, data.otimes ? `otimes ${data.otimes}` : null].filter(Boolean).join(", ")],
    ];
    return h(
      "dl",
      { class: "card" },
      rows.filter(([, value]) => value && value.length !== 0).map(([name, value]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, value))
      ),
    );
  }

  o.buildCard = (root) => {
    const section = o.section("info");
    const get = (key) => section?.attribute(key) ?? null;
    const path = String(get("model_path") ?? "model").replace(/\/+$/, "");
    const name = o.data.model ?? path.split("/").at(-1);
    document.title = `${o.visible(name)} · otimes report`;
    const counts = section?.array("parameters")?.values;
    root.append(
      h(
        "header",
        { class: "masthead" },
        h("p", { class: "kicker" }, "Circuits of"),
        h("h1", {}, h("bdi", {}, o.visible(name))),
        section ? h("p", { class: "lede" }, sentence(get)) : null,
        section ? figures(get, counts ? d3.sum(counts) : 0) : null,
        h(
          "details",
          { class: "provenance" },
          h("summary", {}, "Where this comes from"),
          provenance(get),
        ),
      ),
    );
  };
})();
