import { chmod, lstat, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** What the machine mounts or expects, with modes. The guest's init makes the same of what an image has there. */
const folders: readonly (readonly [name: string, mode: number])[] = [
  ["proc", 0o755],
  ["sys", 0o755],
  ["dev", 0o755],
  ["run", 0o755],
  ["tmp", 0o1777],
  ["workspaces", 0o755],
];

/** Files of `/etc/profile.d` are read in the order of their names: those that add to PATH come after this one. */
const profile = `# The PATH that the machine gives to every process: /etc/profile has just replaced it.
[ -z "$DORMOUSE_PATH" ] || PATH=$DORMOUSE_PATH
`;

const hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";

/**
 * Makes an image's files fit to be the root of a machine. Nothing in it is run, and no link in it is followed:
 * one in the place of a folder that is needed is replaced, and an `/etc` that is no folder is left alone.
 */
export async function prepareTree(tree: string): Promise<void> {
  for (const [name, mode] of folders) await makeFolder(join(tree, name), mode);
  const etc = join(tree, "etc");
  if (!(await lstatOrNothing(etc))) await makeFolder(etc, 0o755);
  if (!(await lstat(etc)).isDirectory()) return;
  await replaceFile(join(etc, "machine-id"), "");
  await makeFolder(join(etc, "profile.d"), 0o755);
  await replaceFile(join(etc, "profile.d/00-dormouse.sh"), profile);
  if (await isEmpty(join(etc, "hosts"))) await replaceFile(join(etc, "hosts"), hosts);
}

async function makeFolder(path: string, mode: number): Promise<void> {
  const found = await lstatOrNothing(path);
  if (found && !found.isDirectory()) await rm(path);
  if (!found?.isDirectory()) await mkdir(path);
  // Other modes than /tmp's are the image's own business where it has the folder.
  if (!found?.isDirectory() || mode === 0o1777) await chmod(path, mode);
}

/** Builders leave an empty file where a container's own was mounted. */
async function isEmpty(path: string): Promise<boolean> {
  const found = await lstatOrNothing(path);
  if (!found) return true;
  return found.isFile() && found.size < 4096 && (await readFile(path, "utf8")).trim() === "";
}

async function replaceFile(path: string, text: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
  // "wx" refuses whatever is there, links included.
  await writeFile(path, text, { flag: "wx", mode: 0o644 });
  await chmod(path, 0o644);
}

function lstatOrNothing(path: string) {
  return lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
}
