import { readdir } from "node:fs/promises";
import { run } from "@dormouse/base/node";

/** Everything the kernel has whose name or device contains a platform's prefix: namespaces, links, routes, tables, filters. */
export async function kernelState(namePrefix: string): Promise<string[]> {
  const tables = (await run("nft", ["list", "tables"])).stdout.split("\n");
  const routes = (await run("ip", ["-4", "route", "show", "table", "all"])).stdout.split("\n");
  const names = [...(await readdir("/run/netns").catch(() => [])), ...(await readdir("/sys/class/net"))];
  names.push(...(await readdir("/sys/fs/bpf").catch(() => [])));
  return [...names, ...tables, ...routes].filter((line) => line.includes(namePrefix)).sort();
}
