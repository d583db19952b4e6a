"use strict";
// A click on a heading sorts its table by that column; a third click restores the first order.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const first = [...body.rows];
  for (const heading of table.querySelectorAll("th[data-sort]")) {
    heading.addEventListener("click", () => {
      const next = { none: "descending", descending: "ascending", ascending: "none" };
      const order = next[heading.getAttribute("aria-sort") ?? "none"];
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      const rows = [...first];
      if (order !== "none") {
        heading.setAttribute("aria-sort", order);
        const value = (row) => Number(row.cells[heading.cellIndex].dataset.value);
        const sign = order === "ascending" ? 1 : -1;
        rows.sort((one, other) => sign * (value(one) - value(other)));
      }
      body.replaceChildren(...rows);
    });
  }
}
