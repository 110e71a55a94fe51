import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmod, copyFile, mkdir, mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "@dormouse/base/node";
import type { BootSpec, MachineDrives, MachineSlot } from "../vmm.ts";

const imageProgram = fileURLToPath(new URL("../../../image/src/print-boot-files.ts", import.meta.url));

/** Far from the ids of real platforms, which begin at a setting of theirs. */
const testUidBase = 780_000;

/** A spec whose workspace drive is a raw file. */
export type RawBootSpec = BootSpec & { drives: MachineDrives & { workspace: string } };

/** A small guest of busybox alone, with a shell behind HTTP, and the slots to run it in. */
export interface TestGuest extends AsyncDisposable {
  /** Everything made for the tests lies below; gone at disposal. */
  folder: string;
  machinesDir: string;
  /** A spec with drives of its own in the slot of number `index`, which is made when needed. */
  spec(id: string, index?: number): Promise<RawBootSpec>;
  /** Slot of number `index`, its namespace and tap made when needed. */
  slot(index: number): Promise<MachineSlot>;
  /** A copy of a workspace drive. */
  cloneDrive(path: string): Promise<string>;
  /** Whether the guest in a slot answers. */
  isReady(slot: MachineSlot, signal?: AbortSignal): Promise<boolean>;
  /** Runs shell commands in the guest and returns their output. */
  shell(slot: MachineSlot, commands: string): Promise<string>;
}

/** PID 1 of the test guest: a web server with a shell behind it. */
const init = `#!/bin/busybox sh
mkdir -p /tmp/www/cgi-bin
echo ok >/tmp/www/health
cat >/tmp/www/cgi-bin/run <<'END'
#!/bin/busybox sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
eval "$(cat)"
END
chmod 755 /tmp/www/cgi-bin/run
httpd -p 172.31.0.2:7000 -h /tmp/www
echo "test guest is up"
while :; do sleep 1000; done
`;

/** Makes drives and an empty machines folder below `/var/tmp`; needs root. */
export async function createTestGuest(): Promise<TestGuest> {
  const { stdout } = await run(process.execPath, [imageProgram], { timeoutMs: 300_000 });
  const { kernel, initramfs } = JSON.parse(stdout) as { kernel: string; initramfs: string };
  // Not /tmp, which may be a tmpfs: a template's memory belongs on a real disk.
  const folder = await mkdtemp("/var/tmp/dm-test-");
  await chmod(folder, 0o711);
  const name = `dt${randomBytes(2).toString("hex")}-`;
  const slots = new Map<number, MachineSlot>();
  const relays: ChildProcess[] = [];
  const relaySocket = (slot: MachineSlot) => join(folder, `${slot.namespace}.sock`);
  const ask = (slot: MachineSlot, question: Parameters<typeof askGuest>[1]) => askGuest(relaySocket(slot), question);
  let drives = 0;
  await run("mkdir", ["-p", join(folder, "system/sbin"), join(folder, "system/bin"), join(folder, "image/etc")]);
  await copyFile("/bin/busybox", join(folder, "system/bin/busybox"));
  await writeFile(join(folder, "system/sbin/dormouse-init"), init, { mode: 0o755 });
  for (const drive of ["system", "image"]) {
    await run("mkfs.erofs", ["--quiet", "--all-root", join(folder, `${drive}.erofs`), join(folder, drive)]);
  }
  const blank = join(folder, "blank.ext4");
  await (await open(blank, "wx")).close();
  await run("truncate", ["-s", "64M", blank]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", blank]);
  await mkdir(join(folder, "machines"), { mode: 0o711 });

  const guest: TestGuest = {
    folder,
    machinesDir: join(folder, "machines"),
    async slot(index) {
      const known = slots.get(index);
      if (known) return known;
      const [namespace, uid] = [`${name}${index}`, testUidBase + index];
      const slot = { namespace, tap: "tap0", uid, gid: uid };
      slots.set(index, slot);
      const inside = ["-n", namespace];
      await run("ip", ["netns", "add", namespace]);
      await run("ip", [...inside, "tuntap", "add", "tap0", "mode", "tap", "user", String(uid)]);
      await run("ip", [...inside, "link", "set", "tap0", "address", "02:d0:00:00:00:01"]);
      await run("ip", [...inside, "address", "add", "172.31.0.1/30", "dev", "tap0"]);
      await run("ip", [...inside, "link", "set", "tap0", "up"]);
      relays.push(await startRelay(namespace, relaySocket(slot)));
      return slot;
    },
    async spec(id, index = 0) {
      return {
        id,
        resources: { vcpus: 1, memoryMib: 512 },
        slot: await guest.slot(index),
        drives: {
          system: join(folder, "system.erofs"),
          image: join(folder, "image.erofs"),
          workspace: await guest.cloneDrive(blank),
        },
        kernel,
        initramfs,
      };
    },
    async cloneDrive(path) {
      const copy = join(folder, `workspace-${++drives}.ext4`);
      await run("cp", ["--sparse=always", path, copy]);
      await chmod(copy, 0o600);
      return copy;
    },
    isReady: (slot, signal) =>
      ask(slot, { path: "/health", signal }).then(
        (answer) => answer === "ok\n",
        () => false,
      ),
    shell: (slot, commands) => ask(slot, { path: "/cgi-bin/run", body: commands }),
    async [Symbol.asyncDispose]() {
      for (const relay of relays) relay.kill("SIGKILL");
      for (const slot of slots.values()) await run("ip", ["netns", "del", slot.namespace]);
      await rm(folder, { recursive: true, force: true });
    },
  };
  return guest;
}

/**
 * Leads connections from a socket file into a namespace, to the guest's web server: a
 * process can be in one network namespace only, and the tests are in the host's.
 */
const relayProgram = `
import { connect, createServer } from "node:net";
const server = createServer((near) => {
  const far = connect(7000, "172.31.0.2");
  near.on("error", () => far.destroy()).on("close", () => far.destroy());
  far.on("error", () => near.destroy()).on("close", () => near.destroy());
  near.pipe(far).pipe(near);
});
server.listen(process.argv[1], () => console.log("listening"));
`;

async function startRelay(namespace: string, socketPath: string): Promise<ChildProcess> {
  const args = [`--net=/run/netns/${namespace}`, "--", process.execPath, "--input-type=module", "-e", relayProgram];
  const relay = spawn("nsenter", [...args, socketPath], { stdio: ["ignore", "pipe", "inherit"] });
  await once(relay.stdout, "data");
  return relay;
}

function askGuest(
  socketPath: string,
  question: { path: string; body?: string; signal?: AbortSignal },
): Promise<string> {
  return new Promise((resolve, reject) => {
    const { path, body, signal } = question;
    const options = { socketPath, path, method: body === undefined ? "GET" : "POST", signal, agent: false };
    const outgoing = request(options, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part) => {
        text += part;
      });
      response.on("end", () => resolve(text));
      response.on("error", reject);
    });
    outgoing.setTimeout(60_000, () => outgoing.destroy(new Error("the guest does not answer")));
    outgoing.on("error", reject);
    outgoing.setHeader("Content-Length", Buffer.byteLength(body ?? ""));
    outgoing.end(body);
  });
}
