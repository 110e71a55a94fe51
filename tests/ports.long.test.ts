// Forwarded ports of a real machine: psql to its PostgreSQL, requests and WebSockets that wake it, previews in the editor.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "@dormouse/base/node";
import { Workspace } from "@dormouse/sdk";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { WebSocket } from "ws";
import { dormouse } from "./support/dormouse.ts";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";
import { PortBrowser } from "./support/port-browser.ts";
import { launchBrowser, newPage, openWorkbench, runCommand } from "./support/workbench-page.ts";

const pictures = process.env.DORMOUSE_PICTURES;
const launcher = fileURLToPath(new URL("../packages/cli/bin/dormouse.mjs", import.meta.url));

let platform: TestPlatform;
let browser: Browser;
let page: Page;
let workspace: Workspace;
let program: PortBrowser;
const problems: string[] = [];

/** A page that knows whether it was loaded in a frame, an event stream, and an echo for WebSockets, without any package. */
const server = `
const { createHash } = require("node:crypto");
const { createServer } = require("node:http");
const server = createServer((request, response) => {
  if (request.url === "/events") {
    response.writeHead(200, { "content-type": "text/event-stream" });
    let count = 0;
    setInterval(() => response.write("data: " + ++count + "\\n\\n"), 500);
    return;
  }
  response.writeHead(200, { "content-type": "text/html" });
  response.end("<title>Nuts</title><h1>Nuts for the winter</h1><p>hazel, acorn, beech</p>");
});
server.on("upgrade", (request, socket) => {
  const key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const accept = createHash("sha1").update(key).digest("base64");
  socket.write("HTTP/1.1 101 Switching Protocols\\r\\nupgrade: websocket\\r\\nconnection: Upgrade\\r\\nsec-websocket-accept: " + accept + "\\r\\n\\r\\n");
  socket.write(Buffer.from([0x81, 5, ...Buffer.from("hello")]));
  socket.on("error", () => {});
});
server.listen(3000, "127.0.0.1");
`;

beforeAll(async () => {
  platform = await startTestPlatform({ poolSize: 0 });
  workspace = await Workspace.create({ connection: platform.connection, name: "nuts" });
  await workspace.files.write("/workspace/server.js", server);
  await workspace.exec("setsid node server.js >/dev/null 2>&1 & echo started");
  await workspace.ports.waitFor(3000);
  program = new PortBrowser(platform.url);
  program.headers = { authorization: `Bearer ${platform.apiKey}` };
  browser = await launchBrowser();
  page = await newPage(browser, problems);
  await page.goto(await platform.platform.createSignInLink("/"));
  await page.getByText("nuts", { exact: true }).first().waitFor();
});
afterAll(async () => {
  await browser?.close();
  await platform?.[Symbol.asyncDispose]();
});

const sleep = async () => {
  await workspace.hibernate();
  expect((await workspace.refresh()).state).toBe("hibernated");
};

it("a request, a WebSocket and a browser wake it, and what is open keeps it awake", async () => {
  const url = workspace.ports.url(3000);
  await sleep();
  expect((await program.fetch(url)).text).toContain("Nuts for the winter");
  await sleep();
  const socket = await program.socket(`${url}/socket`);
  if (!(socket instanceof WebSocket)) throw new Error(`refused with ${socket}`);
  await eventually(
    "the platform says why it is awake",
    async () => {
      return (await workspace.refresh()).info.keptAwakeBy === "port 3000";
    },
    60_000,
  );
  socket.terminate();
  await sleep();
  const tab = await page.context().newPage();
  await tab.goto(url);
  await tab.getByText("Nuts for the winter").waitFor();
  await tab.close();

  await workspace.setWakeOn({ http: false, webSocket: false });
  await sleep();
  await eventually("requests are refused", async () => (await program.fetch(url)).status === 409);
  expect((await workspace.refresh()).state).toBe("hibernated");
  await workspace.setWakeOn({ http: true });
  expect((await program.fetch(url)).status).toBe(200);
});

