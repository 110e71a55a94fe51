import type { PartialFiles } from "@dormouse/compute";

/** Where files that are being filled are shown to machines, until they are whole. */
export class Showing {
  readonly #files: PartialFiles;
  readonly #paths = new Set<string>();
  #hasEnded = false;

  constructor(files: PartialFiles) {
    this.#files = files;
  }

  /** See {@link PartialFiles.serve}. */
  async begin(file: string, socket: string): Promise<void> {
    await this.#files.serve(file, socket);
    this.#paths.add(file);
  }

  /** Shows a file at another path too; once all has ended nothing needs to be shown. */
  async showAt(file: string, path: string): Promise<void> {
    if (this.#hasEnded) return;
    this.#paths.add(path);
    await this.#files.show(file, path);
    // What is whole may have become so meanwhile, and is itself at the path.
    if (this.#hasEnded) await this.#files.hide(path);
  }

  /** From now on whoever opens the paths opens the files themselves. */
  async end(): Promise<void> {
    this.#hasEnded = true;
    for (const path of this.#paths) await this.#files.hide(path);
    this.#paths.clear();
  }
}
