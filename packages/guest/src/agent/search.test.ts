import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { join } from "node:path";
import { fromRpcError } from "@dormouse/contract";
import type { SearchMatch } from "@dormouse/contract/guest-schemas";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestAgent, type TestAgent } from "./test-agent.ts";

let agent: TestAgent;
let cwd: string;
beforeAll(async () => {
  agent = await startTestAgent();
  cwd = join(agent.folder, "project");
  await mkdir(join(cwd, "src/deep"), { recursive: true });
  await mkdir(join(cwd, ".git"));
  await writeFile(join(cwd, ".gitignore"), "ignored\n");
  await writeFile(join(cwd, "ignored"), "Needle");
  await writeFile(join(cwd, ".hidden"), "Needle");
  await writeFile(join(cwd, "src/one.ts"), "const grüße = 1; // 🐭 Needle and needle\r\nneedles\n");
  await writeFile(join(cwd, "src/deep/userService.test.ts"), "a.b\naxb\n");
  await writeFile(join(cwd, "src/deep/user-service.ts"), `${"x".repeat(50_000)}Needle${"y".repeat(50_000)}\n`);
  await writeFile(
    Buffer.concat([Buffer.from(`${cwd}/b`), Buffer.of(0xff)]),
    Buffer.concat([Buffer.of(0xfe), Buffer.from(" Needle")]),
  );
});
afterAll(() => agent[Symbol.asyncDispose]());

type Query = Parameters<typeof agent.client.search.text>[0];
async function search(query: Omit<Query, "cwd"> & { cwd?: string }) {
  const stream = await agent.client.search.text({ cwd, ...query });
  const matches: SearchMatch[] = [];
  for (;;) {
    const { done, value } = await stream.next();
    if (done) return { matches: matches.sort((a, b) => (a.path < b.path ? -1 : 1)), limitHit: value.limitHit };
    matches.push(...value.matches);
  }
}
const failure = async (call: Promise<unknown>) =>
  fromRpcError(
    await call.then(
      () => "no failure",
      (error) => error,
    ),
  );

describe("search.text", () => {
  it("finds text as it is written, with places in UTF-16, hidden files included and ignored ones not", async () => {
    const { matches, limitHit } = await search({ query: "Needle", caseSensitive: true });
    expect(limitHit).toBe(false);
    expect(matches.map(({ path }) => path.slice(cwd.length))).toEqual([
      "/.hidden",
      "/b\udcff",
      "/src/deep/user-service.ts",
      "/src/one.ts",
    ]);
    const [, , long, one] = matches;
    expect(one).toMatchObject({ line: 1, text: "const grüße = 1; // 🐭 Needle and needle", ranges: [[23, 29]] });
    expect(long?.text.length).toBeLessThanOrEqual(1000);
    const [start = 0, end = 0] = long?.ranges[0] ?? [];
    expect(long?.text.slice(start, end)).toBe("Needle");
  });

  it("minds case, words, expressions and globs", async () => {
    expect((await search({ query: "needle", include: ["*.ts"] })).matches).toHaveLength(3);
    expect((await search({ query: "needle", wholeWord: true, caseSensitive: true })).matches).toMatchObject([
      { line: 1, ranges: [[34, 40]] },
    ]);
    expect((await search({ query: "a.b" })).matches).toMatchObject([{ text: "a.b" }]);
    expect((await search({ query: "^a.b$", regex: true })).matches).toHaveLength(2);
    expect(
      (await search({ query: "needle", exclude: ["src"] })).matches.map(({ path }) => path.slice(cwd.length)),
    ).toEqual(["/.hidden", "/b\udcff"]);
    expect((await search({ query: "-x", regex: false })).matches).toEqual([]);
  });

  it("stops at its limit and says so, and says what is wrong with an expression", async () => {
    await writeFile(join(cwd, "many.txt"), "hit\n".repeat(100_000));
    const { matches, limitHit } = await search({ query: "hit", maxResults: 100 });
    expect([matches.length, limitHit]).toEqual([100, true]);
    expect(await failure(search({ query: "(", regex: true }))).toMatchObject({
      code: "invalid_argument",
      message: expect.stringContaining("query: is no regular expression: unclosed group"),
    });
    expect(await failure(search({ query: "x", cwd: "/no/such" }))).toMatchObject({ code: "not_found" });
  });
});

describe("search.names", () => {
  const names = async (query: { cwd: string; exclude?: string[] }) => {
    const stream = await agent.client.search.names(query);
    const found: string[] = [];
    for (;;) {
      const { done, value } = await stream.next();
      if (done) return { names: found.sort(), limitHit: value.limitHit };
      found.push(...value.names.split("//"));
    }
  };

  it("lists hidden files and names of any bytes, and what is left out not", async () => {
    expect(await names({ cwd, exclude: ["**/deep"] })).toEqual({
      names: [".gitignore", ".hidden", "b\udcff", "many.txt", "src/one.ts"],
      limitHit: false,
    });
    expect((await names({ cwd })).names).toContain("src/deep/user-service.ts");
    expect((await names({ cwd: join(cwd, "src/deep"), exclude: ["*"] })).names).toEqual([]);
    expect(await failure(names({ cwd: "/no/such" }))).toMatchObject({ code: "not_found" });
  });
});

describe("ports", () => {
  it("appear with their process and disappear", async () => {
    const { ports: before } = await agent.client.ports.list({});
    const stop = new AbortController();
    const events = await agent.client.ports.watch({}, { signal: stop.signal });
    expect((await events.next()).value).toEqual({ opened: before, closed: [] });
    const listener = createServer().listen(0, "127.0.0.1");
    await once(listener, "listening");
    const { port } = listener.address() as AddressInfo;
    const own = {
      port,
      address: "127.0.0.1",
      pid: process.pid,
      process: "node",
      commandLine: expect.stringContaining("node"),
    };
    // Other ports of this machine may come and go meanwhile.
    const until = async (kind: "opened" | "closed") => {
      for (;;) {
        const { value, done } = await events.next();
        if (done) throw new Error("the ports are no longer watched");
        const found = value[kind].find((one) => one.port === port);
        if (found) return found;
      }
    };
    expect(await until("opened")).toMatchObject(own);
    listener.close();
    await until("closed");
    // The agent's own is nobody's business.
    const { port: agentPort } = new URL(agent.address.baseUrl);
    expect(before.map((one) => one.port)).not.toContain(Number(agentPort));
    stop.abort();
  });
});
