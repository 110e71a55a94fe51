import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { DebugConfiguration } from "@dormouse/contract";

/** A program to step through, and how it is launched. */
export interface DebugProgram {
  configuration: DebugConfiguration;
  /** The source file. */
  file: string;
  /** A line inside of `add`, which is called with 1 and 2 first. */
  line: number;
  /** How the debugger shows `a` there. */
  a: string;
}

const sources: Readonly<Record<string, { name: string; text: string; line: number }>> = {
  node: {
    name: "sum.js",
    line: 2,
    text: 'function add(a, b) {\n  const sum = a + b;\n  return sum;\n}\nconsole.log("sum", add(1, 2) + add(3, 4));\n',
  },
  typescript: {
    name: "typed.ts",
    line: 6,
    text: 'interface Pair {\n  a: number;\n  b: number;\n}\nfunction add({ a, b }: Pair): number {\n  const sum: number = a + b;\n  return sum;\n}\nconsole.log("sum", add({ a: 1, b: 2 }));\n',
  },
  python: {
    name: "sum.py",
    line: 2,
    text: 'def add(a, b):\n    total = a + b\n    return total\n\nprint("sum", add(1, 2) + add(3, 4))\n',
  },
  gdb: {
    name: "sum.c",
    line: 3,
    text: '#include <stdio.h>\nstatic int add(int a, int b) {\n  int sum = a + b;\n  return sum;\n}\nint main(void) {\n  printf("sum %d\\n", add(1, 2) + add(3, 4));\n  return 0;\n}\n',
  },
  go: {
    name: "main.go",
    line: 6,
    text: 'package main\n\nimport "fmt"\n\nfunc add(a, b int) int {\n\tsum := a + b\n\treturn sum\n}\n\nfunc main() {\n\tfmt.Println("sum", add(1, 2)+add(3, 4))\n}\n',
  },
};

/** A program in a folder that holds nothing else yet. */
export interface DebugFolder extends DebugProgram {
  /** Texts by path. */
  files: Readonly<Record<string, string>>;
  /** What builds it, before it can be debugged. */
  build?: string[];
}

/** Tells what a debugger's program is made of, below a folder. `node` is one that takes TypeScript as it is. */
export function debugFolder(kind: string, parent: string, node = "node"): DebugFolder {
  const source = sources[kind];
  if (!source) throw new Error(`no program is known for ${kind}`);
  const folder = `${parent}/${kind}`;
  const file = `${folder}/${source.name}`;
  const base = { request: "launch" as const, name: `Debug ${source.name}`, cwd: folder };
  const files: Record<string, string> = { [file]: source.text };
  const made = (more: { type: string } & Record<string, unknown>, build?: string[]): DebugFolder => ({
    configuration: { ...base, ...more },
    file,
    line: source.line,
    a: "1",
    files,
    ...(build ? { build } : {}),
  });
  switch (kind) {
    case "gdb": {
      const program = file.replace(/\.c$/, "");
      return made({ type: "gdb", program }, ["gcc", "-g", "-O0", "-o", program, file]);
    }
    case "go":
      files[`${folder}/go.mod`] = "module example.test/sum\n\ngo 1.19\n";
      return made({ type: "go", mode: "debug", program: folder });
    case "typescript":
      return made({ type: "node", program: file, runtimeExecutable: node });
    default:
      return made({ type: kind, program: file, console: "internalConsole" });
  }
}

/** Writes a debugger's program on this host, and builds it. */
export async function makeDebugProgram(kind: string, parent: string): Promise<DebugProgram> {
  const made = debugFolder(kind, parent, process.execPath);
  await mkdir(join(parent, kind), { recursive: true });
  for (const [path, text] of Object.entries(made.files)) await writeFile(path, text);
  const [program, ...args] = made.build ?? [];
  if (program) execFileSync(program, args);
  return made;
}
