// Real programs go on through a sleep over which the platform itself is stopped: a dev server with its event stream,
// PostgreSQL with an open transaction, a shell with a job and a half-typed line, 300 MB that are hashed all the time.
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, it } from "vitest";
import { eventually } from "./support/eventually.ts";
import { expectGoingOn, output, startHasher } from "./support/hasher.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform({ poolSize: 0 });
});
afterAll(() => platform?.[Symbol.asyncDispose]());

const patienceMs = 300_000;

/** Sends an event every half second on one connection that never ends. */
const devServer = `
const { createServer } = require("node:http");
createServer((request, response) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  let count = 0;
  setInterval(() => response.write("data: " + ++count + "\\n\\n"), 500);
}).listen(5173, "127.0.0.1");
`;

async function startDevServer(workspace: Workspace): Promise<void> {
  await workspace.files.write("/workspace/server.js", devServer);
  await workspace.exec("exec node server.js", { background: true });
  await eventually("the dev server listens", async () => {
    return (await workspace.exec("curl -sN -m 2 http://127.0.0.1:5173/ | head -1 | grep data")).exitCode === 0;
  });
  // One client, connected once.
  await workspace.exec("exec curl -sN http://127.0.0.1:5173/ > events 2> events.end; echo ended >> events.end", {
    background: true,
  });
  await eventually("events arrive", async () => (await lastEvent(workspace)) > 0);
}

const lastEvent = async (workspace: Workspace) => Number(await output(workspace, "tail -2 events | tr -dc 0-9"));

/** A client of PostgreSQL that takes its statements from a pipe, so that a transaction can stay open. */
async function openTransaction(workspace: Workspace): Promise<void> {
  const install = [
    "sudo apt-get update -q",
    "sudo env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends postgresql",
    "sudo pg_ctlcluster $(pg_lsclusters -h | cut -d' ' -f1) main start || pg_lsclusters -h | grep online",
    "sudo -u postgres createuser --superuser dev",
    "createdb dev",
  ].join(" && ");
  const { exitCode, stdout, stderr } = await workspace.exec(install, { timeoutMs: 600_000 });
  expect(exitCode, `${stdout}\n${stderr}`).toBe(0);
  await output(workspace, "mkfifo statements");
  await workspace.exec("exec psql -X -At -f - <> statements > answers 2>&1", { background: true });
  await tell(workspace, "create table kept (word text); begin; insert into kept values ('before');");
  await tell(workspace, "select 'open ' || count(*) from kept;");
  await eventually("the transaction is open", async () => (await output(workspace, "cat answers")).includes("open 1"));
}

const tell = (workspace: Workspace, sql: string) => output(workspace, `echo "${sql}" > statements`);
const committed = (workspace: Workspace) => output(workspace, "psql -X -At -c 'select word from kept order by word'");

it("dev server, database, shell and a large program go on after the platform was stopped", async () => {
  const workspace = await Workspace.create({ connection: platform.connection, name: "busy" });
  await startDevServer(workspace);
  await openTransaction(workspace);
  await startHasher(workspace, 300);
  let shown = "";
  const terminal = await workspace.pty.create({ cols: 80, rows: 24, onData: (data) => (shown += data) });
  await terminal.sendInput("PS1='> '; sleep 1000 &\n");
  await eventually("the shell has a job", async () => shown.includes("[1]"));
  await terminal.sendInput("echo half-");
  await eventually("the line is half typed", async () => shown.includes("echo half-"));
  const postmaster = await output(workspace, "pgrep -o postgres");
  const [events, rounds] = [await lastEvent(workspace), Number(await output(workspace, "cat rounds"))];
  workspace.close();

  const sleeper = await Workspace.connect("busy", { connection: platform.connection });
  await sleeper.hibernate();
  sleeper.close();
  await platform.restart();

  const back = await Workspace.connect("busy", { connection: platform.connection });
  expect(back.state).toBe("hibernated");
  await expectGoingOn(back, rounds);
  expect(await output(back, "pgrep -o postgres")).toBe(postmaster);
  // Nobody else has seen what is not committed yet; the transaction itself has.
  expect(await committed(back)).toBe("");
  await tell(back, "insert into kept values ('after'); commit;");
  await eventually("the transaction is committed", async () => (await committed(back)) === "after\nbefore", patienceMs);
  await eventually("events go on", async () => (await lastEvent(back)) > events + 2);
  expect(await output(back, "cat events.end")).toBe("");
  shown = "";
  const again = await back.pty.attach(terminal.id, { onData: (data) => (shown += data) });
  await again.sendInput("typed; jobs\n");
  await eventually("the line and the job are what they were", async () => {
    return shown.includes("half-typed") && /Running\s+sleep 1000/.test(shown);
  });
  await back.kill();
});
