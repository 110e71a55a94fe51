// A repository that says with Compose what its workspace is and what runs beside it: in one machine, with a registry on this
// machine and real machines.

import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startRegistry, type TestRegistry } from "../packages/image/src/testing/registry.ts";
import { pushMuslImage, pushPostgresImage } from "../packages/image/src/testing/test-images.ts";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";
import { createPretendInternet, type PretendInternet } from "./support/pretend-internet.ts";

let registry: TestRegistry;
let internet: PretendInternet;
let platform: TestPlatform;
let musl: string;
let postgres: string;

beforeAll(async () => {
  registry = await startRegistry();
  internet = await createPretendInternet();
  const context = { cacheDir: process.env.DORMOUSE_CACHE || "/var/cache/dormouse" };
  musl = (await pushMuslImage(registry, context)).reference;
  postgres = (await pushPostgresImage(registry, context)).reference;
  platform = await startTestPlatform({ poolSize: 0, registry: { insecure: [registry.address] } });
});
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await internet?.[Symbol.asyncDispose]();
  await registry?.stop();
});

async function open(options: { repository?: string; template?: string; env?: Record<string, string> }) {
  const steps: string[] = [];
  const { connection } = platform;
  const onProgress = ({ step, message }: { step: string; message: string }) => void steps.push(`${step}: ${message}`);
  const beganMs = performance.now();
  const workspace = await Workspace.create({ connection, ...options, onProgress });
  process.stderr.write(
    `${options.repository ?? options.template} opened in ${Math.round(performance.now() - beganMs)} ms\n`,
  );
  return { workspace, steps: steps.join("\n") };
}

const setUpOf = async ({ id }: Workspace) => (await platform.connection.api.workspaces.logs({ workspace: id })).setup;

