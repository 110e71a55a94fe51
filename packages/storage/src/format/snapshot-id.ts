import { randomBytes } from "node:crypto";
import { DormouseError, isId } from "@dormouse/base";

// The alphabet of base's ids: ascending, so that text sorts as the numbers do.
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
const [generationLength, timeLength, randomLength] = [5, 9, 6];
const maxGeneration = 32 ** generationLength - 1;

/**
 * A new snapshot's id: an id like all others, whose 20 characters are the generation of
 * the writer (5), the time in milliseconds (9) and 30 random bits (6). Ids of a workspace
 * therefore sort by generation, then by time: the newest snapshot is the last name of a
 * listing, and one that a writer of an older generation manages to publish late is never
 * the newest, whatever its clock says.
 * @throws DormouseError `invalid_argument` naming a generation or time that does not fit.
 */
export function createSnapshotId(generation: number, createdMs: number): string {
  if (!Number.isInteger(generation) || generation < 0 || generation > maxGeneration) {
    throw new DormouseError(
      "invalid_argument",
      `generation ${generation} must be a whole number from 0 to ${maxGeneration}`,
    );
  }
  if (!Number.isSafeInteger(createdMs) || createdMs < 0 || createdMs >= 32 ** timeLength) {
    throw new DormouseError("invalid_argument", `createdMs ${createdMs} must be a time in milliseconds since 1970`);
  }
  let random = "";
  for (const byte of randomBytes(randomLength)) random += alphabet[byte & 31];
  return `snapshot-${encode(generation, generationLength)}${encode(createdMs, timeLength)}${random}`;
}

/** Generation and time in an id of {@link createSnapshotId}; undefined for anything else. */
export function parseSnapshotId(id: string): { generation: number; createdMs: number } | undefined {
  if (!isId("snapshot", id)) return undefined;
  const digits = id.slice("snapshot-".length);
  return {
    generation: decode(digits.slice(0, generationLength)),
    createdMs: decode(digits.slice(generationLength, generationLength + timeLength)),
  };
}

function encode(value: number, length: number): string {
  let text = "";
  for (let rest = value; text.length < length; rest = Math.floor(rest / 32)) text = `${alphabet[rest % 32]}${text}`;
  return text;
}

function decode(text: string): number {
  let value = 0;
  for (const digit of text) value = value * 32 + alphabet.indexOf(digit);
  return value;
}
