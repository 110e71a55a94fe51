import { readFile } from "node:fs/promises";
import { disposer } from "@dormouse/base";
import pg from "pg";
import { afterAll, expect, test } from "vitest";
import { createTestDatabase, startTestPostgres, testLog } from "../testing/platform.ts";
import { openDatabase } from "./open.ts";

const resources = disposer();
afterAll(async () => resources[Symbol.asyncDispose]());

test("definitions of an earlier version have what was added since, and keep their ports and labels", async () => {
  const url = await createTestDatabase(await startTestPostgres(resources));
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
  await client.query(
    `INSERT INTO workspaces (id, owner_id, name, state, template, folder, prepared, vcpus, memory_mib, disk_gib, env, definition)
     VALUES ('w', 'u', 'w', 'running', 'base', '/w', true, 1, 1024, 16, '{}', $1), ('v', 'u', 'v', 'running', 'base', '/w', true, 1, 1024, 16, '{}', NULL)`,
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
