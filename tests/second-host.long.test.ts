// A workspace whose host is lost goes on elsewhere: another host daemon, with nothing but a template of its own and the
// secrets of the installation, starts it from what lies in an S3 bucket.
import { fork } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import type { EgressLog } from "@dormouse/contract";
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type S3Server, startS3Server } from "../packages/storage/src/testing/s3-server.ts";
import { eventually } from "./support/eventually.ts";
import { freePort } from "./support/local-machine.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

const stack = disposer();
let server: S3Server;
let platform: TestPlatform;
beforeAll(async () => {
  server = await startS3Server();
  stack.add(async () => server[Symbol.asyncDispose]());
  const { endpoint, bucket, region, credentials } = server;
  // As an installation has them: in the environment of the daemons.
  process.env.AWS_ACCESS_KEY_ID = credentials.accessKeyId;
  process.env.AWS_SECRET_ACCESS_KEY = credentials.secretAccessKey;
  const snapshotStore = { kind: "s3", endpoint, bucket, region, prefix: "here/" } as const;
  platform = await startTestPlatform({ poolSize: 0, snapshotStore, egressMode: "default" });
  stack.add(async () => platform[Symbol.asyncDispose]());
});
afterAll(async () => stack[Symbol.asyncDispose]());

it("goes on from the bucket on another host, with its processes, files and policy", async () => {
  const workspace = await Workspace.create({ connection: platform.connection, name: "traveller" });
  await workspace.exec(
    "echo packed > luggage; n=0; while :; do n=$((n+1)); echo $n > new; mv new count; sleep 0.2; done",
    {
      background: true,
    },
  );
  await workspace.egress.allow("tcp:198.51.100.7:443");
  await workspace.egress.deny("registry.npmjs.org");
  const { policy: egress } = await workspace.egress.show();
  await eventually("it counts", async () => (await workspace.exec("cat count")).exitCode === 0);
  await workspace.snapshot();
  await workspace.exec("head -c 5000000 /dev/urandom > noise; sha256sum noise > noise.sha256");
  const snapshot = await workspace.snapshot();
  const counted = Number((await workspace.exec("cat count")).stdout);

  const elsewhere = await startSecondHost();
  expect(await elsewhere.templates()).toEqual(["f".repeat(24)]);
  const generation = 7;
  const { organisations } = await workspace.connection.api.organisations.list({});
  const create = {
    workspaceId: workspace.id,
    organisationId: organisations[0]?.id,
    generation,
    template: "base",
    hostname: "traveller",
    resources: { vcpus: 1, memoryMib: 1024, diskGib: 16 },
    env: {},
    egress,
    folder: workspace.folder,
    snapshot: { workspaceId: workspace.id, id: snapshot.id },
  };
  const refused = await elsewhere.call("machines/create", { ...create, organisationId: "org-other" });
  expect(refused.message).toContain("it must be with installation or installation.org-other");
  const machine = await elsewhere.call("machines/create", create);
  expect(machine).toMatchObject({ state: "running", generation });
  const runThere = async (command: string) => {
    const answer = await elsewhere.exec(workspace.id, command);
    expect(answer.exitCode, answer.stderr).toBe(0);
    return answer.stdout.trim();
  };
  expect(await runThere("cat luggage; sha256sum -c noise.sha256")).toBe("packed\nnoise: OK");
  const count = Number(await runThere("cat count"));
  expect(Math.abs(count - counted)).toBeLessThan(50);
  await eventually("it counts on", async () => Number(await runThere("cat count")) > count);

  // What may leave is what might here: the same answers, enforced, and told.
  const decisions = async (call: (path: string, input: unknown) => Promise<unknown>) =>
    await Promise.all(
      ["198.51.100.7", "198.51.100.8", "169.254.169.254", "registry.npmjs.org", "elsewhere.test"].map((host) =>
        call("egress/test", { workspaceId: workspace.id, host, port: 443, protocol: "tcp" }),
      ),
    );
  const there = await decisions(elsewhere.call);
  expect(there).toEqual(await decisions(platform.hostCall));
  expect(there).toMatchObject([true, false, false, false, false].map((isAllowed) => ({ isAllowed })));
  for (const url of ["https://registry.npmjs.org/", "http://192.0.2.7/"]) {
    const { exitCode, stderr } = await elsewhere.exec(workspace.id, `curl -fsS --max-time 20 ${url}`);
    expect(exitCode, `${url}: ${stderr}`).not.toBe(0);
    expect(stderr).not.toContain("timed out");
  }
  const told = async () => {
    const { refusals } = (await elsewhere.call("egress/log", { workspaceId: workspace.id })) as unknown as EgressLog;
    return refusals.map(({ name, address }) => name ?? address);
  };
  await eventually("the other host tells what it refused", async () => {
    const places = await told();
    return places.includes("registry.npmjs.org") && places.includes("192.0.2.7");
  });

  // Whoever has the older generation can no longer keep anything: the workspace has moved.
  await elsewhere.call("machines/snapshot", { workspaceId: workspace.id, generation, reason: "manual" });
  await expect(workspace.snapshot()).rejects.toThrow(/generation 1 of workspace .* may not publish/);
  await elsewhere.call("machines/delete", { workspaceId: workspace.id, generation });
  await workspace.kill();
});

