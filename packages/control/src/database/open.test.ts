import { readdir, readFile } from "node:fs/promises";
import { disposer } from "@dormouse/base";
import pg from "pg";
import { afterAll, expect, test } from "vitest";
import { createTestDatabase, startTestPostgres, testLog } from "../testing/platform.ts";
import { openDatabase } from "./open.ts";

const resources = disposer();
const postgres = startTestPostgres(resources);
afterAll(async () => resources[Symbol.asyncDispose]());

test("definitions of an earlier version have what was added since, and keep their ports and labels", async () => {
  const url = await createTestDatabase(await postgres);
  await (await openDatabase({ url, log: testLog }))[Symbol.asyncDispose]();
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  resources.add(() => client.end());
  const before = {
    stage: "decided",
    path: ".devcontainer.json",
    ports: [
      { port: 3000, label: "web" },
      { port: 5432, label: null },
    ],
  };
  await client.query("INSERT INTO users (id, name, email) VALUES ('u', 'Ada', 'ada@example.com')");
  await client.query("INSERT INTO organisations (id, name, personal_of) VALUES ('o', 'personal', 'u')");
  const columns =
    "(id, owner_id, organisation_id, name, state, template, folder, prepared, vcpus, memory_mib, disk_gib, env";
  await client.query(
    `INSERT INTO workspaces ${columns}, definition)
     VALUES ('w', 'u', 'o', 'w', 'running', 'base', '/w', true, 1, 1024, 16, '{}', $1), ('v', 'u', 'o', 'v', 'running', 'base', '/w', true, 1, 1024, 16, '{}', NULL)`,
    [before],
  );
  const migration = await readFile(new URL("../../drizzle/0008_personal_setup.sql", import.meta.url), "utf8");
  const [, data = ""] = migration.split(/^-- Definitions that were written before/m);
  for (const statement of `--${data}`.split("--> statement-breakpoint")) await client.query(statement);
  const { rows } = await client.query("SELECT definition FROM workspaces ORDER BY id");
  expect(rows.map(({ definition }) => definition)).toEqual([
    null,
    {
      ...{ stage: "decided", path: ".devcontainer.json", attached: null, vscode: { settings: {}, extensions: [] } },
      ports: {
        ...{ forwardPorts: [3000, 5432], appPort: [], otherPortsAttributes: {}, visibility: {} },
        portsAttributes: { "3000": { label: "web" } },
      },
    },
  ]);
});

const statementsOf = async (file: string) =>
  (await readFile(new URL(`../../drizzle/${file}`, import.meta.url), "utf8")).split("--> statement-breakpoint");

test("what there was before there were organisations is in everybody's own; those that were made otherwise stay", async () => {
  const client = new pg.Client({ connectionString: await createTestDatabase(await postgres) });
  await client.connect();
  resources.add(() => client.end());
  const files = (await readdir(new URL("../../drizzle", import.meta.url)))
    .filter((name) => name.endsWith(".sql"))
    .sort();
  const run = async (names: readonly string[]) => {
    for (const name of names) for (const statement of await statementsOf(name)) await client.query(statement);
  };
  const at = files.indexOf("0011_organisations.sql");
  await run(files.slice(0, at));
  await client.query(
    "INSERT INTO users (id, name, email) VALUES ('u', 'Ada', 'ada@x.test'), ('v', 'Bob', 'bob@x.test')",
  );
  await client.query(
    "INSERT INTO organizations (id, name, slug) VALUES ('o1', 'Team!', 'Our Team'), ('o2', 'Other', 'our-team'), ('o3', 'p', 'personal')",
  );
  await client.query(
    "INSERT INTO members (id, organization_id, user_id, role) VALUES ('m1', 'o1', 'u', 'owner,admin'), ('m2', 'o1', 'v', 'member')",
  );
  const machine = "'running', 'base', '/w', true, 1, 1024, 16, '{}'";
  await client.query(
    `INSERT INTO workspaces (id, owner_id, name, state, template, folder, prepared, vcpus, memory_mib, disk_gib, env) VALUES ('w', 'v', 'w', ${machine})`,
  );
  const key = JSON.stringify(["v", "https://git.test/a.git", null, null]);
  await client.query(
    "INSERT INTO prebuilds (id, owner_id, repository, key) VALUES ('p', 'v', 'https://git.test/a.git', $1)",
    [key],
  );
  await client.query("INSERT INTO recent_definitions (key, definition, folder) VALUES ($1, '{}', '/w')", [key]);
  await client.query(
    "INSERT INTO templates (name, version, owner_id, workspace_id, snapshot_id, definition, folder) VALUES ('t', 1, 'v', 'x', 's', '{}', '/w')",
  );
  const time = "now(), now(), 1, 1024, 5";
  await client.query(
    `INSERT INTO usage (kind, workspace_id, owner_id, generation, started_at, ended_at, vcpus, memory_mib, snapshot_bytes) VALUES ('awake', 'w', 'v', 1, ${time}), ('awake', 'y', 'gone', 1, ${time})`,
  );
  await run(files.slice(at));

  const rows = async (text: string) => (await client.query(text)).rows as Record<string, unknown>[];
  const own = await rows("SELECT id, personal_of FROM organisations WHERE name = 'personal' ORDER BY personal_of");
  expect(own).toMatchObject([{ personal_of: "u" }, { personal_of: "v" }]);
  const id = String(own[1]?.id);
  expect(id).toMatch(/^org-[0-9a-f]{20}$/);
  expect(await rows("SELECT name FROM organisations WHERE personal_of IS NULL ORDER BY id")).toEqual([
    { name: "our-team" },
    { name: expect.stringMatching(/^our-team-[0-9a-f]{8}$/) },
    { name: expect.stringMatching(/^personal-[0-9a-f]{8}$/) },
  ]);
  expect(await rows("SELECT user_id, role FROM members WHERE organisation_id = 'o1' ORDER BY user_id")).toEqual([
    { user_id: "u", role: "owner" },
    { user_id: "v", role: "member" },
  ]);
  for (const table of ["workspaces", "templates", "prebuilds"]) {
    expect(await rows(`SELECT organisation_id FROM ${table}`), table).toEqual([{ organisation_id: id }]);
  }
  const keyNow = JSON.stringify([id, "v", "https://git.test/a.git", null, null]);
  expect(await rows("SELECT key FROM prebuilds")).toEqual([{ key: keyNow }]);
  expect(await rows("SELECT key FROM recent_definitions")).toEqual([{ key: keyNow }]);
  expect(await rows("SELECT organisation_id FROM usage ORDER BY owner_id")).toEqual([
    { organisation_id: "" },
    { organisation_id: id },
  ]);
});
