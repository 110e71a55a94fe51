import type * as vscode from "vscode";
import type { Channel } from "../channel/channel.ts";
import { toEditorPath, toGuestPath } from "../paths.ts";
import type { Api } from "../vscode/extension.ts";

/** Search in files and Quick Open, both answered by the machine. */
export function registerSearch(api: Api, channel: Channel): vscode.Disposable {
  return api.Disposable.from(
    api.workspace.registerTextSearchProvider2("file", textSearch(api, channel)),
    api.workspace.registerFileSearchProvider2("file", fileSearch(api, channel)),
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

function fileSearch(api: Api, channel: Channel): vscode.FileSearchProvider2 {
  return {
    async provideFileSearchResults(pattern, options, token) {
      using cancellation = cancellationOf(token);
      const answers = await Promise.all(
        options.folderOptions.map((folder) =>
          channel.guest.search.files(
            {
              cwd: toGuestPath(folder.folder.path),
              query: pattern,
              exclude: folder.excludes.map(patternOf),
              // Some callers ask for all there is; the editor ranks and shows a few hundred.
              maxResults: Math.max(1, Math.min(options.maxResults || 512, 20_000)),
            },
            { signal: cancellation.signal },
          ),
        ),
      );
      return answers.flatMap(({ paths }) => paths.map((path) => api.Uri.file(toEditorPath(path))));
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