/** A cache with a template that is not the one of the first host, whatever is in it. Answers its hash. */
async function makeAnotherCache(folder: string, original: string): Promise<string> {
  const cacheDir = process.env.DORMOUSE_CACHE || "/var/cache/dormouse";
  const hash = "f".repeat(24);
  const target = join(folder, `template-base-${hash}`);
  await run("mkdir", ["-m", "711", folder]);
  await run("cp", ["-a", "--sparse=always", join(cacheDir, `template-base-${original}`), target]);
  const file = join(target, "template.json");
  await writeFile(file, (await readFile(file, "utf8")).replaceAll(original, hash));
  return hash;
}

/** A host daemon with a data folder of its own and the secrets of the first one's installation. */
async function startSecondHost() {
  const dataDir = await mkdtemp("/var/tmp/dormouse-second-");
  // Machines run as users of their own and must be able to enter.
  await chmod(dataDir, 0o711);
  stack.add(() => rm(dataDir, { recursive: true, force: true }));
  const { snapshotSecret, agentSecret } = JSON.parse(
    await readFile(join(platform.dataDir, "data/platform.json"), "utf8"),
  );
  const { templates } = await platform.hostCall<{ templates: { hash: string }[] }>("templates/list", {});
  const template = await makeAnotherCache(join(dataDir, "cache"), templates[0]?.hash ?? "");
  const token = "second-host-token-second-host-token";
  const port = await freePort();
  const { endpoint, bucket, region } = server;
  const config = {
    dataDir,
    cacheDir: join(dataDir, "cache"),
    templateHash: template,
    listen: { port },
    token,
    namePrefix: "dmsecond",
    poolSize: 0,
    snapshotEveryMs: 0,
    snapshotStore: { kind: "s3", endpoint, bucket, region, prefix: "here/" },
    snapshotKey: { id: "installation", secret: snapshotSecret },
    agentSecret,
  };
  const child = fork(new URL("../packages/host/src/main.ts", import.meta.url), {
    env: { ...process.env, DORMOUSE_HOST: JSON.stringify(config) },
    stdio: ["ignore", "inherit", "ignore", "ipc"],
  });
  stack.add(async () => {
    if (child.exitCode !== null) return;
    child.kill("SIGTERM");
    await once(child, "exit");
  });
  await once(child, "message");
  const post = async (path: string, json: unknown) => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify({ json }),
    });
    return ((await answer.json()) as { json: Record<string, unknown> }).json;
  };
  return {
    call: (path: string, input: unknown) => post(`/rpc/${path}`, input),
    templates: async () =>
      ((await post("/rpc/templates/list", {})) as { templates: { hash: string }[] }).templates.map(({ hash }) => hash),
    exec: (workspaceId: string, command: string) =>
      post(`/machines/${workspaceId}/guest/rpc/exec/run`, { command }) as Promise<{
        exitCode: number;
        stdout: string;
        stderr: string;
      }>,
  };
}
