// SPDX-License-Identifier: MIT
// Saves a plot: SVG with its styles written into it, or what a canvas shows as PNG.
"use strict";

(() => {
  const o = globalThis.otimes;
  const kept = [
    "fill",
    "stroke",
    "stroke-width",
    "stroke-dasharray",
    "opacity",
    "fill-opacity",
    "stroke-opacity",
    "font-family",
    "font-size",
    "font-weight",
    "text-anchor",
    "dominant-baseline",
    "unicode-bidi",
    "visibility",
  ];
  const gap = 24;

  function styled(svg) {
    const copy = svg.cloneNode(true);
    const from = [svg, ...svg.querySelectorAll("*")];
    const to = [copy, ...copy.querySelectorAll("*")];
    from.forEach((element, i) => {
      const style = getComputedStyle(element);
      for (const name of kept) {
        to[i].style.setProperty(name, style.getPropertyValue(name));
      }
      for (const name of ["tabindex", "role", "class"]) {
        to[i].removeAttribute(name);
      }
    });
    return copy;
  }

  const paper = () => getComputedStyle(document.documentElement).backgroundColor;

  // The pictures of a figure beside each other, as the text of one file.
  function vector(pictures) {
    const size = (svg, name) => Number(svg.getAttribute(name));
    const all = o.svg("svg", {
      xmlns: "http://www.w3.org/2000/svg",
      height: d3.max(pictures, (svg) => size(svg, "height")),
      width: d3.sum(pictures, (svg) => size(svg, "width") + gap) - gap,
      style: `background:${paper()}`,
    });
    let x = 0;
    for (const svg of pictures) {
      const copy = styled(svg);
      copy.setAttribute("x", x);
      all.append(copy);
      x += size(svg, "width") + gap;
    }
    return new XMLSerializer().serializeToString(all);
  }

  function pixels(canvas) {
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [canvas.width, canvas.height];
    const context = copy.getContext("2d");
    context.fillStyle = paper();
    context.fillRect(0, 0, copy.width, copy.height);
    context.drawImage(canvas, 0, 0);
    return copy.toDataURL("image/png");
  }

  o.savePicture = (body, name) => {
    const canvas = body.querySelector("canvas");
    const address = canvas ? pixels(canvas) : URL.createObjectURL(
      new Blob([vector([...body.querySelectorAll("svg")])], { type: "image/svg+xml" }),
    );
    o.h("a", { href: address, download: `${name}.${canvas ? "png" : "svg"}` }).click();
    if (!canvas) {
      setTimeout(() => URL.revokeObjectURL(address), 1000);
    }
  };
})();
