// SPDX-License-Identifier: MIT
// The page's data: the JSON object and the block of numbers behind it, each array decoded when it is first
// read.
"use strict";

globalThis.otimes = {};

(() => {
  const o = globalThis.otimes;
  const sizes = { f64: 8, f32: 4, f16: 2, i32: 4, u16: 2 };

  // Bytes [at, at + count) of the block, without decoding what lies before: 4 characters hold 3 bytes.
  function bytesAt(block, at, count) {
    const first = Math.floor(at / 3);
    const binary = atob(block.slice(first * 4, Math.ceil((at + count) / 3) * 4));
    const bytes = new Uint8Array(count);
    for (let i = 0, from = at - first * 3; i < count; i++) {
      bytes[i] = binary.charCodeAt(from + i);
    }
    return bytes;
  }

  // Every float16 there is: a table is several times as fast as taking each apart.
  let halves = null;

  function halfTable() {
    if (halves) {
      return halves;
    }
    halves = new Float32Array(65536);
    for (let h = 0; h < 65536; h++) {
      const exponent = (h >> 10) & 31;
      const fraction = h & 1023;
      let value = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
      if (exponent === 31) {
        value = fraction ? NaN : Infinity;
      }
      halves[h] = h & 32768 ? -value : value;
    }
    return halves;
  }

  function decode(block, entry, count) {
    const view = new DataView(bytesAt(block, entry.at, count * sizes[entry.type]).buffer);
    const half = entry.type === "f16" ? halfTable() : null;
    const read = {
      f64: (i) => view.getFloat64(8 * i, true),
      f32: (i) => view.getFloat32(4 * i, true),
      f16: (i) => half[view.getUint16(2 * i, true)],
      i32: (i) => view.getInt32(4 * i, true),
      u16: (i) => (view.getUint16(2 * i, true) + 1 & 65535) - 1,
    }[entry.type];
    const out = entry.type === "f64"
      ? new Float64Array(count)
      : /^f/.test(entry.type)
      ? new Float32Array(count)
      : new Int32Array(count);
    for (let i = 0; i < count; i++) {
      out[i] = read(i);
    }
    return out;
  }

  // One array: values by the names of its axes, whatever their order; an axis that is not named counts from
  // 0.
  class LabelledArray {
    #values = null;

    constructor(name, entry, section, block) {
      Object.assign(this, { name, entry, section, block });
      this.axes = entry.axes;
      this.shape = entry.axes.map((axis) => section.axes[axis].length);
      this.size = this.shape.reduce((product, n) => product * n, 1);
      this.strides = {};
      this.axes.reduceRight((stride, axis, i) => {
        this.strides[axis] = stride;
        return stride * this.shape[i];
      }, 1);
    }

    get values() {
      this.#values ??= this.entry.type === "text"
        ? this.entry.text
        : decode(this.block, this.entry, this.size);
      return this.#values;
    }

    length(axis) {
      return this.shape[this.axes.indexOf(axis)] ?? 0;
    }

    offset(index) {
      let at = 0;
      for (const axis in index) {
        at += (this.strides[axis] ?? 0) * index[axis];
      }
      return at;
    }

    at(index) {
      return this.values[this.offset(index)];
    }

    // The values along one axis, the others as in `index`.
    along(axis, index = {}) {
      const from = this.offset(index);
      return Array.from(
        { length: this.length(axis) },
        (_, i) => this.values[from + i * this.strides[axis]],
      );
    }
  }

  class Section {
    #arrays = new Map();

    constructor(data, block, name) {
      const stored = data.sections[name];
      Object.assign(this, { name, attributes: stored.attributes ?? {}, axes: stored.axes ?? {} });
      this.entries = stored.arrays ?? {};
      this.block = block;
      this.labelLists = data.labels;
      this.shared = data.sections.info?.attributes ?? {};
    }

    names() {
      return Object.keys(this.entries);
    }

    has(name) {
      return name in this.entries;
    }

    array(name) {
      if (!this.has(name)) {
        return null;
      }
      if (!this.#arrays.has(name)) {
        this.#arrays.set(name, new LabelledArray(name, this.entries[name], this, this.block));
      }
      return this.#arrays.get(name);
    }

    // An attribute of the section, or where it says nothing, of the model.
    attribute(name) {
      return this.attributes[name] ?? this.shared[name] ?? null;
    }

    length(axis) {
      return this.axes[axis]?.length ?? 0;
    }

    labels(axis) {
      const list = this.axes[axis]?.labels;
      return list === undefined ? null : this.labelLists[list];
    }

    // What stands at a place of an axis: its text, its number, or the place itself.
    label(axis, place) {
      return this.labels(axis)?.[place] ?? this.axes[axis]?.number?.[place] ?? place;
    }

    // The place along an axis where a number stands; -1: nowhere.
    place(axis, number) {
      const numbers = this.axes[axis]?.number;
      const found = numbers ? numbers.indexOf(number) : number;
      return found < this.length(axis) ? found : -1;
    }
  }

  // Which heads there are, under the numbers they have in the model.
  function heads(sections) {
    const from = ["heads", "roles", "compose", "patterns"].map((name) => sections.get(name)).find(
      Boolean,
    );
    const numbers = (axis) => Array.from({ length: from?.length(axis) ?? 0 }, (_, i) => from.label(axis, i));
    return { layers: numbers("layer"), heads: numbers("head") };
  }

  o.load = (json, block) => {
    const data = JSON.parse(json);
    const text = block.trim();
    const sections = new Map(
      Object.keys(data.sections).map((name) => [name, new Section(data, text, name)]),
    );
    o.data = data;
    o.section = (name) => sections.get(name) ?? null;
    o.array = (section, name) => sections.get(section)?.array(name) ?? null;
    Object.assign(o, heads(sections));
  };

  // A whole vocabulary's texts, from whichever section has them; "token": of inputs, "output_token": of
  // outputs.
  const vocabularies = new Map();

  function vocabulary(axis) {
    if (!vocabularies.has(axis)) {
      const size = o.section("info")?.attribute(axis === "output_token" ? "d_vocab_out" : "d_vocab");
      const same = o.section("info")?.attribute("d_vocab_out") === o.section("info")?.attribute("d_vocab");
      const axes = same ? [axis, "token", "output_token", "source_token"] : [axis];
      const lists = Object.keys(o.data.sections).flatMap((name) =>
        axes.map((one) => o.section(name).labels(one))
      );
      vocabularies.set(axis, lists.find((list) => list && (list.length === size || !size)) ?? null);
    }
    return vocabularies.get(axis);
  }

  // A token's text by its id; null where it is not known.
  o.tokenText = (id, axis = "token") => {
    const text = vocabulary(axis)?.[id];
    return typeof text === "string" ? text : null;
  };
})();
