import { DormouseError } from "@dormouse/base";
import type { ForwardedPort, SetPort, Workspace } from "@dormouse/contract";
import type * as vscode from "vscode";
import type { Api as RestApi } from "../../api.ts";
import type { Channel } from "../../channel/channel.ts";
import type { Api } from "../../vscode/extension.ts";
import { openPortList } from "./port-list.ts";
import { createPreviews } from "./preview.ts";
import { createPortsTree } from "./tree.ts";

/** What ports are shown with. */
export interface PortsOptions {
  api: Api;
  rest: RestApi;
  channel: Channel;
  workspace: Workspace;
}

const visibilities = [
  { visibility: "private", label: "$(lock) Private", description: "only you" },
  {
    visibility: "organisation",
    label: "$(organization) Organisation",
    description: "everybody in an organisation of yours",
  },
  { visibility: "public", label: "$(globe) Public", description: "anybody who has the address" },
] as const;
const protocols = [
  { protocol: "http", label: "http" },
  { protocol: "https", label: "https", description: "also with a certificate that it made itself" },
  { protocol: "h2c", label: "h2c", description: "HTTP/2 without TLS, as servers of gRPC speak" },
] as const;
const lifetimes = [
  { label: "One hour", seconds: 3600 },
  { label: "One day", seconds: 24 * 3600 },
  { label: "One week", seconds: 7 * 24 * 3600 },
];

/** The Ports view, its commands, and what is done when a port begins to listen. */
export function registerPorts({ api, rest, channel, workspace }: PortsOptions): vscode.Disposable {
  const list = openPortList({ rest, channel, workspace });
  const previews = createPreviews(api);
  const reference = { workspace: workspace.id };
  /** Of `openBrowserOnce`. */
  const openedOnce = new Set<number>();

  const set = async (port: number, setting: SetPort) => {
    await rest.ports.set({ ...reference, port, ...setting });
    await list.refresh();
  };

  /** A row's port, or one that is chosen when the command comes from the palette. */
  const command = (id: string, work: (port: ForwardedPort) => Promise<void> | void) =>
    api.commands.registerCommand(id, async (given?: ForwardedPort) => {
      try {
        const port = given ?? (await choose());
        if (port) await work(port);
      } catch (caught) {
        void api.window.showErrorMessage(DormouseError.from(caught).message);
      }
    });
  const choose = async () => {
    const items = list.ports.map((port) => ({
      label: port.label === null ? String(port.port) : `${port.port} ${port.label}`,
      description: [port.process, port.visibility].filter(Boolean).join(" · "),
      port,
    }));
    if (items.length === 0) void api.window.showInformationMessage("Nothing listens in the workspace.");
    return items.length === 0 ? undefined : (await api.window.showQuickPick(items, { title: "Port" }))?.port;
  };
  const addressOf = ({ port, url }: ForwardedPort) => {
    if (url === null) {
      const advice = `dormouse ports forward ${workspace.name} ${port}`;
      throw new DormouseError(
        "failed_precondition",
        `This platform has no domain for ports; on your machine: ${advice}`,
      );
    }
    return url;
  };
  const open = (port: ForwardedPort) => {
    window.open(addressOf(port), "_blank", "noopener");
  };
  const preview = (port: ForwardedPort) => previews.show(addressOf(port), port.label ?? `Port ${port.port}`);

  const announce = async (port: ForwardedPort) => {
    const name = port.label === null ? `Port ${port.port}` : `${port.label} (port ${port.port})`;
    const process = port.process === null ? "" : ` by ${port.process}`;
    const actions = port.url === null ? [] : ["Open in Browser", "Preview in Editor"];
    const chosen = await api.window.showInformationMessage(`${name} is open${process}.`, ...actions);
    if (chosen === "Open in Browser") open(port);
    if (chosen === "Preview in Editor") preview(port);
  };

  list.onChange((opened) => {
    for (const port of opened) {
      if (!port.isForwarded) continue;
      const { onAutoForward, url } = port;
      if (onAutoForward === "silent" || onAutoForward === "ignore") continue;
      if (onAutoForward === "openPreview" && url) preview(port);
      else if (onAutoForward === "openBrowser" || (onAutoForward === "openBrowserOnce" && !openedOnce.has(port.port))) {
        openedOnce.add(port.port);
        // Browsers let a page open a tab by itself only as the person has said; then the message offers it.
        if (!url || !window.open(url, "_blank")) void announce(port);
      } else if (onAutoForward === "notify") void announce(port);
    }
  });

  const changeVisibility = async (port: ForwardedPort) => {
    const title = `Who may open port ${port.port}?`;
    const items = visibilities.map((item) => ({ ...item, picked: item.visibility === port.visibility }));
    const chosen = await api.window.showQuickPick(items, { title });
    if (chosen) await set(port.port, { visibility: chosen.visibility });
  };
  const changeLabel = async (port: ForwardedPort) => {
    const value = await api.window.showInputBox({ title: `Label of port ${port.port}`, value: port.label ?? "" });
    if (value !== undefined) await set(port.port, { label: value === "" ? null : value });
  };
  const changeProtocol = async (port: ForwardedPort) => {
    const chosen = await api.window.showQuickPick([...protocols], { title: `What port ${port.port} speaks` });
    if (chosen) await set(port.port, { protocol: chosen.protocol });
  };
  const copyLink = async (port: ForwardedPort) => {
    const chosen = await api.window.showQuickPick(lifetimes, {
      title: `For how long the link opens port ${port.port}`,
    });
    if (!chosen) return;
    const link = await rest.ports.createLink({ ...reference, port: port.port, expiresInSeconds: chosen.seconds });
    await api.env.clipboard.writeText(link.url);
    void api.window.showInformationMessage(`A link to port ${port.port} is in the clipboard. Whoever has it gets in.`);
  };
  const add = async () => {
    const validateInput = (text: string) =>
      /^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65_535 ? undefined : "A number from 1 to 65535.";
    const text = await api.window.showInputBox({ title: "Forward a Port", prompt: "Its number", validateInput });
    if (text !== undefined) await set(Number(text), { isForwarded: true });
  };

  return api.Disposable.from(
    { dispose: () => list[Symbol.dispose]() },
    previews,
    createPortsTree(api, list),
    command("dormouse.openPort", open),
    command("dormouse.previewPort", preview),
    command("dormouse.copyPortAddress", async (port) => api.env.clipboard.writeText(addressOf(port))),
    command("dormouse.setPortVisibility", changeVisibility),
    command("dormouse.setPortLabel", changeLabel),
    command("dormouse.setPortProtocol", changeProtocol),
    command("dormouse.createPortLink", copyLink),
    command("dormouse.stopPort", ({ port }) => set(port, { isForwarded: false })),
    command("dormouse.startPort", ({ port }) => set(port, { isForwarded: true })),
    api.commands.registerCommand("dormouse.addPort", add),
  );
}
