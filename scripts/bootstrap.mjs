// The first thing `npm start`, `npm test`, `npm run check` and `npm run bench` run. Plain JavaScript for any
// Node ≥ 20: brings the npm packages (Node 24 among them) and the Debian packages, then hands over to Node 24.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const nodeBinary = join(root, "node_modules/node/bin/node");
const stampFile = join(root, "node_modules/.dormouse-installed");

const commands = {
  start: { file: "packages/cli/src/main.ts", args: ["up", "--here"], needsSystem: true },
  test: { file: "scripts/test.ts", args: [], needsSystem: true },
  check: { file: "scripts/check.ts", args: [], needsSystem: false },
  bench: { file: "bench/main.ts", args: [], needsSystem: true },
  dormouse: { file: "packages/cli/src/main.ts", args: [], needsSystem: false },
};

await main();

async function main() {
  const [name = "start", ...args] = process.argv.slice(2);
  const [major = 0] = process.versions.node.split(".").map(Number);
  if (major < 20) fail(`Dormouse needs Node 20 or newer to set itself up; this is ${process.version}.`);
  await installNodePackages();
  if (name === "run") return handOver(join(root, "node_modules/.bin", args[0] ?? ""), args.slice(1));
  const command = commands[name];
  if (!command) fail(`No such command: ${name}. There are: ${Object.keys(commands).join(", ")}.`);
  if (command.needsSystem) await installSystemPackages(name === "test");
  handOver(nodeBinary, [join(root, command.file), ...command.args, ...args]);
}

