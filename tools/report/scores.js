// SPDX-License-Identifier: MIT
// The scores by which heads can be coloured: every array of the data with one value a head, and what follows
// from others.
"use strict";

(() => {
  const o = globalThis.otimes;

  // Names that say it shorter than the arrays do. kind: where 0 lies; most: the end of the scale, where it
  // has one.
  const known = {
    "heads.full_OV_copying": {
      name: "OV copying (eigenvalues of W_E W_OV W_U)",
      kind: "diverging",
      most: 1,
    },
    "heads.OV_copying": { name: "OV copying, in the stream", kind: "diverging", most: 1 },
    "heads.full_QK_positivity": {
      name: "QK positivity (eigenvalues of W_E W_QK W_Eᵀ)",
      kind: "diverging",
      most: 1,
    },
    "heads.QK_positivity": { name: "QK positivity, in the stream", kind: "diverging", most: 1 },
    "heads.OV_norm": { name: "OV norm" },
    "heads.QK_norm": { name: "QK norm" },
    "heads.full_OV_norm": { name: "OV norm, over the vocabulary" },
    "heads.full_QK_norm": { name: "QK norm, over the vocabulary" },
    "heads.OV_effective_rank": { name: "OV effective rank" },
    "heads.QK_effective_rank": { name: "QK effective rank" },
    "heads.full_OV_effective_rank": { name: "OV effective rank, over the vocabulary" },
    "heads.full_QK_effective_rank": { name: "QK effective rank, over the vocabulary" },
    "roles.previous_token": { name: "previous token, by weights", most: 1 },
    "roles.same_token": { name: "same token, by weights", kind: "diverging" },
    "roles.OV_copying": { name: "copying, by weights", kind: "diverging", most: 1 },
    "roles.induction": { name: "induction, by weights" },
    "roles.lowest_share": { name: "copy suppression, by weights", most: 1 },
    "roles.highest_share": { name: "own output among the highest", most: 1 },
    "heads.QK_position_token_token": { name: "QK norm, query token and key token" },
    "heads.QK_position_token_position": { name: "QK norm, query token and key position" },
    "heads.QK_position_position_token": { name: "QK norm, query position and key token" },
    "heads.QK_position_position_position": { name: "QK norm, query position and key position" },
    "patterns.entropy": { name: "entropy of attention (nats)" },
    "patterns.entropy_share": { name: "entropy of attention, of the most it could be", most: 1 },
  };
  const skipped = /trace|induction_layer|induction_head|_rank$|^QK_offset|OV_copying$/;
  const roleNames = {
    previous_token: "previous token",
    current_token: "current token",
    first_token: "first token",
    duplicate_token: "duplicate token",
    induction: "induction",
    sink: "sink",
    next_token: "next token",
  };

  function group(section, name) {
    if (section === "heads") {
      return name.includes("OV") ? "OV circuit" : "QK circuit";
    }
    if (section === "roles" && name.startsWith("repeated_")) {
      return "Attention on random tokens written twice";
    }
    return section === "roles" && !name.startsWith("text_") ? "Roles by weights" : "Attention on the text";
  }

  function oneValueAHead(array) {
    return array.entry.type !== "text" && array.axes.includes("layer") && array.axes.includes("head") &&
      array.size > 0 &&
      array.axes.every((axis) =>
        ["layer", "head"].includes(axis) || (axis === "text" && array.length("text") === 1)
      );
  }

  function reader(array) {
    const { section } = array;
    return (layer, head) => {
      const [l, h] = [section.place("layer", layer), section.place("head", head)];
      return l < 0 || h < 0 ? NaN : array.at({ layer: l, head: h });
    };
  }

  function named(key, array) {
    if (known[key]) {
      return known[key];
    }
    const base = array.name.replace(/^(text|repeated)_/, "");
    const share = base in roleNames;
    const where = array.name.startsWith("repeated_") ? "random twice" : "text";
    return {
      name: share ? `${roleNames[base]}, ${where}` : array.entry.long_name ?? array.name,
      most: share ? 1 : undefined,
    };
  }

  function stored() {
    const out = [];
    for (const section of ["heads", "roles", "patterns"].map(o.section).filter(Boolean)) {
      for (const name of section.names()) {
        const full = name.startsWith("full_");
        if (
          (skipped.test(name) && !full && name !== "OV_effective_rank" &&
            name !== "QK_effective_rank") ||
          /trace/.test(name)
        ) {
          continue;
        }
        // The texts' scores of roles are those of patterns.
        if (section.name === "patterns" && o.section("roles")?.has(`text_${name}`)) {
          continue;
        }
        const array = section.array(name);
        if (oneValueAHead(array)) {
          const key = `${section.name}.${name}`;
          out.push({
            key,
            group: group(section.name, name),
            array,
            value: reader(array),
            ...named(key, array),
          });
        }
      }
    }
    return out;
  }

  // The strongest composition of each head, as the later one (reads) and the earlier one (writes).
  function composed() {
    const section = o.section("compose");
    const array = section?.array("score");
    if (!array) {
      return [];
    }
    return section.labels("circuit").flatMap((circuit, c) =>
      ["reads", "writes"].map((way) => ({
        key: `compose.${circuit}.${way}`,
        group: "Strongest composition",
        name: way === "reads"
          ? `${circuit}-composition with an earlier head`
          : `${circuit}-composition with a later head`,
        array,
        value: (layer, head) => strongest(section, array, c, way, layer, head),
      }))
    );
  }

  function strongest(section, array, circuit, way, layer, head) {
    const [own, other] = way === "writes" ? ["", "later_"] : ["later_", ""];
    const place = {
      circuit,
      [`${own}layer`]: section.place("layer", layer),
      [`${own}head`]: section.place("head", head),
    };
    let most = NaN;
    for (let l = 0; l < section.length("layer"); l++) {
      for (let h = 0; h < section.length("head"); h++) {
        const value = array.at({ ...place, [`${other}layer`]: l, [`${other}head`]: h });
        most = value > most || Number.isNaN(most) ? value : most;
      }
    }
    return most;
  }

  // What a section takes apart: the logit of what is predicted, or of one token that was asked for; before the
  // soft cap where the model has one.
  o.taken = (section) => {
    const given = section.attribute("targets") === "given";
    const capped = Number(section.attribute("final_softcap")) > 0;
    const id = section.array("target_id")?.values[0] ?? -1;
    return {
      given,
      cap: capped ? " before the soft cap" : "",
      text: given ? `the logit of ${o.plainById(id, "output_token")}` : "the predicted logit",
    };
  };

  // What each head adds to that logit at the chosen position.
  function attributed() {
    const section = o.section("decompose");
    const array = section?.array("attribution");
    const places = new Map(section?.labels("component")?.map((label, i) => [label, i]));
    if (!array || ![...places.keys()].some((label) => /^L\d+H\d+$/.test(label))) {
      return [];
    }
    return [{
      key: "decompose.attribution",
      group: "Attention on the text",
      name: `adds to ${o.taken(section).text}, at the chosen token`,
      kind: "diverging",
      array,
      moves: true,
      value: (layer, head) => {
        const component = places.get(o.headName(layer, head));
        return component === undefined ? NaN : array.at({ position: o.position(), component });
      },
    }];
  }

  o.scores = () => {
    const order = [
      "OV circuit",
      "QK circuit",
      "Roles by weights",
      "Attention on random tokens written twice",
      "Attention on the text",
      "Strongest composition",
    ];
    const list = [...stored(), ...composed(), ...attributed()];
    const names = Object.keys(known);
    const place = (score) => (names.includes(score.key) ? names.indexOf(score.key) : names.length);
    return list.sort((a, b) => order.indexOf(a.group) - order.indexOf(b.group) || place(a) - place(b));
  };

  o.scoreScale = (score) => {
    const values = o.layers.flatMap((l) => o.heads.map((h) => score.value(l, h))).filter(Number.isFinite);
    const most = score.most ?? d3.max(values, Math.abs) ?? 1;
    const kind = score.kind ?? (d3.min(values) < 0 ? "diverging" : "sequential");
    return o.scale(kind, 0, most || 1);
  };

  o.currentScore = () => {
    o.scoreList ??= o.scores();
    return o.scoreList.find((score) => score.key === o.get("score")) ?? o.scoreList[0];
  };

  // Roles: which heads bear one, and by what.
  const letters = {
    "previous-token": "P",
    induction: "I",
    "duplicate-token": "D",
    "same-token": "S",
    copying: "C",
    "copy-suppression": "N",
    "current-token": "T",
    "first-token": "F",
  };
  const meanings = {
    "previous-token": "attends to the token before",
    induction: "attends to what came after this token before",
    "duplicate-token": "attends to earlier copies of this token",
    "same-token": "its QK circuit matches a token with itself",
    copying: "its OV circuit raises the token it reads",
    "copy-suppression": "its OV circuit lowers the token it reads",
    "current-token": "attends to the token itself",
    "first-token": "rests on the first token",
  };

  o.roles = () => {
    const section = o.section("roles");
    return (section?.array("label") && section.labels("role") || []).map((name, role) => ({
      name,
      role,
      letter: letters[name] ?? name[0].toUpperCase(),
      meaning: meanings[name] ?? "",
    }));
  };

  o.hasRole = (role, layer, head) => {
    const section = o.section("roles");
    const place = { role, layer: section.place("layer", layer), head: section.place("head", head) };
    return place.layer >= 0 && place.head >= 0 && section.array("label").at(place) === 1;
  };
  o.rolesOf = (layer, head) => o.roles().filter(({ role }) => o.hasRole(role, layer, head));

  // The position that is looked at: the chosen one, else the last.
  o.position = () => {
    const length = o.textLength();
    const chosen = Number(o.get("pos") ?? NaN);
    return Number.isInteger(chosen) && chosen >= 0 && chosen < length ? chosen : length - 1;
  };
  o.textSection = () =>
    ["logits", "patterns", "decompose", "paths"].map(o.section).find((s) => s?.has("token_id"));
  o.textLength = () => {
    const section = o.textSection();
    return section ? section.array("length")?.values[0] ?? section.length("position") : 0;
  };
  o.textToken = (position) => {
    const section = o.textSection();
    const id = section.array("token_id").at({ position });
    return { id, text: section.array("token")?.at({ position }) ?? o.tokenText(id) };
  };
})();
