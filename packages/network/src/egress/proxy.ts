import { DormouseError, type Logger } from "@dormouse/base";
import { formatIpv4 } from "../ipv4.ts";
import { type Attempt, decide } from "../policy/policy.ts";
import { normalName } from "../policy/rule.ts";
import { isTls, readClientHello } from "./client-hello.ts";
import { type Frame, startFramedProcess } from "./frames.ts";
import { type HttpForwarderOptions, isHttp, startHttpForwarder } from "./http-forwarder.ts";
import type { Egress } from "./names.ts";
import { SecretSet } from "./secrets.ts";

/** As in `native/egress-proxy.c`. */
const commands = { connect: 1, connectLocal: 2, refuse: 3 } as const;
const events = { listening: 0, opened: 1, data: 2, closed: 3 } as const;
/** Before the first bytes of a flow that is told. */
const openedBytes = 12;
const maxHeadBytes = 16_384;
/** A TLS alert, fatal, access_denied (RFC 8446 6): what a client shows is better than a reset. */
const accessDenied = Buffer.from([21, 3, 3, 0, 2, 2, 49]);
/**
 * Names that providers have clients say when the real one is encrypted (`public_name` of RFC 9849): anybody can be behind them.
 * Under every other name a ClientHello is judged by that name, whether or not something in it is encrypted.
 */
const publicNames = new Set(["cloudflare-ech.com"]);

/** A connection that a machine has opened to where the proxy looks. */
export interface ProxiedFlow {
  id: number;
  /** The machine's, as the host sees it. */
  from: string;
  address: number;
  port: number;
  /** The name in it, once it is known. */
  name: string | undefined;
  /** It is TLS that is decrypted here, for the sake of secrets. */
  isEncrypted: boolean;
  isDecided: boolean;
  head: Buffer;
}

/** What the proxy asks, and whom it tells. */
export interface ProxyOptions {
  program: string;
  /** The program runs as this user. */
  uid: number;
  /** Whose an address is. */
  egressOf: (from: string) => Egress | undefined;
  /** Whether a name leads to an address for a machine; asks the resolver when it is not known. */
  leadsTo: (egress: Egress, name: string, address: number) => Promise<boolean>;
  onRefused: (
    egress: Egress,
    refused: { name: string | undefined; address: number; port: number; reason: string },
  ) => void;
  /** See {@link HttpForwarderOptions}. */
  contextOf: HttpForwarderOptions["contextOf"];
  roots: HttpForwarderOptions["roots"];
  logger: Logger;
}

