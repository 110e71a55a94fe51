import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { DormouseError, formatDuration } from "@dormouse/base";
import { networkName, type ServiceRun, servicesNetwork } from "@dormouse/devcontainer";
import { type GuestClient, remote } from "../host/client.ts";
import type { BuildWatcher } from "./builder.ts";
import { runLogged } from "./run.ts";

/** What runs beside a workspace in its machine, kept with its definition. */
export interface Services {
  runs: (ServiceRun & { /** What its image is called in the machine. */ image: string })[];
  /** What must have come to what before anybody works in the workspace. */
  awaited: ServiceRun["dependsOn"];
  /** Names by which the workspace reaches them. */
  hosts: { name: string; address: string }[];
}

/** Podman in a machine, see `engine.ts` of image. */
export const podman = "/run/dormouse/tools/libexec/podman";
const busybox = "/run/dormouse/tools/bin/busybox";
/** As long as one command of the engine may take: an emulated processor, and a service that is slow to end. */
const commandTimeoutMs = 3 * 60_000;
/** As long as a service is waited for at least, and at most, whatever its check of health says. */
const leastWaitMs = 60_000;
const mostWaitMs = 10 * 60_000;
const shownLines = 10;
const lineCharacters = 500;
const logLines = 2000;
/** How lines begin that tell of one that failed. */
const failureMark = "failed: ";

/** What an image is called in a machine, whichever way it came there. */
export function serviceImageName(exact: string): string {
  return `localhost/dormouse/service:${createHash("sha256").update(exact).digest("hex").slice(0, 32)}`;
}

/** Takes an image that lies as an archive in a machine into its engine. */
export async function loadServiceImage(
  options: { guest: GuestClient; archive: string; exact: string; name: string; timeoutMs: number },
  { onLog }: BuildWatcher,
  signal: AbortSignal,
): Promise<void> {
  const { guest, archive, exact, name, timeoutMs } = options;
  // The engine has the machine's root at /host.
  const script =
    `set -e; id=$(${podman} pull --quiet "oci-archive:/host$1"); ${podman} tag "$id" "$2"; ` + `${busybox} rm "$1"`;
  await runLogged({
    ...{ guest, what: `unpacking ${name}`, cwd: "/", user: "root", env: {}, timeoutMs, signal, onLine: onLog },
    command: [busybox, "sh", "-c", script, "sh", archive, serviceImageName(exact)],
  });
}

/** Whether a note tells of a service that failed when it was started last. */
export function isServiceFailure(note: string): boolean {
  return note.startsWith(failureMark);
}

/** Each script is run by BusyBox: an image need not have a shell. */
const scripts = {
  hosts: `
[ -e /etc/hosts ] || printf '127.0.0.1\\tlocalhost\\n::1\\tlocalhost\\n' >/etc/hosts
{ $b grep -v '# a service$' /etc/hosts; for line; do printf '%s\\t# a service\\n' "$line"; done; } >/run/dormouse/hosts
$b cat /run/dormouse/hosts >/etc/hosts
$b rm /run/dormouse/hosts`,
  folders: `for path; do [ -e "$path" ] || $b mkdir -p "$path" || exit; done`,
  network: `$p network exists ${networkName} || $p network create --disable-dns --subnet ${servicesNetwork.subnet} \
--gateway ${servicesNetwork.gateway} ${networkName} >/dev/null`,
  // What an earlier definition had.
  others: `for name in $($p ps --all --filter label=dormouse.hash --format '{{.Names}}'); do
  case " $* " in *" $name "*) ;; *) $p rm --force --time 5 "$name" >/dev/null ;; esac
done`,
  // One that is as it was meant to be keeps what it has written.
  start: `
name=$1 hash=$2
shift 2
if [ "$($p container inspect --format '{{index .Config.Labels "dormouse.hash"}}' "$name" 2>/dev/null)" = "$hash" ]; then
  exec $p start "$name" >/dev/null
fi
exec $p run --detach --replace --pull=never --name "$name" --label "dormouse.hash=$hash" "$@" >/dev/null`,
  state: `$p container inspect --format '{{.State.Status}} {{.State.ExitCode}}' "$1"`,
  health: `$p healthcheck run "$1" >/dev/null`,
  checks: `$p container inspect --format '{{with .State.Health}}{{range .Log}}{{.Output}}{{end}}{{end}}' "$1"`,
  logs: `$p logs --tail "$2" "$1" 2>&1`,
} as const;

