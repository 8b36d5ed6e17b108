// What the tests of the page ask of it in a browser; each call is this file with `return NAME(...)` after it.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const style = (node) => getComputedStyle(node);
const told = (nodes) => nodes.map((node) => node.outerHTML.slice(0, 120));
const matrix = () => document.querySelector(".matrix");

// What reaches beyond the window, but for what lies in a part that scrolls by itself.
function outside() {
  const wide = document.documentElement.clientWidth;
  const kept = ".scroll, nav > div, .unseen, .mini, .gauge, svg";
  const found = all("body *").filter((node) => node.getClientRects().length && !node.closest(".unseen, svg") && !node.parentElement.closest(kept));
  const beyond = found.filter((node) => node.getBoundingClientRect().right > wide + 1 || node.getBoundingClientRect().left < -1);
  return document.documentElement.scrollWidth > wide ? ["the page", ...told(beyond)] : told(beyond);
}

// What holds more than it shows and does not say so by a shadow at its side.
function unhinted() {
  const cut = all("*").filter((node) => node.scrollWidth > node.clientWidth + 1 && style(node).overflowX !== "visible");
  const seen = cut.filter((node) => style(node).clipPath === "none");
  return told(seen.filter((node) => !["local", "scroll"].every((way) => style(node).backgroundAttachment.includes(way))));
}

// Text with less than 4.5 : 1 between it and its ground, as WCAG AA asks.
function pale() {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const linear = (c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (node) => {
    const color = channels(style(node).backgroundColor);
    return color[3] === 0 && node.parentElement ? ground(node.parentElement) : color;
  };
  const ratio = (node) => {
    const [dark, bright] = [light(channels(style(node).color)), light(ground(node))].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  const says = (node) => [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.textContent.trim());
  const read = all("body *").filter((node) => node.getClientRects().length && !node.closest("svg, .unseen, script") && says(node));
  return told(read.filter((node) => ratio(node) < 4.5));
}

const shown = () => all("tr.row:not([hidden])", matrix()).map((row) => row.cells[0].textContent);
const headings = () => all("tr.group:not([hidden])", matrix()).length;
const values = (column, table = matrix()) => all("tbody tr:not(.group, .why)", table).map((row) => row.cells[column].dataset.value);

// A column of some table that lacks a figure, sorted up and down.
function lacking() {
  const cell = all("table.sortable.numbers td").find((one) => one.dataset.value === "nan");
  const table = cell.closest("table"), button = all("thead tr:last-child button", table)[cell.cellIndex];
  return [1, 2].map(() => {
    button.click();
    return values(cell.cellIndex, table);
  });
}

const folded = () => told(all(".more img, .more table").filter((node) => !node.getClientRects().length));
