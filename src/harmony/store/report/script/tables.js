// Tables are sorted by a click on the name of a column: numbers from the largest, texts from A.

function sortTable(table, column) {
  const head = table.tHead.rows[0].cells[column];
  const body = table.tBodies[0];
  const isNumber = head.classList.contains("n");
  const before = head.getAttribute("aria-sort");
  const ascending = before ? before === "descending" : !isNumber;
  const rows = [...body.rows].map((row) => [value(row.cells[column], isNumber), row]);
  const sign = ascending ? 1 : -1;
  rows.sort(([one], [other]) => sign * (isNumber ? one - other : one.localeCompare(other, "en", { numeric: true })));
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  body.append(...rows.map(([, row]) => row));
}

function value(cell, isNumber) {
  return isNumber ? Number(cell.dataset.v) : cell.textContent;
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    cell.querySelector("button")?.addEventListener("click", () => sortTable(table, column));
  });
}
