// Not Playwright: it holds pages that the browser prepares before they are asked for at their first instruction.
import puppeteer, { type Browser, type Page } from "puppeteer-core";
import { chromiumFlags, chromiumPath, viewport } from "./chromium.ts";

const patienceMs = 60_000;
const lookAgainMs = 5;
const typeAgainMs = 500;
/** Nobody leaves the instant they have saved. */
const settleMs = 500;

/** Starts Chromium with a profile that lies in a folder. */
export function openBrowser(profile: string): Promise<Browser> {
  return puppeteer.launch({
    executablePath: chromiumPath,
    userDataDir: profile,
    args: chromiumFlags,
    defaultViewport: viewport,
  });
}

/** A new page, which may be left with something unsaved in it. */
export async function openPage(browser: Browser): Promise<Page> {
  const page = await browser.newPage();
  page.on("dialog", (dialog) => void dialog.accept());
  return page;
}

/** Runs `work` with a page of a browser of its own. */
export async function withBrowser<T>(profile: string, work: (page: Page) => Promise<T>): Promise<T> {
  const browser = await openBrowser(profile);
  try {
    return await work(await openPage(browser));
  } finally {
    await browser.close();
  }
}

/** Takes a one-time link to the list of workspaces, and waits until it is there. */
export async function signIn(page: Page, link: string): Promise<void> {
  await page.goto(link);
  await page.waitForSelector("a.row-name");
}

let typed = 0;

/** As soon as the open file has the keyboard: types a character that is nowhere else, and waits until it can be read. */
export async function typeFirstCharacter(page: Page, address: string): Promise<void> {
  const { pathname } = new URL(address);
  const hasKeyboard = `location.pathname === ${JSON.stringify(pathname)}
    && document.activeElement?.closest(".monaco-editor") != null
    && document.querySelector(".view-lines")?.textContent.includes("open") === true`;
  await until(page, hasKeyboard);
  const character = String.fromCodePoint(0x4e00 + typed++);
  const isShown = `document.querySelector(".view-lines")?.textContent.includes("${character}") === true`;
  const giveUpMs = performance.now() + patienceMs;
  // An editor may have the keyboard a moment before it takes keys; whoever sees nothing types again.
  for (;;) {
    // What is on its way to a page as another one takes its place is never answered.
    const sent = page.keyboard.sendCharacter(character).catch(() => {});
    await Promise.race([sent, new Promise((resolve) => setTimeout(resolve, typeAgainMs))]);
    if (await until(page, isShown, Math.min(typeAgainMs, giveUpMs - performance.now())).catch(() => false)) return;
    if (performance.now() > giveUpMs) throw new Error(`a character that was typed was not shown in ${patienceMs} ms`);
  }
}

/** Saves what was typed and waits until the editor has nothing unsaved. */
export async function saveFile(page: Page): Promise<void> {
  await page.keyboard.down("Control");
  await page.keyboard.press("s");
  await page.keyboard.up("Control");
  await until(page, `document.querySelector(".tab.active.dirty") === null`);
  await new Promise((resolve) => setTimeout(resolve, settleMs));
}

/** A page that is on its way to another address answers nothing; that is no answer yet. */
async function until(page: Page, condition: string, withinMs = patienceMs): Promise<true> {
  const deadlineMs = performance.now() + withinMs;
  while (!(await page.evaluate(condition).catch(() => false))) {
    if (performance.now() > deadlineMs) throw new Error(`after ${withinMs} ms still not: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, lookAgainMs));
  }
  return true;
}
