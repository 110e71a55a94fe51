import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Connection } from "./connection.ts";
import { readCredentials, saveCredentials } from "./credentials.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "dormouse-credentials-"));
  vi.stubEnv("XDG_CONFIG_HOME", folder);
  vi.stubEnv("DORMOUSE_URL", "");
  vi.stubEnv("DORMOUSE_API_KEY", "");
  vi.stubEnv("DORMOUSE_ORG", "");
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

test("are saved for the user alone, replaced as a whole, and read back", async () => {
  expect(await readCredentials()).toBeUndefined();
  await saveCredentials({ url: "http://one.example", apiKey: "first" });
  const file = await saveCredentials({ url: "http://one.example", apiKey: "second" });
  expect(file).toBe(join(folder, "dormouse/credentials.json"));
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect((await stat(join(folder, "dormouse"))).mode & 0o777).toBe(0o700);
  expect(await readCredentials()).toEqual({ url: "http://one.example", apiKey: "second" });
});

test("a broken file is named, its content is not", async () => {
  const file = await saveCredentials({ url: "http://one.example", apiKey: "first" });
  await writeFile(file, '{"apiKey": "secret"');
  const error = await readCredentials().catch((caught: Error) => caught);
  expect(error).toMatchObject({ code: "failed_precondition", message: expect.stringContaining(file) });
  expect(String(error)).not.toContain("secret");
});

test("options go before the environment, and a saved key only to its own address", async () => {
  await expect(Connection.open()).rejects.toMatchObject({ code: "unauthenticated" });
  await saveCredentials({ url: "http://one.example:7070/", apiKey: "saved" });
  expect((await Connection.open()).url).toBe("http://one.example:7070");
  expect((await Connection.open({ url: "http://one.example:7070" })).url).toBe("http://one.example:7070");
  await expect(Connection.open({ url: "http://one.example" })).rejects.toThrow("no key for http://one.example");
  vi.stubEnv("DORMOUSE_URL", "http://two.example");
  vi.stubEnv("DORMOUSE_API_KEY", "environment");
  expect((await Connection.open()).url).toBe("http://two.example");
  expect((await Connection.open({ url: "http://three.example", apiKey: "given" })).url).toBe("http://three.example");
});

test("the organisation that is meant is the given one, the environment's, or the saved one of the same address", async () => {
  await saveCredentials({ url: "http://one.example", apiKey: "saved", organisation: "acme" });
  expect((await Connection.open()).organisation).toBe("acme");
  // Signing in again to the same platform keeps it, to another one does not.
  await saveCredentials({ url: "http://one.example", apiKey: "renewed" });
  expect(await readCredentials()).toEqual({ url: "http://one.example", apiKey: "renewed", organisation: "acme" });
  expect((await Connection.open({ url: "http://two.example", apiKey: "given" })).organisation).toBeUndefined();
  vi.stubEnv("DORMOUSE_ORG", "other");
  expect((await Connection.open()).organisation).toBe("other");
  expect((await Connection.open({ organisation: "given" })).organisation).toBe("given");
  vi.stubEnv("DORMOUSE_ORG", "");
  await saveCredentials({ url: "http://two.example", apiKey: "saved" });
  expect((await Connection.open()).organisation).toBeUndefined();
});
