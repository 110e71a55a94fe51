import { closedEgress } from "@dormouse/contract";
import type { ServiceRun } from "@dormouse/devcontainer";
import { describe, expect, it } from "vitest";
import type { GuestClient } from "../host/client.ts";
import { isServiceFailure, serviceImageName, startServices } from "./services.ts";

const { signal } = new AbortController();

/** A machine whose engine answers as it is told, by the name of what is asked and of the service. */
function machine(answers: Record<string, { exitCode: number; stdout?: string; stderr?: string }>) {
  const asked: string[] = [];
  const kindOf = (script: string) =>
    [
      ...[["/etc/hosts", "hosts"] as const, ["mkdir -p", "folders"] as const, ["network exists", "network"] as const],
      ...[["ps --all", "others"] as const, ["run --detach", "start"] as const, ["healthcheck run", "health"] as const],
      ...[["logs --tail", "logs"] as const, ["State.Status", "state"] as const],
    ].find(([part]) => script.includes(part))?.[1] ?? "?";
  const answer = (command: string[]) => {
    const [, , , script = "", , name = ""] = command;
    const key = `${kindOf(script)} ${name}`.trim();
    asked.push(key);
    const usual = key.startsWith("state") ? { exitCode: 0, stdout: "running 0\n" } : { exitCode: 0 };
    return { stdout: "", stderr: "", timedOut: false, ...(answers[key] ?? usual) };
  };
  const results = new Map<string, ReturnType<typeof answer>>();
  const guest = {
    exec: {
      run: async ({ command }: { command: string[] }) => answer(command),
      async start({ command }: { command: string[] }) {
        const processId = `p-${results.size}`;
        results.set(processId, answer(command));
        return { processId };
      },
      async attach({ processId }: { processId: string }) {
        const { exitCode = 0, stderr = "", timedOut } = results.get(processId) ?? {};
        return (async function* () {
          if (stderr) yield { type: "stderr", data: Buffer.from(stderr).toString("base64") };
          yield { type: "exit", exitCode, timedOut };
        })();
      },
    },
  } as unknown as GuestClient;
  return { guest, asked };
}

const run = (name: string, more: Partial<ServiceRun> = {}) => ({
  ...{ name, options: ["--network=services"], command: [], binds: [], dependsOn: [], healthcheck: null, image: "i" },
  ...more,
});
const after = (service: string, condition: ServiceRun["dependsOn"][number]["condition"], required = true) => ({
  ...{ service, condition, required },
});
const watcher = { egress: closedEgress, onProgress() {}, onLog() {} };

describe("services", () => {
  it("are started in order, each when what it needs is well", async () => {
    const { guest, asked } = machine({});
    const services = {
      runs: [run("db", { binds: ["/a"] }), run("web", { dependsOn: [after("db", "service_healthy")] })],
      awaited: [after("web", "service_healthy")],
      hosts: [{ name: "db", address: "10.89.0.2" }],
    };
    expect(await startServices({ guest, services }, watcher, signal)).toEqual([]);
    expect(asked).toEqual([
      ...[
        "hosts 10.89.0.2\tdb",
        "network",
        "others db",
        "folders /a",
        "start db",
        "state db",
        "health db",
        "start web",
      ],
      ...["state web", "health web", "state db", "state web"],
    ]);
  });

  it("that fail are told with what they wrote, with those that need them", async () => {
    const { guest, asked } = machine({
      "start odd": { exitCode: 127, stderr: "Error: no such program\n" },
      "state db": { exitCode: 0, stdout: "exited 3\n" },
      "logs db": { exitCode: 0, stdout: "beginning\nno disk\n" },
      "state job": { exitCode: 0, stdout: "exited 0\n" },
    });
    const services = {
      runs: [
        ...[run("odd"), run("db"), run("job"), run("late", { dependsOn: [after("db", "service_healthy")] })],
        run("any", {
          dependsOn: [after("db", "service_healthy", false), after("job", "service_completed_successfully")],
        }),
      ],
      awaited: [],
      hosts: [],
    };
    const failures = await startServices({ guest, services }, watcher, signal);
    expect(failures).toEqual([
      "failed: service odd: its start ended with code 127: Error: no such program",
      "failed: service late: ended with code 3: beginning | no disk",
      "failed: service db: ended with code 3: beginning | no disk",
    ]);
    expect(failures.every(isServiceFailure)).toBe(true);
    expect(asked).toContain("start any");
    expect(asked).not.toContain("start late");
  });

  it("end no start when the machine is gone", async () => {
    const guest = {
      exec: { start: () => Promise.reject(new Error("away")), run: () => Promise.reject(new Error("away")) },
    } as unknown as GuestClient;
    const aborted = AbortSignal.abort();
    const services = { runs: [run("db")], awaited: [], hosts: [{ name: "db", address: "1" }] };
    await expect(startServices({ guest, services }, watcher, aborted)).rejects.toThrow();
  });
});

it("images are called by what they are", () => {
  expect(serviceImageName("a@sha256:1")).toMatch(/^localhost\/dormouse\/service:[0-9a-f]{32}$/);
  expect(serviceImageName("a@sha256:1")).not.toBe(serviceImageName("a@sha256:2"));
});
