import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { run } from "@dormouse/base/node";

/** The Debian release that guests run. */
export const guestRelease = "trixie";

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** Where Debian's packages come from: the archive and, when configured, its security updates. */
export interface Mirror {
  archiveUri: string;
  securityUri?: string;
}

/**
 * The mirror this machine is configured to use, so that the guest's packages come
 * from where the host's come from. `DORMOUSE_DEBIAN_MIRROR` overrides the archive.
 * @throws DormouseError `failed_precondition` when none is configured (e.g. on Ubuntu).
 */
export async function hostMirror(
  options: { aptDir?: string; osRelease?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Mirror> {
  const env = options.env ?? process.env;
  const entries = await readSources(options.aptDir ?? "/etc/apt");
  const osRelease = options.osRelease ?? (await readFile("/etc/os-release", "utf8").catch(() => ""));
  const isDebian = /^ID="?debian"?$/m.test(osRelease);
  const codename = /^VERSION_CODENAME="?([a-z]+)"?$/m.exec(osRelease)?.[1] ?? guestRelease;
  const find = (suite: string) => (isDebian ? entries.find((entry) => entry.suites.includes(suite))?.uri : undefined);
  const archiveUri = env.DORMOUSE_DEBIAN_MIRROR || find(codename);
  if (!archiveUri) {
    throw new DormouseError(
      "failed_precondition",
      "no Debian mirror in /etc/apt: set DORMOUSE_DEBIAN_MIRROR to the URI of one, such as the archive your other Debian machines use",
    );
  }
  return { archiveUri, securityUri: find(`${codename}-security`) };
}

/** The deb822 sources of the guest's release at `mirror`. */
export function guestSources(mirror: Mirror): string {
  const stanza = (uri: string, suites: string) =>
    `Types: deb\nURIs: ${uri}\nSuites: ${suites}\nComponents: main\nSigned-By: ${keyring}\n`;
  const archive = stanza(mirror.archiveUri, `${guestRelease} ${guestRelease}-updates`);
  return mirror.securityUri ? `${archive}\n${stanza(mirror.securityUri, `${guestRelease}-security`)}` : archive;
}

/**
 * Downloads the newest package that `metaPackage` depends on and whose name starts
 * with `prefix`, into `folder`, through an apt state of its own: the machine's own
 * sources and installed packages stay untouched.
 * @returns the path of the .deb file.
 */
export async function downloadDependency(
  options: { metaPackage: string; prefix: string; folder: string; mirror: Mirror },
  signal?: AbortSignal,
): Promise<string> {
  const { folder } = options;
  await Promise.all(
    ["lists/partial", "cache/archives/partial"].map((name) => mkdir(join(folder, name), { recursive: true })),
  );
  await writeFile(join(folder, "guest.sources"), guestSources(options.mirror));
  await writeFile(join(folder, "status"), "");
  const settings = {
    "Dir::State": folder,
    "Dir::State::status": join(folder, "status"),
    "Dir::State::lists": join(folder, "lists"),
    "Dir::Cache": join(folder, "cache"),
    "Dir::Etc::sourcelist": join(folder, "guest.sources"),
    "Dir::Etc::sourceparts": "/dev/null",
    "Acquire::Languages": "none",
    "Acquire::Retries": "3",
    // The build folder belongs to root; apt's own user could not write there.
    "APT::Sandbox::User": "root",
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  const apt = (command: string, args: string[]) =>
    run(command, [...flags, ...args], { cwd: folder, timeoutMs: 180_000, signal });
  await apt("apt-get", ["update", "--error-on=any"]);
  const { stdout } = await apt("apt-cache", ["depends", "--important", options.metaPackage]);
  const name = stdout.match(/^ +Depends: (\S+)$/gm)?.map((line) => line.trim().slice("Depends: ".length));
  const wanted = name?.find((dependency) => dependency.startsWith(options.prefix));
  if (!wanted) {
    throw new DormouseError("not_found", `the mirror's ${options.metaPackage} depends on no ${options.prefix}…`);
  }
  await apt("apt-get", ["download", wanted]);
  const file = (await readdir(folder)).find((entry) => entry.endsWith(".deb"));
  if (!file) throw new DormouseError("internal", `apt-get download ${wanted} left no .deb file`);
  return join(folder, file);
}

interface SourceEntry {
  uri: string;
  suites: string[];
}

async function readSources(aptDir: string): Promise<SourceEntry[]> {
  const parts = join(aptDir, "sources.list.d");
  const names = (await readdir(parts).catch(() => [])).sort().map((name) => join(parts, name));
  const entries: SourceEntry[] = [];
  for (const path of [join(aptDir, "sources.list"), ...names]) {
    const text = await readFile(path, "utf8").catch(() => "");
    if (path.endsWith(".sources")) entries.push(...parseDeb822(text));
    else if (path.endsWith(".list")) entries.push(...parseOneLine(text));
  }
  return entries;
}

function parseDeb822(text: string): SourceEntry[] {
  return text.split(/\n\s*\n/).flatMap((stanza) => {
    const lines = stanza.split("\n").filter((line) => !line.startsWith("#"));
    const field = (name: string) =>
      lines
        .find((line) => line.toLowerCase().startsWith(`${name}:`))
        ?.slice(name.length + 1)
        .trim()
        .split(/\s+/) ?? [];
    if (!field("types").includes("deb") || field("enabled")[0] === "no") return [];
    return field("uris").map((uri) => ({ uri, suites: field("suites") }));
  });
}

function parseOneLine(text: string): SourceEntry[] {
  const lines = text.matchAll(/^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)/gm);
  return [...lines].flatMap(([, uri, suite]) => (uri && suite ? [{ uri, suites: [suite] }] : []));
}
