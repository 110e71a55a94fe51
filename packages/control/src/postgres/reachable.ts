import { stat } from "node:fs/promises";
import { dirname } from "node:path";

/** The first folder, from `path` upwards, that other accounts cannot enter; undefined when all can be entered. */
export async function firstPrivateFolder(path: string): Promise<string | undefined> {
  for (let folder = path; ; folder = dirname(folder)) {
    if (((await stat(folder)).mode & 0o001) === 0) return folder;
    if (folder === dirname(folder)) return undefined;
  }
}
