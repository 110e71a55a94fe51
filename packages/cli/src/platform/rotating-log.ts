import { closeSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";

const maxBytes = 8 * 1024 * 1024;

/** A log file that is bounded: beyond 8 MiB it becomes `<path>.1` and a new one begins. */
export class RotatingLog implements Disposable {
  readonly #path: string;
  /** Undefined once closed: what still comes then is dropped. */
  #file: number | undefined;
  #size: number;

  constructor(path: string) {
    this.#path = path;
    this.#file = openSync(path, "a", 0o600);
    this.#size = fstatSync(this.#file).size;
  }

  write(chunk: Uint8Array): void {
    if (this.#file === undefined) return;
    try {
      if (this.#size + chunk.length > maxBytes) this.#rotate(this.#file);
      writeSync(this.#file, chunk);
      this.#size += chunk.length;
    } catch {
      // A full disk must not end what keeps the platform running; the line is lost.
    }
  }

  [Symbol.dispose](): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #rotate(full: number): void {
    renameSync(this.#path, `${this.#path}.1`);
    this.#file = openSync(this.#path, "a", 0o600);
    this.#size = 0;
    closeSync(full);
  }
}
