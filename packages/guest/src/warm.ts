import { connectGuestChannel, type GuestAddress, type GuestClient } from "./client.ts";

/** How {@link warmGuest} goes about it. */
export interface WarmOptions extends GuestAddress {
  /** Default folder of the template's users; must be there. */
  folder: string;
  /** How often the calls of every start are made; default 40, so that V8 has made its baseline code and feedback. */
  rounds?: number;
  /** What the host does itself at every start, without the agent; called in each round. */
  besides?: () => Promise<void>;
}

/**
 * Makes the requests that a first user makes, over HTTP and over a channel, so that a template's
 * snapshot holds their code compiled and their programs in memory. Leaves nothing behind in the machine.
 */
export async function warmGuest(client: GuestClient, options: WarmOptions): Promise<void> {
  const { folder, rounds = 40 } = options;
  for (let round = 0; round < rounds; round++) {
    await options.besides?.();
    // With a limit of waiting, as the SDK sends it: what waits for it is the agent's slowest first call.
    await client.exec.run({ command: "true", waitMs: 30_000 });
    await client.exec.run({ command: ["true"], cwd: folder, waitMs: 30_000 });
  }
  using channel = await connectGuestChannel(options);
  for (const through of [client, channel.client]) {
    await openEditor(through, folder);
    await useTerminal(through);
    await useTerminal(through);
  }
  // Pages of the programs that the editor runs; an image without one of them is none the worse.
  await client.exec.run({ command: "git --version; rg --version; ls; cat /dev/null" });
  // Last, so that the heap is small and clean when the snapshot is taken.
  await client.machine.collectGarbage({});
}

async function openEditor(client: GuestClient, folder: string): Promise<void> {
  const path = `${folder}/.dormouse-warm`;
  await client.files.list({ path: folder });
  await client.files.list({ path: "/etc" });
  await client.files.write({ path, content: btoa("warm") });
  await client.files.stat({ path });
  await client.files.read({ path });
  await client.files.remove({ path });
  await client.git.discover({ path: folder });
  await client.ports.list({});
  const { processId } = await client.exec.start({ command: "echo warm" });
  for await (const event of await client.exec.attach({ processId })) if (event.type === "exit") break;
  const watching = await client.files.watch({ path: folder });
  await watching.next();
  await watching.return(undefined);
}

async function useTerminal(client: GuestClient): Promise<void> {
  const { id } = await client.pty.create({ cols: 80, rows: 24 });
  await client.pty.input({ id, data: "exit\r" });
  for await (const event of await client.pty.attach({ id })) if (event.type === "exit") break;
  await client.pty.kill({ id });
}
