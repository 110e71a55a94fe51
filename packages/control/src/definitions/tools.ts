import type { LifecycleStep } from "@dormouse/devcontainer";
import { type GuestClient, remote } from "../host/client.ts";

/** In which a repository without a definition may say what versions of its tools it wants; as mise reads them. */
const toolFiles = [
  ...["mise.toml", ".mise.toml", "mise/config.toml", ".config/mise.toml", ".tool-versions"],
  ...[".nvmrc", ".node-version", ".python-version", ".ruby-version", ".go-version", ".java-version"],
];

/** What installs the tools that a repository asks for; nothing when it asks for none. */
export async function toolSteps(guest: GuestClient, folder: string, signal: AbortSignal): Promise<LifecycleStep[]> {
  const there = await Promise.all(
    toolFiles.map((name) => remote(guest.files.exists({ path: `${folder}/${name}` }, { signal }))),
  );
  if (!there.some(({ exists }) => exists)) return [];
  return [
    {
      hook: "onCreateCommand",
      occasions: ["prebuild", "create"],
      runsIn: "machine",
      // Nobody waits: the editor is there while they come.
      blocking: false,
      tasks: [{ from: "mise", commands: [{ kind: "exec", argv: ["mise", "install", "--yes"] }] }],
    },
  ];
}
