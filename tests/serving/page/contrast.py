"""The contrast of every visible text of a page with its background, as WCAG 2.2 computes it."""

from __future__ import annotations

CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  function rgba(colour) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  }
  const over = (top, below) => [0, 1, 2].map((i) => (top[i] * top[3] + below[i] * (255 - top[3])) / 255);
  function ground(node) {
    if (node === null) return [255, 255, 255];
    const colour = rgba(getComputedStyle(node).backgroundColor);
    return colour[3] === 255 ? colour : over(colour, ground(node.parentElement));
  }
  function luminance(colour) {
    const [r, g, b] = colour.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  const found = [];
  const top = document.querySelector("dialog[open]") ?? document.body;
  const walk = document.createTreeWalker(top, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    const text = walk.currentNode.data.trim();
    if (!text || !node.checkVisibility() || node.closest("option, noscript")) continue;
    const behind = ground(node);
    const lights = [luminance(over(rgba(getComputedStyle(node).color), behind)), luminance(behind)];
    lights.sort((one, other) => other - one);
    found.push({text, contrast: (lights[0] + 0.05) / (lights[1] + 0.05)});
  }
  return found;
}"""
