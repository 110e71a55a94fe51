import { spawn } from "node:child_process";
import { once } from "node:events";
import { type FileHandle, mkdtemp, open, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DormouseError, withTimeout } from "@dormouse/base";

/** What VMMs see of the host's files: a mount namespace that all of them share. */
export interface FileView {
  /** For nsenter's `--mount`; good as long as this process lives and has not closed the view. */
  readonly path: string;
  /** VMMs that run keep what they see. */
  close(): Promise<void>;
}

const buildTimeoutMs = 10_000;

// $1 is an empty folder, the rest are the folders to show. The namespace is complete when
// `ready` is said; it then waits to be taken hold of.
const script = `
set -e
root=$1; shift
mount -t tmpfs -o size=4m,mode=755,nosuid view "$root"
cd "$root"
mkdir -p usr etc dev/net
mount --bind /usr usr
mount -o remount,bind,ro,nosuid usr
for name in bin sbin lib lib32 lib64; do
  if [ -L "/$name" ]; then cp -P "/$name" .
  elif [ -d "/$name" ]; then mkdir "$name"; mount --bind "/$name" "$name"; mount -o remount,bind,ro,nosuid "$name"
  fi
done
cp /etc/ld.so.cache etc/
mknod -m 666 dev/null c 1 3
mknod -m 444 dev/urandom c 1 9
mknod -m 666 dev/net/tun c 10 200
if [ -e /dev/kvm ]; then cp -a /dev/kvm dev/; fi
for folder; do mkdir -p ".$folder"; mount --rbind "$folder" ".$folder"; done
mkdir host proc
pivot_root . host
mount -t proc proc /proc # umount cannot do without
umount --lazy /host
umount --lazy /proc
rmdir /host /proc
echo ready
read -r _ || true`;

/**
 * Builds a file system of programs, libraries, four devices and the given folders, with
 * nothing else of the host in it: no /proc, no /etc, no homes. It hangs on an open file
 * of this process and on the VMMs in it, so that nothing has to be cleaned up after a crash.
 * @throws DormouseError `internal` with the words of the command that failed.
 */
export async function createFileView(folders: readonly string[]): Promise<FileView> {
  const root = await mkdtemp(join(tmpdir(), "dormouse-view-"));
  const args = ["--mount", "--propagation", "slave", "--", "/bin/sh", "-c", script, "view", root, ...folders];
  const builder = spawn("unshare", args, {
    cwd: "/",
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let words = "";
  builder.stderr.on("data", (data) => {
    words = `${words}${data}`.slice(-1000);
  });
  const ended = once(builder, "close");
  const ready = new Promise<void>((resolve, reject) => {
    builder.stdout.once("data", () => resolve());
    const fail = () =>
      reject(new DormouseError("internal", `no file view for VMMs: ${words.trim() || "unshare failed"}`));
    ended.then(fail, fail);
  });
  let namespace: FileHandle;
  try {
    await withTimeout("building the file view", buildTimeoutMs, () => ready);
    namespace = await open(`/proc/${builder.pid}/ns/mnt`, "r");
  } finally {
    builder.kill("SIGKILL");
    await ended.catch(() => {
      // A command that could not be started is reported by `ready`.
    });
    await rmdir(root);
  }
  return {
    path: `/proc/${process.pid}/fd/${namespace.fd}`,
    close: () => namespace.close(),
  };
}
