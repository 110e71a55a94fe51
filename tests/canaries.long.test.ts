// Nothing secret is in a template: canaries go through the workspace that it is baked of and through those that start from
// it, and are looked for in every byte that is left, as they are and in the encodings that programs keep text in.

import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import type { EmbeddedPostgres } from "@dormouse/control/postgres";
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openDatabase } from "../packages/control/src/database/open.ts";
import { startTestPostgres, testLog } from "../packages/control/src/testing/platform.ts";
import { dormouse } from "./support/dormouse.ts";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";
import { createPretendInternet, type PretendInternet } from "./support/pretend-internet.ts";
import { search } from "./support/search-marks.ts";

let internet: PretendInternet;
let platform: TestPlatform;
let folder: string;
let postgres: EmbeddedPostgres;
const resources = disposer();
beforeAll(async () => {
  // The platform's own, but one whose address is known here.
  postgres = await startTestPostgres(resources);
  process.env.DATABASE_URL = postgres.url;
  internet = await createPretendInternet();
  platform = await startTestPlatform();
  folder = await mkdtemp(join(tmpdir(), "dormouse-canaries-"));
});
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await internet?.[Symbol.asyncDispose]();
  await resources[Symbol.asyncDispose]();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** Begins every canary, so that one pattern of each encoding finds all of them. */
const mark = "DormouseCanary";
/** The same for what must be found: it lies in the template on purpose, in each encoding. */
const control = "DormouseSeen-it";

/** Every row of every table, as text. */
async function dumpDatabase(): Promise<string> {
  await using database = await openDatabase({ url: postgres.url, log: testLog });
  const { db } = database;
  const names = "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'";
  const lines: string[] = [];
  for (const { name } of (await db.execute<{ name: string }>(names)).rows) {
    const { rows } = await db.execute<{ line: string }>(`SELECT row_to_json(t)::text AS line FROM "${name}" AS t`);
    lines.push(`-- ${name}`, ...rows.map(({ line }) => line));
  }
  return lines.join("\n");
}

it("32 canaries are in no byte of a template: memory, devices, drive, state, logs, database", async () => {
  const { connection, dataDir } = platform;
  const all: string[] = [];
  const canary = () => {
    all.push(`${mark}${randomBytes(8).toString("hex")}`);
    return all.at(-1) ?? "";
  };
  const many = (count: number) => Array.from({ length: count }, canary);
  const envOf = (names: string[]) => Object.fromEntries(names.map((value, index) => [`SECRET_${index}`, value]));

  // What is to be found says that the search finds: a file of the repository, in each encoding.
  const seen = [
    control,
    Buffer.from(control).toString("hex"),
    Buffer.from(control).toString("base64"),
    Buffer.from(control, "utf16le").toString("latin1"),
  ];
  const definition = { onCreateCommand: "echo set up >~/set-up", containerEnv: { TOKEN: "${localEnv:SECRET_0:none}" } };
  const files = { ".devcontainer.json": JSON.stringify(definition), "seen.txt": `${seen.join("\n")}\n` };
  const repository = await internet.addRepository("known/canaries", files);
  const [user, password] = many(2);

  // 2 with which a git server was asked, 6 that commands of the set-up had, 4 that they read, 4 in memory files and processes.
  const golden = await Workspace.create({
    connection,
    prebuild: true,
    repository: repository.replace("http://", `http://${user}:${password}@`),
  });
  await golden.exec("cat seen.txt; env | sort", { env: envOf(many(6)) });
  for (const secret of many(4)) await golden.exec('read secret; test -n "$secret"', { stdin: `${secret}\n` });
  for (const secret of many(2)) await golden.exec(["sh", "-c", "cat >/dev/shm/secret-$$"], { stdin: secret });
  for (const secret of many(2)) await golden.exec("sleep 600", { background: true, env: { KEPT: secret } });
  await golden.bake("canaries");

  // 8 with which workspaces of it are created, 4 that the person's own set-up has, 4 that are typed in them.
  const [gitName, gitEmail, dotfiles, install] = many(4);
  const own = await internet.addRepository(`own/${dotfiles}`, {
    ".own": `${dotfiles}\n`,
    "install.sh": `echo ${install} >~/own\n`,
  });
  const setUp = ["--dotfiles", own, "--dotfiles-install", `sh install.sh # ${install}`];
  expect(
    await dormouse(platform, ["me", "set", ...setUp, "--git-name", gitName ?? "", "--git-email", gitEmail ?? ""]),
  ).toMatchObject({ exitCode: 0 });
  for (let round = 0; round < 2; round++) {
    await using workspace = await Workspace.create({ connection, template: "canaries", env: envOf(many(4)) });
    expect((await workspace.exec("echo $TOKEN; cat ~/set-up")).stdout).toMatch(/^DormouseCanary\w+\nset up\n$/);
    for (const secret of many(2)) await workspace.exec(`echo ${secret} >~/mine`);
    await eventually("the person's own", async () => (await workspace.exec("cat ~/own")).stdout === `${install}\n`);
    await workspace.snapshot({ name: "with secrets" });
  }
  expect(await dormouse(platform, ["me", "unset", "dotfiles", "git-name", "git-email"])).toMatchObject({ exitCode: 0 });
  expect(all).toHaveLength(32);

  // What the template is lies open where a machine starts from it.
  await using workspace = await Workspace.create({ connection, template: "canaries" });
  expect((await workspace.exec("cat ~/set-up seen.txt | head -2")).stdout).toBe(`set up\n${control}\n`);
  const dump = join(folder, "database");
  await writeFile(dump, await dumpDatabase());
  const data = join(dataDir, "data");
  const places = [join(data, "machines"), join(data, "control"), join(data, "vmm"), join(data, "logs"), dump];
  const { stdout } = await run("python3", ["-c", search, [mark, control].join(","), ...places], {
    timeoutMs: 1_200_000,
  });
  const hits = stdout.split("\n").filter((line) => line !== "");
  process.stderr.write(`${hits.join("\n")}\n`);
  const encodings = new Set(hits.filter((hit) => hit.startsWith(`${control} `)).map((hit) => hit.split(" ")[1]));
  expect([...encodings].toSorted()).toEqual(["base64", "hex", "raw", "utf-16"]);
  expect(hits.filter((hit) => hit.startsWith(`${mark} `))).toEqual([]);
  expect(await readFile(dump, "utf8")).toContain("canaries");
});
