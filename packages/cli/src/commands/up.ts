import { resolve } from "node:path";
import { DormouseError, formatDuration } from "@dormouse/base";
import { type PortVisibility, portVisibility } from "@dormouse/contract";
import { Connection, type EgressMode, saveCredentials, Workspace } from "@dormouse/sdk";
import { type Command, Option } from "commander";
import { parseDuration } from "../duration.ts";
import { interruptible, usageError } from "../exit.ts";
import { openLocalRepository } from "../local-repository/open.ts";
import { paint, printLine } from "../output.ts";
import { withDataLock } from "../platform/data-lock.ts";
import { OpenedRepositories } from "../platform/opened-repositories.ts";
import { createProgressDisplay } from "../platform/progress-display.ts";
import { type Platform, type PlatformOptions, startPlatform } from "../platform/start-platform.ts";
import { parseRetention } from "../retention.ts";
import { parseSize } from "../size.ts";
import { createStepReporter } from "../step-reporter.ts";
import { printProblem } from "../workspace-view.ts";
import { classifyRepository } from "./create.ts";
import { parseMode } from "./egress.ts";

interface UpFlags {
  port: string;
  listen: string;
  data: string;
  cache: string;
  pool: string;
  overcommit: string;
  quotaWorkspaces?: string;
  quotaSnapshots?: string;
  registryAuth?: string;
  insecureRegistry?: string[];
  extraRoots?: string;
  featureNamespace?: string;
  portsDomain?: string;
  portsMaxVisibility: PortVisibility;
  extensionsGallery?: string;
  prefix: string;
  egress: string;
  snapshots?: string;
  snapshotEvery: string;
  keepUnused: string;
  prebuildLook: string;
  keep?: string;
  open?: boolean;
  here?: boolean;
}

export default function up(command: Command): void {
  command
    .argument("[repository]", "opened once the platform runs: a git URL, or a folder of this machine")
    .option("--port <port>", "where the platform listens", "7070")
    .option(
      "--listen <address>",
      "address it listens on; another than loopback makes it reachable from outside",
      "127.0.0.1",
    )
    .option("--data <folder>", "what must outlive a run", process.env.DORMOUSE_DATA || "/var/lib/dormouse")
    .option(
      "--cache <folder>",
      "what is built once: images, templates, pages; sleeping workspaces need it",
      process.env.DORMOUSE_CACHE || "/var/cache/dormouse",
    )
    .option("--pool <count>", "machines kept warm, so that a workspace is there at once", "2")
    .option(
      "--overcommit <factor>",
      "memory promised to machines, as a multiple of what there is: forks share most of theirs. When all want it, one dies",
      "1",
    )
    .option(
      "--snapshots <place>",
      "where snapshots lie: a folder, or s3://BUCKET/PREFIX (AWS_REGION, AWS_ENDPOINT_URL and the usual credentials)",
      process.env.DORMOUSE_SNAPSHOTS,
    )
    .option("--snapshot-every <time>", "how often a running workspace is kept; never: only when it is asked for", "1m")
    .option(
      "--keep <periods>",
      "which of these snapshots stay: EVERY:FOR,… keeps one of each EVERY for so long (default 1m:1h,1h:1d,1d:31d)",
    )
    .option(
      "--keep-unused <time>",
      "images, features and what was built of them that nobody used for so long are removed; never: they all stay",
      "30d",
    )
    .option(
      "--prebuild-look <time>",
      "how often repositories that are prebuilt are looked at; never: only when their server calls the webhook",
      "5m",
    )
    .option("--quota-workspaces <count>", "how many workspaces one person may have; default: any number")
    .option("--quota-snapshots <size>", "what the snapshots of one person may take, e.g. 50G; default: any size")
    .option(
      "--registry-auth <file>",
      "credentials for registries, in Docker's form; default: where Docker looks for them",
    )
    .option("--insecure-registry <host...>", "registries without TLS; this machine's own need not be named")
    .option(
      "--extra-roots <file>",
      "root certificates, PEM, that servers of secrets may have beside those of this machine's system",
    )
    .option(
      "--feature-namespace <place>",
      "where features named by their id alone are, e.g. registry.example/team/features",
    )
    .option(
      "--egress <mode>",
      "what may leave workspaces: default (registries and their own git host), none (what rules allow) or open",
      "default",
    )
    .option(
      "--ports-domain <name[:port]>",
      "forwarded ports are at PORT--WORKSPACE.<name>; all of its names must lead here. Default on one machine: localhost",
    )
    .addOption(
      new Option("--ports-max-visibility <who>", "nobody opens a port any wider, no devcontainer.json either")
        .choices(portVisibility.options)
        .default("public"),
    )
    .option(
      "--extensions-gallery <url>",
      "where the editor finds extensions, e.g. https://open-vsx.org/vscode/gallery; without, they come from .vsix files alone",
    )
    .option("--prefix <letters>", "names the network namespaces; two platforms need different ones", "dm")
    .option("--here", "open the repository of this folder when none is named")
    .action(async (repository: string | undefined, flags: UpFlags) => {
      flags.data = resolve(flags.data);
      flags.cache = resolve(flags.cache);
      const port = parseCount("--port", flags.port, 65_535);
      const poolSize = parseCount("--pool", flags.pool, 64);
      const memoryOvercommit = parseFactor("--overcommit", flags.overcommit, 16);
      const egressMode = parseMode("--egress", flags.egress);
      const quota = {
        workspaces:
          flags.quotaWorkspaces === undefined ? null : parseCount("--quota-workspaces", flags.quotaWorkspaces, 1e6),
        snapshotBytes: flags.quotaSnapshots === undefined ? null : parseSize("--quota-snapshots", flags.quotaSnapshots),
      };
      const snapshotEveryMs =
        flags.snapshotEvery === "never" ? 0 : parseDuration("--snapshot-every", flags.snapshotEvery) * 1000;
      const unusedForMs = parseUnused(flags.keepUnused);
      const prebuildLookSeconds = parseLook(flags.prebuildLook);
      const retention = flags.keep === undefined ? undefined : parseRetention(flags.keep);
      if (process.getuid?.() !== 0) {
        throw new DormouseError(
          "permission_denied",
          "the platform needs root: it makes network namespaces and machines",
        );
      }
      const url = `http://localhost:${port}`;
      await interruptible((signal) =>
        withDataLock(flags.data, url, async () => {
          const platform = await startShown({
            ...{ flags, port, poolSize, memoryOvercommit, quota, egressMode, snapshotEveryMs, retention },
            ...{ unusedForMs, prebuildLookSeconds, signal },
          });
          try {
            const wanted = repository ?? (flags.here ? "." : undefined);
            const opened = await openShown({ platform, repository: wanted, dataDir: flags.data, signal });
            await announce(platform, opened, egressMode);
            await aborted(signal);
          } finally {
            await stopShown(platform);
          }
        }),
      ).catch((error: unknown) => {
        // Ctrl-C is how it ends.
        if (DormouseError.from(error).code !== "cancelled") throw error;
      });
    });
}

