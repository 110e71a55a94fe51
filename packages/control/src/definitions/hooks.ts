import { DormouseError, formatDuration } from "@dormouse/base";
import {
  type LifecycleStep,
  probeShellOf,
  type RunnableCommand,
  remoteEnvironment,
  substituteContainer,
  substituteLocal,
} from "@dormouse/devcontainer";
import { type GuestClient, remote } from "../host/client.ts";
import type { GuestAccount } from "./accounts.ts";
import type { BuildWatcher } from "./builder.ts";
import { type Definition, environmentOf, type VariableOwner, variablesOf } from "./definition.ts";
import { runLogged } from "./run.ts";

/** Where and as whom a workspace's own commands run. */
export interface HookPlace {
  guest: GuestClient;
  definition: Definition;
  owner: VariableOwner;
  account: GuestAccount;
  timeoutMs: number;
}

const probeTimeoutMs = 20_000;
const mark = "__dormouse_environment__";

/**
 * Runs one step of the lifecycle: what image, features and file give to it one after the other, what stands side by side
 * in one of them at the same time.
 * @throws DormouseError `failed_precondition` with the first that failed.
 */
export async function runStep(
  place: HookPlace,
  step: LifecycleStep,
  env: Record<string, string>,
  watcher: BuildWatcher,
  signal: AbortSignal,
): Promise<void> {
  const { guest, owner, account, timeoutMs } = place;
  for (const { from, commands } of step.tasks) {
    const runs = commands.map(async (written) => {
      const command = substituteContainer(substituteLocal(written, variablesOf(owner)), { containerEnv: env });
      const name = command.name === undefined ? step.hook : `${step.hook} ${command.name}`;
      const what = from === "devcontainer.json" ? name : `${name} of ${from}`;
      watcher.onLog(`=== ${what}`);
      watcher.onProgress({ step: step.hook, message: `Running ${what}` });
      await runLogged({
        ...{ guest, what, cwd: owner.folder, user: account.name, env, timeoutMs },
        command: argumentsOf(command),
        onLine(line) {
          watcher.onLog(line);
          watcher.onProgress({ step: step.hook, message: `Running ${what}: ${line.slice(0, 120)}` });
        },
        signal,
      });
    });
    const results = await Promise.allSettled(runs);
    const failed = results.find((result) => result.status === "rejected");
    if (failed) throw DormouseError.from(failed.reason);
  }
}

function argumentsOf(command: RunnableCommand): string[] {
  return command.kind === "shell" ? ["/bin/sh", "-c", command.line] : command.argv;
}

/**
 * The environment of lifecycle commands: what the user's own shell says in addition ("userEnvProbe"). A shell that does not
 * answer in time is done without.
 */
export async function hookEnvironment(
  place: HookPlace,
  watcher: BuildWatcher,
  signal: AbortSignal,
): Promise<Record<string, string>> {
  const { definition, owner } = place;
  const containerEnv = environmentOf(definition, owner);
  const probedEnv = await probe(place, watcher, signal);
  const remoteEnv = substituteLocal(definition.remoteEnv, variablesOf(owner));
  return { ...remoteEnvironment({ remoteEnv }, { containerEnv, probedEnv }), ...owner.env };
}

async function probe(
  { guest, definition, owner, account }: HookPlace,
  { onLog }: BuildWatcher,
  signal: AbortSignal,
): Promise<Record<string, string>> {
  const shell = probeShellOf(definition);
  if (!shell) return {};
  const flags = `-${shell.login ? "l" : ""}${shell.interactive ? "i" : ""}c`;
  const script = `printf ${mark}; cat /proc/self/environ; printf ${mark}`;
  const result = await remote(
    guest.exec.run(
      {
        command: [account.shell, flags, script],
        cwd: owner.folder,
        user: account.name,
        env: environmentOf(definition, owner),
        timeoutMs: probeTimeoutMs,
      },
      { signal },
    ),
  ).catch((error: unknown) => DormouseError.from(error));
  const [, text] = result instanceof DormouseError ? [] : result.stdout.split(mark);
  if (text === undefined) {
    const why =
      result instanceof DormouseError
        ? result.message
        : result.timedOut
          ? `no answer within ${formatDuration(probeTimeoutMs)}`
          : `code ${result.exitCode}`;
    onLog(`userEnvProbe: ${account.shell} ${flags} did not tell its environment: ${why}`);
    return {};
  }
  // What belongs to that one shell is nobody else's.
  const own = new Set(["_", "PWD", "OLDPWD", "SHLVL", "TERM"]);
  const entries = text
    .split("\0")
    .map((entry) => [entry.slice(0, entry.indexOf("=")), entry.slice(entry.indexOf("=") + 1)] as const)
    .filter(([name]) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !own.has(name));
  return Object.fromEntries(entries);
}

/** What features start with the machine: each runs on by itself. */
export async function startEntrypoints(
  { guest, definition, owner }: HookPlace,
  { onLog }: BuildWatcher,
  signal: AbortSignal,
): Promise<void> {
  for (const entrypoint of definition.entrypoints) {
    // An entrypoint ends by running the command that it is given.
    const command = ["/bin/sh", "-c", `exec ${entrypoint} true`];
    await remote(
      guest.exec.start({ command, cwd: "/", user: "root", env: environmentOf(definition, owner) }, { signal }),
    ).catch((error: unknown) => onLog(`entrypoint ${entrypoint}: ${DormouseError.from(error).message}`));
  }
}
