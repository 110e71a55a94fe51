import { DormouseError, sleep } from "@dormouse/base";
import type { ForwardedPort, ListeningPort, Workspace } from "@dormouse/contract";
import type { Api as RestApi } from "../../api.ts";
import type { Channel } from "../../channel/channel.ts";
import { follow } from "../../channel/follow.ts";
import { attributesByCommand } from "./command-attributes.ts";

/** The ports of the workspace as the page shows them. */
export interface PortList extends Disposable {
  readonly ports: readonly ForwardedPort[];
  /** Tells each change; `opened` has begun to listen since the page knows. */
  onChange(listener: (opened: readonly ForwardedPort[]) => void): void;
  /** Asks again, after something was set. */
  refresh(): Promise<void>;
}

const retryMs = 5_000;

/** Follows what listens in the machine; the platform says who may open it. */
export function openPortList(options: { rest: RestApi; channel: Channel; workspace: Workspace }): PortList {
  const { rest, channel, workspace } = options;
  const life = new AbortController();
  const listeners = new Set<(opened: readonly ForwardedPort[]) => void>();
  const listening = new Map<number, ListeningPort>();
  let ports: readonly ForwardedPort[] = [];
  /** Null until the machine has told for the first time: what listened before the page was opened is no news. */
  let known: ReadonlySet<number> | null = null;
  let asked = Promise.resolve();

  const ask = async (news: readonly number[]) => {
    const all = (await rest.ports.list({ workspace: workspace.id })).ports;
    ports = all.map((port) => {
      const byCommand = attributesByCommand(
        workspace.devcontainer,
        port.port,
        listening.get(port.port)?.commandLine ?? null,
      );
      return { ...port, ...byCommand, label: port.label ?? byCommand.label ?? null };
    });
    const opened = ports.filter(({ port, isListening }) => isListening && news.includes(port));
    for (const listener of [...listeners]) listener(opened);
  };
  /** One question after the other, so that an older answer does not overtake a newer one. */
  const refresh = (news: readonly number[] = []) => {
    asked = asked.catch(() => {}).then(() => ask(news));
    return asked;
  };

  const watch = async () => {
    while (!life.signal.aborted) {
      await follow(channel, {
        signal: life.signal,
        open: (signal) => channel.guest.ports.watch({}, { signal }),
        onResume: () => listening.clear(),
        onEvent: async ({ opened, closed }) => {
          for (const { port } of closed) listening.delete(port);
          for (const port of opened) listening.set(port.port, port);
          const before = known;
          known = new Set(listening.keys());
          await refresh(before === null ? [] : [...known].filter((port) => !before.has(port)));
        },
      }).catch((error: unknown) => {
        if (DormouseError.from(error).code !== "unavailable") console.warn("ports are not followed", error);
      });
      // A machine that went away comes back; the page's connection says when.
      await sleep(retryMs, life.signal).catch(() => {});
    }
  };
  void watch();

  return {
    get ports() {
      return ports;
    },
    onChange: (listener) => void listeners.add(listener),
    refresh: () => refresh(),
    [Symbol.dispose]: () => life.abort(),
  };
}
