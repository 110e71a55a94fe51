import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { guestSources, hostMirror } from "./debian.ts";

const osRelease = 'ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian"\n';
let aptDir: string;
beforeEach(async () => {
  aptDir = await mkdtemp(join(tmpdir(), "dormouse-apt-"));
  await mkdir(join(aptDir, "sources.list.d"));
});
afterEach(() => rm(aptDir, { recursive: true }));
const look = (env: NodeJS.ProcessEnv = {}, release = osRelease) => hostMirror({ aptDir, osRelease: release, env });

test("the mirror is found in deb822 sources, comments and disabled entries left out", async () => {
  await writeFile(
    join(aptDir, "sources.list.d/debian.sources"),
    `# Suites: bookworm
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Enabled: no

Types: deb deb-src
# a comment inside
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
`,
  );
  const mirror = await look();
  expect(mirror).toEqual({ archiveUri: "http://mirror.example/debian", securityUri: "http://mirror.example/security" });
  expect(guestSources(mirror)).toBe(`Types: deb
URIs: http://mirror.example/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/security
Suites: trixie-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`);
});

test("the mirror is found in the one-line format, with options", async () => {
  await writeFile(
    join(aptDir, "sources.list"),
    "# deb http://off.example/debian bookworm main\ndeb [arch=amd64 trusted=yes] http://mirror.example/debian bookworm main\n",
  );
  expect(await look()).toEqual({ archiveUri: "http://mirror.example/debian", securityUri: undefined });
});

test("another distribution's mirror is not taken for Debian's", async () => {
  await writeFile(join(aptDir, "sources.list"), "deb http://mirror.example/ubuntu noble main\n");
  const ubuntu = "ID=ubuntu\nVERSION_CODENAME=noble\n";
  await expect(look({}, ubuntu)).rejects.toThrow("no Debian mirror in /etc/apt: set DORMOUSE_DEBIAN_MIRROR");
  expect(await look({ DORMOUSE_DEBIAN_MIRROR: "http://debian.example/debian" }, ubuntu)).toEqual({
    archiveUri: "http://debian.example/debian",
    securityUri: undefined,
  });
});
