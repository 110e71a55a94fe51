import type { Command } from "commander";

/** A command: found by its name, loaded only when it is asked for. */
export interface CommandEntry {
  name: string;
  alias?: string;
  summary: string;
  hidden?: boolean;
  /** Its module, whose default export gives the command its arguments, options and action. */
  load: () => Promise<{ default: (command: Command) => void }>;
}

/** Every command, in the order in which help shows them. */
export const commands: readonly CommandEntry[] = [
  { name: "up", summary: "Run the platform on this machine", load: () => import("./up.ts") },
  { name: "create", summary: "Open a repository in a new workspace", load: () => import("./create.ts") },
  { name: "list", alias: "ls", summary: "List workspaces", load: () => import("./list.ts") },
  { name: "show", summary: "Show a workspace", load: () => import("./show.ts") },
  { name: "open", summary: "Open a workspace's page", load: () => import("./open.ts") },
  { name: "exec", summary: "Run a command in a workspace", load: () => import("./exec.ts") },
  { name: "shell", summary: "Open a terminal in a workspace", load: () => import("./shell.ts") },
  { name: "cp", summary: "Copy files into and out of a workspace", load: () => import("./cp.ts") },
  {
    name: "logs",
    summary: "Show a workspace's states, its set-up and its machine's console",
    load: () => import("./logs.ts"),
  },
  { name: "ports", summary: "List, share and forward what listens in a workspace", load: () => import("./ports.ts") },
  {
    name: "egress",
    summary: "Show, allow, deny and test what may leave a workspace",
    load: () => import("./egress.ts"),
  },
  {
    name: "secret",
    summary: "Set values that workspaces use and never have",
    load: () => import("./secret.ts"),
  },
  { name: "ttl", summary: "Set when a workspace is deleted", load: () => import("./ttl.ts") },
  { name: "idle", summary: "Set when a workspace falls asleep by itself", load: () => import("./idle.ts") },
  { name: "hibernate", summary: "Put a workspace to sleep", load: () => import("./hibernate.ts") },
  { name: "wake", summary: "Wake a workspace", load: () => import("./wake.ts") },
  { name: "snapshot", summary: "Keep this moment of a workspace", load: () => import("./snapshot.ts") },
  { name: "snapshots", summary: "Show a workspace's timeline", load: () => import("./snapshots.ts") },
  { name: "restore", summary: "Go back to a snapshot", load: () => import("./restore.ts") },
  { name: "fork", summary: "Make workspaces that go on from one as it is", load: () => import("./fork.ts") },
  { name: "rebuild", summary: "Apply a workspace's devcontainer.json again", load: () => import("./rebuild.ts") },
  { name: "delete", alias: "rm", summary: "Delete workspaces", load: () => import("./delete.ts") },
  { name: "quota", summary: "Show what you have of what you may have", load: () => import("./quota.ts") },
  {
    name: "org",
    summary: "Organisations: their people, invitations, quotas and use",
    load: () => import("./org.ts"),
  },
  { name: "me", summary: "Say what each new workspace of yours gets", load: () => import("./me.ts") },
  { name: "template", summary: "List, bake and delete templates", load: () => import("./template.ts") },
  {
    name: "prebuild",
    summary: "Set repositories' workspaces up ahead, also by push, pull request and schedule",
    load: () => import("./prebuild.ts"),
  },
  {
    name: "devcontainer",
    summary: "Check a repository's devcontainer.json, lock its features",
    load: () => import("./devcontainer.ts"),
  },
  { name: "login", summary: "Save the address and key of a platform", load: () => import("./login.ts") },
  { name: "completion", summary: "Print a shell's completion script", load: () => import("./completion.ts") },
  { name: "doctor", summary: "Say what this machine offers", load: () => import("./doctor.ts") },
  { name: "complete", summary: "Answer a completion script", hidden: true, load: () => import("./complete.ts") },
];

/** The command that these arguments ask for, also behind `help`. */
export function findCommand(args: readonly string[]): CommandEntry | undefined {
  const words = args.filter((argument) => !argument.startsWith("-"));
  const name = words[0] === "help" ? words[1] : words[0];
  return commands.find((entry) => name !== undefined && (entry.name === name || entry.alias === name));
}