describe("a repository with Compose files", () => {
  it("opens in one of its services, with the others beside it, and sleeps and wakes with them", async () => {
    const definition = {
      dockerComposeFile: ["compose.yml", "over.yml"],
      service: "app",
      workspaceFolder: "/workspaces/${localWorkspaceFolderBasename}",
      forwardPorts: ["store:7000"],
      postCreateCommand: "wget -qO- http://web/ >/tmp/from-web",
    };
    const compose = `services:
  app:
    build: {context: .., dockerfile: .devcontainer/Dockerfile, args: {FROM: "${musl}"}}
    command: sleep infinity
    volumes: ["..:/workspaces/stack:cached", "shared:/shared"]
    environment: {FROM_COMPOSE: "\${WORD:-none}"}
    depends_on:
      web: {condition: service_healthy}
  web:
    image: ${musl}
    command: httpd -f -p 80 -h /www
    volumes: ["../www:/www:ro"]
    ports: ["8080:80"]
    healthcheck: {test: [CMD, wget, -q, -O-, "http://localhost/"], interval: 1s}
  store:
    build:
      context: .
      dockerfile_inline: |
        FROM ${musl}
        RUN echo built >/etc/store
        CMD ["sh", "-c", "cat /etc/store; echo started >>/data/starts; exec httpd -f -p 7000 -h /data"]
    volumes: [data:/data, shared:/data/shared]
    env_file: store.env
    restart: unless-stopped
  broken:
    image: ${musl}
    command: sh -c 'echo no such disk >&2; exit 4'
volumes: {data: , shared: }
`;
    const repository = await internet.addRepository("stack", {
      ".devcontainer/devcontainer.json": JSON.stringify(definition),
      ".devcontainer/Dockerfile": "ARG FROM\nFROM ${FROM}\nRUN echo a workspace >/etc/built\n",
      ".devcontainer/compose.yml": compose,
      ".devcontainer/over.yml": "services: {store: {environment: {OVER: '1'}}}\n",
      ".devcontainer/store.env": "FROM_FILE=yes\n",
      "www/index.html": "from the web\n",
    });
    const first = await open({ repository, env: { WORD: "hello" } });
    await using one = first.workspace;
    process.stderr.write(`${await setUpOf(one)}\n`);
    expect(one.info.devcontainer).toMatchObject({
      problem: null,
      notes: ["failed: service broken: ended with code 4: no such disk"],
      ports: [{ host: "store", port: 7000, label: null }],
    });
    const look = async (workspace: Workspace, script: string) => {
      const { stdout, stderr } = await workspace.exec(script, { timeoutMs: 60_000 });
      return stdout + stderr;
    };
    expect(await look(one, "cat /etc/built; echo $FROM_COMPOSE; pwd; ls; cat /tmp/from-web")).toBe(
      "a workspace\nhello\n/workspaces/stack\nwww\nfrom the web\n",
    );
    const reach = "for at in web localhost:8080 store:7000/starts localhost:7000/starts; do wget -qO- http://$at; done";
    const seen = "from the web\nfrom the web\nstarted\nstarted\n";
    expect(await look(one, reach)).toBe(seen);
    expect(await look(one, "echo changed >www/index.html; echo s >/shared/s; wget -qO- web store:7000/shared/s")).toBe(
      "changed\ns\n",
    );
    const podman = "/run/dormouse/tools/libexec/podman";
    const inside = await one.exec(`${podman} exec store sh -c 'echo $FROM_FILE $OVER; wget -qO- web'`, {
      user: "root",
    });
    expect(inside.stdout).toBe("yes 1\nchanged\n");

    await one.hibernate();
    expect(await look(one, reach)).toBe("changed\nchanged\nstarted\nstarted\n");

    const second = await open({ repository, env: { WORD: "hello" } });
    await using two = second.workspace;
    expect(await look(two, reach)).toBe(seen);
    expect(second.steps).not.toContain("Unpacking");
  });

  it("shares localhost with the service whose network it is in, and starts its services again after a boot", async () => {
    const compose = `services:
  app: {image: "${musl}", network_mode: "service:db", volumes: [".:/workspaces/shared"], user: guest}
  db: {image: "${musl}", command: "sh -c 'echo start >>/srv/starts; exec httpd -f -p 5432 -h /srv'", volumes: ["db:/srv"]}
  peer: {image: "${musl}", command: "sh -c 'wget -qO- http://db:5432/starts; exec sleep 1000'", depends_on: [db]}
volumes: {db: }
`;
    const repository = await internet.addRepository("shared", {
      ".devcontainer.json": JSON.stringify({ dockerComposeFile: "compose.yml", service: "app" }),
      "compose.yml": compose,
    });
    const { workspace } = await open({ repository });
    expect(workspace.info.devcontainer).toMatchObject({ problem: null, notes: [] });
    const reach = "id -un; pwd; wget -qO- http://localhost:5432/starts; wget -qO- http://db:5432/starts";
    expect((await workspace.exec(reach)).stdout).toBe("guest\n/workspaces/shared\nstart\nstart\n");
    const { api } = platform.connection;
    expect((await api.workspaces.serviceLog({ workspace: workspace.id, service: "peer" })).text).toBe("start\n");
    // Another machine: what the volume has stays.
    await workspace.rebuild();
    expect(workspace.info.devcontainer).toMatchObject({ problem: null, notes: [] });
    expect((await workspace.exec("wget -qO- http://db:5432/starts")).stdout).toBe("start\nstart\n");
    await workspace.bake("with-services");
    const baked = await open({ template: "with-services" });
    await using again = baked.workspace;
    const starts = await eventually("the service answers", async () => {
      const { stdout } = await again.exec("wget -qO- http://localhost:5432/starts");
      return stdout !== "" && stdout;
    });
    expect(starts).toBe("start\nstart\nstart\n");
  });

  it("has a PostgreSQL at localhost, as the specification's own templates do", async () => {
    const dockerfile = [`FROM ${postgres}`, "RUN echo 'host all all all trust' >>/etc/postgresql/17/main/pg_hba.conf"];
    const compose = `services:
  app:
    build: .
    command: sleep infinity
    network_mode: service:db
    depends_on: {db: {condition: service_healthy}}
  db:
    build: .
    restart: unless-stopped
    user: postgres
    command: >-
      /usr/lib/postgresql/17/bin/postgres -D /var/lib/postgresql/17/main
      -c config_file=/etc/postgresql/17/main/postgresql.conf
    volumes: [postgres-data:/var/lib/postgresql]
    healthcheck: {test: pg_isready -q, interval: 1s, timeout: 20s}
volumes: {postgres-data: }
`;
    const repository = await internet.addRepository("postgres", {
      ".devcontainer/devcontainer.json": JSON.stringify({
        ...{ dockerComposeFile: "docker-compose.yml", service: "app", forwardPorts: [5432] },
        onCreateCommand: "psql -h localhost -U postgres -c 'create table t (a int)'",
      }),
      ".devcontainer/docker-compose.yml": compose,
      ".devcontainer/Dockerfile": `${dockerfile.join("\n")}\n`,
    });
    const { workspace } = await open({ repository });
    await using _ = workspace;
    expect(workspace.info.devcontainer).toMatchObject({ problem: null, notes: [] });
    const insert = "psql -h localhost -U postgres -qAtc 'insert into t values (42); select * from t'";
    expect((await workspace.exec(insert, { timeoutMs: 60_000 })).stdout).toBe("42\n");
    await workspace.hibernate();
    const select = "psql -h db -U postgres -qAtc 'select * from t'";
    expect((await workspace.exec(select, { timeoutMs: 60_000 })).stdout).toBe("42\n");
  });

  it("tells where a Compose file is wrong, and opens on base", async () => {
    const repository = await internet.addRepository("wrong", {
      ".devcontainer.json": JSON.stringify({ dockerComposeFile: "compose.yml", service: "app" }),
      "compose.yml": `services:\n  app: {image: "${musl}"}\n  db:\n    image: ${musl}-missing\n`,
    });
    const { workspace } = await open({ repository });
    await using _ = workspace;
    expect(workspace.info.devcontainer?.problem).toMatchObject({ file: "compose.yml", line: 4, column: 5 });
    expect(workspace.info.devcontainer?.problem?.message).toContain("compose.yml:4: service db: there is no image");
  });
});
