// Tables sort by a click on a header and are filtered by words; Escape puts a picture back. Without this script all is there as it is written.
"use strict";

const FEW = 6;
const tables = [...document.querySelectorAll("table.grid, table.matrix")].map(read);
const fields = [];

// The rows of a table with what stands under each, the group that it is in, and the words that it is found by.
function read(table) {
  const caption = table.caption?.textContent ?? "";
  const bodies = [...table.tBodies].map((body) => ({ body, rows: [...body.rows] }));
  const entries = [];
  for (const { body, rows } of bodies) {
    const heading = rows.find((row) => row.classList.contains("group"));
    for (const row of rows) {
      if (row === heading) continue;
      if (row.classList.contains("why")) { entries.at(-1).rows.push(row); continue; }
      const told = [...row.cells].filter((cell) => cell.dataset.value === undefined).map((cell) => cell.textContent);
      entries.push({ rows: [row], body, heading, words: [caption, heading?.textContent ?? "", ...told].join(" ").toLowerCase() });
    }
  }
  return { table, bodies, entries, flat: null };
}

// A number where the cell has one, else its words; null, which comes last, where it has neither.
function key(entry, column) {
  const cell = entry.rows[0].cells[column];
  const given = cell?.dataset.value ?? cell?.dataset.key;
  if (given !== undefined) return Number.isFinite(Number.parseFloat(given)) ? Number.parseFloat(given) : null;
  return cell?.textContent.trim() || null;
}

function compare(one, other) {
  return typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other), undefined, { numeric: true });
}

function sorted(entries, column, sign) {
  const keyed = entries.map((entry) => [key(entry, column), entry]);
  const found = keyed.filter(([value]) => value !== null).sort(([one], [other]) => sign * compare(one, other));
  return [...found, ...keyed.filter(([value]) => value === null)].map(([, entry]) => entry);
}

// Ascending, then descending, then as written: in groups.
const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

function sort(read, header, column) {
  const way = NEXT[header.getAttribute("aria-sort")];
  for (const other of header.parentElement.cells) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", way);
  read.table.classList.toggle("sorted", way !== "none");
  read.flat?.remove();
  read.flat = null;
  for (const { body, rows } of read.bodies) { body.append(...rows); read.table.append(body); }
  if (way === "none") return;
  read.flat = document.createElement("tbody");
  if (read.table.hasAttribute("role")) read.flat.setAttribute("role", "rowgroup");
  read.flat.append(...sorted(read.entries, column, way === "ascending" ? 1 : -1).flatMap((entry) => entry.rows));
  for (const { body } of read.bodies) body.remove();
  read.table.append(read.flat);
}

function makeSortable(read) {
  const heads = read.table.tHead?.rows;
  if (!heads || read.entries.length < 2) return;
  [...heads[heads.length - 1].cells].forEach((header, column) => {
    if (header.scope !== "col") return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(read, header, column));
    header.append(button);
    header.setAttribute("aria-sort", "none");
  });
  read.table.classList.add("sortable");
}

// One filter for the page: each field shows and sets it.
function filter(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const field of fields) {
    if (field.input.value !== text) field.input.value = text;
    const shown = field.read.entries.filter((entry) => words.every((word) => entry.words.includes(word)));
    for (const entry of field.read.entries) for (const row of entry.rows) row.hidden = !shown.includes(entry);
    for (const heading of new Set(field.read.entries.map((entry) => entry.heading)))
      if (heading) heading.hidden = !shown.some((entry) => entry.heading === heading);
    field.count.textContent = words.length ? `${shown.length} of ${field.read.entries.length} rows` : "";
  }
}

function makeFilterable(read) {
  if (read.entries.length < FEW) return;
  const label = document.createElement("label"), input = document.createElement("input"), count = document.createElement("output");
  label.className = "filter";
  Object.assign(input, { type: "search", placeholder: "filter rows, in all tables", autocomplete: "off" });
  input.setAttribute("aria-label", "Filter rows, in all tables");
  input.addEventListener("input", () => filter(input.value));
  label.append(input, count);
  (read.table.closest(".scroll") ?? read.table).before(label);
  fields.push({ input, count, read });
}

tables.forEach(makeSortable);
tables.forEach(makeFilterable);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const open of document.querySelectorAll("details.picture[open]")) open.open = false;
});
