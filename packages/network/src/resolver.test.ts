import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findResolver, nameserversOf } from "./resolver.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dormouse-resolver-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

test("only IPv4 nameservers count", async () => {
  const text =
    "# nameserver 192.0.2.1\nnameserver fd00::1\nnameserver 0.0.0.0\n nameserver\t192.0.2.2 \nsearch example\n";
  expect(await nameserversOf(await file("mixed", text))).toEqual(["192.0.2.2"]);
  expect(await nameserversOf(join(folder, "missing"))).toEqual([]);
});

test("behind a stub on the loopback address the real resolver is found in the next file", async () => {
  const stub = await file("stub", "nameserver 127.0.0.53\noptions edns0\n");
  const real = await file("real", "nameserver 192.0.2.7\nnameserver 192.0.2.8\n");
  expect(await findResolver([stub, join(folder, "missing"), real])).toBe("192.0.2.7");
  expect(await findResolver([real, stub])).toBe("192.0.2.7");
  expect(await findResolver([stub])).toBe("127.0.0.53");
  expect(await findResolver([join(folder, "missing")])).toBe("127.0.0.1");
});
