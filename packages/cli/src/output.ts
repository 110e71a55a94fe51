import { stripVTControlCharacters, styleText } from "node:util";

type Style = Parameters<typeof styleText>[0];

/** Text in a colour when standard output is a terminal that shows colours. */
export function paint(style: Style, text: string): string {
  return styleText(style, text, { stream: process.stdout });
}

export function printLine(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** Rows under headings, in columns as wide as what they hold; nothing is cut, so that scripts may read it. */
export function printTable(headings: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...rows.map((row) => visibleLength(row[column] ?? ""))),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => cell + " ".repeat(Math.max(0, (widths[column] ?? 0) - visibleLength(cell))))
      .join("  ")
      .trimEnd();
  printLine(paint("dim", line(headings)));
  for (const row of rows) printLine(line(row));
}

/** Names and values, the values aligned. */
export function printFields(fields: readonly (readonly [name: string, value: string])[]): void {
  const width = Math.max(...fields.map(([name]) => name.length));
  for (const [name, value] of fields) printLine(`${paint("dim", name.padEnd(width))}  ${value}`);
}

/** Writes to a stream and resolves when it takes more: what is read no faster than it is written. */
export function writeFully(stream: NodeJS.WritableStream, bytes: Uint8Array | string): Promise<void> {
  if (stream.write(bytes)) return Promise.resolve();
  return new Promise((resolve) => stream.once("drain", resolve));
}

function visibleLength(text: string): number {
  return stripVTControlCharacters(text).length;
}
