import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import type { ControlConfig } from "../config.ts";

/** Control as a process of its own, to be killed. */
export interface ControlProcess {
  child: ChildProcess;
  url: string;
  internalUrl: string;
  /** SIGKILL: no clean-up of any kind runs. Resolves when it is gone. */
  kill(): Promise<void>;
}

/** Starts control's entry point and waits until it is ready; its log is dropped. */
export async function startControlProcess(config: ControlConfig): Promise<ControlProcess> {
  const child = fork(new URL("../main.ts", import.meta.url), {
    env: { ...process.env, DORMOUSE_CONTROL: JSON.stringify(config) },
    stdio: ["ignore", "inherit", "ignore", "ipc"],
  });
  const exited = once(child, "exit");
  const [message] = (await Promise.race([once(child, "message"), exited.then(() => [undefined])])) as [
    { type: string; url: string; internalUrl: string } | undefined,
  ];
  if (message?.type !== "ready") throw new Error("control ended while it started");
  const kill = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  return { child, url: message.url, internalUrl: message.internalUrl, kill };
}
