// Tables of class "sortable": a click on a heading sorts by that column, a second one the other way round.
for (const head of document.querySelectorAll("table.sortable thead th")) {
  const sort = () => {
    const table = head.closest("table"), column = head.cellIndex;
    const numeric = head.classList.contains("n");
    const down = head.hasAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : numeric;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (numeric) return (Number(x || -Infinity) - Number(y || -Infinity)) || 0;
      return x.localeCompare(y);
    });
    if (down) rows.reverse();
    table.tBodies[0].append(...rows);
  };
  head.tabIndex = 0;
  head.addEventListener("click", sort);
  head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
}