/** Where services are started. */
export interface ServicesPlace {
  guest: GuestClient;
  services: Services;
}

/**
 * Starts what is not running of a workspace's services, each once those that it needs have come to what it waits for. What
 * fails keeps nobody out.
 * @returns a line for each service that failed, with its name and its last output.
 */
export async function startServices(
  { guest, services }: ServicesPlace,
  watcher: BuildWatcher,
  signal: AbortSignal,
): Promise<string[]> {
  const engine = new Engine(guest, watcher, signal);
  const failures = new Map<string, string>();
  const fail = (name: string, caught: unknown) => {
    const error = DormouseError.from(caught);
    if (signal.aborted || error.code === "unavailable") throw error;
    const message = `${failureMark}service ${name}: ${error.message}`;
    watcher.onLog(message);
    failures.set(name, message);
  };
  const awaitAll = async (dependencies: ServiceRun["dependsOn"], isOptional: boolean) => {
    for (const { service, condition, required } of dependencies) {
      const run = services.runs.find(({ name }) => name === service);
      if (!run) continue;
      try {
        if (failures.has(service)) throw new DormouseError("failed_precondition", `needs ${service}, which failed`);
        await engine.reach(run, condition);
      } catch (error) {
        if (isOptional) fail(service, error);
        else if (required) throw error;
      }
    }
  };
  /** Of what all of them need: they tell themselves what they lack. */
  const tell = (caught: unknown) => {
    if (signal.aborted || DormouseError.from(caught).code === "unavailable") throw caught;
    watcher.onLog(DormouseError.from(caught).message);
  };
  const lines = services.hosts.map(({ name, address }) => `${address}\t${name}`);
  await engine.run("hosts", "names of services", lines).catch(tell);
  if (services.runs.some(({ options }) => options.includes(`--network=${networkName}`))) {
    await engine.run("network", "the services' network", []).catch(tell);
  }
  await engine
    .run(
      "others",
      "services that are no more",
      services.runs.map(({ name }) => name),
    )
    .catch(tell);
  for (const run of services.runs) {
    watcher.onProgress({ step: "services", message: `Starting the service ${run.name}` });
    watcher.onLog(`=== service ${run.name}`);
    try {
      await awaitAll(run.dependsOn, false);
      await engine.run("folders", "folders that are mounted", run.binds);
      const args = [...run.options, run.image, ...run.command];
      const hash = createHash("sha256").update(JSON.stringify(args)).digest("hex");
      await engine.run("start", "its start", [run.name, hash, ...args]);
    } catch (error) {
      fail(run.name, error);
    }
  }
  await awaitAll(
    services.awaited.filter(({ service }) => !failures.has(service)),
    true,
  );
  for (const { name } of services.runs) {
    if (failures.has(name)) continue;
    await engine.checkRuns(name).catch((error) => fail(name, error));
  }
  return [...failures.values()];
}

/** The last lines that a service wrote; nothing of one that was never started. */
export async function serviceLog(guest: GuestClient, name: string, signal?: AbortSignal): Promise<string> {
  const input = { command: commandOf("logs", [name, String(logLines)]), cwd: "/", user: "root", env: {} };
  const { exitCode, stdout } = await remote(
    guest.exec.run({ ...input, timeoutMs: commandTimeoutMs }, { ...(signal && { signal }) }),
  );
  return exitCode === 0 ? stdout : "";
}

/** The engine of one machine. */
class Engine {
  readonly #guest: GuestClient;
  readonly #watcher: BuildWatcher;
  readonly #signal: AbortSignal;

