import { DormouseError } from "@dormouse/base";
import type { MountObject } from "./config.ts";

/** A mount in one form, however it was written. */
export interface Mount {
  type: "bind" | "volume" | "tmpfs";
  /** A path for `bind`, a name for `volume`; absent for an unnamed volume and for `tmpfs`. */
  source?: string;
  target: string;
  readonly: boolean;
  /** Everything else that was said, such as `consistency`. */
  options: Readonly<Record<string, string>>;
}

const typeNames: readonly string[] = ["bind", "volume", "tmpfs"];
const sourceKeys = ["source", "src"];
const targetKeys = ["target", "destination", "dst"];

/**
 * Reads a mount in either form: an object, or `type=volume,source=NAME,target=/PATH` with comma-separated pairs
 * (a pair with a comma in it stands in double quotes, as in CSV). Without a type it is a volume.
 * @throws DormouseError `invalid_argument` naming what is wrong.
 */
export function parseMount(mount: string | MountObject): Mount {
  if (typeof mount !== "string") {
    const { type, source, target } = mount;
    return { type, ...(source === undefined ? {} : { source }), target, readonly: false, options: {} };
  }
  const pairs = new Map<string, string>();
  for (const field of splitFields(mount)) {
    const equals = field.indexOf("=");
    const key = canonicalKey((equals < 0 ? field : field.slice(0, equals)).trim().toLowerCase());
    if (equals < 0 && key !== "readonly") throw mountError(mount, `${JSON.stringify(field)} must be KEY=VALUE`);
    if (pairs.has(key)) throw mountError(mount, `${key} must be given once`);
    pairs.set(key, equals < 0 ? "true" : field.slice(equals + 1));
  }
  return fromPairs(mount, pairs);
}

function canonicalKey(key: string): string {
  if (sourceKeys.includes(key)) return "source";
  if (targetKeys.includes(key)) return "target";
  return key === "ro" ? "readonly" : key;
}

function fromPairs(mount: string, pairs: Map<string, string>): Mount {
  const { type = "volume", source, target, readonly = "false", ...options } = Object.fromEntries(pairs);
  if (!typeNames.includes(type)) {
    throw mountError(mount, `type is ${JSON.stringify(type)}: must be one of ${typeNames.join(", ")}`);
  }
  if (!target) throw mountError(mount, "target is missing: must be a path in the container");
  if (type === "bind" && !source) throw mountError(mount, "source is missing: a bind mount must say what it shows");
  if (!["true", "false", "1", "0"].includes(readonly)) {
    throw mountError(mount, `readonly is ${JSON.stringify(readonly)}: must be true or false`);
  }
  return {
    type: type as Mount["type"],
    ...(source ? { source } : {}),
    target,
    readonly: readonly === "true" || readonly === "1",
    options,
  };
}

/** Fields of one line of CSV; quotes only count at a field's beginning. */
function splitFields(text: string): string[] {
  const fields = text.match(/(?:"(?:[^"]|"")*"|[^,])+/g) ?? [];
  return fields.map((field) => (/^".*"$/s.test(field) ? field.slice(1, -1).replaceAll('""', '"') : field));
}

function mountError(mount: string, message: string): DormouseError {
  return new DormouseError("invalid_argument", `mount ${JSON.stringify(mount)}: ${message}`, {
    details: { problem: message },
  });
}
