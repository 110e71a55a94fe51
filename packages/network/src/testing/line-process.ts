import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { DormouseError } from "@dormouse/base";

/** A script beside this file that answers each line with a line of JSON, once it has said `ready`. */
export interface LineProcess extends AsyncDisposable {
  ask<T>(line: string): Promise<T>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts a Python script of this folder, in a namespace or in the host's own. */
export async function startLineProcess(options: {
  script: string;
  args: readonly string[];
  namespace?: string;
  env?: Record<string, string>;
}): Promise<LineProcess> {
  const { script, args, namespace, env } = options;
  const command = ["python3", fileURLToPath(new URL(script, import.meta.url)), ...args];
  if (namespace) command.unshift("nsenter", `--net=/run/netns/${namespace}`);
  const [file = "", ...rest] = command;
  const child: ChildProcess = spawn(file, rest, {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  if (!child.stdout || !child.stdin) throw new DormouseError("internal", `${script} has no standard streams`);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new DormouseError("unavailable", `${script} has ended`);
    return String(value);
  };
  await next();
  const { stdin } = child;
  return {
    async ask(line) {
      stdin.write(`${line}\n`);
      return JSON.parse(await next());
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    },
  };
}