async function startShown(
  options: { flags: UpFlags; port: number } & Pick<
    PlatformOptions,
    | "poolSize"
    | "memoryOvercommit"
    | "quota"
    | "egressMode"
    | "snapshotEveryMs"
    | "retention"
    | "unusedForMs"
    | "prebuildLookSeconds"
    | "signal"
  >,
): Promise<Platform> {
  const { flags, port, poolSize, memoryOvercommit, quota, egressMode } = options;
  const { snapshotEveryMs, retention, unusedForMs, prebuildLookSeconds, signal } = options;
  using display = createProgressDisplay();
  const platform = await startPlatform({
    dataDir: flags.data,
    cacheDir: flags.cache,
    listen: { address: flags.listen, port },
    poolSize,
    memoryOvercommit,
    quota,
    egressMode,
    galleryUrl: parseGallery(flags.extensionsGallery),
    namePrefix: flags.prefix,
    snapshotEveryMs,
    retention,
    unusedForMs,
    prebuildLookSeconds,
    registry: {
      ...(flags.registryAuth !== undefined && { authFile: resolve(flags.registryAuth) }),
      insecure: flags.insecureRegistry ?? [],
    },
    extraRootsFile: flags.extraRoots === undefined ? undefined : resolve(flags.extraRoots),
    devcontainer: { featureNamespace: flags.featureNamespace },
    ports: { domain: parsePortsDomain(flags.portsDomain), maxVisibility: flags.portsMaxVisibility },
    snapshotStore: flags.snapshots === undefined ? undefined : parseSnapshotPlace(flags.snapshots),
    progress: display.progress,
    signal,
  });
  await saveCredentials({ url: platform.url, apiKey: platform.apiKey });
  return platform;
}

