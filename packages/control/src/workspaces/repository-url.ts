import { DormouseError } from "@dormouse/base";

/** A repository as it may be stored and shown, and what must not be. */
export interface RepositoryUrl {
  /** Without credentials. */
  url: string;
  /** The last part of its path, without `.git`. */
  name: string;
  /** What stood in the URL; secret. */
  credential?: { username: string; password: string };
}

const schemes = ["https:", "http:", "ssh:", "git:"];
const wanted = "use https://…, http://…, ssh://…, git://… or user@host:path";
/** git's short form for ssh: no scheme, and a colon before the first slash. */
const scpLike = /^(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9._-]+:(?!\/\/)[^\s]+$/;

/**
 * Takes a repository's address apart. What git would read as an option, a local path
 * or a program to run (`ext::…`) is refused: it runs in the machine, but in the name
 * of whoever was tricked into opening it.
 * @throws DormouseError `invalid_argument` naming the address and the forms there are.
 */
export function parseRepositoryUrl(input: string): RepositoryUrl {
  const text = input.trim();
  if (/[\s\p{Cc}]/u.test(text)) throw refusal(text, "it holds spaces or control characters");
  if (text.startsWith("-")) throw refusal(text, "it begins with -");
  if (/^[A-Za-z][A-Za-z0-9+.-]*::/.test(text)) throw refusal(text, "remote helpers are not taken");
  if (!text.includes("://")) {
    if (!scpLike.test(text) || text.includes(":-")) throw refusal(text, "it is no address of a git repository");
    return { url: text, name: nameOf(text.slice(text.indexOf(":") + 1), text) };
  }
  const parsed = URL.parse(text);
  if (!parsed) throw refusal(text, "it is no URL");
  if (!schemes.includes(parsed.protocol)) throw refusal(text, `${parsed.protocol}// is not taken`);
  if (parsed.hostname === "" || parsed.hostname.startsWith("-")) throw refusal(text, "it names no server");
  const name = nameOf(parsed.pathname, text);
  const { username, password } = parsed;
  const isSsh = parsed.protocol === "ssh:";
  parsed.password = "";
  // The user of ssh belongs to the address; that of https is half of a credential.
  if (!isSsh) parsed.username = "";
  const url = parsed.href;
  if (isSsh || (username === "" && password === "")) return { url, name };
  return { url, name, credential: { username: decodeURIComponent(username), password: decodeURIComponent(password) } };
}

/**
 * A branch, tag or commit that git cannot take for an option or a range.
 * @throws DormouseError `invalid_argument` naming it.
 */
export function checkRef(ref: string): string {
  // After git-check-ref-format(1), plus the leading dash.
  if (/^-|[\s\p{Cc}~^:?*[\\]|\.\.|@\{|\/\/|^\/|\/$|\.$|\.lock$/u.test(ref)) {
    throw new DormouseError("invalid_argument", `ref: ${JSON.stringify(ref)} is no name of a branch, tag or commit`);
  }
  return ref;
}

function nameOf(path: string, address: string): string {
  const last = path.replace(/\/+$/, "").split("/").at(-1) ?? "";
  let name: string;
  try {
    name = decodeURIComponent(last).replace(/\.git$/, "");
  } catch {
    // Not every path of a server is a valid percent-encoding; it is then its own name.
    name = last.replace(/\.git$/, "");
  }
  if (name === "" || name === "." || name === ".." || /[/\p{Cc}]/u.test(name)) {
    throw refusal(address, "its path names no repository");
  }
  return name.slice(0, 100);
}

function refusal(address: string, why: string): DormouseError {
  // Everything up to the last @ may be a credential.
  const shown = address.replace(/(^|\/\/)[^/]*@/, "$1…@").slice(0, 200);
  return new DormouseError(
    "invalid_argument",
    `repository: ${JSON.stringify(shown)} cannot be opened: ${why}; ${wanted}`,
  );
}
