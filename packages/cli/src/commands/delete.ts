import { createInterface } from "node:readline/promises";
import { DormouseError } from "@dormouse/base";
import { Connection, type UnpushedWork, Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { relativeTime } from "../duration.ts";
import { reportFailure } from "../exit.ts";
import { printLine } from "../output.ts";

interface DeleteFlags {
  ifExists?: boolean;
  force?: boolean;
}

export default function remove(command: Command): void {
  command
    .argument("<workspace...>", "names or ids")
    .option("--if-exists", "one that is not there is no failure")
    .option("-f, --force", "also with work that is pushed nowhere, without a question")
    .action(async (references: string[], flags: DeleteFlags) => {
      const connection = await Connection.open();
      // Each is tried: one that cannot be deleted does not keep the others.
      for (const reference of references) {
        try {
          if (!flags.force) await askAboutWork(reference, connection);
          await Workspace.kill(reference, { connection });
          printLine(`${reference} deleted.`);
        } catch (error) {
          const isGone = error instanceof DormouseError && error.code === "not_found";
          if (!(isGone && flags.ifExists)) process.exitCode = reportFailure(error);
        }
      }
    });
}

/**
 * Asks whether unpushed work may go, if there is any.
 * @throws DormouseError `failed_precondition` when it may not, or when there is nobody to ask.
 */
async function askAboutWork(reference: string, connection: Connection): Promise<void> {
  const loss = await connection.api.workspaces.unpushed({ workspace: reference }).then(
    ({ work }) => work && describeWork(work),
    (error: unknown) => {
      const { code, message } = DormouseError.from(error);
      if (code !== "unavailable" && code !== "deadline_exceeded") throw error;
      return `work that is not known (${message})`;
    },
  );
  if (!loss) return;
  const kept = `${reference} has ${loss}, pushed nowhere`;
  if (!process.stdin.isTTY) {
    throw new DormouseError("failed_precondition", `${kept}; it was not deleted (--force deletes it all the same)`);
  }
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await prompt.question(`${kept}. Delete it? [y/N] `);
    if (/^y(es)?$/i.test(answer.trim())) return;
  } finally {
    prompt.close();
  }
  throw new DormouseError("failed_precondition", `${reference} was not deleted`);
}

/** For example `3 changed files and 1 commit on main`; undefined: nothing would be lost. */
function describeWork({ at, branch, changedFiles, commits, stashes }: UnpushedWork): string | undefined {
  const parts = [
    count(changedFiles, "changed file"),
    commits === null ? "commits that were not counted" : count(commits, "commit"),
    stashes === null ? undefined : count(stashes, "stash", "stashes"),
  ].filter((part) => part !== undefined);
  const last = parts.pop();
  if (!last) return undefined;
  const list = parts.length > 0 ? `${parts.join(", ")} and ${last}` : last;
  const age = Date.now() - Date.parse(at) > 60_000 ? ` (as of ${relativeTime(at)})` : "";
  return `${list}${branch === null ? "" : ` on ${branch}`}${age}`;
}

function count(number: number, one: string, more = `${one}s`): string | undefined {
  return number === 0 ? undefined : `${number} ${number === 1 ? one : more}`;
}
