import { chmod, copyFile, mkdir, readdir, readFile, realpath, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { run } from "@dormouse/base/node";

/** Where users' processes find the tools; `sandbox.c` of guest mounts the system drive's folder `tools` there. */
const place = "/run/dormouse/tools";

/** This machine's own programs, which come with their libraries. */
const programs = { git: "/usr/bin/git", rg: "/usr/bin/rg" } as const;
const certificates = "/etc/ssl/certs/ca-certificates.crt";

/** What of git is a program of its own and is used in a workspace; all else git does itself. */
const gitHelpers = ["git-remote-http", "git-http-fetch", "git-http-push"];
/** Names by which these are started, by git or from elsewhere. */
const gitNames = {
  git: ["git", "git-upload-pack", "git-receive-pack", "git-upload-archive"],
  "git-remote-http": ["git-remote-http", "git-remote-https", "git-remote-ftp", "git-remote-ftps"],
  "git-http-fetch": ["git-http-fetch"],
  "git-http-push": ["git-http-push"],
} as const;

/**
 * Installs git, ripgrep and BusyBox so that they run in any image, whatever C library it has, and none at all: each with
 * its own loader and libraries. The editor needs them, and their folder is the last one of everybody's PATH.
 * @param root of the system drive.
 */
export async function installGuestTools(root: string, busyboxFile: string): Promise<void> {
  const tools = join(root, "tools");
  const folders = ["bin", "elf", "lib", "libexec/git-core", "share/templates"];
  for (const folder of folders) await mkdir(join(tools, folder), { recursive: true });
  await installFile(busyboxFile, join(tools, "bin/busybox"));
  await symlink("busybox", join(tools, "bin/tar"));
  const gitCore = (await run("git", ["--exec-path"])).stdout.trim();
  await installProgram(tools, programs.git, "git");
  for (const name of gitHelpers) await installProgram(tools, join(gitCore, name), name);
  await installProgram(tools, programs.rg, "rg");
  await copyFile(certificates, join(tools, "ca-certificates.crt"));

  for (const [program, names] of Object.entries(gitNames)) {
    for (const name of names) await writeStarter(join(tools, "libexec/git-core", name), program, name);
  }
  // What of git is written for a shell.
  for (const name of await readdir(gitCore)) {
    const text = name.startsWith("git-") ? await readScript(join(gitCore, name)) : undefined;
    if (text === undefined) continue;
    await writeFile(join(tools, "libexec/git-core", name), text, { mode: 0o755 });
  }
  await symlink("../libexec/git-core/git", join(tools, "bin/git"));
  await writeStarter(join(tools, "bin/rg"), "rg", "rg");
}

/** What decides what {@link installGuestTools} installs. */
export async function guestToolFiles(): Promise<string[]> {
  const gitCore = (await run("git", ["--exec-path"])).stdout.trim();
  return [...Object.values(programs), ...gitHelpers.map((name) => join(gitCore, name)), certificates];
}

async function installProgram(tools: string, file: string, name: string): Promise<void> {
  await installFile(await realpath(file), join(tools, "elf", name));
  for (const library of await sharedLibraries(file)) {
    const isLoader = basename(library).startsWith("ld-linux");
    await installFile(library, join(tools, "lib", isLoader ? "loader" : basename(library)));
  }
}

/** Beside the program nothing of this is in its environment: what it starts is the image's own. */
async function writeStarter(path: string, program: string, name: string): Promise<void> {
  const isGit = program !== "rg";
  const lines = [
    `#!${place}/bin/busybox sh`,
    ...(isGit
      ? [
          `export GIT_EXEC_PATH=${place}/libexec/git-core`,
          `[ -d /usr/share/git-core/templates ] || export GIT_TEMPLATE_DIR=${place}/share/templates`,
          `[ -n "$GIT_SSL_CAINFO" ] || [ -e ${certificates} ] || export GIT_SSL_CAINFO=${place}/ca-certificates.crt`,
        ]
      : []),
    `exec ${place}/lib/loader --library-path ${place}/lib --argv0 ${name} ${place}/elf/${program} "$@"`,
  ];
  await writeFile(path, `${lines.join("\n")}\n`, { mode: 0o755 });
}

async function readScript(path: string): Promise<string | undefined> {
  const bytes = await readFile(path).catch(() => undefined);
  return bytes?.subarray(0, 9).toString("latin1") === "#!/bin/sh" ? bytes.toString("utf8") : undefined;
}

/** Files that ldd finds for a dynamic executable, the loader included; none for a static one. */
export async function sharedLibraries(executable: string): Promise<string[]> {
  const { stdout, stderr } = await run("ldd", [executable], { okCodes: [0, 1] });
  if (/not a dynamic executable|statically linked/.test(stdout + stderr)) return [];
  const missing = /^\s*(\S+) => not found$/m.exec(stdout);
  if (missing) throw new DormouseError("failed_precondition", `${executable} needs ${missing[1]}, which is not here`);
  return [...stdout.matchAll(/(?:=>\s*)?(\/\S+) \(0x/g)].flatMap(([, path]) => (path ? [path] : []));
}

async function installFile(from: string, to: string): Promise<void> {
  await copyFile(from, to);
  await chmod(to, 0o755);
}
