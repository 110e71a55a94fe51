import { DormouseError } from "@dormouse/base";
import { Connection, type PersonalSetup } from "@dormouse/sdk";
import type { Command } from "commander";
import { printFields, printJson } from "../output.ts";

interface SetFlags {
  dotfiles?: string;
  dotfilesInstall?: string;
  dotfilesTarget?: string;
  shell?: string;
  gitName?: string;
  gitEmail?: string;
}

/** What can be taken away, as people name it. */
const parts = { dotfiles: "dotfiles", shell: "shell", "git-name": "gitName", "git-email": "gitEmail" } as const;

export default function me(command: Command): void {
  command
    .command("show", { isDefault: true })
    .description("Show who you are and what each new workspace of yours gets")
    .option("--json", "print it as JSON")
    .action(async (flags: { json?: boolean }) => {
      const { api } = await Connection.open();
      const [account, setup] = await Promise.all([api.me.get({}), api.me.setup({})]);
      if (flags.json) return printJson({ ...account, setup });
      printFields([["name", account.name], ["e-mail", account.email], ...describe(setup)]);
    });
  command
    .command("set")
    .description("Say what each new workspace of yours gets, in the background")
    .option("--dotfiles <repository>", "a git URL that can be cloned without a password")
    .option("--dotfiles-install <command>", "what installs them; else install.sh and its like, else links to the files")
    .option("--dotfiles-target <path>", "where they are put (default: ~/dotfiles)")
    .option("--shell <shell>", "of terminals, by path or name")
    .option("--git-name <name>", "user.name of git")
    .option("--git-email <address>", "user.email of git")
    .action(async (flags: SetFlags) => {
      const { api } = await Connection.open();
      const changed = changesOf(flags, await api.me.setup({}));
      if (Object.keys(changed).length === 0) {
        throw new DormouseError("invalid_argument", "there is nothing to set: --help shows what there is");
      }
      printFields(describe(await api.me.saveSetup(changed)));
    });
  command
    .command("unset")
    .description("Take away what new workspaces get")
    .argument("<part...>", Object.keys(parts).join(", "))
    .action(async (names: string[]) => {
      const changed = Object.fromEntries(names.map((name) => [partOf(name), null]));
      printFields(describe(await (await Connection.open()).api.me.saveSetup(changed)));
    });
}

function partOf(name: string): keyof PersonalSetup {
  if (Object.hasOwn(parts, name)) return parts[name as keyof typeof parts];
  throw new DormouseError("invalid_argument", `part is ${name}: must be one of ${Object.keys(parts).join(", ")}`);
}

/** What is not named of dotfiles stays as it is, unless they are others now. */
function changesOf(flags: SetFlags, before: PersonalSetup): Partial<PersonalSetup> {
  const { dotfiles, dotfilesInstall, dotfilesTarget, shell, gitName, gitEmail } = flags;
  const same = dotfiles === undefined || dotfiles === before.dotfiles?.repository ? before.dotfiles : null;
  const repository = dotfiles ?? before.dotfiles?.repository;
  const isAboutDotfiles = dotfiles !== undefined || dotfilesInstall !== undefined || dotfilesTarget !== undefined;
  if (isAboutDotfiles && repository === undefined) {
    throw new DormouseError("invalid_argument", "there are no dotfiles yet: name them with --dotfiles");
  }
  return {
    ...(isAboutDotfiles &&
      repository !== undefined && {
        dotfiles: {
          repository,
          installCommand: dotfilesInstall ?? same?.installCommand ?? null,
          targetPath: dotfilesTarget ?? same?.targetPath ?? null,
        },
      }),
    ...(shell !== undefined && { shell }),
    ...(gitName !== undefined && { gitName }),
    ...(gitEmail !== undefined && { gitEmail }),
  };
}

function describe({ dotfiles, shell, gitName, gitEmail }: PersonalSetup): [string, string][] {
  const install = dotfiles?.installCommand ? `, installed by ${dotfiles.installCommand}` : "";
  const target = dotfiles?.targetPath ? ` in ${dotfiles.targetPath}` : "";
  return [
    ["dotfiles", dotfiles ? `${dotfiles.repository}${target}${install}` : "those that a repository proposes"],
    ["shell", shell ?? "the machine's"],
    ["git", gitName === null && gitEmail === null ? "-" : `${gitName ?? "-"} <${gitEmail ?? "-"}>`],
  ];
}
