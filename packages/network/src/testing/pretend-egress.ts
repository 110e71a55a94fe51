import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import type { EgressPolicy } from "../policy/policy.ts";
import { type LineProcess, startLineProcess } from "./line-process.ts";
import { batch, type Pretended, pretendInternet } from "./pretend.ts";

/** Addresses in the pretended internet, as in `world.py`. */
export const world = {
  resolver: "198.51.100.2",
  cdn: "198.51.100.10",
  database: "198.51.100.20",
  range: "198.51.100.30",
  registries: "198.51.100.40",
  evil: "198.51.100.66",
} as const;

/** A policy of each kind of rule, for the names and addresses of the pretended internet. */
export const trialPolicy: EgressPolicy = {
  mode: "restricted",
  allow: [
    "allowed.test",
    "www.allowed.test",
    "rebind.test",
    "halfway.test",
    "alias-private.test",
    "alias-denied.test",
    "*.wild.test",
    "cloudflare-ech.com",
    "tcp:db.test:5432",
    `tcp:${world.range}:7000`,
  ],
  deny: ["denied.test", "bad.wild.test"],
  caps: [],
};

const captureRules = {
  questions: [
    ...["allowed.test", "www.allowed.test", "x.wild.test", "db.test", "cloudflare-ech.com"],
    ...["rebind.test", "halfway.test", "alias-private.test", "alias-denied.test"],
    ...["registry.npmjs.org", "pypi.org", "files.pythonhosted.org", "deb.debian.org", "github.com"],
  ],
  places: [
    `${world.cdn}/tcp/443`,
    `${world.cdn}/tcp/80`,
    `${world.database}/tcp/5432`,
    `${world.range}/tcp/7000`,
    `${world.registries}/tcp/443`,
    `${world.registries}/tcp/80`,
    `${world.resolver}/tcp/53`,
  ],
  secrets: ["FORBIDDEN", "evil"],
};

/** Where nobody should get: known in the host's routing, so that what goes there would be seen. */
const forbiddenPlaces = ["10.199.199.5", "172.16.199.5", "192.168.199.1", "192.168.7.7", "100.64.0.1", "192.88.99.1"];

/** The pretended internet with its servers, and who watches the way there. */
export interface EgressWorld extends AsyncDisposable {
  internet: Pretended & { address: string; hostAddress: string };
  /** What has left since the last time it was asked: how many packets in all, and those that should not have. */
  forbidden(): Promise<{ forbidden: string[]; seen: number }>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Makes the world; its servers speak TLS with a certificate of their own. */
export async function pretendEgressWorld(name: string): Promise<EgressWorld> {
  const owned = disposer();
  try {
    const internet = await pretendInternet(name);
    owned.add(() => internet[Symbol.asyncDispose]());
    const { resolver: _here, ...others } = world;
    await batch(
      name,
      [...Object.values(others), ...forbiddenPlaces].map((address) => `addr add ${address}/32 dev eth0`),
    );
    const routes = forbiddenPlaces.map(
      (address) => `route add ${address} via ${internet.address} dev ${name} onlink\n`,
    );
    await run("ip", ["-batch", "-"], { input: routes.join("") });
    // The host's own announcements are nobody's attempt.
    await writeFile(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, "1\n").catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
    const folder = await mkdtemp(join(tmpdir(), "dormouse-world-"));
    owned.add(() => rm(folder, { recursive: true, force: true }));
    const [certificate, key] = [join(folder, "certificate.pem"), join(folder, "key.pem")];
    const subject = [
      "-subj",
      "/CN=allowed.test",
      "-addext",
      "subjectAltName=DNS:allowed.test,DNS:*.test,DNS:*.wild.test",
    ];
    const ofKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key];
    await run("openssl", ["req", "-x509", "-days", "2", ...ofKey, "-out", certificate, ...subject]);
    const servers = await startLineProcess({ script: "world.py", args: [certificate, key], namespace: name });
    owned.add(() => servers[Symbol.asyncDispose]());
    const capture: LineProcess = await startLineProcess({
      script: "capture.py",
      args: [name, JSON.stringify(captureRules)],
    });
    owned.add(() => capture[Symbol.asyncDispose]());
    return {
      internet,
      forbidden: () => capture.ask(""),
      async [Symbol.asyncDispose]() {
        await owned[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await owned[Symbol.asyncDispose]();
    throw error;
  }
}
