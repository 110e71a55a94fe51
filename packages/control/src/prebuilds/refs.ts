import { DormouseError } from "@dormouse/base";
import type { EgressPolicy } from "@dormouse/contract";
import { type BuilderMachines, baseTemplate } from "../definitions/builder-machines.ts";
import { type HostConnection, remote } from "../host/client.ts";
import type { PrebuildRow } from "./store.ts";

/** What a repository's refs point at, by their full names; its own branch is `HEAD`. */
export type Refs = Record<string, string>;

const timeoutMs = 60_000;
/** Of a repository with more pull requests than that, those with the highest numbers. */
const mostRequests = 1000;
const requestRef = /^refs\/(?:pull|merge-requests)\/(\d+)\/head$/;

/** Asks a repository's server for what a prebuild depends on. */
export interface RefReader {
  /** @throws DormouseError `failed_precondition` with what git said. */
  read(repository: string, options: { egress: EgressPolicy; signal: AbortSignal }): Promise<Refs>;
}

/**
 * A {@link RefReader} that asks from a machine, under the policy of the workspaces of this repository: an address that
 * somebody gave is not asked from where the platform itself runs.
 */
export function createRefReader(host: HostConnection, machines: BuilderMachines): RefReader {
  return {
    async read(repository, { egress, signal }) {
      const { name, resources } = await baseTemplate(host, signal);
      const start = { template: name, snapshot: null, resources };
      const watcher = { egress, onProgress: () => {}, onLog: () => {} };
      return await machines.run({ start, env: {}, watcher, signal }, async ({ guest }) => {
        const patterns = ["HEAD", "refs/heads/*", "refs/tags/*", "refs/pull/*/head", "refs/merge-requests/*/head"];
        const command = ["git", "ls-remote", "--", repository, ...patterns];
        const env = { GIT_TERMINAL_PROMPT: "0", GIT_SSH_COMMAND: "ssh -o BatchMode=yes" };
        const result = await remote(guest.exec.run({ command, cwd: "/tmp", env, timeoutMs }, { signal }));
        if (result.exitCode === 0) return parseRefs(result.stdout);
        const said = result.timedOut ? "no answer in time" : (result.stderr.trim().split("\n").at(-1) ?? "");
        throw new DormouseError("failed_precondition", `${repository} was not looked at: ${said.slice(0, 300)}`);
      });
    },
  };
}

/** What `git ls-remote` prints. */
export function parseRefs(text: string): Refs {
  const all = [...text.matchAll(/^([0-9a-f]{40,64})\t(\S+)$/gm)].map(
    ([, commit = "", ref = ""]) => [ref, commit] as const,
  );
  // A tag that is an object of its own points at what `^{}` says.
  const plain = all.filter(([ref]) => !ref.endsWith("^{}") && !requestRef.test(ref));
  const peeled = all.filter(([ref]) => ref.endsWith("^{}")).map(([ref, commit]) => [ref.slice(0, -3), commit] as const);
  const requests = all
    .filter(([ref]) => requestRef.test(ref))
    .toSorted(([a], [b]) => numberOf(b) - numberOf(a))
    .slice(0, mostRequests);
  return Object.fromEntries([...plain, ...peeled, ...requests]);
}

const numberOf = (ref: string) => Number(requestRef.exec(ref)?.[1]);

/** The commit that a prebuild is of. */
export function commitOf(refs: Refs, ref: string | null): string | undefined {
  if (ref === null) return refs.HEAD;
  return refs[ref] ?? refs[`refs/heads/${ref}`] ?? refs[`refs/tags/${ref}`] ?? refs[`refs/${ref}`];
}

/** What a look at a repository wants to be made. */
export interface Wanted {
  push: boolean;
  /** Refs of pull requests that are new, or have new commits. */
  requests: string[];
  /** What is remembered of this look. */
  refs: Refs;
}

/** Compares a repository with what was seen of it: the first look only remembers which pull requests there are. */
export function compareRefs(
  { ref, commit, triggers, refs: seen }: Pick<PrebuildRow, "ref" | "commit" | "triggers" | "refs">,
  refs: Refs,
): Wanted {
  const now = commitOf(refs, ref);
  const requests = Object.entries(refs).filter(([name]) => requestRef.test(name));
  const before = seen && (seen.own ?? null);
  return {
    // What was built, or was tried when it was seen, is not built again.
    push: triggers.includes("push") && now !== undefined && now !== commit && now !== before,
    requests:
      triggers.includes("pr") && seen
        ? requests.filter(([name, head]) => seen[name] !== head).map(([name]) => name)
        : [],
    refs: { ...Object.fromEntries(requests), ...(now !== undefined && { own: now }) },
  };
}
