/** Cells of one CSV row; a quoted cell may hold commas and, doubled, quotation marks. Undefined if badly quoted. */
export function splitRow(row: string): string[] | undefined {
  const cells: string[] = [];
  const cell = /\s*"((?:[^"]|"")*)"\s*(?:,|$)|((?!\s*")[^,]*)(?:,|$)/y;
  for (let end = false; !end; ) {
    const match = cell.exec(row);
    if (match === null) return undefined;
    cells.push(match[1]?.replaceAll('""', '"') ?? match[2]!);
    end = !match[0].endsWith(',');
  }
  return cells;
}

/** A cell as CSV writes it: quoted where it holds a comma or a quotation mark. */
export function quoteCell(text: string): string {
  return /[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
