import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createId, createLogger, type Disposer } from "@dormouse/base";
import pg from "pg";
import { type ControlConfig, type ControlConfigInput, controlConfig } from "../config.ts";
import { type Control, startControl } from "../control.ts";
import { type EmbeddedPostgres, startPostgres } from "../postgres/start.ts";
import { type SimulatedHost, startSimulatedHost } from "./simulated-host.ts";

/** Errors and worse; tests provoke the rest on purpose. */
export const testLog = createLogger({ level: "error", write: (line) => process.stderr.write(`${line}\n`) });

/** A PostgreSQL for one test file, in a folder of its own that goes away with it. */
export async function startTestPostgres(resources: Disposer): Promise<EmbeddedPostgres> {
  const folder = await mkdtemp(join(tmpdir(), "dm-control-"));
  resources.add(() => rm(folder, { recursive: true, force: true }));
  await chmod(folder, 0o755);
  const postgres = await startPostgres({ dataDir: join(folder, "postgres"), log: testLog });
  resources.add(() => postgres.stop());
  return postgres;
}

/** A database of its own on a running server, as its connection string. */
export async function createTestDatabase(postgres: Pick<EmbeddedPostgres, "url">): Promise<string> {
  const name = createId("test").replaceAll("-", "_");
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  await client.query(`CREATE DATABASE ${name}`);
  await client.end();
  const url = new URL(postgres.url);
  url.pathname = name;
  return url.href;
}

/** Control on a simulated host and an empty database. */
export interface TestPlatform {
  control: Control;
  config: ControlConfig;
  host: SimulatedHost;
  /** Key of the administrator. */
  apiKey: string;
  /** A call of the public API as JSON, with the administrator's key unless `headers` say otherwise. */
  call(
    method: string,
    path: string,
    options?: { body?: unknown; headers?: Record<string, string> },
  ): Promise<{ status: number; body: Record<string, unknown>; headers: Headers }>;
}

/** Starts a {@link TestPlatform}. */
export async function startTestPlatform(
  resources: Disposer,
  postgres: EmbeddedPostgres,
  options: Pick<ControlConfigInput, "quota" | "devcontainer" | "ports" | "prebuilds" | "extensions"> = {},
): Promise<TestPlatform> {
  const dataDir = await mkdtemp(join(tmpdir(), "dm-control-data-"));
  resources.add(() => rm(dataDir, { recursive: true, force: true }));
  const host = await startSimulatedHost();
  resources.add(async () => host[Symbol.asyncDispose]());
  const config = controlConfig.parse({
    internalToken: "internal-token-of-tests",
    databaseUrl: await createTestDatabase(postgres),
    host: { url: host.url, token: host.token },
    publicUrl: "http://dormouse.test:7070",
    dataDir,
    ...options,
  });
  const control = await startControl(config, testLog);
  resources.add(async () => control[Symbol.asyncDispose]());
  const apiKey = (await callInternal(control, config, "localKey", { name: "tests" })).key as string;
  const call: TestPlatform["call"] = async (method, path, options = {}) => {
    const response = await fetch(`${control.url}${path}`, {
      method,
      headers: {
        ...(options.headers ?? { authorization: `Bearer ${apiKey}` }),
        ...(options.body !== undefined && { "content-type": "application/json" }),
      },
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
    });
    const text = await response.text();
    return {
      status: response.status,
      body: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>),
      headers: response.headers,
    };
  };
  return { control, config, host, apiKey, call };
}

/** A call of the internal contract in its wire form. */
export async function callInternal(
  control: Control,
  config: ControlConfig,
  procedure: string,
  input: unknown,
): Promise<Record<string, unknown>> {
  const response = await fetch(`${control.internalUrl}/rpc/${procedure}`, {
    method: "POST",
    headers: { authorization: `Bearer ${config.internalToken}`, "content-type": "application/json" },
    body: JSON.stringify({ json: input }),
  });
  const { json } = (await response.json()) as { json: Record<string, unknown> };
  if (!response.ok) throw new Error(`${procedure}: ${JSON.stringify(json)}`);
  return json;
}
