import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
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

/** Writes the program for a debugger into a folder, compiled where that is needed. */
export async function makeDebugProgram(kind: string, folder: string): Promise<DebugProgram> {
  const source = sources[kind];
  if (!source) throw new Error(`no program is known for ${kind}`);
  const file = join(folder, kind, source.name);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, source.text);
  const base = { request: "launch" as const, name: `Debug ${source.name}`, cwd: dirname(file) };
  const made = (more: { type: string } & Record<string, unknown>): DebugProgram => ({
    configuration: { ...base, ...more },
    file,
    line: source.line,
    a: "1",
  });
  if (kind === "gdb") {
    const program = file.replace(/\.c$/, "");
    execFileSync("gcc", ["-g", "-O0", "-o", program, file]);
    return made({ type: "gdb", program });
  }
  if (kind === "go") {
    await writeFile(join(dirname(file), "go.mod"), "module example.test/sum\n\ngo 1.19\n");
    return made({ type: "go", mode: "debug", program: dirname(file) });
  }
  // The one that the tests run in takes TypeScript as it is.
  if (kind === "typescript") return made({ type: "node", program: file, runtimeExecutable: process.execPath });
  return made({ type: kind === "python" ? "python" : "node", program: file, console: "internalConsole" });
}
