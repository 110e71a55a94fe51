/**
 * The machine's paths carry bytes that are not UTF-8 as lone surrogates (PEP 383),
 * which the editor's URIs cannot hold. In URIs they stand as U+EF80…U+EFFF of the
 * private use area instead, as the MirBSD OPTU-16 encoding has it.
 */
const privateOffset = 0xef80 - 0xdc80;

/** A machine's path as it stands in an editor's URI. */
export function toEditorPath(guestPath: string): string {
  return guestPath.isWellFormed()
    ? guestPath
    : guestPath.replace(/[\udc80-\udcff]/g, (byte) => String.fromCharCode(byte.charCodeAt(0) + privateOffset));
}

/** The machine's path behind a path of an editor's URI. */
export function toGuestPath(editorPath: string): string {
  return editorPath.replace(/[\uef80-\uefff]/g, (byte) => String.fromCharCode(byte.charCodeAt(0) - privateOffset));
}
