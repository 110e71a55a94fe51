import type { Page } from "playwright-core";
import { eventually } from "./eventually.ts";
import { patienceMs } from "./workbench-page.ts";

/** Sets or takes a breakpoint in the open file, as a click beside the line does. */
export async function toggleBreakpoint(page: Page, line: number): Promise<void> {
  await page.locator(".editor-group-container.active .monaco-editor .view-lines").first().click();
  await page.keyboard.press("Control+G");
  await page.locator(".quick-input-widget input[type=text]:visible").fill(`:${line}`);
  await page.keyboard.press("Enter");
  await page.keyboard.press("F9");
  await page.locator(".codicon-debug-breakpoint, .codicon-debug-breakpoint-unverified").first().waitFor();
}

/** Waits until a program stands. */
export async function untilStopped(page: Page): Promise<void> {
  await page.locator(".debug-toolbar .codicon-debug-step-over").waitFor({ timeout: patienceMs });
  await page.locator(".debug-toolbar .action-label.codicon-debug-step-over:not(.disabled)").waitFor();
  await page.locator(".debug-top-stack-frame-line").first().waitFor();
}

/** Number of the line that the innermost frame stands in. */
export async function focusedLine(page: Page): Promise<number | undefined> {
  // The editor's own marks carry no number: the line's number is the one at the same height.
  return page.evaluate(`(() => {
    const mark = document.querySelector(".debug-top-stack-frame-line");
    if (!mark) return undefined;
    const { top, bottom } = mark.getBoundingClientRect();
    const numbers = [...document.querySelectorAll(".editor-group-container.active .margin .line-numbers")];
    const here = numbers.find((one) => {
      const middle = (one.getBoundingClientRect().top + one.getBoundingClientRect().bottom) / 2;
      return middle > top && middle < bottom;
    });
    return here && Number(here.textContent);
  })()`) as Promise<number | undefined>;
}

/** Names in the call stack. */
export async function callStack(page: Page): Promise<string[]> {
  return page.locator(".debug-call-stack .monaco-list-row").allTextContents();
}

/** The value of a variable, as the Variables view shows it. */
export async function variable(page: Page, name: string): Promise<string> {
  const row = page.locator(".debug-variables .monaco-list-row", {
    has: page.locator(".name", { hasText: new RegExp(`^${name}\\s*[:=]?\\s*$`) }),
  });
  const closed = page.locator(".debug-variables .monaco-list-row[aria-expanded=false]", { hasText: /^Local/ });
  return eventually(
    `the view shows ${name}`,
    async () => {
      if ((await row.count()) === 0 && (await closed.count()) > 0) await closed.first().click();
      return (await row.first().locator(".value").textContent({ timeout: 2_000 })) ?? undefined;
    },
    patienceMs,
  );
}

/** Types into the Debug Console. */
export async function evaluateInConsole(page: Page, expression: string): Promise<void> {
  await page.keyboard.press("Control+Shift+Y");
  await page.locator(".repl .repl-input-wrapper .monaco-editor").first().click();
  await page.keyboard.type(expression);
  await page.keyboard.press("Enter");
}

/** What the Debug Console shows. */
export async function consoleText(page: Page): Promise<string> {
  return (await page.locator(".repl .repl-tree .monaco-list-row").allTextContents()).join("\n");
}
