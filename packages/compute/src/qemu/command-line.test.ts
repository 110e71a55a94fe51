import { expect, test } from "vitest";
import { bootConfiguration, kernelCommandLine, type QemuSpec, qemuArguments } from "./command-line.ts";

const spec: QemuSpec = {
  id: "machine-1",
  accelerator: "tcg",
  resources: { vcpus: 2, memoryMib: 2048 },
  memory: { file: "/templates/a,b/memory", mode: "private" },
  drives: { system: "/system", image: "/image", workspace: "/workspace" },
  tap: "tap0",
  controlSocket: "/run/control.sock",
  start: { kind: "restore" },
};
/** The value that follows an argument, in order of appearance. */
const values = (args: string[], name: string) => args.filter((_, index) => args[index - 1] === name);

test("a restored guest maps its template read-only and copy-on-write", () => {
  const args = qemuArguments(spec);
  expect(values(args, "-object")).toContain(
    "memory-backend-file,id=memory,size=2048M,mem-path=/templates/a,,b/memory,share=off,readonly=on,rom=off",
  );
  expect(args.slice(-5)).toEqual(["-global", "migration.send-configuration=off", "-incoming", "defer", "-S"]);
  expect(args).not.toContain("-kernel");
});

test("a template's guest writes to its file", () => {
  const args = qemuArguments({
    ...spec,
    memory: { file: "/memory", mode: "shared" },
    start: { kind: "boot", kernel: "/kernel", initramfs: "/initramfs", configFile: "/boot.conf" },
  });
  expect(values(args, "-object")).toContain("memory-backend-file,id=memory,size=2048M,mem-path=/memory,share=on");
  expect(args.slice(-6)).toEqual(["-kernel", "/kernel", "-initrd", "/initramfs", "-readconfig", "/boot.conf"]);
  expect(args).not.toContain("-append");
});

test("the drives are vda, vdb, vdc, and only the last can be written", () => {
  const drives = values(qemuArguments(spec), "-blockdev").map((text) => JSON.parse(text));
  expect(drives.map((drive) => [drive["node-name"], drive.file.filename, drive["read-only"]])).toEqual([
    ["vda", "/system", true],
    ["vdb", "/image", true],
    ["vdc", "/workspace", false],
  ]);
});

test("the VMM may do nothing that it need not, and no balloon reaches the template", () => {
  const args = qemuArguments(spec);
  expect(values(args, "-sandbox")).toEqual(["on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
  expect(args.join(" ")).not.toMatch(/balloon|-enable-kvm|file:\/|vnc/);
});

test("the kernel is told the counter's frequency under emulation only", () => {
  expect(kernelCommandLine("tcg", 2_445_422, ["dormouse.token=abc"])).toBe(
    "console=ttyS0 quiet reboot=t panic=-1 tsc_early_khz=2445422 mitigations=off dormouse.token=abc",
  );
  expect(kernelCommandLine("kvm", 2_445_422)).toBe("console=ttyS0 quiet reboot=t panic=-1");
});

test("nothing can leave the configuration's quotes", () => {
  expect(bootConfiguration("a=b")).toBe('[machine]\n  append = "a=b"\n');
  expect(() => bootConfiguration('a="b"')).toThrow("kernel parameters may not hold quotes or line breaks");
  expect(() => bootConfiguration("a\nb")).toThrow("kernel parameters may not hold quotes or line breaks");
});
