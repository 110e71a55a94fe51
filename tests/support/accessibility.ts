import axe from "axe-core";
import type { Page } from "playwright-core";

/**
 * What axe finds wrong on a page that keeps people out: rules of WCAG 2.2 A and AA whose break is serious or critical, each with
 * where. `except` names parts of the page that are not ours to mend, and why.
 */
export async function accessibilityFaults(
  page: Page,
  except: Readonly<Record<string, string>> = {},
): Promise<string[]> {
  await page.evaluate(axe.source);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
  const found = await page.evaluate(async (values) => {
    const { axe } = globalThis as unknown as { axe: typeof import("axe-core") };
    const { violations } = await axe.run(
      { include: [["html"]] },
      { runOnly: { type: "tag", values }, resultTypes: ["violations"] },
    );
    return violations.map(({ id, impact, help, nodes }) => ({
      id,
      line: `${id} (${impact}): ${help}: ${nodes.map(({ target }) => target.join(" ")).join(", ")}`,
      impact,
    }));
  }, tags);
  return found
    .filter(({ id, impact }) => !(id in except) && (impact === "serious" || impact === "critical"))
    .map(({ line }) => line);
}

/** What VS Code's workbench itself breaks in its tabs, lists and status bar. */
export const upstreamFaults: Readonly<Record<string, string>> = {
  "color-contrast": "a theme's colours are the user's choice; there are some of high contrast",
  "label-content-name-mismatch": "it names rows and status items by what they are, not by what they show",
  "nested-interactive": "its tabs have a button to close them",
  "target-size": "its buttons to close and to show more are smaller than 24 pixels",
};
