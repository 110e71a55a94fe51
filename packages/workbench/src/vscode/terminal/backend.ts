import type { IProcessEnvironment } from "@codingame/monaco-vscode-api/vscode/vs/base/common/platform";
import { URI } from "@codingame/monaco-vscode-api/vscode/vs/base/common/uri";
import type {
  IPtyHostAttachTarget,
  IShellLaunchConfig,
  ITerminalChildProcess,
  ITerminalProfile,
  ITerminalsLayoutInfo,
  ITerminalsLayoutInfoById,
} from "@codingame/monaco-vscode-api/vscode/vs/platform/terminal/common/terminal";
import { TitleEventSource } from "@codingame/monaco-vscode-api/vscode/vs/platform/terminal/common/terminal";
import { type ITerminalBackend, SimpleTerminalBackend } from "@codingame/monaco-vscode-terminal-service-override";
import type { PtyInfo } from "@dormouse/contract";
import type { Channel } from "../../channel/channel.ts";
import { toGuestPath } from "../../paths.ts";
import { GuestPty } from "./guest-pty.ts";
import { arrange, type LayoutStore, toLayout } from "./layout.ts";

/** What {@link GuestTerminals} needs. */
export interface GuestTerminalsOptions {
  channel: Channel;
  workspaceId: string;
  /** Where terminals start. */
  folder: string;
  layouts: LayoutStore;
  /** True while the page goes away. */
  isLeaving: () => boolean;
  /** Tells the user why a terminal ended that did not end by itself. */
  report: (problem: string) => void;
}

/** How the editor names the login shell, which only the machine knows, by the system it believes to run on. */
const loginShells = new Set(["bash", "zsh", "pwsh", "login"]);

/** Declared as what it stands for: the library types what it leaves unsupported as `never`. */
const TerminalBackend = SimpleTerminalBackend as unknown as new () => ITerminalBackend;

/** The machine's terminals. Those of an earlier page come back where they stood. */
export class GuestTerminals extends TerminalBackend {
  readonly #options: GuestTerminalsOptions;
  readonly #ptys = new Map<number, GuestPty>();
  /** The machine's names of terminals to be attached to, by the editor's numbers. */
  readonly #known = new Map<number, string>();
  #lastId = 0;

  constructor(options: GuestTerminalsOptions) {
    super();
    this.#options = options;
  }

  override getDefaultSystemShell = async (): Promise<string> => "login";

  override getProfiles = async (configured: unknown): Promise<ITerminalProfile[]> => [
    { profileName: "Login Shell", path: "login", isDefault: true, isAutoDetected: true },
    ...profilesOf(configured),
  ];

