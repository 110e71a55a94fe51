import { createHash } from "node:crypto";
import { posix } from "node:path";
import { DormouseError, KeyedLock } from "@dormouse/base";
import type { EgressPolicy, SnapshotRef } from "@dormouse/contract";
import { follow, type GuestClient, type HostConnection, remote } from "../host/client.ts";
import { findAccount } from "./accounts.ts";
import type { BuildStore } from "./build-store.ts";
import { type BuilderMachines, baseTemplate } from "./builder-machines.ts";
import { createBuiltSnapshots } from "./built-snapshots.ts";
import type { MachineStart } from "./definition.ts";
import type { FeatureInstallation, ResolvedDefinition } from "./resolve.ts";
import { runLogged } from "./run.ts";
import { loadServiceImage } from "./services.ts";

/** What is told of a build, what its commands write, and what they may reach. */
export interface BuildWatcher {
  /** Of the workspace that it is for: what runs is its repository's. */
  egress: EgressPolicy;
  onProgress(progress: { step: string; message: string; fraction?: number }): void;
  onLog(line: string): void;
}

/** What machines start from that are more than a template that ships with the product. */
export interface Builder {
  /**
   * Makes what a definition's machines start from, unless it is there: the template of its image, and a snapshot for
   * each feature, installed by its own script in a machine that nobody else has, and for the images of its services.
   * @throws DormouseError naming the image or feature that failed, with the end of its output.
   */
  ensure(
    resolved: ResolvedDefinition,
    watcher: BuildWatcher,
    signal: AbortSignal,
  ): Promise<{ start: MachineStart; imageEnv: Record<string, string> }>;
}

/** What {@link createBuilder} works with. */
export interface BuilderOptions {
  host: HostConnection;
  store: BuildStore;
  machines: BuilderMachines;
  featureTimeoutMs: number;
}

