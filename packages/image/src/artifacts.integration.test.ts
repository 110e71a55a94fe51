import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ProgressEvent } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ArtifactInputs, type Artifacts, buildArtifacts } from "./artifacts.ts";

let folder: string;
let inputs: ArtifactInputs;
let artifacts: Artifacts;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dormouse-image-"));
  inputs = {
    initBinary: "/bin/busybox",
    agentFile: join(folder, "agent.mjs"),
    nodeBinary: fileURLToPath(new URL("../../../node_modules/node/bin/node", import.meta.url)),
  };
  await writeFile(inputs.agentFile, "// test agent\n");
  // The cache that the product uses: what it has built, or will need, is not built twice.
  artifacts = await buildArtifacts(inputs);
}, 600_000);
afterAll(async () => {
  await rm(folder, { recursive: true });
  // The only artefact that nobody else has a use for.
  await rm(dirname(artifacts.systemDrive), { recursive: true });
});

/** Runs shell commands in an image, in namespaces that take the mount away with them. */
async function inImage(image: string, commands: string): Promise<string> {
  const mount = join(folder, "mount");
  const script = 'mkdir -p "$2" && mount -t erofs -o loop,ro "$1" "$2" && exec chroot "$2" /bin/sh -c "$3"';
  const args = ["--mount", "--", "sh", "-c", script, "sh", image, mount, commands];
  return (await run("unshare", args, { env: { PATH: "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" } })).stdout;
}

test("with everything in the cache nothing is built", async () => {
  const events: ProgressEvent[] = [];
  expect(await buildArtifacts(inputs, { progress: (event) => events.push(event) })).toEqual(artifacts);
  expect(events).toEqual([]);
});

test("every file can be read by a machine's own user", async () => {
  for (const path of Object.values(artifacts).filter((value) => value.startsWith("/"))) {
    expect((await stat(path)).mode & 0o004, path).toBe(0o004);
    for (let parent = dirname(path); parent !== "/"; parent = dirname(parent)) {
      expect((await stat(parent)).mode & 0o001, parent).toBe(0o001);
    }
  }
});

test("the base image has what people work with", async () => {
  const programs = "git gcc make python3 node npm npx mise curl rg less vi ssh sudo ps ip unzip xz";
  const found = await inImage(
    artifacts.baseImage,
    `for name in ${programs}; do command -v $name || echo "no $name"; done`,
  );
  expect(found).not.toContain("no ");
  const versions = await inImage(
    artifacts.baseImage,
    "node --version; npm --version; . /etc/os-release; echo $VERSION_CODENAME",
  );
  expect(versions).toMatch(/^v24\.\d+\.\d+\n11\.\d+\.\d+\ntrixie\n$/);
});

test("the user is dev, may use sudo, and owns where work is kept", async () => {
  const facts = await inImage(
    artifacts.baseImage,
    "id dev; stat -c '%U %G %n' /workspace /workspaces /home/dev /usr/local/lib/node_modules; cat /etc/sudoers.d/dev; cat /etc/resolv.conf",
  );
  expect(facts).toBe(`uid=1000(dev) gid=1000(dev) groups=1000(dev),27(sudo)
dev dev /workspace
dev dev /workspaces
dev dev /home/dev
dev dev /usr/local/lib/node_modules
dev ALL=(ALL:ALL) NOPASSWD:ALL
nameserver 172.31.0.1
`);
});

test("a login shell has the environment, and the host's own CA certificates are trusted", async () => {
  const environment = await inImage(
    artifacts.baseImage,
    "env -i bash -lc 'echo $PATH; echo $LANG; echo $NODE_EXTRA_CA_CERTS'",
  );
  expect(environment).toMatch(/^\/home\/dev\/\.local\/share\/mise\/shims:.*:\/usr\/local\/bin:.*\nC\.UTF-8\n/);
  const hostCas = (await readdir("/usr/local/share/ca-certificates").catch(() => [])).filter((name) =>
    name.endsWith(".crt"),
  );
  expect(environment.endsWith("/etc/ssl/dormouse-extra-ca.pem\n")).toBe(hostCas.length > 0);
  const bundle = await inImage(artifacts.baseImage, "cat /etc/ssl/certs/ca-certificates.crt");
  for (const name of hostCas) {
    const certificate = await readFile(join("/usr/local/share/ca-certificates", name), "utf8");
    expect(bundle, name).toContain(certificate.trim().split("\n")[1]);
  }
});

test("the system drive's Node runs with its own loader and libraries", async () => {
  const script = "ls /lib64 /lib/x86_64-linux-gnu; /lib64/ld-linux-x86-64.so.2 --list /bin/node";
  const { stdout } = await run("unshare", [
    ...[
      "--mount",
      "--",
      "sh",
      "-c",
      'mkdir -p "$2" && mount -t erofs -o loop,ro "$1" "$2" && exec chroot "$2" /bin/sh -c "$3"',
    ],
    ...["sh", artifacts.systemDrive, join(folder, "mount"), script.replace("ls ", "/bin/busybox ls ")],
  ]);
  expect(stdout).toContain("libstdc++.so.6 => /lib/x86_64-linux-gnu/libstdc++.so.6");
  expect(stdout).not.toContain("not found");
});

test("the system drive's engine has a root of its own, with all libraries", async () => {
  const programs = "/usr/bin/podman /usr/bin/conmon /usr/bin/crun /usr/sbin/nft /usr/lib/podman/netavark";
  const mount = 'mkdir -p "$2" && mount -t erofs -o loop,ro "$1" "$2"';
  // The root has no shell: it is asked from outside.
  const list = `for name in ${programs}; do chroot "$2/tools/engine" /lib64/ld-linux-x86-64.so.2 --list $name; done`;
  const rest = 'chroot "$2/tools/engine" /usr/bin/catatonit --version; ls -l "$2/tools/libexec/podman"';
  const args = ["--mount", "--", "sh", "-c", `${mount} && { ${list}; ${rest}; }`, "sh"];
  const { stdout } = await run("unshare", [...args, artifacts.systemDrive, join(folder, "mount")]);
  for (const part of ["libgpgme.so.11 => /", "libyajl.so.2 => /", "libnftables.so.1 => /", "catatonit", "-rwxr-xr-x"]) {
    expect(stdout).toContain(part);
  }
  expect(stdout).not.toContain("not found");
});

test("a missing input is named", async () => {
  const initBinary = join(folder, "nowhere");
  await expect(buildArtifacts({ ...inputs, initBinary })).rejects.toThrow(
    `the system drive needs ${initBinary}, which cannot be read`,
  );
});
