"use strict";

/* What all parts of the page share: its content, elements, and how values are written. */

const content = JSON.parse(document.getElementById("content").textContent);
const root = document.documentElement;

/* Returns an element; an attribute `on...` is a handler, and one that is false or null is left out. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function title(text) {
  return element("h3", {}, text);
}

function note(text) {
  return element("p", { class: "quiet" }, text);
}

/* Returns a table in a frame that scrolls. Columns whose numbers are in `left` hold text. */
function table(columns, rows, left = [0]) {
  const side = (place) => (left.includes(place) ? "text" : "");
  const cells = (row) => row.map((cell, place) => element("td", { class: side(place) }, cell instanceof Node ? cell : String(cell)));
  return element(
    "div",
    { class: "scroll" },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...columns.map((name, place) => element("th", { scope: "col", class: side(place) }, name)))),
      element("tbody", {}, ...rows.map((row) => element("tr", { class: "common" }, ...cells(row)))),
    ),
  );
}

/* Returns a table that is made when it is opened; `rows` returns its rows. */
function hiddenTable(summary, columns, rows) {
  const made = element("details", {}, element("summary", {}, summary));
  made.addEventListener("toggle", () => {
    if (made.open && !made.querySelector("table")) made.append(table(columns, rows(), []));
  });
  return made;
}

/* Returns a list of names and values. */
function definitions(pairs) {
  return element("dl", {}, ...pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

/* Returns a button for each value; `set` is called with the chosen one. */
function buttons(values, chosen, set, label = (value) => value) {
  const made = values.map((value) => element("button", { type: "button", onclick: () => press(value) }, label(value)));
  const show = (now) => made.forEach((button, place) => button.setAttribute("aria-pressed", String(values[place] === now)));
  const press = (value) => {
    set(value);
    show(value);
  };
  show(chosen);
  return made;
}

function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) < 1e6 ? value.toFixed(digits) : value.toPrecision(3);
}

function short(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(3)));
  return String(value);
}

/* Returns a large whole number with separators. */
function grouped(value) {
  return Number.isInteger(value) ? value.toLocaleString("en") : short(value);
}

function percent(share, digits = 0) {
  return share === null ? "–" : `${(100 * share).toFixed(digits)}%`;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

function plural(n, word) {
  return `${n} ${word}${n === 1 ? "" : "s"}`;
}

/* Returns the short name of a setting; those of the clipping keep their section. */
function compact(setting) {
  return setting.startsWith("clip.") ? setting : setting.slice(setting.indexOf(".") + 1);
}

/* Returns a color of the theme. */
function color(name) {
  return getComputedStyle(root).getPropertyValue(`--${name}`).trim();
}

function isNarrow() {
  return window.innerWidth < 640;
}
