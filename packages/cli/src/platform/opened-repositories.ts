import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { writeFileAtomic } from "@dormouse/base/node";
import { type Connection, Workspace } from "@dormouse/sdk";

/** Which workspace `up` opened for a folder or address, so that the next start finds it again. */
export class OpenedRepositories {
  readonly #file: string;
  readonly #ids: Record<string, string>;

  private constructor(file: string, ids: Record<string, string>) {
    this.#file = file;
    this.#ids = ids;
  }

  static async load(dataDir: string): Promise<OpenedRepositories> {
    const file = join(dataDir, "opened.json");
    const text = await readFile(file, "utf8").catch(() => "{}");
    return new OpenedRepositories(file, JSON.parse(text));
  }

  /** The workspace that was opened for this folder or address, unless it has been deleted since. */
  async find(key: string, connection: Connection): Promise<Workspace | undefined> {
    const id = this.#ids[key];
    if (id === undefined) return undefined;
    return await Workspace.connect(id, { connection }).catch((error: unknown) => {
      if (DormouseError.from(error).code === "not_found") return undefined;
      throw error;
    });
  }

  async remember(key: string, workspaceId: string): Promise<void> {
    this.#ids[key] = workspaceId;
    await writeFileAtomic(this.#file, JSON.stringify(this.#ids));
  }
}
