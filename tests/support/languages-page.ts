import type { Page } from "playwright-core";
import { eventually } from "./eventually.ts";
import { runCommand } from "./workbench-page.ts";

/** Puts the cursor of the active editor there; lines and columns are counted from 1. */
export async function goToPosition(page: Page, line: number, column: number): Promise<void> {
  await page.keyboard.press("Control+G");
  await page.locator(".quick-input-widget input[type=text]:visible").fill(`:${line}:${column}`);
  await page.keyboard.press("Enter");
  await page.locator(".statusbar-item", { hasText: `Ln ${line}, Col ${column}` }).waitFor();
}

/** Waits until something in the active editor is underlined. */
export async function marked(page: Page, severity: "error" | "warning" | "info"): Promise<void> {
  await page.locator(`.editor-group-container.active .squiggly-${severity}`).first().waitFor();
}

/** Asks for what the name at the cursor is until it is told: a server that has just been started knows nothing yet. */
export async function hovers(page: Page, text: string): Promise<void> {
  await eventually(`the hover says ${text}`, async () => {
    await page.keyboard.press("Escape");
    await runCommand(page, "Show or Focus Hover");
    await page.locator(".monaco-hover:visible", { hasText: text }).first().waitFor({ timeout: 5_000 });
    return true;
  });
  await page.keyboard.press("Escape");
}

/** Types, waits until the rest is offered, and takes back what was typed. */
export async function completes(page: Page, typed: string, offered: string): Promise<void> {
  await page.keyboard.type(typed);
  await page.keyboard.press("Control+Space");
  await page.locator(".suggest-widget.visible .monaco-list-row", { hasText: offered }).first().waitFor();
  await page.keyboard.press("Escape");
  await runCommand(page, "File: Revert File");
}

/** Waits until the status of the language of the active editor says so. */
export async function showsStatus(page: Page, text: RegExp): Promise<void> {
  await page.locator("[id='status.languageStatus']").hover();
  await page.locator(".hover-language-status", { hasText: text }).first().waitFor();
  await page.keyboard.press("Escape");
}
