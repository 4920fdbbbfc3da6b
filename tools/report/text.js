// SPDX-License-Identifier: MIT
// Text of tokens, shown so that one sees what it is. It is data: it reaches the page as text nodes alone.
"use strict";

(() => {
  const o = globalThis.otimes;
  const longest = 40;
  const named = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
  // Controls, lone surrogates, format characters (direction, joiners, marks of order), separators,
  // unassigned.
  const hidden = /[\p{Cc}\p{Cs}\p{Cf}\p{Zl}\p{Zp}\p{Cn}\p{Co}]/u;

  function escaped(character) {
    const code = character.codePointAt(0);
    if (named[character]) {
      return named[character];
    }
    const hex = code.toString(16);
    return code < 256
      ? `\\x${hex.padStart(2, "0")}`
      : code < 65536
      ? `\\u${hex.padStart(4, "0")}`
      : `\\u{${hex}}`;
  }

  // A text as a whole, with what does not show spelt out.
  o.visible = (text) =>
    Array.from(String(text), (character) => (hidden.test(character) ? escaped(character) : character))
      .join(
        "",
      );

  // Pieces [kind, text]: "text" as it is, "space" (a space, one sees only where it stands), "escape",
  // "more".
  o.pieces = (text) => {
    const out = [];
    const put = (kind, piece) => {
      if (out.length && out.at(-1)[0] === kind && kind !== "escape") {
        out.at(-1)[1] += piece;
      } else {
        out.push([kind, piece]);
      }
    };
    let count = 0;
    for (const character of text) {
      if (++count > longest) {
        out.push(["more", "…"]);
        break;
      }
      if (character === " ") {
        put("space", " ");
      } else if (hidden.test(character)) {
        put("escape", escaped(character));
      } else if (/\p{Zs}/u.test(character)) {
        put("escape", escaped(character));
      } else {
        // A mark that combines with what stands before it gets a circle to stand on.
        put("text", count === 1 && /\p{M}/u.test(character) ? `\u25cc${character}` : character);
      }
    }
    return out.length ? out : [["empty", "empty"]];
  };

  // The same as one string, for labels, canvas and search: isolated, so that its direction stays its own.
  o.plain = (text) => {
    const inner = o.pieces(text).map(([kind, piece]) => (kind === "empty" ? "" : piece)).join("");
    return `"${inner}"`;
  };

  // most: so many characters of it, where there is not room for all.
  o.drawn = (text, most = Infinity) => {
    const all = o.pieces(text).map(([kind, p]) => (kind === "space" ? p.replaceAll(" ", "·") : p)).join("");
    const letters = [...all];
    return `\u2068${letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : all}\u2069`;
  };

  // A token as an element.
  o.token = (text, id = null) => {
    const element = document.createElement("bdi");
    element.className = "token";
    if (text === null || text === undefined) {
      element.classList.add("by-id");
      element.textContent = id === null || id < 0 ? "—" : `#${id}`;
      return element;
    }
    if (text.length > 8) {
      element.title = o.plain(text); // there is not always room for all of it
    }
    for (const [kind, piece] of o.pieces(String(text))) {
      if (kind === "text") {
        element.append(piece);
        continue;
      }
      const span = document.createElement("span");
      span.className = kind;
      span.textContent = piece;
      element.append(span);
    }
    return element;
  };

  o.tokenById = (id, vocabulary = "token") => o.token(id < 0 ? null : o.tokenText(id, vocabulary), id);
  o.plainById = (id, vocabulary = "token") => {
    const text = id < 0 ? null : o.tokenText(id, vocabulary);
    return text === null ? `#${id}` : o.plain(text);
  };

  // A formula: W_E with E below, in text nodes.
  o.formula = (text) => {
    const element = document.createElement("span");
    element.className = "formula";
    let end = 0;
    for (const match of text.matchAll(/\b(W|b|sum|max|sigma|lambda|d|LN|w|s|n)_([A-Za-z]+(?!\w))/g)) {
      element.append(text.slice(end, match.index) + symbol(match[1]));
      const sub = document.createElement("sub");
      sub.textContent = match[2];
      element.append(sub);
      end = match.index + match[0].length;
    }
    element.append(text.slice(end));
    for (const node of element.childNodes) {
      if (node.nodeType === Node.TEXT_NODE) {
        node.textContent = node.textContent.replace(/\b(sigma|lambda|sum)\b/g, symbol).replaceAll(
          "^T",
          "ᵀ",
        )
          .replaceAll("^2", "²");
      }
    }
    return element;
  };

  function symbol(name) {
    return { sigma: "σ", lambda: "λ", sum: "Σ" }[name] ?? name;
  }
})();