async function installNodePackages() {
  const lock = readFileSync(join(root, "package-lock.json"));
  const stamp = createHash("sha256").update(lock).digest("hex");
  if (existsSync(nodeBinary) && existsSync(stampFile) && readFileSync(stampFile, "utf8") === stamp) return;
  // Not `npm ci`: it refuses a lock file that lacks other platforms' optional packages, and a mirror need not have them.
  // What the lock file names is installed exactly as it says; neither it nor package.json is written.
  const quiet = ["--include=dev", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"];
  await step("Installing npm packages, Node 24 among them", "npm", ["install", ...quiet]);
  if (!existsSync(nodeBinary))
    fail("The npm package node brought no node_modules/node/bin/node; run npm install and look.");
  writeFileSync(stampFile, stamp);
}

async function installSystemPackages(needsTests) {
  const wanted = readWantedPackages(needsTests);
  const installed = readInstalled([...wanted.packages, ...wanted.backports]);
  const missing = wanted.packages.filter((name) => !installed.has(name));
  const release = readRelease();
  const suite = release.VERSION_CODENAME === "bookworm" ? "bookworm-backports" : undefined;
  // Where there is nothing newer to be had, what the distribution has will do.
  const backports = wanted.backports.filter(
    (name) => !installed.has(name) || (suite && isOlderThanNine(installed.get(name))),
  );
  if (missing.length === 0 && backports.length === 0) return;
  const install = ["-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends", "-q"];
  if (!["debian", "ubuntu"].includes(release.ID) || process.getuid?.() !== 0) {
    fail(
      `These Debian packages are missing: ${[...missing, ...backports].join(" ")}.\nInstall them as root, then run this again:\n` +
        `  apt-get update && apt-get install -y --no-install-recommends ${missing.join(" ")}` +
        (backports.length > 0
          ? ` && apt-get install -y --no-install-recommends ${suite ? `-t ${suite} ` : ""}${backports.join(" ")}`
          : ""),
    );
  }
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  if (suite && backports.length > 0) addSuite(suite);
  await step("Reading the package lists", "apt-get", ["update", "-q"], env);
  if (missing.length > 0) await step(`Installing ${missing.join(" ")}`, "apt-get", [...install, ...missing], env);
  if (backports.length > 0) {
    const from = suite ? ["-t", suite] : [];
    await step(`Installing ${backports.join(" ")}`, "apt-get", [...install, ...from, ...backports], env);
  }
}

/** Each package, and the folder of the tests, says in its debian-packages.json what it needs. */
function readWantedPackages(needsTests) {
  const wanted = { packages: new Set(), backports: new Set() };
  const folders = readdirSync(join(root, "packages")).map((name) => join(root, "packages", name));
  for (const folder of needsTests ? [...folders, join(root, "tests")] : folders) {
    const file = join(folder, "debian-packages.json");
    if (!existsSync(file)) continue;
    const list = JSON.parse(readFileSync(file, "utf8"));
    for (const item of list.packages ?? []) wanted.packages.add(item);
    for (const item of list.backports ?? []) wanted.backports.add(item);
  }
  return { packages: [...wanted.packages].sort(), backports: [...wanted.backports].sort() };
}

/** Names and versions of those of the packages that are installed. */
function readInstalled(names) {
  const format = "--showformat=$" + "{db:Status-Abbrev}\\t$" + "{Package}\\t$" + "{Version}\\n";
  const query = spawnSync("dpkg-query", ["--show", format, ...names], { encoding: "utf8" });
  const lines = (query.stdout ?? "").split("\n").map((line) => line.split("\t"));
  return new Map(lines.filter(([state = ""]) => state.startsWith("ii")).map(([, name, version]) => [name, version]));
}

/** Live snapshots need QEMU 9; Debian bookworm's own is 7.2. */
function isOlderThanNine(version) {
  return Number(/^(?:\d+:)?(\d+)/.exec(version)?.[1] ?? 0) < 9;
}

function readRelease() {
  const text = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  return Object.fromEntries([...text.matchAll(/^(\w+)="?([^"\n]*)"?$/gm)].map((match) => [match[1], match[2]]));
}

/** Adds a suite of the mirror that this machine uses already; names no other host. */
function addSuite(suite) {
  const folder = "/etc/apt/sources.list.d";
  const files = [
    "/etc/apt/sources.list",
    ...(existsSync(folder) ? readdirSync(folder).map((f) => join(folder, f)) : []),
  ];
  const texts = files.filter((file) => existsSync(file)).map((file) => readFileSync(file, "utf8"));
  if (texts.some((text) => text.split("\n").some((line) => !line.trim().startsWith("#") && line.includes(suite))))
    return;
  const mirror = texts.flatMap((text) => [...text.matchAll(/https?:\/\/\S+\/debian\/?(?=\s|$)/gm)]).map((m) => m[0])[0];
  if (!mirror) fail(`No Debian mirror found in /etc/apt to take ${suite} from.`);
  const key = "/usr/share/keyrings/debian-archive-keyring.gpg";
  writeFileSync(
    join(folder, `dormouse-${suite}.sources`),
    `Types: deb\nURIs: ${mirror}\nSuites: ${suite}\nComponents: main\nSigned-By: ${key}\n`,
  );
}

/** Runs one step of the set-up; shows that it goes on, and its output only when it fails. */
function step(title, command, args, env = process.env) {
  const startedMs = Date.now();
  const seconds = () => `${((Date.now() - startedMs) / 1000).toFixed(0)} s`;
  const isTerminal = process.stderr.isTTY;
  const short = title.length > 100 ? `${title.slice(0, 97)}…` : title;
  if (!isTerminal) process.stderr.write(`… ${short}\n`);
  const timer = isTerminal
    ? setInterval(() => process.stderr.write(`\r\x1b[2K… ${short} ${seconds()}`), 250)
    : undefined;
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
    const output = [];
    const keep = (chunk) => {
      output.push(chunk);
      if (output.length > 2000) output.shift();
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.on("error", (error) => fail(`${command} could not be started: ${error.message}`));
    child.on("close", (code) => {
      clearInterval(timer);
      if (isTerminal) process.stderr.write("\r\x1b[2K");
      if (code !== 0) {
        process.stderr.write(Buffer.concat(output).toString().slice(-6000));
        fail(`${title} failed: ${command} ${args.join(" ")} ended with ${code}.`);
      }
      process.stderr.write(`✓ ${short} (${seconds()})\n`);
      resolve();
    });
  });
}

/** Runs the real program in the foreground; signals reach it, its exit code becomes ours. */
function handOver(file, args) {
  const path = `${join(root, "node_modules/.bin")}:${dirname(nodeBinary)}:${process.env.PATH}`;
  // What Node strips of types and compiles once it finds again at the next run.
  const env = { ...process.env, PATH: path, NODE_COMPILE_CACHE: join(root, "node_modules/.cache/node") };
  const child = spawn(file, args, { stdio: "inherit", env });
  // The terminal sends Ctrl-C to the whole group; here we only must not die before the child has cleaned up.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => {
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on("error", (error) => fail(`${file} could not be started: ${error.message}`));
  child.on("close", (code, signal) => process.exit(signal ? 128 + (constants.signals[signal] ?? 0) : (code ?? 1)));
}

function fail(message) {
  process.stderr.write(`\n${message}\n`);
  process.exit(1);
}
