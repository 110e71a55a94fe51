import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { DormouseError } from "@dormouse/base";
import { guestContract, toRpcError } from "@dormouse/contract";
import { implement } from "@orpc/server";
import { RPCHandler } from "@orpc/server/ws";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type WebSocket, WebSocketServer } from "ws";
import { type Channel, openChannel } from "./channel.ts";
import { follow } from "./follow.ts";

let agent: Awaited<ReturnType<typeof startAgent>>;
let channel: Channel | undefined;
beforeEach(async () => {
  agent = await startAgent();
});
afterEach(async () => {
  channel?.close();
  await agent.stop();
});

/** An agent with a few calls, whose connections can be cut at the worst moment. */
async function startAgent() {
  const os = implement(guestContract);
  const calls: string[] = [];
  let held: PromiseWithResolvers<void> | undefined;
  const ticks = 6;
  const router = {
    files: {
      exists: os.files.exists.handler(async ({ input }) => {
        calls.push(`exists ${input.path}`);
        await held?.promise;
        return { exists: true };
      }),
      rename: os.files.rename.handler(async () => {
        calls.push("rename");
        await held?.promise;
        throw new Error("never reached");
      }),
    },
    git: {
      push: os.git.push.handler(async function* () {
        yield { phase: "push", message: "Writing objects" };
        throw toRpcError(new DormouseError("failed_precondition", "pull first", { details: { reason: "rejected" } }));
      }),
    },
    pty: {
      attach: os.pty.attach.handler(async function* ({ input }) {
        calls.push(`attach ${input.offset}`);
        for (let offset = input.offset + 1; offset <= ticks; offset++) {
          yield { type: "data" as const, offset, data: `${offset}` };
          if (offset === 3 && input.offset < 3) await new Promise(() => {});
        }
        yield { type: "exit" as const, exitCode: 0, signal: null };
      }),
    },
  };
  const handler = new RPCHandler(router);
  const sockets = new Set<WebSocket>();
  const server: Server = createServer();
  const webSockets = new WebSocketServer({ server });
  webSockets.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    void handler.upgrade(socket, {});
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `ws://127.0.0.1:${port}/channel`,
    calls,
    /** Calls do not answer until the connection is cut. */
    hold() {
      held = Promise.withResolvers();
    },
    cut() {
      held = undefined;
      for (const socket of sockets) socket.terminate();
    },
    async stop() {
      for (const socket of sockets) socket.terminate();
      webSockets.close();
      server.close();
      server.closeAllConnections();
    },
  };
}

const untilCalled = async (count: number) => {
  while (agent.calls.length < count) await new Promise((resolve) => setImmediate(resolve));
};

test("a call that can be repeated outlives the loss of its connection", async () => {
  channel = openChannel({ url: agent.url });
  agent.hold();
  const answer = channel.guest.files.exists({ path: "/a" });
  await untilCalled(1);
  agent.cut();
  await expect(answer).resolves.toEqual({ exists: true });
  expect(agent.calls).toEqual(["exists /a", "exists /a"]);
});

test("a call that cannot be repeated says that it is unknown whether it was done", async () => {
  channel = openChannel({ url: agent.url });
  agent.hold();
  const answer = channel.guest.files.rename({ from: "/a", to: "/b" });
  await untilCalled(1);
  agent.cut();
  await expect(answer).rejects.toMatchObject({
    code: "unavailable",
    message: "the connection was lost during files.rename; look whether it was done before trying again",
  });
  expect(agent.calls).toEqual(["rename"]);
});

test("a stream goes on where it stopped", async () => {
  const open = openChannel({ url: agent.url });
  channel = open;
  const seen: number[] = [];
  let exitCode: number | undefined;
  let resumes = 0;
  let offset = 0;
  const signal = new AbortController().signal;
  const followed = follow(open, {
    open: () => open.guest.pty.attach({ id: "pty-1", offset }, { signal }),
    onEvent(event) {
      if (event.type === "exit") exitCode = event.exitCode;
      if (event.type !== "data") return;
      offset = event.offset;
      seen.push(event.offset);
      if (event.offset === 3) agent.cut();
    },
    onResume: () => resumes++,
    signal,
  });
  await followed;
  expect(seen).toEqual([1, 2, 3, 4, 5, 6]);
  expect(exitCode).toBe(0);
  expect(resumes).toBe(1);
  expect(agent.calls).toEqual(["attach 0", "attach 3"]);
});

test("no further attempt is made before it is said to make sense", async () => {
  const permission = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  channel = openChannel({
    url: agent.url,
    beforeRetry() {
      asked.resolve();
      return permission.promise;
    },
  });
  await channel.guest.files.exists({ path: "/first" });
  agent.cut();
  await asked.promise;
  expect(channel.state).toBe("lost");
  const answer = channel.guest.files.exists({ path: "/second" });
  permission.resolve();
  await expect(answer).resolves.toEqual({ exists: true });
  expect(channel.state).toBe("connected");
});

test("calls wait for a machine that is not there yet, however long that takes, and no attempt is made", async () => {
  const opens = Promise.withResolvers<void>();
  channel = openChannel({ url: agent.url, opens: opens.promise });
  const answer = channel.guest.files.exists({ path: "/a" });
  const given = AbortSignal.timeout(50);
  await expect(channel.guest.files.exists({ path: "/b" }, { signal: given })).rejects.toThrow();
  expect(channel.state).toBe("connecting");
  expect(agent.calls).toEqual([]);
  opens.resolve();
  await expect(answer).resolves.toEqual({ exists: true });
  expect(agent.calls).toEqual(["exists /a"]);
});

test("a machine that never comes fails the calls that wait for it with its reason", async () => {
  const reason = new DormouseError("failed_precondition", "its machine stopped");
  channel = openChannel({ url: agent.url, opens: Promise.reject(reason) });
  await expect(channel.guest.files.exists({ path: "/a" })).rejects.toMatchObject({ message: "its machine stopped" });
  expect(channel.state).toBe("connecting");
});

test("what the agent refuses arrives as its error, at once", async () => {
  channel = openChannel({ url: agent.url });
  const answer = channel.guest.files.exists({ path: "relative" });
  await expect(answer).rejects.toMatchObject({ code: "invalid_argument", message: "path: a path starts with /" });
});

test("what a stream ends with arrives as the agent's error, with its details", async () => {
  channel = openChannel({ url: agent.url });
  const push = async () => {
    for await (const _ of (await channel?.guest.git.push({ cwd: "/r" })) ?? []);
  };
  await expect(push()).rejects.toMatchObject({ code: "failed_precondition", details: { reason: "rejected" } });
});

test("a closed channel lets nobody wait", async () => {
  channel = openChannel({ url: "ws://127.0.0.1:1/nothing-listens-here" });
  const answer = channel.guest.files.exists({ path: "/a" });
  channel.close();
  await expect(answer).rejects.toMatchObject({ code: "unavailable" });
  expect(channel.state).toBe("closed");
});
