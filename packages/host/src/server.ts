import { timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { DormouseError, type Logger } from "@dormouse/base";
import { convertRpcErrors, guestContract, hostContract, machineAwayHeader, toRpcError } from "@dormouse/contract";
import { implement } from "@orpc/server";
import { RPCHandler } from "@orpc/server/node";
import type { GuestAddress } from "./guest-address.ts";
import { proxyRequest, proxyUpgrade, sendError } from "./guest-proxy.ts";
import type { HostService } from "./host-service.ts";
import type { ImageTemplates } from "./image-templates.ts";

/** What {@link startServer} needs. */
export interface ServerOptions {
  service: HostService;
  images: ImageTemplates;
  token: string;
  listen: { address: string; port: number };
  log: Logger;
}

const silenceMs = 2_000;

/**
 * Serves the host contract at `/rpc` and passes `/machines/{workspaceId}/guest/…` on to agents, but for `exec.run`,
 * which it answers itself. Everything needs the host's token.
 */
export async function startServer(options: ServerOptions): Promise<{ url: string; close(): Promise<void> }> {
  const { service, images, log } = options;
  const handler = new RPCHandler(createRouter(service, images), {
    clientInterceptors: [
      async ({ next, path }) => {
        try {
          return await next();
        } catch (error) {
          log.warn("call failed", { path: path.join("."), error });
          throw toRpcError(error);
        }
      },
    ],
  });
  const commands = new RPCHandler(createCommandRouter(service), {
    clientInterceptors: [({ next }) => next().catch((error: unknown) => Promise.reject(toRpcError(error)))],
  });
  const serve = async (request: IncomingMessage, response: ServerResponse) => {
    try {
      requireToken(request, options.token);
      const target = guestTarget(request.url ?? "/");
      if (target) {
        const guest = guestOf(service, target.workspaceId);
        if (!guest) return refuseAway(response, target.workspaceId);
        // Whoever waits with the body until somebody takes it can bring it elsewhere when nobody does.
        if (request.headers.expect !== undefined) response.writeContinue();
        service.use(target.workspaceId);
        if (target.path === "/rpc/exec/run") {
          const { workspaceId } = target;
          const prefix = `/machines/${workspaceId}/guest/rpc` as const;
          await commands.handle(request, response, { prefix, context: { workspaceId } });
          return;
        }
        return await proxyRequest(request, response, guest, target.path);
      }
      if (request.headers.expect !== undefined) response.writeContinue();
      const { matched } = await handler.handle(request, response, { prefix: "/rpc" });
      if (!matched) sendError(response, new DormouseError("not_found", `no route ${request.method} ${request.url}`));
    } catch (error) {
      log.warn("request failed", { error });
      if (response.headersSent) response.destroy();
      else sendError(response, DormouseError.from(error));
    }
  };
  // A client that vanished without a word, and with it whatever it follows, is noticed by TCP.
  const noticing = { keepAlive: true, keepAliveInitialDelay: silenceMs };
  const server = createServer({ keepAliveTimeout: 60_000, requestTimeout: 0, ...noticing }, serve);
  server.on("checkContinue", serve);
  const channels = new Set<Duplex>();
  server.on("upgrade", (request, socket, head) => {
    channels.add(socket);
    socket.once("close", () => channels.delete(socket));
    // Also a refused one may be reset by its client, and nobody else listens for that.
    socket.on("error", () => socket.destroy());
    try {
      requireToken(request, options.token);
      const target = guestTarget(request.url ?? "/");
      if (!target) throw new DormouseError("not_found", "no such WebSocket");
      const guest = guestOf(service, target.workspaceId);
      if (!guest) return void socket.end(upgradeRefusal("503 Service Unavailable", `${machineAwayHeader}: 1\r\n`));
      socket.once("close", service.connect(target.workspaceId, connectionName(target.path)));
      proxyUpgrade({ incoming: request, socket, head, guest, path: target.path, log });
    } catch (error) {
      const { code } = DormouseError.from(error);
      const status = code === "unauthenticated" ? "401 Unauthorized" : "503 Service Unavailable";
      socket.end(upgradeRefusal(status));
    }
  });
  await listen(server, options.listen);
  const { address, port } = server.address() as AddressInfo;
  return {
    url: `http://${address}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
        for (const channel of channels) channel.destroy();
      }),
  };
}

function createRouter(service: HostService, images: ImageTemplates) {
  const host = implement(hostContract).use(({ next }) => convertRpcErrors(() => next()));
  return host.router({
    machines: {
      create: host.machines.create.handler(({ input }) => service.lifecycle.create(input)),
      get: host.machines.get.handler(({ input }) => service.get(input.workspaceId)),
      list: host.machines.list.handler(() => ({ machines: service.list() })),
      hibernate: host.machines.hibernate.handler(({ input }) => service.lifecycle.hibernate(input)),
      wake: host.machines.wake.handler(({ input }) => service.lifecycle.wake(input)),
      restart: host.machines.restart.handler(({ input, signal }) => service.lifecycle.restart(input, { signal })),
      snapshot: host.machines.snapshot.handler(({ input, signal }) => service.snapshots.take(input, { signal })),
      delete: host.machines.delete.handler(async ({ input }) => {
        await service.lifecycle.delete(input);
        return {};
      }),
      console: host.machines.console.handler(async ({ input }) => ({ text: await service.console(input.workspaceId) })),
      watch: host.machines.watch.handler(({ signal }) => service.watch(signal)),
    },
    egress: {
      set: host.egress.set.handler(async ({ input }) => {
        await service.outbound.setPolicy(input.workspaceId, input.policy);
        return {};
      }),
      log: host.egress.log.handler(({ input }) => service.outbound.log(input.workspaceId)),
      test: host.egress.test.handler(({ input: { workspaceId, ...attempt } }) =>
        service.outbound.test(workspaceId, attempt),
      ),
      watch: host.egress.watch.handler(({ signal }) => service.outbound.watch(signal)),
    },
    secrets: {
      set: host.secrets.set.handler(async ({ input: { workspaceId, ...next } }) => {
        await service.outbound.setSecrets(workspaceId, next);
        return {};
      }),
    },
    snapshots: {
      list: host.snapshots.list.handler(async ({ input }) => ({
        snapshots: await service.snapshots.list(input.workspaceId),
      })),
      delete: host.snapshots.delete.handler(async ({ input }) => {
        await service.snapshots.remove(input);
        return {};
      }),
    },
    templates: {
      list: host.templates.list.handler(() => ({ templates: service.templates() })),
      ofImage: host.templates.ofImage.handler(({ input, signal }) => service.templateOfImage(input.image, signal)),
    },
    images: {
      resolve: host.images.resolve.handler(({ input, signal }) => images.resolve(input.reference, signal)),
      deliver: host.images.deliver.handler(({ input, signal }) => service.deliverImage(input, signal)),
      adopt: host.images.adopt.handler(({ input, signal }) => service.adoptImage(input, signal)),
    },
    features: { fetch: host.features.fetch.handler(({ input, signal }) => images.fetchFeature(input, signal)) },
    capacity: host.capacity.handler(() => service.capacity()),
  });
}

/** The one call of the guest contract that the host answers, see {@link runCommand}. */
function createCommandRouter(service: HostService) {
  const guest = implement(guestContract).$context<{ workspaceId: string }>();
  const run = guest.exec.run.handler(({ input, context, signal }) => service.run(context.workspaceId, input, signal));
  return { exec: { run } };
}

/** Undefined when the workspace has no running machine here. */
function guestOf(service: HostService, workspaceId: string): GuestAddress | undefined {
  try {
    return service.guestAddress(workspaceId);
  } catch (error) {
    const { code } = DormouseError.from(error);
    if (code === "unavailable" || code === "not_found") return undefined;
    throw error;
  }
}

function refuseAway(response: ServerResponse, workspaceId: string): void {
  response.setHeader(machineAwayHeader, "1");
  sendError(response, new DormouseError("unavailable", `the machine of ${workspaceId} does not run here now`));
}

/** What keeps a machine awake while it is open, in words. */
function connectionName(path: string): string {
  const port = /^\/port\/(\d+)$/.exec(path)?.[1];
  return port === undefined ? "an open editor or connection" : `port ${port}`;
}

function upgradeRefusal(status: string, headers = ""): string {
  return `HTTP/1.1 ${status}\r\n${headers}Connection: close\r\nContent-Length: 0\r\n\r\n`;
}

function guestTarget(url: string): { workspaceId: string; path: string } | undefined {
  const match = /^\/machines\/([a-z0-9-]+)\/guest(\/.*)$/.exec(url);
  return match?.[1] && match[2] ? { workspaceId: match[1], path: match[2] } : undefined;
}

function requireToken(request: IncomingMessage, token: string): void {
  const given = Buffer.from(request.headers.authorization ?? "");
  const wanted = Buffer.from(`Bearer ${token}`);
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
    throw new DormouseError("unauthenticated", "the host's token is missing or wrong");
  }
}

function listen(server: Server, { address, port }: { address: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, address, () => {
      server.removeListener("error", reject);
      resolve();
    });
  });
}
