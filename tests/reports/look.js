// Tells the frame around a page its name with its hash, and what is wrong with how it looks.
"use strict";
const faults = [];
const HOLD = ".bars th, .bars td, .tile p, .verdict p, nav a, h1";
document.querySelectorAll("details").forEach((one) => { one.open = true; });
const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
if (wide > 0) faults.push("the page is " + wide + " pixels too wide");
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
if (dark !== location.hash.includes("dark")) faults.push("shown in the other scheme");
const box = (node) => {
  const range = document.createRange();
  range.selectNodeContents(node);
  return range.getBoundingClientRect();
};
const text = (node) => node.textContent.trim().slice(0, 40);
// what does not scroll must hold its text
for (const cell of document.querySelectorAll(HOLD)) {
  if (!cell.offsetWidth || cell.querySelector("svg")) continue;
  const told = cell.querySelector(".ticks") ? cell.firstChild : cell;
  const over = box(told).right - cell.getBoundingClientRect().right;
  if (over > 1) faults.push("cut or over the edge: " + text(cell));
}
const apart = (nodes, what) => {
  const boxes = nodes.map((node) => [node, node.getBoundingClientRect()]);
  const shown = boxes.filter(([, place]) => place.width);
  shown.forEach(([one, a], i) => shown.slice(i + 1).forEach(([other, b]) => {
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 1 && down > 2) faults.push(what + " overlap: " + text(one) + " / " + text(other));
  }));
};
document.querySelectorAll(".ticks").forEach((one) => apart([...one.children], "labels"));
document.querySelectorAll("svg.chart").forEach((one) =>
  apart([...one.querySelectorAll("text")], "labels"));
document.querySelectorAll(".tiles, .panels, .samples, .matrices, .overview").forEach((one) =>
  apart([...one.children], "parts"));
// text must be told from what is behind it: WCAG 2 asks for 4.5 to 1
const numbers = (colour) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const light = (colour) => numbers(colour).slice(0, 3).map((part) => part / 255)
  .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
  .reduce((sum, part, i) => sum + [0.2126, 0.7152, 0.0722][i] * part, 0);
const clear = (colour) => colour === "rgba(0, 0, 0, 0)";
const seen = new Map();
for (const node of document.querySelectorAll("body *")) {
  const own = [...node.childNodes].some((part) => part.nodeType === 3 && part.data.trim());
  if (!own || node.closest("svg, script, style")) continue;
  let behind = node;
  while (behind && clear(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
  const ground = behind ? getComputedStyle(behind).backgroundColor : "rgb(255, 255, 255)";
  seen.set(getComputedStyle(node).color + " on " + ground, [node, ground]);
}
for (const [colours, [node, ground]] of seen) {
  const [low, high] = [light(getComputedStyle(node).color), light(ground)].sort((a, b) => a - b);
  const contrast = (high + 0.05) / (low + 0.05);
  if (contrast < 4.5) faults.push(contrast.toFixed(1) + " to 1: " + colours + ": " + text(node));
}
parent.postMessage([location.href.split("/").pop(), faults], "*");