/** The repository's workspace: the one of an earlier run, woken, else a new one. A repository that fails is told, no more. */
async function openShown(options: {
  platform: Platform;
  repository: string | undefined;
  dataDir: string;
  signal: AbortSignal;
}): Promise<Workspace | undefined> {
  const { platform, repository, dataDir, signal } = options;
  if (repository === undefined) return undefined;
  using display = createProgressDisplay();
  const steps = createStepReporter(display.progress);
  try {
    const connection = await Connection.open({ url: platform.url, apiKey: platform.apiKey });
    const source = classifyRepository(repository);
    const key = source.kind === "folder" ? resolve(source.path) : source.url;
    const opened = await OpenedRepositories.load(dataDir);
    const known = await opened.find(key, connection);
    if (known) {
      steps.report({ step: "wake", message: `Waking ${known.name}` });
      if (known.state !== "running") await known.wake();
      // Control may not have heard yet what became of it while nothing ran: whoever asks something of it wakes it.
      await known.files.exists(known.folder);
      steps.end("done");
      return known;
    }
    const create = { connection, signal, onProgress: steps.report };
    const workspace =
      source.kind === "folder"
        ? await openLocalRepository(source.path, create)
        : await Workspace.create({ ...create, repository: source.url });
    await opened.remember(key, workspace.id);
    steps.end("done");
    return workspace;
  } catch (caught) {
    steps.end("failed");
    signal.throwIfAborted();
    const error = DormouseError.from(caught);
    process.stderr.write(`${paint("red", "dormouse:")} ${repository} was not opened: ${error.message}\n`);
    return undefined;
  }
}

async function announce(platform: Platform, workspace: Workspace | undefined, egressMode: EgressMode): Promise<void> {
  const path = workspace ? `/w/${workspace.name}` : "/";
  const link = await platform.createSignInLink(path);
  workspace?.close();
  printLine("");
  printLine(
    `${paint("bold", workspace ? `${workspace.name} is open.` : "Dormouse runs.")} Sign in once with this link:`,
  );
  printLine(`  ${paint("cyan", link)}`);
  if (workspace) printProblem(workspace.info);
  if (egressMode === "open") {
    printLine(
      paint("red", "Egress is open: whatever runs in a workspace can send anything anywhere (--egress default)."),
    );
  }
  printLine(`Afterwards: ${platform.url}${path}   Ctrl-C stops everything; what runs sleeps until the next start.`);
}

async function stopShown(platform: Platform): Promise<void> {
  const startedMs = performance.now();
  process.stderr.write("\nStopping; running machines are put to sleep …\n");
  await platform.stop();
  process.stderr.write(`Stopped (${formatDuration(performance.now() - startedMs)}).\n`);
}

/** Waits for the signal. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((end) => {
    if (signal.aborted) return end();
    // The timer keeps the process alive while nothing else happens.
    const timer = setInterval(() => {}, 60_000);
    signal.addEventListener(
      "abort",
      () => {
        clearInterval(timer);
        end();
      },
      { once: true },
    );
  });
}

/** A folder, or a bucket with a prefix. */
function parseSnapshotPlace(text: string): PlatformOptions["snapshotStore"] {
  const s3 = /^s3:\/\/([^/]+)\/?(.*?)\/*$/.exec(text);
  if (!s3) {
    if (/^[a-z0-9]+:\/\//i.test(text)) {
      throw usageError(`--snapshots is ${JSON.stringify(text)}: it must be a folder or s3://BUCKET/PREFIX`);
    }
    return { kind: "file", folder: resolve(text) };
  }
  const [, bucket = "", prefix = ""] = s3;
  const { AWS_REGION: region, AWS_ENDPOINT_URL: endpoint } = process.env;
  return { kind: "s3", bucket, prefix: prefix && `${prefix}/`, region, endpoint };
}

/** As it stands in Host headers. */
function parsePortsDomain(text: string | undefined): string | undefined {
  if (text === undefined || /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?$/.test(text)) return text;
  throw usageError(
    `--ports-domain is ${JSON.stringify(text)}: it must be a name such as ports.example.com or localhost:7070`,
  );
}

function parseGallery(text: string | undefined): string | undefined {
  if (text === undefined || /^https?:$/.test(URL.parse(text)?.protocol ?? "")) return text;
  throw usageError(
    `--extensions-gallery is ${JSON.stringify(text)}: it must be an address such as https://open-vsx.org/vscode/gallery`,
  );
}

function parseFactor(what: string, text: string, max: number): number {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || value < 1 || value > max)
    throw usageError(`${what} is ${JSON.stringify(text)}: it must be a number from 1 to ${max}, such as 1.5`);
  return value;
}

function parseCount(what: string, text: string, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > max)
    throw usageError(`${what} is ${JSON.stringify(text)}: it must be a number from 0 to ${max}`);
  return value;
}

function parseLook(text: string): number {
  if (text === "never") return 0;
  const seconds = parseDuration("--prebuild-look", text);
  if (seconds < 30) throw usageError(`--prebuild-look is ${text}: it must be 30s or more, or never`);
  return seconds;
}

function parseUnused(text: string): number {
  if (text === "never") return 0;
  const seconds = parseDuration("--keep-unused", text);
  if (seconds < 86_400) throw usageError(`--keep-unused is ${text}: it must be a day (1d) or more, or never`);
  return seconds * 1000;
}