  override createProcess = async (
    launch: IShellLaunchConfig,
    cwd: string,
    cols: number,
    rows: number,
    _unicodeVersion: "6" | "11",
    env: IProcessEnvironment,
  ): Promise<ITerminalChildProcess> => {
    const { channel, folder } = this.#options;
    const title = launch.name;
    return this.#add(false, () =>
      channel.guest.pty.create({
        cols: Math.max(cols, 2),
        rows: Math.max(rows, 1),
        cwd: startFolder(launch, cwd) ?? folder,
        env: variablesOf(env),
        ...commandOf(launch),
        ...(title ? { title: title.slice(0, 200) } : {}),
      }),
    );
  };

  override attachToProcess = async (id: number): Promise<ITerminalChildProcess | undefined> => {
    const ptyId = this.#known.get(id);
    if (!ptyId) return undefined;
    const living = (await this.#living()).find((pty) => pty.id === ptyId);
    return living && this.#add(true, async () => living, id);
  };

  override getTerminalLayoutInfo = async (): Promise<ITerminalsLayoutInfo | undefined> => {
    const living = new Map((await this.#living()).map((pty) => [pty.id, pty]));
    const layout = arrange(this.#options.layouts.load(), [...living.keys()]);
    const targets = new Map([...living].map(([ptyId, info]) => [ptyId, this.#target(info)]));
    return {
      background: null,
      tabs: layout.tabs.map((tab) => ({
        isActive: tab.isActive,
        activePersistentProcessId: targets.get(tab.active ?? "")?.id,
        terminals: tab.panes.map(({ pty, relativeSize }) => ({ relativeSize, terminal: targets.get(pty) ?? null })),
      })),
    };
  };

  override setTerminalLayoutInfo = async (info?: ITerminalsLayoutInfoById): Promise<void> => {
    // On its way out the editor clears the arrangement; the next page wants it.
    if (!info || this.#options.isLeaving()) return;
    this.#options.layouts.save(toLayout(info, (id) => this.#ptys.get(id)?.ptyId ?? this.#known.get(id)));
  };

  /** For a terminal that came from elsewhere and that no tab shows. */
  async targetOf(ptyId: string): Promise<IPtyHostAttachTarget | undefined> {
    const isShown = [...this.#ptys.values()].some((pty) => pty.ptyId === ptyId);
    const info = isShown ? undefined : (await this.#living()).find((pty) => pty.id === ptyId);
    return info && this.#target(info);
  }

  #add(isAttached: boolean, open: () => Promise<PtyInfo>, id = ++this.#lastId): GuestPty {
    const { channel, isLeaving, report } = this.#options;
    const pty = new GuestPty({ id, channel, open, isAttached, isLeaving, report });
    this.#ptys.set(id, pty);
    pty.onProcessExit(() => this.#ptys.delete(id));
    return pty;
  }

  #target(info: PtyInfo): IPtyHostAttachTarget {
    const id = ++this.#lastId;
    this.#known.set(id, info.id);
    return {
      id,
      pid: info.pid,
      title: info.title,
      titleSource: TitleEventSource.Process,
      cwd: info.cwd,
      workspaceId: this.#options.workspaceId,
      workspaceName: "",
      isOrphan: true,
      icon: undefined,
      fixedDimensions: undefined,
      environmentVariableCollections: undefined,
      hasChildProcesses: true,
      shellIntegrationNonce: "",
    };
  }

  async #living(): Promise<PtyInfo[]> {
    const { ptys } = await this.#options.channel.guest.pty.list({});
    return ptys.filter((pty) => pty.exitCode === null);
  }
}

function commandOf(launch: IShellLaunchConfig): { command?: string[] } {
  const { executable, args } = launch;
  if (!executable) return {};
  const list = typeof args === "string" ? ["-c", args] : (args ?? []);
  return loginShells.has(executable) && list.length === 0 ? {} : { command: [executable, ...list] };
}

function startFolder(launch: IShellLaunchConfig, cwd: string): string | undefined {
  const wanted =
    launch.cwd === undefined ? cwd : typeof launch.cwd === "string" ? launch.cwd : URI.revive(launch.cwd).path;
  // On Windows the editor writes the machine's paths with backslashes.
  const path = toGuestPath(wanted.startsWith("\\") ? wanted.replaceAll("\\", "/") : wanted);
  return path.startsWith("/") ? path : undefined;
}

function variablesOf(env: IProcessEnvironment): Record<string, string> {
  const entries = Object.entries(env).filter(
    (entry): entry is [string, string] => typeof entry[1] === "string" && /^[A-Za-z_][A-Za-z0-9_]*$/.test(entry[0]),
  );
  return Object.fromEntries(entries);
}

function profilesOf(configured: unknown): ITerminalProfile[] {
  if (typeof configured !== "object" || configured === null) return [];
  return Object.entries(configured as Record<string, { path?: unknown; args?: string[] } | null>).flatMap(
    ([profileName, profile]) =>
      typeof profile?.path === "string" && profile.path.startsWith("/")
        ? [{ profileName, path: profile.path, isDefault: false, ...(profile.args ? { args: profile.args } : {}) }]
        : [],
  );
}
