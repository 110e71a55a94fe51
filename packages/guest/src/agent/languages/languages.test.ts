// Sessions over a real server, TypeScript's own, and over commands of a user's, started by the real spawner.
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LanguageEvent, LanguageServer } from "@dormouse/contract";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { collect, startTestAgent, type TestAgent } from "../test-agent.ts";

const installed = fileURLToPath(new URL("../../../../../node_modules/", import.meta.url));
const native = "@typescript/typescript-linux-x64";

let agent: TestAgent;
let tools: string;
beforeEach(async () => {
  // The machine's tools as far as they are on this host: the TypeScript that checks this repository.
  tools = await mkdtemp(join(tmpdir(), "dormouse-language-tools-"));
  await symlink(join(installed, native), join(tools, "typescript"));
  agent = await startTestAgent({ languageTools: tools, languageGraceMs: 2000 });
});
afterEach(async () => {
  await agent[Symbol.asyncDispose]();
  await rm(tools, { recursive: true });
});

let lastId = 0;
const nextId = () => `session-${String(++lastId).padStart(4, "0")}`;
const own: LanguageServer = { name: "typescript" };
const node = (script: string): LanguageServer => ({ command: [process.execPath, "-e", script] });

/** A page: starts a server, and reads what it says until it ends or the page leaves. */
async function open(server: LanguageServer, sessionId = nextId()) {
  const { languages } = agent.client;
  const info = await languages.start({ sessionId, server, folder: agent.folder });
  const leaving = new AbortController();
  const events: LanguageEvent[] = [];
  const waiting = new Set<() => void>();
  let sent = 0;
  const send = (...bodies: object[]) => {
    const messages = bodies.map((body) => JSON.stringify({ jsonrpc: "2.0", ...body }));
    const first = sent + 1;
    sent += messages.length;
    return languages.send({ sessionId, first, messages });
  };
  const reading = (async () => {
    for await (const event of await languages.attach({ sessionId }, { signal: leaving.signal })) {
      events.push(event);
      // TypeScript waits for the answer to what it asks.
      if (event.message?.includes('"client/registerCapability"'))
        void send({ id: JSON.parse(event.message).id, result: null });
      for (const look of waiting) look();
    }
  })().catch(() => {
    // The page has left, or the agent has ended.
  });
  const until = <T>(find: () => T | undefined) =>
    new Promise<T>((resolve) => {
      const look = () => {
        const found = find();
        if (found === undefined) return;
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
    });
  // biome-ignore lint/suspicious/noExplicitAny: messages are the protocol's.
  const messages = (): any[] => events.flatMap(({ message }) => (message ? [JSON.parse(message)] : []));
  return {
    sessionId,
    info,
    events,
    messages,
    send,
    async ask(id: number, method: string, params: object) {
      await send({ id, method, params });
      return until(() => messages().find((message) => message.id === id && !message.method));
    },
    said: (find: (event: LanguageEvent) => boolean) => until(() => events.find(find)),
    ended: () => until(() => events.find(({ ended }) => ended !== undefined)?.ended),
    leave: () => leaving.abort(),
    reading,
  };
}

const initialize = () => ({ processId: null, rootUri: `file://${agent.folder}`, capabilities: {} });

describe("a server", () => {
  test("answers, and what it said can be read again behind a number", async () => {
    const page = await open(own);
    expect(page.info.title).toMatch(/^TypeScript 7\.\d+\.\d+$/);
    const { result } = await page.ask(1, "initialize", initialize());
    expect(result.capabilities.hoverProvider).toBe(true);
    await writeFile(join(agent.folder, "a.ts"), "");
    const uri = `file://${agent.folder}/a.ts`;
    const text = "export const answer: number = 'ö 🐭';\n";
    await page.send(
      { method: "initialized", params: {} },
      {
        method: "textDocument/didOpen",
        params: { textDocument: { uri, languageId: "typescript", version: 1, text } },
      },
    );
    const hover = await page.ask(2, "textDocument/hover", {
      textDocument: { uri },
      position: { line: 0, character: 14 },
    });
    expect(JSON.stringify(hover.result.contents)).toContain("const answer: number");

    // Lost for a while: what it says meanwhile is kept.
    page.leave();
    await page.reading;
    const after = page.events.at(-1)?.index ?? 0;
    await page.send({ id: 3, method: "textDocument/documentSymbol", params: { textDocument: { uri } } });
    const again = await agent.client.languages.attach({ sessionId: page.sessionId, after });
    expect((await again.next()).value).toEqual({ index: after });
    for (let id: unknown; id !== 3; ) {
      const { value } = (await again.next()) as { value: LanguageEvent };
      const message = JSON.parse(value.message ?? "{}");
      if (!message.method) id = message.id;
    }
    await agent.client.languages.stop({ sessionId: page.sessionId });
    const rest = await collect(again);
    expect(rest.at(-1)?.ended).toBe("it was ended by SIGKILL");
  });

  test("is the workspace's own where it has one, asked twice the same", async () => {
    const modules = join(agent.folder, "node_modules");
    await mkdir(join(modules, "@typescript"), { recursive: true });
    await symlink(join(installed, "typescript"), join(modules, "typescript"));
    await symlink(join(installed, native), join(modules, native));
    const page = await open(own);
    expect(page.info.title).toMatch(/^TypeScript 7\.\d+\.\d+ of the workspace$/);
    expect(
      await agent.client.languages.start({ sessionId: page.sessionId, server: own, folder: agent.folder }),
    ).toEqual(page.info);
    expect((await page.ask(1, "initialize", initialize())).result.serverInfo).toBeDefined();
  });

  test("that is killed says so, and another one can be started", async () => {
    const page = await open(node("console.error('ready', process.pid); setInterval(() => {}, 1000)"));
    const { log } = await page.said((event) => event.log?.startsWith("ready") ?? false);
    process.kill(Number(log?.split(" ")[1]), "SIGKILL");
    expect(await page.ended()).toBe("it was ended by SIGKILL");
    await page.reading;
    await expect(agent.client.languages.attach({ sessionId: page.sessionId }).then(collect)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: `sessionId: no language server ${page.sessionId} is known here; it was ended by SIGKILL`,
    });
    const next = await open(own);
    expect((await next.ask(1, "initialize", initialize())).result).toBeDefined();
  });

  test("ends a moment after its page has gone, and not before", async () => {
    const page = await open(node("console.error('ready', process.pid); setInterval(() => {}, 1000)"));
    const { log } = await page.said((event) => event.log?.startsWith("ready") ?? false);
    const pid = Number(log?.split(" ")[1]);
    const isThere = () => {
      try {
        return process.kill(pid, 0);
      } catch {
        return false;
      }
    };
    page.leave();
    await page.reading;
    expect(isThere()).toBe(true);
    await expect.poll(isThere, { timeout: 10_000 }).toBe(false);
  });
});

