// SPDX-License-Identifier: MIT
// A heat map on a canvas, for any number of cells: labels at its sides, a cursor that pointer and arrow keys
// move.
"use strict";

(() => {
  const o = globalThis.otimes;
  const { h } = o;

  function css(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function clip(context, text, width) {
    if (context.measureText(text).width <= width) {
      return text;
    }
    const letters = [...text];
    while (letters.length > 1 && context.measureText(`${letters.join("")}…`).width > width) {
      letters.pop();
    }
    return `${letters.join("")}…`;
  }

  function paintCells(context, map, size) {
    for (let r = 0; r < map.rows; r++) {
      for (let c = 0; c < map.columns; c++) {
        const value = map.value(r, c);
        if (Number.isFinite(value)) {
          context.fillStyle = size.scale(value);
          context.fillRect(
            size.left + c * size.w,
            size.top + r * size.h,
            size.w - size.gap,
            size.h - size.gap,
          );
        }
      }
    }
  }

  function paintLabels(context, map, size, cursor) {
    const fonts = { mono: css("--mono"), sans: css("--sans") };
    context.textBaseline = "middle";
    context.direction = "ltr";
    for (let r = 0; r < map.rows && size.h >= 9 && size.left > 40; r++) {
      context.font = `${Math.min(12, size.h - 2)}px ${map.rowFont === "mono" ? fonts.mono : fonts.sans}`;
      context.textAlign = "right";
      context.fillStyle = css(r === cursor.row ? "--ink" : "--soft");
      context.fillText(
        clip(context, map.rowLabel(r), size.left - 12),
        size.left - 8,
        size.top + r * size.h + size.h / 2,
      );
    }
    if (size.top < 12) {
      return;
    }
    const every = Math.max(1, Math.ceil(11 / size.w));
    for (let c = 0; c < map.columns; c += 1) {
      if (c % every && c !== cursor.column) {
        continue;
      }
      context.save();
      context.font = `11px ${fonts.sans}`;
      context.fillStyle = css(c === cursor.column ? "--ink" : "--soft");
      context.translate(size.left + c * size.w + size.w / 2, size.top - 6);
      context.rotate(-Math.PI / 2.6);
      context.textAlign = "left";
      context.fillText(clip(context, map.columnLabel(c), size.top * 1.05), 0, 0);
      context.restore();
    }
  }

  function paintCursor(context, size, cursor, map) {
    if (map.chosenRow && map.chosenRow() >= 0) {
      context.strokeStyle = css("--accent");
      context.lineWidth = 1.5;
      context.strokeRect(
        size.left - 1,
        size.top + map.chosenRow() * size.h - 1,
        map.columns * size.w + 1,
        size.h + 1,
      );
    }
    if (cursor.row >= 0) {
      context.strokeStyle = css("--ink");
      context.lineWidth = 1.5;
      context.strokeRect(
        size.left + cursor.column * size.w - 0.5,
        size.top + cursor.row * size.h - 0.5,
        size.w,
        size.h,
      );
    }
  }

  // map: { label, rows, columns, value(r, c), scale(), rowLabel, columnLabel, rowFont, left, top,
  // cell(width) -> [w, h],
  //        tip(r, c) -> elements, say(r, c) -> text, point(r, c), pick(r, c), chosenRow() }
  o.heat = (map) => {
    const canvas = h("canvas", {
      tabindex: "0",
      role: "application",
      "aria-roledescription": "heat map",
      "aria-label": `${map.label}. Arrow keys move, Enter chooses.`,
    });
    const element = h("div", { class: "heat" }, canvas);
    const cursor = { row: -1, column: -1 };
    let size = null;

    const paint = () => {
      if (!size) {
        return;
      }
      const ratio = devicePixelRatio || 1;
      const context = canvas.getContext("2d");
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, size.width, size.height);
      paintCells(context, map, size);
      paintLabels(context, map, size, cursor);
      paintCursor(context, size, cursor, map);
    };

    element.draw = (width) => {
      const [w, height] = map.cell(width - map.left);
      size = {
        left: map.left,
        top: map.top,
        w,
        h: height,
        gap: Math.min(w, height) > 6 ? 1 : 0,
        scale: map.scale(),
        width: map.left + map.columns * w + 46,
        height: map.top + map.rows * height + 2,
      };
      const ratio = devicePixelRatio || 1;
      canvas.width = Math.round(size.width * ratio);
      canvas.height = Math.round(size.height * ratio);
      canvas.style.width = `${size.width}px`;
      canvas.style.height = `${size.height}px`;
      paint();
    };
    element.paint = paint;

    function move(row, column, byKey = false) {
      if (row === cursor.row && column === cursor.column) {
        return;
      }
      Object.assign(cursor, { row, column });
      paint();
      map.point?.(row, column);
      if (row < 0) {
        o.hideTip();
        return;
      }
      const box = canvas.getBoundingClientRect();
      o.showTip({
        left: box.left + size.left + column * size.w,
        top: box.top + size.top + row * size.h,
        width: size.w,
        bottom: box.top + size.top + (row + 1) * size.h,
      }, ...map.tip(row, column));
      if (byKey) {
        o.say(map.say(row, column));
      }
    }

    function cellAt(event) {
      const box = canvas.getBoundingClientRect();
      const column = Math.floor((event.clientX - box.left - size.left) / size.w);
      const row = Math.floor((event.clientY - box.top - size.top) / size.h);
      const inside = row >= 0 && row < map.rows && column >= 0 && column < map.columns;
      return inside && Number.isFinite(map.value(row, column)) ? [row, column] : [-1, -1];
    }

    canvas.addEventListener("pointermove", (event) => move(...cellAt(event)));
    canvas.addEventListener("pointerleave", () => move(-1, -1));
    canvas.addEventListener("blur", () => move(-1, -1));
    canvas.addEventListener("click", (event) => {
      const [row, column] = cellAt(event);
      if (row >= 0) {
        map.pick?.(row, column);
        paint();
      }
    });
    canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      const clamp = (value, n) => Math.min(n - 1, Math.max(0, value));
      if (steps[event.key]) {
        const start = cursor.row < 0
          ? [Math.max(0, map.chosenRow?.() ?? 0), 0]
          : [cursor.row + steps[event.key][0], cursor.column + steps[event.key][1]];
        move(clamp(start[0], map.rows), clamp(start[1], map.columns), true);
        event.preventDefault();
      } else if (event.key === "Enter" && cursor.row >= 0) {
        map.pick?.(cursor.row, cursor.column);
        paint();
      }
    });
    return element;
  };
})();
