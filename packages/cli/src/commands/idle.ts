import { formatDuration } from "@dormouse/base";
import { Connection } from "@dormouse/sdk";
import { type Command, Option } from "commander";
import { parseDuration } from "../duration.ts";
import { printJson, printLine } from "../output.ts";

interface IdleFlags {
  deleteAfter?: string;
  wakeOn?: keyof typeof wakings;
  json?: boolean;
}

const wakings = {
  all: { http: true, webSocket: true },
  http: { http: true, webSocket: false },
  websocket: { http: false, webSocket: true },
  none: { http: false, webSocket: false },
};

export default function idle(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .argument("<time>", "how long it may be idle before it is put to sleep, e.g. 10m; `never` keeps it awake")
    .option("--delete-after <time>", "how long it may sleep before it is deleted, e.g. 14d; `never` keeps it")
    .addOption(new Option("--wake-on <requests>", "which requests to its ports wake it").choices(Object.keys(wakings)))
    .option("--json", "print the workspace as JSON")
    .action(async (reference: string, time: string, options: IdleFlags) => {
      const seconds = orNever("the time to be idle", time);
      const asleepSeconds =
        options.deleteAfter === undefined ? undefined : orNever("--delete-after", options.deleteAfter);
      const { api } = await Connection.open();
      const info = await api.workspaces.update({
        workspace: reference,
        hibernateAfterSeconds: seconds,
        ...(asleepSeconds !== undefined && { deleteAfterSeconds: asleepSeconds }),
        ...(options.wakeOn !== undefined && { wakeOn: wakings[options.wakeOn] }),
      });
      if (options.json) return printJson(info);
      const { name, hibernateAfterSeconds, deleteAfterSeconds } = info;
      printLine(
        hibernateAfterSeconds === null
          ? `${name} is put to sleep only when it is asked for.`
          : `${name} is put to sleep after ${formatDuration(hibernateAfterSeconds * 1000)} of idling.`,
      );
      if (deleteAfterSeconds !== null) {
        printLine(`${name} is deleted after ${formatDuration(deleteAfterSeconds * 1000)} of sleep.`);
      }
    });
}

function orNever(what: string, time: string): number | null {
  return time === "never" ? null : parseDuration(what, time);
}