describe("a server that is none", () => {
  test.each([
    [{ command: ["/nowhere/gopls", "serve"] }, "/nowhere/gopls is not installed in this workspace"],
    [{ command: ["/etc/passwd"] }, "/etc/passwd may not be executed"],
    [node("console.log('usage: '.repeat(1000))"), 'the language server does not speak its protocol: "usage: '],
    [node("console.error('no such flag'); process.exit(3)"), "it ended with 3: no such flag"],
    [node("process.exit(0)"), "it has ended"],
    [
      node("const all = []; for (;;) all.push(Buffer.alloc(256 * 2 ** 20))"),
      "it needed more memory than the 1920 MiB that it may have",
    ],
  ])("says why it ended: %#", async (server, reason) => {
    const page = await open(server);
    expect(await page.ended()).toContain(reason);
  });

  test("is refused before it is started", async () => {
    const start = (server: LanguageServer, sessionId = nextId()) =>
      agent.client.languages.start({ sessionId, server, folder: agent.folder });
    await expect(start({ command: [] })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(start(own, "short")).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("an id has 8 to 64 letters, digits and -"),
    });
  });
});

describe("messages", () => {
  test("that were sent already are left out, and none may be missing", async () => {
    const page = await open(
      node("let all = ''; process.stdin.on('data', (d) => { all += d; console.error(JSON.stringify(all)); })"),
    );
    const { languages } = agent.client;
    const { sessionId } = page;
    await languages.send({ sessionId, first: 1, messages: ["{}", "[]"] });
    await languages.send({ sessionId, first: 1, messages: ["{}", "[]", "3"] });
    await expect(languages.send({ sessionId, first: 5, messages: ["5"] })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: "first: 5 comes after 4, which is missing",
    });
    const { log = "" } = await page.said(({ log }) => log?.includes("\\n3") ?? false);
    expect(JSON.parse(log.trim().split("\n").at(-1) ?? "")).toBe(
      "Content-Length: 2\r\n\r\n{}Content-Length: 2\r\n\r\n[]Content-Length: 1\r\n\r\n3",
    );
  });

  test("of megabytes pass both ways", async () => {
    const head = "'Content-Length: ' + size + '\\r\\n\\r\\n'";
    const page = await open(
      node(
        `let size = 0; process.stdin.on('data', (d) => { size += d.length; if (size > 6e6) process.stdout.write(${head} + 'x'.repeat(size)); })`,
      ),
    );
    const text = JSON.stringify("ö".repeat(3_000_000));
    await agent.client.languages.send({ sessionId: page.sessionId, first: 1, messages: [text] });
    const { message } = await page.said(({ message }) => message !== undefined);
    expect(message?.length).toBeGreaterThan(6_000_000);
    expect(message?.replaceAll("x", "")).toBe("");
  });
});
