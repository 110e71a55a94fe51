import { DormouseError } from "@dormouse/base";
import type * as vscode from "vscode";
import { fromBase64 } from "../bytes.ts";
import type { Channel } from "../channel/channel.ts";
import { toGuestPath } from "../paths.ts";
import type { Api } from "../vscode/extension.ts";

/** The scheme of files as they are in the index or at a commit. */
export const contentScheme = "git";

/** What a {@link contentScheme} URI names beside the file's path. */
export interface ContentQuery {
  root: string;
  /** Relative to the root. */
  path: string;
  /** `:` is the index. */
  ref: string;
}

/** The address of `path` at `ref`; its own path is the file's, so that it is highlighted like it. */
export function contentUri(api: Api, root: string, path: string, ref: string): vscode.Uri {
  const query: ContentQuery = { root, path, ref };
  return api.Uri.file(`${root}/${path}`).with({ scheme: contentScheme, query: JSON.stringify(query) });
}

/** Files at commits and in the index, read-only, kept until the repository changes. */
export interface ContentProvider extends vscode.Disposable {
  /** Asks again for what was read of this repository. */
  invalidate(root: string): void;
}

interface Kept {
  content: Promise<Uint8Array>;
  readMs: number;
}

/** Registers the provider of {@link contentScheme}. */
export function registerContent(api: Api, channel: Channel): ContentProvider {
  const kept = new Map<string, Kept>();
  const changed = new api.EventEmitter<vscode.FileChangeEvent[]>();

  const read = (uri: vscode.Uri): Kept => {
    const key = uri.toString();
    const found = kept.get(key);
    if (found) return found;
    const { root, path, ref } = JSON.parse(uri.query) as ContentQuery;
    const content = channel.guest.git.show({ cwd: toGuestPath(root), ref, path: toGuestPath(path) }).then(
      (answer) => fromBase64(answer.content),
      (caught) => {
        // A file that is not there yet or no more compares as an empty one.
        if (DormouseError.from(caught).code === "not_found") return new Uint8Array();
        kept.delete(key);
        throw caught;
      },
    );
    const entry = { content, readMs: Date.now() };
    kept.set(key, entry);
    return entry;
  };

  const refuse = () => {
    throw api.FileSystemError.NoPermissions("what git has recorded cannot be edited");
  };
  const provider: vscode.FileSystemProvider = {
    onDidChangeFile: changed.event,
    watch: () => new api.Disposable(() => {}),
    async stat(uri) {
      const { content, readMs } = read(uri);
      const { byteLength } = await content;
      return { type: api.FileType.File, size: byteLength, mtime: readMs, ctime: 0 };
    },
    readFile: (uri) => read(uri).content,
    readDirectory: () => [],
    createDirectory: refuse,
    writeFile: refuse,
    delete: refuse,
    rename: refuse,
  };
  const registration = api.workspace.registerFileSystemProvider(contentScheme, provider, {
    isReadonly: true,
    isCaseSensitive: true,
  });
  return {
    invalidate(root) {
      const uris = [...kept.keys()]
        .map((key) => api.Uri.parse(key))
        .filter((uri) => (JSON.parse(uri.query) as ContentQuery).root === root);
      for (const uri of uris) kept.delete(uri.toString());
      changed.fire(uris.map((uri) => ({ type: api.FileChangeType.Changed, uri })));
    },
    dispose() {
      registration.dispose();
      changed.dispose();
      kept.clear();
    },
  };
}
