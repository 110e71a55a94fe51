import { StandaloneServices } from "@codingame/monaco-vscode-api";
import type { IDisposable } from "@codingame/monaco-vscode-api/vscode/vs/base/common/lifecycle";
import { URI } from "@codingame/monaco-vscode-api/vscode/vs/base/common/uri";
import { IFileService } from "@codingame/monaco-vscode-api/vscode/vs/platform/files/common/files.service";
import { defaultUserConfigurationFile } from "@codingame/monaco-vscode-configuration-service-override";
import { defaultUserKeybindindsFile } from "@codingame/monaco-vscode-keybindings-service-override";
import { sleep } from "@dormouse/base";
import type { UserSettings } from "@dormouse/contract";

/** Settings are changed in bursts, one key of a dialog after the other. */
const settleMs = 800;
/** Between attempts while the server cannot be reached. */
const retryMs = 5_000;

const resources: Readonly<Record<keyof UserSettings, URI>> = {
  settings: URI.revive(defaultUserConfigurationFile),
  keybindings: URI.revive(defaultUserKeybindindsFile),
};

/** Saves `settings.json` and `keybindings.json` for the user whenever the editor changes them. */
export function syncUserSettings(
  initial: UserSettings,
  save: (changed: Partial<UserSettings>) => Promise<unknown>,
): IDisposable {
  const files = StandaloneServices.get(IFileService);
  const saved = { ...initial };
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isSaving = false;

  const changes = async (): Promise<Partial<UserSettings>> => {
    const changed: Partial<UserSettings> = {};
    for (const key of ["settings", "keybindings"] as const) {
      const content = await files.readFile(resources[key]).then(
        ({ value }) => value.toString(),
        // A file that was never written says nothing.
        () => saved[key],
      );
      if (content !== saved[key]) changed[key] = content;
    }
    return changed;
  };
  const flush = async () => {
    if (isSaving) return;
    isSaving = true;
    try {
      for (let changed = await changes(); Object.keys(changed).length > 0; changed = await changes()) {
        await save(changed).then(
          () => Object.assign(saved, changed),
          // The change is kept in this browser and sent when the server answers again.
          () => sleep(retryMs),
        );
      }
    } finally {
      isSaving = false;
    }
  };
  return files.onDidFilesChange((event) => {
    if (!Object.values(resources).some((resource) => event.contains(resource))) return;
    clearTimeout(timer);
    timer = setTimeout(() => void flush(), settleMs);
  });
}
