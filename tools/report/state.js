// SPDX-License-Identifier: MIT
// What is chosen (head, score, position, token ...), kept in the address, so that a link opens the same view.
"use strict";

(() => {
  const o = globalThis.otimes;
  const listeners = new Map();
  const values = {};

  function read() {
    const out = {};
    for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
      out[key] = value;
    }
    return out;
  }

  function address() {
    const kept = Object.entries(values).filter(([, value]) => value !== null && value !== "");
    return `#${kept.map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&")}`;
  }

  function tell(changed) {
    for (const key of changed) {
      for (const listener of listeners.get(key) ?? []) {
        listener(values[key] ?? null);
      }
    }
  }

  o.get = (key) => values[key] ?? null;

  o.on = (key, listener) => {
    listeners.set(key, [...(listeners.get(key) ?? []), listener]);
  };

  // `step`: a new entry of the browser's history, so that Back undoes it.
  o.set = (change, { step = false } = {}) => {
    const changed = Object.keys(change).filter((key) => (values[key] ?? null) !== (change[key] ?? null));
    if (!changed.length) {
      return;
    }
    Object.assign(values, change);
    history[step ? "pushState" : "replaceState"](null, "", address());
    tell(changed);
  };

  o.follow = () => {
    const wanted = read();
    const keys = new Set([...Object.keys(values), ...Object.keys(wanted)]);
    const changed = [...keys].filter((key) => (values[key] ?? null) !== (wanted[key] ?? null));
    for (const key of keys) {
      values[key] = wanted[key] ?? null;
    }
    tell(changed);
  };

  // A head as the address has it: "1.0".
  o.headKey = (layer, head) => `${layer}.${head}`;
  o.headName = (layer, head) => `L${layer}H${head}`;
  o.parseHead = (key) => {
    const match = /^(\d+)\.(\d+)$/.exec(key ?? "");
    const [layer, head] = match ? [Number(match[1]), Number(match[2])] : [-1, -1];
    return o.layers.includes(layer) && o.heads.includes(head) ? { layer, head } : null;
  };
  o.headInName = (name) => {
    const match = /^L(\d+)H(\d+)$/.exec(name);
    return match ? o.parseHead(`${match[1]}.${match[2]}`) : null;
  };
})();
