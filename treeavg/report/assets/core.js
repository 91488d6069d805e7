"use strict";
// Small helpers. Words, labels and names are data: they only ever become text nodes and attributes, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children) {
    if (child !== null && child !== undefined) node.append(child);
  }
  return node;
}

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const byId = (id) => document.getElementById(id);

const grouped = (number) => number.toLocaleString("en-US");
const plural = (number, noun) => `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;
const fixed = (number, digits = 2) =>
  number === null || number === undefined ? "–" : number.toFixed(digits).replace("-", "−");
const signed = (number) => (number === null ? "–" : (number < 0 ? "" : "+") + fixed(number));

function pValue(p) {
  if (p < 0.0001) return "< 0.0001";
  return p < 0.001 ? p.toFixed(4) : p.toFixed(3);
}

// Colours of a share between 0 and 1. Both scales change in lightness all the way, so that they can be told apart
// without seeing hues; the higher share stands out more against the background.
const SCALES = {
  light: ["#fdd58a", "#f79a4b", "#dc5a68", "#a62790", "#5a12a3", "#1d0a75"],
  dark: ["#4a2a8c", "#8a2fa0", "#c4437c", "#ee7d4f", "#fbb938", "#f5f287"],
};

const theme = () => document.documentElement.dataset.theme || "light";

function shade(share) {
  const scale = SCALES[theme()];
  const place = Math.max(0, Math.min(1, share)) * (scale.length - 1);
  const low = Math.min(Math.floor(place), scale.length - 2);
  const parts = [1, 3, 5].map((at) => {
    const [from, to] = [scale[low], scale[low + 1]].map((colour) => parseInt(colour.slice(at, at + 2), 16));
    return Math.round(from + (to - from) * (place - low));
  });
  const linear = parts.map((part) => {
    const value = part / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return { fill: `rgb(${parts.join(",")})`, ink: luminance > 0.18 ? "#000" : "#fff" };
}

const PEN = document.createElement("canvas").getContext("2d");
const FONT = "system-ui, sans-serif";

function widthOf(text, size = 13) {
  PEN.font = `${size}px ${FONT}`;
  return PEN.measureText(text).width;
}

// A table from rows of cells; a cell is text, a node, or {text, ...attributes}; the first of each row is its header.
function tableOf(header, rows, caption) {
  const cell = (tag, given, extra) => {
    const own = given !== null && typeof given === "object" && !(given instanceof Node) ? given : { text: given };
    const { text, paint, ...attributes } = own;
    const node = el(tag, { ...extra, ...attributes }, text);
    if (paint) {
      node.style.backgroundColor = paint.fill;
      node.style.color = paint.ink;
    }
    return node;
  };
  const body = rows.map((row) =>
    el("tr", {}, ...row.map((one, place) => cell(place ? "td" : "th", one, place ? {} : { scope: "row" }))),
  );
  return el(
    "table", {},
    caption ? el("caption", {}, caption) : null,
    el("thead", {}, el("tr", {}, ...header.map((one) => cell("th", one, { scope: "col" })))),
    el("tbody", {}, ...body),
  );
}

// What may be wider than the window scrolls by itself, with the keyboard too.
const scrolled = (label, ...children) =>
  el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `${label}, scrolls sideways` }, ...children);
