import type { DoctorFinding } from "@dormouse/host";
import type { Command } from "commander";
import { exitCodes, interruptible } from "../exit.ts";
import { paint, printJson, printLine } from "../output.ts";

const marks = { ok: paint("green", "✓"), limited: paint("yellow", "!"), missing: paint("red", "✗") } as const;

export default function doctor(command: Command): void {
  command
    .option("--json", "print the findings as JSON")
    .option("--data <folder>", "where workspaces would lie", process.env.DORMOUSE_DATA || "/var/lib/dormouse")
    .option("--cache <folder>", "where built things lie", process.env.DORMOUSE_CACHE || "/var/cache/dormouse")
    .action(async (flags: { json?: boolean; data: string; cache: string }) => {
      // Loaded here, so that the other commands do not wait for the host's code.
      const { examine } = await import("@dormouse/host");
      const findings: DoctorFinding[] = [];
      await interruptible(async (signal) => {
        let area = "";
        for await (const finding of examine({ cacheDir: flags.cache, dataDir: flags.data, signal })) {
          findings.push(finding);
          if (flags.json) continue;
          if (finding.area !== area) printLine(paint("bold", finding.area));
          area = finding.area;
          printLine(`  ${marks[finding.state]} ${finding.name}: ${finding.found}`);
          if (finding.meaning) printLine(paint("dim", `      ${finding.meaning}`));
        }
      });
      if (flags.json) printJson(findings);
      if (findings.some(({ state }) => state === "missing")) process.exitCode = exitCodes.failed;
    });
}
