// Makes the headings of tables buttons that sort by their column: first up, then down. Without it tables stay as they are.
"use strict";

function value(row, column) {
  const cell = row.cells[column];
  const data = cell.querySelector("data");
  return data ? Number(data.value) : cell.textContent;
}

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") {
    return Number.isNaN(one) || Number.isNaN(other) ? Number.isNaN(one) - Number.isNaN(other) : one - other;
  }
  return String(one).localeCompare(String(other), "en", { numeric: true });
}

function sort(table, column) {
  const headings = [...table.tHead.rows[0].cells];
  const down = headings[column].getAttribute("aria-sort") === "ascending";
  const rows = [...table.tBodies[0].rows].map((row) => [value(row, column), row]);
  rows.sort(([one], [other]) => (down ? compare(other, one) : compare(one, other)));
  table.tBodies[0].append(...rows.map(([, row]) => row));
  headings.forEach((heading) => heading.removeAttribute("aria-sort"));
  headings[column].setAttribute("aria-sort", down ? "descending" : "ascending");
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(table, column));
    heading.append(button);
  });
}