  constructor(guest: GuestClient, watcher: BuildWatcher, signal: AbortSignal) {
    this.#guest = guest;
    this.#watcher = watcher;
    this.#signal = signal;
  }

  async run(script: keyof typeof scripts, what: string, args: readonly string[]): Promise<void> {
    if (script !== "network" && args.length === 0) return;
    await runLogged({
      ...{ guest: this.#guest, what, cwd: "/", user: "root", env: {}, timeoutMs: commandTimeoutMs },
      command: commandOf(script, args),
      onLine: this.#watcher.onLog,
      signal: this.#signal,
    });
  }

  async ask(script: keyof typeof scripts, args: readonly string[]) {
    const input = { command: commandOf(script, args), cwd: "/", user: "root", env: {}, timeoutMs: commandTimeoutMs };
    return await remote(this.#guest.exec.run(input, { signal: this.#signal }));
  }

  /** Waits until a service has come to what others need of it. @throws DormouseError `failed_precondition`. */
  async reach(run: ServiceRun, condition: ServiceRun["dependsOn"][number]["condition"]): Promise<void> {
    if (condition === "service_started") return;
    const { name, healthcheck: check } = run;
    const isHealth = condition === "service_healthy";
    this.#watcher.onProgress({
      step: "services",
      message: `Waiting for the service ${name} to be ${isHealth ? "healthy" : "done"}`,
    });
    const asked = check ? check.startPeriodMs + check.retries * (check.intervalMs + check.timeoutMs) : leastWaitMs;
    const waitMs = isHealth ? Math.min(mostWaitMs, Math.max(leastWaitMs, asked)) : mostWaitMs;
    const endMs = performance.now() + waitMs;
    const pauseMs = Math.min(2000, Math.max(200, check?.intervalMs ?? 1000));
    for (;;) {
      const { state, exitCode } = await this.#state(name);
      if (state === "exited" && (isHealth || exitCode !== 0)) throw await this.#ended(name, exitCode);
      if (!isHealth && state === "exited") return;
      if (isHealth) {
        const health = await this.ask("health", [name]);
        if (health.exitCode === 0) return;
        if (/has no defined healthcheck/.test(health.stderr)) return;
      }
      if (performance.now() > endMs) break;
      await delay(pauseMs, undefined, { signal: this.#signal });
    }
    const why = isHealth ? "was not healthy" : "was not done";
    const { stdout } = await this.ask("checks", [name]);
    const said = stdout.trim().split("\n").at(-1)?.slice(-lineCharacters);
    const told = said ? `, its check says ${JSON.stringify(said)}` : "";
    const tail = await this.#tail(name);
    throw new DormouseError("failed_precondition", `${why} within ${formatDuration(waitMs)}${told}${tail}`);
  }

  /** @throws DormouseError `failed_precondition` when it has ended with a failure. */
  async checkRuns(name: string): Promise<void> {
    const { state, exitCode } = await this.#state(name);
    if (state === "exited" && exitCode !== 0) throw await this.#ended(name, exitCode);
  }

  async #state(name: string): Promise<{ state: string; exitCode: number }> {
    const { stdout } = await this.ask("state", [name]);
    const [state = "", code = "0"] = stdout.trim().split(" ");
    return { state, exitCode: Number(code) };
  }

  async #ended(name: string, code: number): Promise<DormouseError> {
    return new DormouseError("failed_precondition", `ended with code ${code}${await this.#tail(name)}`);
  }

  async #tail(name: string): Promise<string> {
    const { stdout } = await this.ask("logs", [name, String(shownLines)]);
    const lines = stdout.split("\n").filter((line) => line.trim() !== "");
    for (const line of lines) this.#watcher.onLog(line);
    return lines.length === 0 ? "" : `: ${lines.slice(-3).join(" | ").slice(-lineCharacters)}`;
  }
}

function commandOf(script: keyof typeof scripts, args: readonly string[]): string[] {
  return [busybox, "sh", "-c", `b=${busybox} p=${podman}\n${scripts[script]}`, "sh", ...args];
}
