import { openVsix, type Vsix } from "./vsix.ts";

/** Packages that were read from lately, kept open: a page asks for many files of one. */
export interface Archives extends Disposable {
  /** Undefined when there is no such file. */
  open(id: string): Promise<Vsix | undefined>;
  forget(id: string): void;
}

const kept = 16;

/** Makes {@link Archives} of files. */
export function createArchives(fileOf: (id: string) => string): Archives {
  // In the order in which they were used last.
  const open = new Map<string, Promise<Vsix | undefined>>();
  // Files that are being read out of it are read to their end.
  const close = (archive: Promise<Vsix | undefined> | undefined) =>
    void archive?.then(
      (vsix) => vsix?.[Symbol.dispose](),
      // Told to whoever asked for it.
      () => {},
    );
  const forget = (id: string) => {
    close(open.get(id));
    open.delete(id);
  };
  return {
    open(id) {
      const archive = open.get(id) ?? openVsix(fileOf(id)).catch(noFile);
      open.delete(id);
      open.set(id, archive);
      archive.then(
        (vsix) => vsix === undefined && open.delete(id),
        () => open.delete(id),
      );
      const [oldest] = open.keys();
      if (open.size > kept && oldest !== undefined) forget(oldest);
      return archive;
    },
    forget,
    [Symbol.dispose]() {
      for (const id of [...open.keys()]) forget(id);
    },
  };
}

function noFile(error: Error & { cause?: { code?: string } }): undefined {
  if (error.cause?.code === "ENOENT") return undefined;
  throw error;
}
