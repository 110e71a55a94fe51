// Serves a local machine to a program in another language: prints one line of JSON, and ends with its standard input.
import { once } from "node:events";
import { startLocalMachine } from "./local-machine.ts";

await using machine = await startLocalMachine();
process.stdout.write(`${JSON.stringify({ url: machine.url, apiKey: machine.apiKey, folder: machine.folder })}\n`);
process.stdin.resume();
await once(process.stdin, "end");
