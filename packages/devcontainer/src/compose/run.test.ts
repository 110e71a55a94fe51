import { describe, expect, it } from "vitest";
import { planCompose } from "./plan.ts";
import { readComposeProject } from "./project.ts";
import { composeFolder, hostsOfWorkspace, serviceRuns } from "./run.ts";

async function planOf(text: string) {
  const { project, problems } = await readComposeProject({
    ...{ files: [".devcontainer/compose.yml"], env: {} },
    read: async (path) => (path.endsWith("compose.yml") ? text : undefined),
  });
  if (!project) throw new Error(problems.map(({ message }) => message).join("\n"));
  return planCompose(project, { service: "app" });
}

const options = { folder: "/src", forwarded: [{ host: "db", port: 5432 }] };

describe("what podman is told", () => {
  it("of a service in the project's network", async () => {
    const plan = await planOf(`services:
  app: {image: x, volumes: [shared:/work/shared]}
  db:
    image: x
    entrypoint: [/run, "a b"]
    command: serve --all
    environment: {A: "1 2"}
    user: "5:5"
    working_dir: /w
    hostname: d
    restart: on-failure:3
    ports: ["80:8080/udp", "127.0.0.1:81:81", "82"]
    volumes: [data:/data, ../conf:/conf:ro, /anonymous, shared:/shared, {type: tmpfs, target: /t}]
    networks: {default: {aliases: [database]}}
    extra_hosts: ["docker:host-gateway"]
    healthcheck: {test: [CMD, ok, "a b"], timeout: 500ms}
volumes: {data: , shared: }
`);
    expect(serviceRuns(plan, options)).toEqual([
      {
        name: "db",
        options: [
          ...["--network=services", "--ip=10.89.0.2", "--hostname=d", "--add-host=app:10.89.0.1"],
          ...["--add-host=db:10.89.0.2", "--add-host=database:10.89.0.2", "--add-host=docker:10.89.0.1"],
          ...["--publish=80:8080/udp", "--publish=127.0.0.1:81:81/tcp", "--publish=127.0.0.1:5432:5432/tcp"],
          ...["--env=A=1 2", "--volume=data:/data", "--volume=/host/src/conf:/conf:ro", "--volume=/anonymous"],
          ...["--volume=/host/work/shared:/shared", "--tmpfs=/t", '--entrypoint=["/run","a b"]', "--user=5:5"],
          ...["--workdir=/w", "--restart=on-failure:3", '--health-cmd=["ok","a b"]', "--health-interval=30000ms"],
          ...["--health-timeout=1000ms", "--health-retries=3"],
        ],
        command: ["serve", "--all"],
        binds: ["/src/conf", "/work/shared"],
        dependsOn: [],
        healthcheck: { intervalMs: 30_000, timeoutMs: 500, retries: 3, startPeriodMs: 0 },
      },
    ]);
  });

  it("of services in other networks", async () => {
    const plan = await planOf(`services:
  app: {image: x, network_mode: "service:db"}
  db: {image: x, ports: ["5432:5432"]}
  cache: {image: x, healthcheck: {test: ok}}
  beside: {image: x, network_mode: "service:cache"}
  alone: {image: x, network_mode: none, healthcheck: {disable: true}}
`);
    expect(Object.fromEntries(serviceRuns(plan, options).map(({ name, options: told }) => [name, told]))).toEqual({
      db: [
        ...["--network=host", "--add-host=app:127.0.0.1", "--add-host=db:127.0.0.1"],
        ...["--add-host=cache:10.89.0.2", "--add-host=beside:10.89.0.2"],
      ],
      cache: [
        ...["--network=services", "--ip=10.89.0.2", "--hostname=cache", "--add-host=app:10.89.0.1"],
        ...["--add-host=db:10.89.0.1", "--add-host=cache:10.89.0.2", "--add-host=beside:10.89.0.2"],
        ...['--health-cmd=["CMD-SHELL","ok"]', "--health-interval=30000ms"],
        ...["--health-timeout=30000ms", "--health-retries=3"],
      ],
      beside: ["--network=container:cache"],
      alone: ["--network=none", "--no-healthcheck"],
    });
    expect(hostsOfWorkspace(plan)).toEqual([
      ...[
        { name: "db", address: "127.0.0.1" },
        { name: "cache", address: "10.89.0.2" },
      ],
      { name: "beside", address: "10.89.0.2" },
    ]);
  });
});

it.each([
  ["..:/workspace:cached", "/workspace"],
  ["../..:/workspaces", "/workspaces/app"],
  ["./conf:/conf", undefined],
  ["data:/data", undefined],
])("what mounts %s has the repository in %s", async (volume, folder) => {
  const plan = await planOf(`services: {app: {image: x, volumes: ["${volume}"]}}`);
  expect(composeFolder(plan, "/repositories/app")).toBe(folder);
});
