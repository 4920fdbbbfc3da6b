// SPDX-License-Identifier: MIT
// Elements, figures with their captions and tables, the tooltip, what a screen reader is told.
"use strict";

(() => {
  const o = globalThis.otimes;
  const svgNames = "http://www.w3.org/2000/svg";

  function fill(element, attributes, children) {
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) {
        continue;
      }
      if (key.startsWith("on")) {
        element.addEventListener(key.slice(2), value);
      } else {
        element.setAttribute(key, value === true ? "" : value);
      }
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return element;
  }

  o.h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  o.svg = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS(svgNames, tag), attributes, children);

  // Numbers: a real minus, three digits that count, thousands apart.
  o.number = (value, { sign = false, digits = 3 } = {}) => {
    if (value === null || value === undefined || Number.isNaN(value)) {
      return "—";
    }
    const size = Math.abs(value);
    let text = size.toExponential(2).replace("e+", "e").replace("e-", "e\u2212");
    if (size === 0) {
      text = "0";
    } else if (size >= 1e7) {
      text = size.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 4 });
    } else if (size >= 1000) {
      text = Math.round(size).toLocaleString("en");
    } else if (size >= 0.001) {
      text = size.toFixed(Math.max(0, digits - Math.max(0, Math.floor(Math.log10(size) + 1))));
    }
    return (value < 0 ? "\u2212" : sign && value > 0 ? "+" : "") + text;
  };
  // On axes: no more digits than the number needs.
  o.tick = (value) =>
    (Math.abs(value) >= 1e4 ? d3.format(".3~s")(value) : String(Number(value.toPrecision(3)))).replace(
      "-",
      "\u2212",
    );
  o.signed = (value) => o.number(value, { sign: true });
  o.percent = (
    share,
  ) => (share >= 0.1
    ? `${(100 * share).toFixed(1)}%`
    : share === 0 || share >= 1e-5
    ? `${Number((100 * share).toPrecision(2))}%`
    : `${(100 * share).toExponential(0).replace("e-", "e\u2212")}%`);
  o.count = (n) => Number(n).toLocaleString("en");

  // For the screen reader.
  o.say = (text) => {
    document.getElementById("live").textContent = text;
  };

  const tip = () => document.getElementById("tip");

  // Shows children beside a rectangle of the window.
  o.showTip = (box, ...children) => {
    const element = tip();
    element.replaceChildren(...children);
    element.hidden = false;
    const { width, height } = element.getBoundingClientRect();
    const x = Math.min(
      Math.max(8, box.left + box.width / 2 - width / 2),
      document.documentElement.clientWidth - width - 8,
    );
    const above = box.top - height - 8;
    element.style.left = `${x}px`;
    element.style.top = `${above > 4 ? above : box.bottom + 8}px`;
  };
  o.hideTip = () => {
    tip().hidden = true;
  };

  // Text that a click copies.
  o.copyable = (text, shown = text, what = "Copy") => {
    const button = o.h("button", {
      type: "button",
      class: "copy",
      "aria-label": `${what}: ${shown}`,
      title: "Copy",
    }, shown);
    button.addEventListener("click", () => {
      copy(text);
      o.say("Copied");
      button.classList.add("copied");
      setTimeout(() => button.classList.remove("copied"), 1200);
    });
    return button;
  };

  // A page from disk has no clipboard of its own everywhere: a selection does it too.
  function copy(text) {
    const area = o.h("textarea", { class: "unseen", "aria-hidden": "true", tabindex: "-1" });
    area.value = text;
    document.body.append(area);
    const before = document.activeElement;
    area.select();
    document.execCommand("copy");
    area.remove();
    before?.focus({ preventScroll: true });
  }
  o.copy = copy;

  // A control behind its label; they stay on one line.
  o.field = (text, control) =>
    o.h("span", { class: "field" }, o.h("label", { for: control.id }, text), control);

  // One of several, as buttons of a radio group: arrow keys move, as in any radio group.
  o.choice = (label, options, chosen, onchange) => {
    const buttons = options.map(([value, text]) =>
      o.h(
        "button",
        { type: "button", role: "radio", "data-value": value, onclick: () => pick(value) },
        text,
      )
    );
    const group = o.h("div", { class: "choice", role: "radiogroup", "aria-label": label }, buttons);
    const mark = (value) => {
      for (const button of buttons) {
        const on = button.dataset.value === value;
        button.setAttribute("aria-checked", String(on));
        button.tabIndex = on ? 0 : -1;
      }
    };
    const pick = (value, focus = false) => {
      mark(value);
      if (focus) {
        buttons.find((button) => button.dataset.value === value).focus();
      }
      onchange(value);
    };
    group.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step) {
        const at = buttons.findIndex((button) => button.tabIndex === 0);
        pick(buttons[(at + step + buttons.length) % buttons.length].dataset.value, true);
        event.preventDefault();
      }
    });
    mark(chosen);
    group.mark = mark;
    return group;
  };

  // Calls draw(width) now, when the room changes and when the theme does.
  const drawn = new Set();
  o.plot = (element, draw) => {
    let width = 0;
    const redraw = () => {
      if (element.isConnected && width > 0) {
        draw(width);
      }
    };
    const observer = new ResizeObserver(([entry]) => {
      const now = Math.floor(entry.contentRect.width);
      if (!element.isConnected) {
        drawn.delete(redraw);
        observer.disconnect();
      } else if (now > 0 && now !== width) {
        width = now;
        redraw();
      }
    });
    observer.observe(element);
    drawn.add(redraw);
    return redraw;
  };
  o.redrawAll = () => drawn.forEach((redraw) => redraw());

  // A table of text, of as many rows as one reads.
  o.table = (caption, head, rows, most = 500) => {
    const cell = (value) =>
      o.h(
        "td",
        { class: typeof value === "number" ? "num" : null },
        typeof value === "number" ? o.number(value) : value,
      );
    const body = rows.slice(0, most).map((row) =>
      o.h("tr", {}, o.h("th", { scope: "row" }, row[0]), row.slice(1).map(cell))
    );
    const more = rows.length > most ? ` (the first ${o.count(most)} of ${o.count(rows.length)})` : "";
    return o.h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      o.h(
        "table",
        {},
        o.h("caption", {}, caption + more),
        o.h("thead", {}, o.h("tr", {}, head.map((text) => o.h("th", { scope: "col" }, text)))),
        o.h("tbody", {}, body),
      ),
    );
  };

  // A figure: title, tools, body, and below what it is, with the formula of its array.
  o.figure = (
    { title, what = null, array = null, table = null, picture = null, tools = [], level = "h3" },
  ) => {
    const body = o.h("div", { class: "plot" });
    const bar = o.h("div", { class: "tools" }, tools);
    const root = o.h(
      "figure",
      { class: "figure" },
      o.h("div", { class: "figure-head" }, title ? o.h(level, {}, title) : null, bar),
      body,
    );
    if (table) {
      bar.append(tableButton(title, table, root));
    }
    if (picture) {
      bar.append(
        o.h("button", {
          type: "button",
          class: "tool",
          "aria-label": `Save picture: ${title}`,
          onclick: () => o.savePicture(body, picture),
        }, "Save"),
      );
    }
    const caption = o.h("figcaption", {});
    root.append(caption);
    root.body = body;
    root.describe = (text, source) => caption.replaceChildren(...describing(text, source));
    root.describe(what, array);
    return root;
  };

  function tableButton(title, table, root) {
    const button = o.h("button", {
      type: "button",
      class: "tool",
      "aria-expanded": "false",
      "aria-label": `Table: ${title}`,
    }, "Table");
    let shown = null;
    button.addEventListener("click", () => {
      shown?.remove();
      shown = shown ? null : o.table(...table());
      button.setAttribute("aria-expanded", String(shown !== null));
      if (shown) {
        root.append(shown);
      }
    });
    return button;
  }

  function describing(text, array) {
    const out = text ? [text] : [];
    const entry = array?.entry;
    if (entry?.formula) {
      out.push(
        o.h(
          "span",
          { class: "source", title: entry.long_name ?? "" },
          o.h("code", {}, `${array.section.name}.${array.name}`),
          " = ",
          o.formula(entry.formula),
        ),
      );
    }
    return out.flatMap((part, i) => (i ? [" ", part] : [part]));
  }
})();
