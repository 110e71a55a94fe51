/** What the page's address says: `/w/{workspace}?file=/path/to/file:line:column`. */
export interface PageAddress {
  /** The workspace's name or id. */
  workspace: string;
  /** A file to open, with a line and column (1-based) if given. */
  file: { path: string; line: number; column: number } | undefined;
}

/** Reads a page's address; undefined when it names no workspace. The file may also stand in the fragment. */
export function parseAddress(address: URL): PageAddress | undefined {
  const match = /^\/w\/([^/]+)/.exec(address.pathname);
  if (!match?.[1]) return undefined;
  const fragment = new URLSearchParams(address.hash.slice(1));
  const file = address.searchParams.get("file") ?? fragment.get("file");
  return { workspace: decodeURIComponent(match[1]), file: file ? parseFile(file) : undefined };
}

function parseFile(text: string): PageAddress["file"] {
  const match = /^(.*?)(?::(\d+))?(?::(\d+))?$/.exec(text);
  const path = match?.[1] ?? text;
  if (!path.startsWith("/")) return undefined;
  return { path, line: Number(match?.[2] ?? 1), column: Number(match?.[3] ?? 1) };
}
