/**
 * Compiles globs as `files.exclude` of editors has them: `*` and `?` within a name, `**` across
 * folders, `{a,b}`, `[abc]`. A pattern without a slash is met by a name in any folder.
 * @returns whether a path, relative and without a slash at its start, meets one of them or lies inside one that does.
 */
export function globMatcher(patterns: readonly string[]): (path: string) => boolean {
  if (patterns.length === 0) return () => false;
  const sources = patterns.map((pattern) => {
    const trimmed = pattern.replace(/^\.?\//, "").replace(/\/(\*\*)?$/, "");
    return translate(trimmed.includes("/") ? trimmed : `**/${trimmed}`);
  });
  const expression = new RegExp(`^(?:${sources.join("|")})(?:/|$)`, "s");
  return (path) => expression.test(path);
}

function translate(glob: string): string {
  let source = "";
  let depth = 0;
  for (let at = 0; at < glob.length; at++) {
    const character = glob[at] ?? "";
    if (character === "*" && glob[at + 1] === "*") {
      const isFolder = glob[at + 2] === "/";
      source += isFolder ? "(?:.*/)?" : ".*";
      at += isFolder ? 2 : 1;
    } else if (character === "*") source += "[^/]*";
    else if (character === "?") source += "[^/]";
    else if (character === "{") {
      source += "(?:";
      depth++;
    } else if (character === "}" && depth > 0) {
      source += ")";
      depth--;
    } else if (character === "," && depth > 0) source += "|";
    else if (character === "[" && glob.indexOf("]", at) > at + 1) {
      const end = glob.indexOf("]", at);
      const inside = glob
        .slice(at + 1, end)
        .replace(/^!/, "^")
        .replace(/[\\[]/g, "\\$&");
      source += `[${inside}]`;
      at = end;
    } else source += character.replace(/[\\^$.|+()[\]{}]/g, "\\$&");
  }
  return source + ")".repeat(depth);
}
