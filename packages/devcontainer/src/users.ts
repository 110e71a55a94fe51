import type { UserEnvProbe } from "./config.ts";
import type { MergedConfig } from "./merge.ts";
import { substituteContainer } from "./variables.ts";

/** Who runs what. */
export interface ResolvedUsers {
  /** Runs the container itself and features' entrypoints. */
  containerUser: string;
  /** Runs lifecycle commands, terminals and tools. */
  remoteUser: string;
}

/** The users of a configuration ("Users"); without any the image's, and without that `root`. */
export function usersOf(
  { containerUser, remoteUser }: Pick<MergedConfig, "containerUser" | "remoteUser">,
  imageUser?: string,
): ResolvedUsers {
  const user = containerUser || imageUser || "root";
  return { containerUser: user, remoteUser: remoteUser || user };
}

/** The shell whose environment is taken over: undefined when none is to be asked ("userEnvProbe"). */
export function probeShellOf({
  userEnvProbe = "loginInteractiveShell",
}: {
  userEnvProbe?: UserEnvProbe;
}): { login: boolean; interactive: boolean } | undefined {
  if (userEnvProbe === "none") return undefined;
  return { login: userEnvProbe !== "interactiveShell", interactive: userEnvProbe !== "loginShell" };
}

/** What is known of a running container's environment. */
export interface ContainerEnvironment {
  /** Of the container itself. */
  containerEnv: Readonly<Record<string, string>>;
  /** What the probed shell answered. */
  probedEnv?: Readonly<Record<string, string>>;
}

/**
 * The environment of lifecycle commands, terminals and tools ("Environment Variables"): the container's, the probed
 * shell's over it, `remoteEnv` over both. A variable that is null in `remoteEnv` is unset.
 */
export function remoteEnvironment(
  { remoteEnv }: Pick<MergedConfig, "remoteEnv">,
  { containerEnv, probedEnv = {} }: ContainerEnvironment,
): Record<string, string> {
  const variables = new Map(Object.entries({ ...containerEnv, ...probedEnv }));
  for (const [name, value] of Object.entries(substituteContainer(remoteEnv, { containerEnv }))) {
    if (value === null) variables.delete(name);
    else variables.set(name, value);
  }
  return Object.fromEntries(variables);
}
