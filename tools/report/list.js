// SPDX-License-Identifier: MIT
// A long list of which only the rows in sight are elements. Focus stays on the list; arrow keys move along
// it.
"use strict";

(() => {
  const o = globalThis.otimes;
  const { h } = o;
  let lists = 0;

  // columns: names of the columns; render(i) -> their contents; open(i): Enter or a click.
  o.virtualList = ({ label, columns, rowHeight, rows, render, open, kind }) => {
    const id = `list${lists++}`;
    const space = h("div", { class: "list-space" });
    const body = h("div", { class: "list-body", role: "rowgroup" });
    const view = h(
      "div",
      {
        class: `list ${kind}`,
        role: "grid",
        tabindex: "0",
        "aria-label": label,
        style: `--rows:${rows};--row:${rowHeight}px`,
      },
      h(
        "div",
        { class: "list-head", role: "rowgroup" },
        h(
          "div",
          { class: "list-row", role: "row", "aria-rowindex": "1" },
          columns.map((name) => h("div", { role: "columnheader" }, name)),
        ),
      ),
      space,
    );
    space.append(body);
    const state = { count: 0, active: 0, chosen: -1, from: -1, to: -1 };

    function rowAt(i) {
      const row = h("div", {
        class: "list-row",
        role: "row",
        id: `${id}-${i}`,
        "aria-rowindex": i + 2,
        "aria-selected": String(i === state.chosen),
        "data-row": i,
        style: `top:${i * rowHeight}px`,
      }, render(i).map((content) => h("div", { role: "gridcell" }, content)));
      row.classList.toggle("active", i === state.active);
      return row;
    }

    function paint(force = false) {
      const first = Math.max(0, Math.floor(view.scrollTop / rowHeight) - 6);
      const last = Math.min(
        state.count,
        Math.ceil((view.scrollTop + view.clientHeight) / rowHeight) + 6,
      );
      if (!force && first === state.from && last === state.to) {
        return;
      }
      [state.from, state.to] = [first, last];
      body.replaceChildren(...d3.range(first, last).map(rowAt));
      view.setAttribute("aria-activedescendant", state.count ? `${id}-${state.active}` : "");
    }

    function reveal(i) {
      const head = view.firstChild.offsetHeight;
      const low = i * rowHeight;
      if (low < view.scrollTop) {
        view.scrollTop = low;
      } else if (low + rowHeight > view.scrollTop + view.clientHeight - head) {
        view.scrollTop = low + rowHeight - view.clientHeight + head;
      }
    }

    view.addEventListener("scroll", () => paint(), { passive: true });
    view.addEventListener("click", (event) => {
      const row = event.target.closest("[data-row]");
      if (row && !event.target.closest("button")) {
        state.active = Number(row.dataset.row);
        open(state.active);
        paint(true);
      }
    });
    view.addEventListener("keydown", (event) => {
      const page = Math.max(1, Math.floor(view.clientHeight / rowHeight) - 2);
      const steps = {
        ArrowDown: 1,
        ArrowUp: -1,
        PageDown: page,
        PageUp: -page,
        Home: -Infinity,
        End: Infinity,
      };
      if (event.target === view && event.key in steps) {
        state.active = Math.min(state.count - 1, Math.max(0, state.active + steps[event.key]));
        reveal(state.active);
        paint(true);
        event.preventDefault();
      } else if (event.target === view && event.key === "Enter" && state.count) {
        open(state.active);
        paint(true);
      }
    });
    new ResizeObserver(() => paint(true)).observe(view);

    // Other rows than before: from the top, none chosen.
    view.update = (count) => {
      Object.assign(state, { count, active: 0, chosen: -1 });
      view.scrollTop = 0;
      view.setAttribute("aria-rowcount", count + 1);
      space.style.height = `${count * rowHeight}px`;
      paint(true);
    };
    view.choose = (i) => {
      state.chosen = i;
      if (i >= 0) {
        state.active = i;
        reveal(i);
      }
      paint(true);
    };
    return view;
  };
})();
