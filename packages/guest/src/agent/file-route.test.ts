import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { open, readFile, stat, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { collect, startTestAgent, type TestAgent } from "./test-agent.ts";

let agent: TestAgent;
beforeAll(async () => {
  agent = await startTestAgent();
});
afterAll(() => agent[Symbol.asyncDispose]());

const headers = () => ({ authorization: `Bearer ${agent.address.token}` });
const url = (path: string, query = "") => `${agent.address.baseUrl}/file?path=${encodeURIComponent(path)}${query}`;
const get = (path: string, range?: string) =>
  fetch(url(path), { headers: { ...headers(), ...(range ? { range } : {}) } });
const put = (path: string, body: string | Uint8Array<ArrayBuffer>) =>
  fetch(url(path), { method: "PUT", body, headers: headers() });

const sizeMib = 256;

describe("the file route", () => {
  it("streams large files both ways in bounded memory, and replaces the old one only at the end", async () => {
    // In a process of its own, whose memory is the agent's alone.
    const port = 20_000 + (process.pid % 20_000);
    const child = spawn(
      process.execPath,
      ["--max-semi-space-size=2", fileURLToPath(new URL("./main.ts", import.meta.url))],
      {
        stdio: ["ignore", "ignore", "pipe"],
        env: {
          DORMOUSE_ROOT: "/",
          DORMOUSE_SPAWN_SOCKET: agent.spawnSocket,
          DORMOUSE_IDENTITY_FILE: join(agent.folder, "identity"),
          DORMOUSE_LISTEN_HOST: "127.0.0.1",
          DORMOUSE_LISTEN_PORT: String(port),
        },
      },
    );
    try {
      await once(child.stderr, "data");
      const peakKib = async () =>
        Number(/VmHWM:\s+(\d+)/.exec(await readFile(`/proc/${child.pid}/status`, "utf8"))?.[1]);
      const before = await peakKib();
      const path = join(agent.folder, "large");
      const address = `http://127.0.0.1:${port}/file?path=${path}&mode=600`;
      await writeFile(path, "old");
      const sent = createHash("sha256");
      let wasOldUntilEnd = true;
      const upload = request(address, { method: "PUT", headers: headers() });
      const answered = once(upload, "response");
      for (let count = 0; count < sizeMib; count++) {
        const piece = Buffer.alloc(1024 * 1024, `dormouse ${count}`);
        sent.update(piece);
        if (!upload.write(piece)) await once(upload, "drain");
        if (count % 64 === 0) wasOldUntilEnd &&= (await stat(path)).size === 3;
      }
      upload.end();
      const [response] = await answered;
      expect(JSON.parse(Buffer.concat(await collect(response)).toString())).toMatchObject({
        path,
        size: sizeMib * 1024 * 1024,
        mode: 0o600,
      });
      expect(wasOldUntilEnd).toBe(true);
      const received = createHash("sha256");
      const answer = await fetch(address, { headers: headers() });
      expect(answer.headers.get("content-length")).toBe(String(sizeMib * 1024 * 1024));
      for await (const chunk of answer.body ?? []) received.update(chunk);
      expect(received.digest("hex")).toBe(sent.digest("hex"));
      expect((await peakKib()) - before).toBeLessThan(64 * 1024);
    } finally {
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    }
  });

  it("answers ranges as HTTP has them", async () => {
    const path = join(agent.folder, "digits");
    await writeFile(path, "0123456789");
    const cases: [string, number, string][] = [
      ["bytes=2-4", 206, "234"],
      ["bytes=7-", 206, "789"],
      ["bytes=-3", 206, "789"],
      ["bytes=5-100", 206, "56789"],
      ["bytes=10-", 416, ""],
      ["bytes=-0", 416, ""],
      ["bytes=1-2,4-5", 200, "0123456789"],
      ["lines=1-2", 200, "0123456789"],
    ];
    for (const [range, status, body] of cases) {
      const response = await get(path, range);
      expect([range, response.status, await response.text()]).toEqual([range, status, body]);
    }
    expect((await get(path, "bytes=2-4")).headers.get("content-range")).toBe("bytes 2-4/10");
    expect(await (await get("/proc/self/comm")).text()).not.toBe("");
    const empty = join(agent.folder, "empty");
    await writeFile(empty, "");
    expect((await get(empty)).status).toBe(200);
  });

  it("carries names that are no UTF-8", async () => {
    const path = `${agent.folder}/b\udcff`;
    // In a URL a lone surrogate has no form of its own; the byte itself does.
    const address = `${agent.address.baseUrl}/file?path=${encodeURIComponent(`${agent.folder}/b`)}%FF`;
    expect((await fetch(address, { method: "PUT", body: "strange", headers: headers() })).status).toBe(200);
    const { entries } = await agent.client.files.list({ path: agent.folder });
    expect(entries.map((entry) => entry.path)).toContain(path);
    expect(await (await fetch(address, { headers: headers() })).text()).toBe("strange");
  });

  it("says what was wrong", async () => {
    const cases: [string, string, number, string][] = [
      ["GET", url("/no/such/file"), 404, "path: /no/such/file is not there"],
      ["GET", url("/etc"), 409, "path: /etc is a folder"],
      ["GET", url("relative"), 400, "path: a path starts with /"],
      ["GET", `${agent.address.baseUrl}/file`, 400, "path: a path starts with /"],
      ["PUT", url(`${agent.folder}/x`, "&mode=abc"), 400, "mode: abc is no octal mode such as 644"],
      ["PUT", url(`${agent.folder}/x`, "&parents=yes"), 400, "parents: yes is neither true nor false"],
      ["DELETE", url("/etc"), 501, "/file takes GET, HEAD and PUT, not DELETE"],
    ];
    for (const [method, address, status, message] of cases) {
      const response = await fetch(address, { method, headers: headers(), ...(method === "PUT" ? { body: "x" } : {}) });
      expect([response.status, await response.json()]).toEqual([status, expect.objectContaining({ message })]);
    }
  });

  it("leaves the old file when an upload breaks off", async () => {
    const path = join(agent.folder, "kept");
    await writeFile(path, "old");
    const upload = request(url(path), { method: "PUT", headers: { ...headers(), "content-length": 1_000_000 } });
    upload.on("error", () => {});
    upload.write(Buffer.alloc(500_000));
    await expect.poll(() => readdirSync(agent.folder).filter((name) => name.endsWith(".tmp")).length).toBe(1);
    upload.destroy();
    await expect.poll(() => readdirSync(agent.folder).filter((name) => name.endsWith(".tmp")).length).toBe(0);
    expect(await readFile(path, "utf8")).toBe("old");
  });

  it("says that the disk is full, and leaves nothing on it", async () => {
    // The kernel's own full disk: every write to a file of such a small file system ends like that.
    const folder = join(agent.folder, "small");
    const mounted = await agent.client.exec.run({
      command: `mkdir ${folder} && mount -t tmpfs -o size=1m tmpfs ${folder}`,
    });
    if (mounted.exitCode !== 0) return console.log(`skipped: no mounts here: ${mounted.stderr}`);
    try {
      const response = await put(join(folder, "file"), Buffer.alloc(4 * 1024 * 1024));
      expect([response.status, await response.json()]).toEqual([
        429,
        expect.objectContaining({ message: `path: ${folder}/file could not be written: the machine's disk is full` }),
      ]);
      expect(readdirSync(folder)).toEqual([]);
    } finally {
      await agent.client.exec.run({ command: `umount ${folder}` });
    }
  });

  it("closes every file it opened", async () => {
    const path = join(agent.folder, "closed");
    await writeFile(path, Buffer.alloc(100_000));
    const count = () => readdirSync("/proc/self/fd").length;
    await (await get(path)).arrayBuffer();
    const before = count();
    for (let round = 0; round < 20; round++) await (await get(path, round % 2 ? "bytes=0-9" : undefined)).arrayBuffer();
    await using kept = await open(path);
    expect(kept.fd).toBeGreaterThan(0);
    expect(count()).toBeLessThan(before + 10);
  });
});
