/**
 * Reads a file of environment variables as Compose does: `NAME=value`, `NAME: value`, comments, `export`, quotes, in which
 * text goes on over lines; a name alone takes its value from elsewhere. Single quotes keep everything as it is; elsewhere
 * variables are replaced by `replace`.
 * https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax
 */
export function parseEnvFile(
  text: string,
  options: { outer: Readonly<Record<string, string>>; replace(text: string, env: Record<string, string>): string },
): Record<string, string> {
  const { outer, replace } = options;
  const found: Record<string, string> = {};
  const pattern =
    /^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(?:[=:][ \t]*(?:"((?:\\[\s\S]|[^"\\])*)"|'([^']*)'|([^\n]*)))?[^\n]*$/gm;
  for (const [, name = "", double, single, plain] of text.replace(/\r\n/g, "\n").matchAll(pattern)) {
    const known = { ...found, ...outer };
    if (single !== undefined) found[name] = single;
    else if (double !== undefined) found[name] = replace(withoutEscapes(double), known);
    else if (plain !== undefined) found[name] = replace(plain.replace(/(?:^|\s+)#.*$/, "").trim(), known);
    else if (outer[name] !== undefined) found[name] = outer[name];
  }
  return found;
}

const escapes: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", '"': '"', "\\": "\\", $: "$$" };

function withoutEscapes(text: string): string {
  return text.replace(/\\([\s\S])/g, (all, character: string) => escapes[character] ?? all);
}
