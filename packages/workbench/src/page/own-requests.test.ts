import { expect, test } from "vitest";
import { editorMayAsk } from "./own-requests.ts";

test.each([
  ["/workbench/assets/a.js", "anonymously"],
  ["/api/extensions/ext-1/package.json", "anonymously"],
  ["/api/gallery/extensionquery", "with session"],
  ["/api/me", "no"],
  ["/api/workspaces/ws-1/guest/file?path=/etc/passwd", "no"],
  ["/api/extensions/../me", "no"],
  ["/workbench/%2e%2e/api/me", "no"],
  ["/api/extensions/%2e%2e%2fme", "no"],
  ["/", "no"],
  ["https://elsewhere.test/api/me", "anonymously"],
])("the editor asks for %s: %s", (address, allowed) => {
  const origin = "http://localhost:7070";
  expect(editorMayAsk(new URL(address, origin), origin)).toBe(allowed);
});