// Raised when the way a feature is installed changes and its inputs do not.
const recipe = "1";
const place = "/tmp/dormouse-feature";
const archive = "/var/tmp/dormouse-service.tar";
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The {@link Builder} on a host. */
export function createBuilder({ host, store, machines, featureTimeoutMs }: BuilderOptions): Builder {
  const lock = new KeyedLock();
  const built = createBuiltSnapshots({ host, store });

  async function templateOf({ image }: ResolvedDefinition, { onProgress }: BuildWatcher, signal: AbortSignal) {
    if (!image) return await baseTemplate(host, signal);
    return await follow(host.calls.templates.ofImage({ image: image.exact }, { signal }), onProgress);
  }

  async function build(options: {
    resolved: ResolvedDefinition;
    start: MachineStart;
    steps: readonly BuildStep[];
    watcher: BuildWatcher;
    signal: AbortSignal;
  }): Promise<SnapshotRef> {
    const { resolved, start, steps, watcher, signal } = options;
    const [first] = steps;
    if (!first) throw new DormouseError("internal", "there is nothing to build");
    return await machines.run({ start, env: first.before, watcher, signal }, async ({ id: builderId, guest }) => {
      let snapshot: SnapshotRef | undefined;
      for (const step of steps) {
        if (step.feature) await installFeature({ guest, resolved, step, feature: step.feature, watcher, signal });
        for (const image of step.images) await bringImage({ id: builderId, guest, image, watcher, signal });
        watcher.onProgress({ step: "builder", message: "Keeping what was built" });
        const name = step.feature?.name ?? (step.images.length > 0 ? "services" : "resources");
        snapshot = await built.keep({ key: step.key, builderId, name, signal });
      }
      if (!snapshot) throw new DormouseError("internal", "a build without a snapshot");
      return snapshot;
    });
  }

  async function bringImage(options: {
    id: string;
    guest: GuestClient;
    image: string;
    watcher: BuildWatcher;
    signal: AbortSignal;
  }) {
    const { id, guest, image, watcher, signal } = options;
    await follow(host.calls.images.deliver({ image, workspaceId: id, path: archive }, { signal }), watcher.onProgress);
    watcher.onProgress({ step: "services", message: `Unpacking ${image} for the services` });
    const load = { guest, archive, exact: image, name: image, timeoutMs: featureTimeoutMs };
    await loadServiceImage(load, watcher, signal);
  }

  async function installFeature(options: {
    guest: GuestClient;
    resolved: ResolvedDefinition;
    step: BuildStep;
    feature: FeatureInstallation;
    watcher: BuildWatcher;
    signal: AbortSignal;
  }) {
    const { guest, resolved, step, feature, watcher, signal } = options;
    const what = `feature ${feature.name}`;
    const tell = (message: string) => watcher.onProgress({ step: "features", message });
    tell(`Installing the ${what}`);
    watcher.onLog(`=== ${what}`);
    for (const { path, mode, content } of feature.files) {
      await remote(
        guest.files.write(
          { path: posix.join(place, path), content, mode: path === "install.sh" ? 0o755 : mode },
          { signal },
        ),
      );
    }
    const { containerUser, remoteUser } = resolved.users;
    // Earlier features may have made them; one that is missing still may come to be, by this script.
    const homeOf = (user: string) =>
      findAccount(guest, user, "user", signal).then(
        ({ home }) => home,
        () => (user === "root" ? "/root" : `/home/${user}`),
      );
    await runLogged({
      guest,
      what,
      command: ["/bin/sh", "-c", "exec ./install.sh"],
      cwd: place,
      user: "root",
      env: {
        ...step.before,
        ...feature.options,
        _REMOTE_USER: remoteUser,
        _REMOTE_USER_HOME: await homeOf(remoteUser),
        _CONTAINER_USER: containerUser,
        _CONTAINER_USER_HOME: await homeOf(containerUser),
      },
      timeoutMs: featureTimeoutMs,
      onLine(line) {
        watcher.onLog(line);
        tell(`Installing the ${what}: ${line.slice(0, 120)}`);
      },
      signal,
    });
    await remote(guest.files.remove({ path: place, recursive: true }, { signal }));
  }

  return {
    async ensure(resolved, watcher, signal) {
      const template = await templateOf(resolved, watcher, signal);
      const { resources } = resolved;
      const { steps, imageEnv } = planOf(template.hash, resolved);
      const start: MachineStart = { template: template.name, snapshot: null, resources };
      const isOfTemplate =
        resources.vcpus === template.resources.vcpus &&
        resources.memoryMib === template.resources.memoryMib &&
        resources.diskGib === template.resources.diskGib;
      // The first step only makes the machine as large as it is to be.
      const needed = isOfTemplate ? steps.slice(1) : steps;
      const last = needed.at(-1);
      if (!last) return { start, imageEnv };
      // Two that want the same build it once.
      const snapshot = await lock.run(last.key, async () => {
        const found = await built.find(needed.map(({ key }) => key));
        if (found?.key === last.key) return found.snapshot;
        const left = needed.slice(needed.findIndex(({ key }) => key === found?.key) + 1);
        return await build({
          resolved,
          start: { ...start, snapshot: found?.snapshot ?? null },
          steps: left,
          watcher,
          signal,
        });
      });
      return { start: { ...start, snapshot }, imageEnv };
    },
  };
}

/** A moment on the way from a template to what a definition wants. */
interface BuildStep {
  key: string;
  feature: FeatureInstallation | null;
  /** Of services, to be taken into the machine's engine. */
  images: readonly string[];
  /** The environment that it begins with. */
  before: Record<string, string>;
}

/** Every step, each named by all that went in up to it, and the environment that remains at their end. */
function planOf(templateHash: string, resolved: ResolvedDefinition) {
  const { features, users, resources, serviceImages } = resolved;
  let env: Record<string, string> = { ...resolved.imageEnv };
  let key = hash(recipe, templateHash, JSON.stringify(resources));
  const steps: BuildStep[] = [{ key, feature: null, images: [], before: env }];
  for (const feature of features) {
    const { digest, options, containerEnv } = feature;
    key = hash(key, digest, JSON.stringify(options), JSON.stringify(containerEnv), JSON.stringify(users));
    // A feature's variables are a part of the image by the time that its script runs.
    env = { ...env, ...expand(containerEnv, env) };
    steps.push({ key, feature, images: [], before: env });
  }
  if (serviceImages.length > 0) {
    steps.push({ key: hash(key, "services", ...serviceImages), feature: null, images: serviceImages, before: env });
  }
  return { steps, imageEnv: env };
}

/** As `ENV` of a Dockerfile: `$NAME` and `${NAME}` are what was there before. */
function expand(added: Readonly<Record<string, string>>, env: Readonly<Record<string, string>>) {
  const known = (name: string) => env[name] ?? (name === "PATH" ? defaultPath : "");
  return Object.fromEntries(
    Object.entries(added).map(([name, value]) => [
      name,
      value.replace(/\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))/g, (_, a?: string, b?: string) =>
        known(a ?? b ?? ""),
      ),
    ]),
  );
}

function hash(...parts: string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
