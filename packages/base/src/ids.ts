// Crockford's alphabet in lower case: no i, l, o, u, so ids read aloud well and are valid DNS labels.
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
const randomLength = 20;

/**
 * A new identifier, `<prefix>-<20 characters>`, 100 random bits. Ids are valid DNS
 * labels and file names. Randomness comes from the system on every call.
 */
export function createId(prefix: string): string {
  const bytes = crypto.getRandomValues(new Uint8Array(randomLength));
  let id = `${prefix}-`;
  for (const byte of bytes) id += alphabet[byte & 31];
  return id;
}

/** Whether `value` is an id made by {@link createId} with this prefix. */
export function isId(prefix: string, value: string): boolean {
  return value.startsWith(`${prefix}-`) && /^[0-9a-hjkmnp-tv-z]{20}$/.test(value.slice(prefix.length + 1));
}
