/**
 * Settings that concern people and this product, not the code: no repository decides about them.
 * Whoever wants them otherwise sets them for themselves.
 */
const personal = /^(security|telemetry|chat|extensions|json\.schemaDownload|window\.title|update)(\.|$)/;

/** What a repository's definition sets of the editor's defaults. */
export function definedDefaults(settings: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(settings).filter(([name]) => !personal.test(name)));
}

/** Settings where Dormouse departs from VS Code's own defaults. Each user can set them otherwise. */
export const configurationDefaults: Readonly<Record<string, unknown>> = {
  "window.autoDetectColorScheme": true,
  // What is typed is kept by hot exit; writing it to the machine stays the user's decision.
  "files.autoSave": "off",
  "files.hotExit": "onExitAndWindowClose",
  "workbench.startupEditor": "none",
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "workbench.layoutControl.type": "toggles",
  // No assistant is part of the product, so nothing in it should ask to set one up.
  "chat.disableAIFeatures": true,
  "chat.commandCenter.enabled": false,
  "telemetry.telemetryLevel": "off",
  "security.workspace.trust.enabled": false,
  "extensions.ignoreRecommendations": true,
  "terminal.integrated.enablePersistentSessions": true,
  "terminal.integrated.scrollback": 5000,
  "terminal.integrated.initialHint": false,
  // The machine's own locale is right; the browser's may not be installed there.
  "terminal.integrated.detectLocale": "off",
  "json.schemaDownload.enable": false,
  "scm.alwaysShowActions": false,
  // Definitions lead there; to change them is hardly ever meant. "Set Active Editor Writeable" allows it.
  "files.readonlyInclude": { "/run/dormouse/**": true, "/usr/**": true, "**/node_modules/**": true },
};
