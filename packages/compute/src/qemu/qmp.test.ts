import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Qmp } from "./qmp.ts";

/*
 * What a VMM in order does is tested with QEMU itself (qmp.integration.test.ts). Here the
 * other end misbehaves, as a VMM taken over by its guest could.
 */
let folder: string;
let path: string;
let server: Server;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "dormouse-qmp-"));
  path = join(folder, "control");
});
afterEach(async () => {
  server?.close();
  await rm(folder, { recursive: true });
});

const greeting = '{"QMP": {"version": {}, "capabilities": []}}\n';

/** Answers each line with what `answer` returns; undefined is silence. */
async function serve(first: string, answer: (line: string, socket: Socket) => string | undefined): Promise<void> {
  server = createServer((socket) => {
    socket.on("error", () => {});
    socket.write(first);
    socket.on("data", (data) => {
      for (const line of data.toString().trim().split("\n")) {
        const reply = answer(line, socket);
        if (reply !== undefined) socket.write(reply);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
}

const ok = (line: string) => `{"return": {}, "id": ${JSON.parse(line).id}}\n`;

test("a silent other end is given up", async () => {
  await serve("", () => undefined);
  await expect(Qmp.connect(path, { timeoutMs: 50 })).rejects.toThrow("connecting to the VMM took longer than 50 ms");
});

test("nobody there is given up at once when nobody will come", async () => {
  await expect(Qmp.connect(path, { isAlive: () => false })).rejects.toMatchObject({ code: "unavailable" });
});

test("a command that is never answered ends with its time", async () => {
  await serve(greeting, (line) => (line.includes("qmp_capabilities") ? ok(line) : undefined));
  const qmp = await Qmp.connect(path);
  await expect(qmp.execute("stop", undefined, { timeoutMs: 20 })).rejects.toThrow(
    "stop in the VMM took longer than 20 ms",
  );
  const controller = new AbortController();
  const cancelled = qmp.execute("stop", undefined, { signal: controller.signal });
  controller.abort(new Error("no longer wanted"));
  await expect(cancelled).rejects.toThrow("no longer wanted");
  qmp.close();
});

test("answers come in any order and in any pieces", async () => {
  const lines: string[] = [];
  await serve(greeting, (line, socket) => {
    if (line.includes("qmp_capabilities")) return ok(line);
    lines.push(line);
    if (lines.length < 2) return;
    const text = lines.map(
      (request) => `{"return":{"status":"${JSON.parse(request).id}"},"id":${JSON.parse(request).id}}\r\n`,
    );
    for (const byte of text.reverse().join("")) socket.write(byte);
    return;
  });
  const qmp = await Qmp.connect(path);
  const answers = await Promise.all([qmp.execute("query-status"), qmp.execute("query-status")]);
  expect(answers.map((answer) => answer.status)).toEqual(["2", "3"]);
  qmp.close();
});

test.each([
  ["what is not JSON", "garbage\n"],
  ["a line without end", "x".repeat(5 * 1024 * 1024)],
])("%s closes the connection and fails what is waiting", async (_, text) => {
  await serve(greeting, (line) => (line.includes("qmp_capabilities") ? ok(line) : text));
  const qmp = await Qmp.connect(path);
  await expect(qmp.execute("stop")).rejects.toThrow("the VMM went away during stop");
  expect(qmp.isClosed).toBe(true);
  await expect(qmp.execute("cont")).rejects.toThrow("the VMM is gone, so cont cannot be asked");
});
