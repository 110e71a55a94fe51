import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Workspace } from "@dormouse/sdk";
import type { Page } from "puppeteer-core";
import { saveFile, signIn, typeFirstCharacter, withBrowser } from "../tests/support/prepared-page.ts";
import { startCodeServer } from "./code-server.ts";
import { type Figures, figures, ratio } from "./figures.ts";
import { withPlatform } from "./platform.ts";

const rounds = Number(process.env.DORMOUSE_BENCH_ROUNDS ?? 30);
/** With an empty profile each, which takes longest. */
const coldRounds = Math.ceil(rounds / 5);
/** Somebody looks at the list before they choose; the browser prepares the likeliest page meanwhile. */
const lookMs = Number(process.env.DORMOUSE_BENCH_LOOK_MS ?? 10_000);
const note = (text: string) => process.stderr.write(`${text}\n`);
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const name = "cursor";
const fileName = "notes.txt";
const content = `${Array.from({ length: 40 }, (_, index) => `line ${index + 1} of a file that is open`).join("\n")}\n`;

process.stdout.write(`${JSON.stringify(await measureEditor(), null, 2)}\n`);
// Connections that are kept alive hold no result back.
process.exit();

/**
 * From a click to the first character that was typed and can be read in the open file, in Chromium: the console was open
 * and the workspace runs, or sleeps; a page opened again by its address; and with an empty profile. Beside code-server,
 * which serves a folder of this host and has neither a console nor a machine to wake, in turn.
 */
async function measureEditor() {
  const scratch = await mkdtemp(join(tmpdir(), "dormouse-bench-"));
  try {
    return await withPlatform({ poolSize: 1 }, async ({ platform, connection }) => {
      await using other = await startCodeServer({ fileName, content, note });
      const workspace = await Workspace.create({ connection, name });
      const file = `${workspace.folder}/${fileName}`;
      await workspace.files.write(file, content);
      const address = new URL(`/w/${name}`, platform.url).href;
      const withFile = `${address}?file=${encodeURIComponent(file)}`;

      const cold: Pair = { ours: [], theirs: [] };
      for (let round = 0; round < coldRounds; round++) {
        note(`empty profile, ${round + 1} of ${coldRounds} …`);
        const profile = join(scratch, `cold-${round}`);
        await withBrowser(profile, async (page) => {
          await signIn(page, await platform.createSignInLink("/"));
          cold.ours.push(await timed(page, () => void page.goto(withFile), address));
        });
        await withBrowser(`${profile}-other`, async (page) => {
          cold.theirs.push(await timed(page, () => void page.goto(other.withFile), other.address));
        });
      }

      const again: Pair = { ours: [], theirs: [] };
      const running: number[] = [];
      const asleep: number[] = [];
      await withBrowser(join(scratch, "ours"), async (page) =>
        withBrowser(join(scratch, "theirs"), async (theirs) => {
          note("first visits …");
          await signIn(page, await platform.createSignInLink("/"));
          await timed(page, () => void page.goto(withFile), address);
          await saveFile(page);
          await timed(theirs, () => void theirs.goto(other.withFile), other.address);
          await saveFile(theirs);
          const click = async () => {
            await page.goto(platform.url);
            const link = await page.waitForSelector(`a.row-name[href="/w/${name}"]`);
            await sleep(lookMs);
            const time = await timed(page, () => void link?.click(), address);
            await saveFile(page);
            return time;
          };
          for (let round = 0; round < rounds; round++) {
            note(`round ${round + 1} of ${rounds} …`);
            // With the file in its address: it forgets what was open when it is left right away.
            again.theirs.push(await timed(theirs, () => void theirs.goto(other.withFile), other.address));
            await saveFile(theirs);
            await theirs.goto("about:blank");
            again.ours.push(await timed(page, () => void page.goto(address), address));
            await saveFile(page);
            running.push(await click());
            await page.goto("about:blank");
            await workspace.hibernate();
            asleep.push(await click());
          }
        }),
      );
      const theirsAgain = figures(again.theirs);
      const toTheirs = (ours: Figures) => ratio(ours.p50Ms, theirsAgain.p50Ms);
      return {
        clickToCursor: { running: figures(running), asleep: figures(asleep) },
        openedAgain: { ours: figures(again.ours), codeServer: theirsAgain },
        emptyProfile: { ours: figures(cold.ours), codeServer: figures(cold.theirs) },
        ratios: {
          runningToCodeServer: toTheirs(figures(running)),
          asleepToCodeServer: toTheirs(figures(asleep)),
          openedAgain: toTheirs(figures(again.ours)),
          emptyProfile: ratio(figures(cold.ours).p50Ms, figures(cold.theirs).p50Ms),
        },
      };
    });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

interface Pair {
  ours: number[];
  theirs: number[];
}

/** Milliseconds from `start` until what was typed into the open file can be read on the page of `address`. */
async function timed(page: Page, start: () => void, address: string): Promise<number> {
  const startedMs = performance.now();
  start();
  await typeFirstCharacter(page, address);
  return performance.now() - startedMs;
}
