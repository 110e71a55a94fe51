import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { world } from "./pretend-egress.ts";

/** A request as its server saw it. */
export interface SeenRequest {
  isEncrypted: boolean;
  method: string;
  url: string;
  headers: Record<string, string>;
  bytes: number;
}

/** Servers of the pretended internet that take secrets: github.com and pypi.org, on 443 and 80. */
export interface SecretServer extends AsyncDisposable {
  /** Root of their certificates, as PEM, and the file that it is in. */
  root: string;
  rootFile: string;
  /** What was asked so far. */
  seen: SeenRequest[];
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts them in the world's namespace. */
export async function startSecretServer(namespace: string): Promise<SecretServer> {
  const owned = disposer();
  try {
    const folder = await mkdtemp(join(tmpdir(), "dormouse-secrets-"));
    owned.add(() => rm(folder, { recursive: true, force: true }));
    const [rootFile, key] = [join(folder, "root.pem"), join(folder, "key.pem")];
    const names = ["-subj", "/CN=github.com", "-addext", "subjectAltName=DNS:github.com,DNS:pypi.org"];
    const ofKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key];
    await run("openssl", ["req", "-x509", "-days", "2", ...ofKey, "-out", rootFile, ...names]);
    const script = fileURLToPath(new URL("secret-server.ts", import.meta.url));
    const args = [`--net=/run/netns/${namespace}`, process.execPath, script, world.registries, rootFile, key];
    const child = spawn("nsenter", args, { stdio: ["pipe", "pipe", "inherit"] });
    owned.add(() => void child.kill("SIGKILL"));
    const seen: SeenRequest[] = [];
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    child.once("exit", (code) => reject(new Error(`the servers of secrets ended with ${code}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const said = JSON.parse(line) as SeenRequest | { ready: true };
      if ("ready" in said) resolve();
      else seen.push(said);
    });
    await promise;
    return {
      root: await readFile(rootFile, "utf8"),
      rootFile,
      seen,
      [Symbol.asyncDispose]: async () => owned[Symbol.asyncDispose](),
    };
  } catch (error) {
    await owned[Symbol.asyncDispose]();
    throw error;
  }
}