it("the editor lists and announces ports, previews them, and says who may open them", async () => {
  await openWorkbench(page, `${platform.url}/w/nuts`);
  await workspace.exec("setsid python3 -m http.server 8000 --bind :: >/dev/null 2>&1 & echo started");
  const notice = page.locator(".notification-list-item", { hasText: "Port 8000 is open by python3" });
  await notice.waitFor();
  const opened = page.context().waitForEvent("page");
  await notice.getByRole("button", { name: "Open in Browser" }).click();
  const tab = await opened;
  await tab.getByText("server.js").waitFor();
  await tab.close();
  await runCommand(page, "Notifications: Clear All Notifications");
  await runCommand(page, "Ports: Focus on Ports View");
  const row = page.locator(".panel .monaco-list-row", { hasText: "3000--nuts" });
  await row.waitFor();
  await row.hover();
  await row.locator('.action-label[aria-label*="Preview"]').click();
  const frame = page.frameLocator("iframe.webview").frameLocator("iframe").frameLocator("iframe");
  await frame.getByText("Nuts for the winter").waitFor();

  await row.click({ button: "right", position: { x: 30, y: 10 } });
  await page.getByRole("menuitem", { name: "Change Visibility" }).click();
  await page.locator(".quick-input-list .monaco-list-row", { hasText: "Public" }).click();
  await row.filter({ hasText: "public" }).waitFor();
  if (pictures) await page.screenshot({ path: join(pictures, "ports.png") });
  const stranger = await newPage(browser);
  await stranger.goto(workspace.ports.url(3000));
  await stranger.getByText("Nuts for the winter").waitFor();
  await workspace.ports.set(3000, { visibility: "private" });

  const link = await workspace.ports.createLink(3000);
  await eventually("it is private again", async () => {
    await stranger.goto(workspace.ports.url(3000));
    return stranger.url().includes("/signin");
  });
  await stranger.goto(link.url);
  await stranger.getByText("Nuts for the winter").waitFor();
  expect(stranger.url()).toBe(`${workspace.ports.url(3000)}/`);
  await workspace.ports.revokeLink(3000, link.id);
  await stranger.context().close();
  expect(problems).toEqual([]);
});

it.skipIf(!existsSync("/usr/bin/psql"))("psql reaches PostgreSQL in the machine through a forwarded port", async () => {
  const install = [
    "sudo apt-get update -q",
    "sudo env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends postgresql",
    "sudo pg_ctlcluster $(pg_lsclusters -h | cut -d' ' -f1) main start || pg_lsclusters -h | grep online",
    "sudo -u postgres createuser --superuser dev",
    "sudo -u postgres psql -c \"alter user dev password 'nuts'\"",
    "createdb dev",
  ].join(" && ");
  const { exitCode, stdout, stderr } = await workspace.exec(install, { timeoutMs: 600_000 });
  expect(exitCode, `${stdout}\n${stderr}`).toBe(0);
  const env = { ...process.env, DORMOUSE_URL: platform.url, DORMOUSE_API_KEY: platform.apiKey };
  const forward = spawn(process.execPath, [launcher, "ports", "forward", "nuts", "0:5432"], { env, stdio: "pipe" });
  try {
    let said = "";
    forward.stdout.on("data", (chunk) => (said += chunk));
    const port = await eventually("it listens", async () => /127\.0\.0\.1:(\d+) is port 5432/.exec(said)?.[1]);
    const sql =
      "create table nuts (kind text); insert into nuts select 'acorn ' || n from generate_series(1, 20000) n; select count(*), max(length(kind)) from nuts";
    const uri = `postgresql://dev:nuts@127.0.0.1:${port}/dev`;
    const answer = await run("psql", ["-X", "-At", "-c", sql, uri]);
    expect(answer.stdout).toContain("20000|11");
    const rows = await run("psql", ["-X", "-At", "-c", "select kind from nuts", uri]);
    expect(rows.stdout.trim().split("\n")).toHaveLength(20_000);
    // It wakes as any request does.
    await sleep();
    expect((await run("psql", ["-X", "-At", "-c", "select 6 * 7", uri])).stdout).toBe("42\n");
  } finally {
    const ended = new Promise((resolve) => forward.once("exit", resolve));
    forward.kill("SIGINT");
    await ended;
  }
  const { stdout: listed } = await dormouse(platform, ["ports", "nuts"]);
  expect(listed).toMatch(/5432 .*postgres/);
});
