import type * as vscode from "vscode";
import type { Channel } from "../../channel/channel.ts";
import { toEditorPath, toGuestPath } from "../../paths.ts";
import type { Api } from "../../vscode/extension.ts";
import { FileNames } from "./file-names.ts";

/** Quick Open shows a few hundred. */
const shownFiles = 512;
const mostFiles = 20_000;

/** Search in files, which the machine answers, and Quick Open, which the page does from names that it keeps. */
export function registerSearch(options: {
  api: Api;
  channel: Channel;
  /** Files of the workspace came or went. */
  onDidChangeNames: (listener: () => void) => vscode.Disposable;
}): vscode.Disposable {
  const { api, channel } = options;
  const names = new FileNames((folder) => channel.guest.search.names(folder));
  return api.Disposable.from(
    options.onDidChangeNames(() => names.changed()),
    api.workspace.registerTextSearchProvider2("file", textSearch(api, channel)),
    api.workspace.registerFileSearchProvider2("file", fileSearch(api, names)),
  );
}

function textSearch(api: Api, channel: Channel): vscode.TextSearchProvider2 {
  return {
    async provideTextSearchResults(query, options, progress, token) {
      using cancellation = cancellationOf(token);
      let limitHit = false;
      for (const folder of options.folderOptions) {
        const stream = await channel.guest.search.text(
          {
            cwd: toGuestPath(folder.folder.path),
            query: query.pattern,
            regex: query.isRegExp ?? false,
            caseSensitive: query.isCaseSensitive ?? false,
            wholeWord: query.isWordMatch ?? false,
            include: folder.includes,
            exclude: folder.excludes.map(patternOf),
            maxResults: Math.max(1, Math.min(options.maxResults, 20_000)),
          },
          { signal: cancellation.signal },
        );
        for (;;) {
          const next = await stream.next();
          if (next.done) {
            limitHit ||= next.value.limitHit;
            break;
          }
          for (const match of next.value.matches) {
            const line = match.line - 1;
            const ranges = match.ranges.map(([start, end]) => ({
              sourceRange: new api.Range(line, start, line, end),
              previewRange: new api.Range(0, start, 0, end),
            }));
            const uri = api.Uri.file(toEditorPath(match.path));
            progress.report(new api.TextSearchMatch2(uri, ranges, match.text));
          }
        }
      }
      return { limitHit };
    },
  };
}

function fileSearch(api: Api, names: FileNames): vscode.FileSearchProvider2 {
  return {
    async provideFileSearchResults(pattern, options, token) {
      using cancellation = cancellationOf(token);
      const answers = await Promise.all(
        options.folderOptions.map(async ({ folder, includes, excludes }) => {
          const cwd = toGuestPath(folder.path);
          // Who asks by glob filters what comes. Quick Open asks for everything when it opens, and shows none of it.
          const most = pattern || includes.length > 0 ? mostFiles : shownFiles;
          const maxResults = Math.max(1, Math.min(options.maxResults || shownFiles, most));
          const named = { cwd, exclude: excludes.map(patternOf) };
          const { paths } = await names.find(named, pattern, maxResults, cancellation.signal);
          return paths.map((path) => api.Uri.file(toEditorPath(`${cwd}/${path}`)));
        }),
      );
      return answers.flat();
    },
  };
}

const patternOf = (glob: vscode.GlobPattern) => (typeof glob === "string" ? glob : glob.pattern);

function cancellationOf(token: vscode.CancellationToken): Disposable & { signal: AbortSignal } {
  const controller = new AbortController();
  if (token.isCancellationRequested) controller.abort();
  const listener = token.onCancellationRequested(() => controller.abort());
  return { signal: controller.signal, [Symbol.dispose]: () => listener.dispose() };
}