/** Lets connections through by the name in them. */
export interface Proxy extends AsyncDisposable {
  readonly port: number;
  readonly pid: number | undefined;
  /** Ends connections that the machine's policy, another one now, does not allow any more. */
  reconsider(egress: Egress): void;
  /** Ends connections of a machine to hosts for which its secrets are others now than before. */
  reconsiderSecrets(egress: Egress, before: SecretSet): void;
  /** Ends the connections of a machine that is gone. */
  drop(from: string): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts the proxy and the program that holds the connections. */
export async function startProxy(options: ProxyOptions): Promise<Proxy> {
  const { egressOf, onRefused, logger } = options;
  const flows = new Map<number, ProxiedFlow>();
  let port = 0;

  const judge = async (egress: Egress, attempt: { name: string | undefined; address: number; port: number }) => {
    const { name, address } = attempt;
    const plain = decide(egress.policy, { protocol: "tcp", address, port: attempt.port });
    if (name === undefined) return plain;
    const named: Attempt = { protocol: "web", name, address, port: attempt.port };
    const decision = decide(egress.policy, named);
    // What the address alone allows needs no name to vouch for it.
    if (!decision.isAllowed || plain.isAllowed) return decision;
    if (await options.leadsTo(egress, name, address)) return decide(egress.policy, named);
    return { isAllowed: false, reason: `${formatIpv4(address)} is no address of ${name}` };
  };
  const http = await startHttpForwarder({
    flow: (id) => flows.get(id),
    check: async (flow, name) => {
      const egress = egressOf(flow.from);
      if (!egress) return { isAllowed: false, reason: "there is no policy" };
      const { address, port: to } = flow;
      // Where the name led was asked when the connection was opened, and its server proves the name itself.
      const decision =
        flow.isEncrypted && name !== undefined
          ? decide(egress.policy, { protocol: "web", name, address, port: to })
          : await judge(egress, { name, address, port: to });
      if (decision.isAllowed) flow.name = name;
      else onRefused(egress, { name, address: flow.address, port: flow.port, reason: decision.reason });
      return decision;
    },
    secretsOf: (flow) => egressOf(flow.from)?.secrets ?? SecretSet.none,
    async leadsTo(flow, name) {
      const egress = egressOf(flow.from);
      return egress !== undefined && (await options.leadsTo(egress, name, flow.address));
    },
    contextOf: options.contextOf,
    roots: options.roots,
    logger,
  });

  const send = (kind: number, id: number, payload: Buffer = Buffer.alloc(0)) => program.send({ kind, id, payload });
  const refuse = (flow: ProxiedFlow, reason: string, lastWord?: Buffer) => {
    flow.isDecided = true;
    const egress = egressOf(flow.from);
    if (egress) onRefused(egress, { name: flow.name, address: flow.address, port: flow.port, reason });
    send(commands.refuse, flow.id, lastWord);
  };
  const look = async (flow: ProxiedFlow): Promise<void> => {
    const egress = egressOf(flow.from);
    if (!egress) return refuse(flow, "there is no policy");
    if (isHttp(flow.head)) {
      flow.isDecided = true;
      return send(commands.connectLocal, flow.id, localTarget(http.path, flow.id));
    }
    const hello = isTls(flow.head) ? readClientHello(flow.head) : undefined;
    if (hello?.kind === "incomplete" && flow.head.length < maxHeadBytes) return;
    flow.isDecided = true;
    const found = nameIn(hello);
    const decision = await judge(egress, { ...flow, name: found.name });
    flow.name = found.name ?? found.text;
    // Its time may be over, or its machine gone, since it was asked about.
    if (!flows.has(flow.id)) return;
    if (!decision.isAllowed) {
      return refuse(flow, found.name === undefined ? found.problem : decision.reason, hello && accessDenied);
    }
    if (found.name === undefined || egress.secrets.of(found.name).length === 0) {
      return send(commands.connect, flow.id, target(flow));
    }
    flow.name = found.name;
    flow.isEncrypted = true;
    send(commands.connectLocal, flow.id, localTarget(http.path, flow.id));
  };
  const onFrame = ({ kind, id, payload }: Frame) => {
    if (kind === events.listening) port = payload.readUInt16LE(0);
    if (kind === events.opened) flows.set(id, openedFlow(id, payload));
    if (kind === events.closed) flows.delete(id);
    const flow = flows.get(id);
    if (!flow || flow.isDecided) return;
    if (kind === events.data) flow.head = Buffer.concat([flow.head, payload]);
    look(flow).catch((error: unknown) => {
      logger.debug("a connection was not let through", { error });
      refuse(flow, DormouseError.from(error).message, accessDenied);
    });
  };
  const program = await startFramedProcess({
    command: options.program,
    args: () => [String(options.uid), String(port)],
    isFirst: ({ kind }) => kind === events.listening,
    onFrame,
    onEnd: () => flows.clear(),
    logger,
  });
  return {
    get port() {
      return port;
    },
    get pid() {
      return program.pid;
    },
    reconsiderSecrets(egress, before) {
      for (const flow of flows.values()) {
        const name = flow.name === undefined ? undefined : normalName(flow.name);
        if (name === undefined || egressOf(flow.from) !== egress) continue;
        if (before.stateOf(name) !== egress.secrets.stateOf(name)) send(commands.refuse, flow.id);
      }
    },
    drop(from) {
      for (const flow of flows.values()) if (flow.from === from) send(commands.refuse, flow.id);
    },
    reconsider(egress) {
      for (const flow of flows.values()) {
        if (egressOf(flow.from) !== egress || !flow.isDecided) continue;
        // What is known of the name is held against the new policy; whether it still leads there is no new question.
        const name = flow.name === undefined ? undefined : normalName(flow.name);
        const { address, port: to } = flow;
        const attempt: Attempt =
          name === undefined ? { protocol: "tcp", address, port: to } : { protocol: "web", name, address, port: to };
        if (!decide(egress.policy, attempt).isAllowed) refuse(flow, "the policy was changed");
      }
    },
    async [Symbol.asyncDispose]() {
      await program[Symbol.asyncDispose]();
      await http[Symbol.asyncDispose]();
    },
  };
}

/** The name that a connection says, in the form in which names are compared, or what is wrong with it. */
function nameIn(hello: ReturnType<typeof readClientHello> | undefined): {
  name: string | undefined;
  text: string | undefined;
  problem: string;
} {
  if (hello === undefined)
    return { name: undefined, text: undefined, problem: "it is neither TLS nor HTTP, and names no server" };
  if (hello.kind !== "complete") return { name: undefined, text: undefined, problem: "its ClientHello cannot be read" };
  const { serverName: text, mayHideAnother } = hello;
  if (text === undefined) return { name: undefined, text, problem: "it names no server (SNI)" };
  const name = normalName(text);
  if (mayHideAnother && name !== undefined && publicNames.has(name)) {
    return { name: undefined, text, problem: "its server's name is encrypted (ECH)" };
  }
  return {
    name,
    text,
    problem: `it names the server "${text.slice(0, 100)}", which is no host name`,
  };
}

function openedFlow(id: number, payload: Buffer): ProxiedFlow {
  return {
    id,
    from: formatIpv4(payload.readUInt32BE(0)),
    address: payload.readUInt32BE(4),
    port: payload.readUInt16LE(10),
    name: undefined,
    isEncrypted: false,
    isDecided: false,
    head: payload.subarray(openedBytes),
  };
}

function target({ address, port }: ProxiedFlow): Buffer {
  const payload = Buffer.alloc(6);
  payload.writeUInt32BE(address, 0);
  payload.writeUInt16LE(port, 4);
  return payload;
}

/** The path of a socket in the abstract namespace, and the line that is said there first. */
function localTarget(path: string, id: number): Buffer {
  const name = Buffer.from(path);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(name.length);
  return Buffer.concat([length, name, Buffer.from(`${id}\n`)]);
}
