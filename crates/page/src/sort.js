// Clicking a heading sorts its table; without scripts the tables stand as they are.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], heads = table.tHead ? [...table.tHead.rows[0].cells] : [];
  if (!body || body.rows.length < 2) continue;
  const value = (row, at) => {
    const text = row.cells[at]?.firstChild?.textContent.trim() ?? "";
    const number = Number(text.replaceAll(",", "").replace("\u2212", "-").replace(/ ?%$/, ""));
    return text === "" || text === "\u2013" ? null : Number.isNaN(number) ? text : number;
  };
  const order = (a, b) =>
    a === b ? 0 : a === null ? 1 : b === null ? -1
      : typeof a === "number" && typeof b === "number" ? a - b
      : String(a).localeCompare(String(b));
  heads.forEach((head, at) => {
    const sort = () => {
      const sorted = head.getAttribute("aria-sort");
      const down = sorted === "ascending" || (head.className === "number" && sorted === null);
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [value(row, at), row]);
      rows.sort(([a], [b]) => (a === null || b === null || !down ? order(a, b) : order(b, a)));
      body.append(...rows.map(([, row]) => row));
    };
    head.tabIndex = 0;
    head.style.cursor = "pointer";
    head.title = "Sort by this column";
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
    });
  });
}
