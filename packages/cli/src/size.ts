import { usageError } from "./exit.ts";

const sizes: Readonly<Record<string, number>> = { M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/**
 * Reads `500M`, `50G`, `2T`.
 * @returns bytes.
 * @throws a usage error naming `what` and the forms there are.
 */
export function parseSize(what: string, text: string): number {
  const [, number = "", unit = ""] = /^(\d{1,6})([MGT])$/.exec(text) ?? [];
  const factor = sizes[unit];
  if (factor === undefined)
    throw usageError(`${what} is ${JSON.stringify(text)}: it must be a size such as 500M, 50G or 2T`);
  return Number(number) * factor;
}
