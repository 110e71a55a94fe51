import { expect, test } from "vitest";
import { definedDefaults } from "./defaults.ts";

test("a repository sets what concerns its code, and nothing that concerns people", () => {
  const own = {
    "editor.tabSize": 3,
    "[python]": { "editor.rulers": [88] },
    "files.autoSave": "afterDelay",
    "updater.x": 1,
  };
  const others = {
    ...{ "security.workspace.trust.enabled": true, "telemetry.telemetryLevel": "all", "chat.disableAIFeatures": false },
    ...{ "extensions.ignoreRecommendations": false, "json.schemaDownload.enable": true, "window.title": "x" },
  };
  expect(definedDefaults({ ...own, ...others })).toEqual(own);
});
