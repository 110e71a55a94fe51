import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { Connection, saveCredentials } from "@dormouse/sdk";
import type { Command } from "commander";
import { usageError } from "../exit.ts";
import { printLine } from "../output.ts";

const defaultUrl = "http://127.0.0.1:7070";

export default function login(command: Command): void {
  command
    .option("--url <url>", "address of the platform")
    .addHelpText("after", "\nThe API key is asked for, or read from standard input; it is never an argument.")
    .action(async (options: { url?: string }) => {
      const { url, apiKey } = process.stdin.isTTY ? await ask(options.url) : await readPiped(options.url);
      if (apiKey === "") throw usageError("the API key is empty");
      const connection = new Connection({ url, apiKey });
      const account = await connection.api.me.get({});
      const file = await saveCredentials({ url: connection.url, apiKey });
      printLine(`Signed in to ${connection.url} as ${account.name} (${account.email}); saved in ${file}.`);
    });
}

async function readPiped(url: string | undefined): Promise<{ url: string; apiKey: string }> {
  return { url: url ?? defaultUrl, apiKey: (await text(process.stdin)).trim() };
}

async function ask(given: string | undefined): Promise<{ url: string; apiKey: string }> {
  let isSecret = false;
  const echo = new Writable({
    write(chunk, _encoding, done) {
      if (!isSecret) process.stdout.write(chunk);
      done();
    },
  });
  const prompt = createInterface({ input: process.stdin, output: echo, terminal: true });
  try {
    const url = given ?? ((await prompt.question(`Address [${defaultUrl}]: `)).trim() || defaultUrl);
    process.stdout.write("API key (not shown): ");
    isSecret = true;
    const apiKey = (await prompt.question("")).trim();
    process.stdout.write("\n");
    return { url, apiKey };
  } finally {
    prompt.close();
  }
}
