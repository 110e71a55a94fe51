// Holds every import of every package against the table in layers.ts.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { layers } from "./layers.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const packages = join(root, "packages");
const faults: string[] = [];
let imports = 0;

for (const name of readdirSync(packages)) {
  const folder = join(packages, name);
  if (name === "sdk-python") continue;
  const allowed = layers[name];
  if (!allowed) {
    faults.push(`packages/${name}: not in scripts/layers.ts; say there what it may import`);
    continue;
  }
  for (const file of sourceFiles(folder)) {
    for (const [, specifier = ""] of readFileSync(file, "utf8").matchAll(
      /(?:^|[\s;])(?:import|export)\b[^"'`;]*?(?:\bfrom\s*|\(\s*|\s)["']([^"'\n]+)["']/gm,
    )) {
      imports++;
      const place = `${relative(root, file)} imports ${specifier}`;
      const target = /^@dormouse\/([a-z-]+)/.exec(specifier)?.[1];
      // Tests may reach down further than the code they test, never up.
      if (target && target !== name && !allowed.includes(target))
        faults.push(`${place}: ${name} may import ${allowed.join(", ") || "nothing"}`);
      if (specifier.startsWith(".") && !resolve(dirname(file), specifier).startsWith(`${folder}/`)) {
        faults.push(`${place}: reaches into another package past its exports`);
      }
    }
  }
}

if (imports === 0) faults.push("no import found at all: the check itself is broken");
for (const fault of faults) process.stdout.write(`${fault}\n`);
process.exitCode = faults.length === 0 ? 0 : 1;

function* sourceFiles(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (["node_modules", "dist", "drizzle"].includes(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* sourceFiles(path);
    else if (/\.(ts|tsx|mts|mjs)$/.test(entry.name)) yield path;
  }
}
