import { DormouseError, type ErrorCode } from "@dormouse/base";
import type { gitReasons } from "@dormouse/contract/guest-schemas";

type Reason = (typeof gitReasons)[number];

interface Rule {
  reason: Reason;
  code: ErrorCode;
  /** Over everything git wrote. The first rule that fits counts: the narrower stand before the wider. */
  pattern: RegExp;
}

const rules: readonly Rule[] = [
  {
    reason: "authentication",
    code: "permission_denied",
    pattern:
      /Authentication failed|could not read (?:Username|Password)|terminal prompts disabled|Permission denied \(|Host key verification failed|returned error: 40[13]|HTTP Basic: Access denied|Invalid username or (?:password|token)/,
  },
  {
    reason: "repository_not_found",
    code: "not_found",
    pattern:
      /repository '[^']*' (?:not found|does not exist)|Repository not found|does not appear to be a git repository|returned error: 404|Could not find repository|not valid: is this a git repository/,
  },
  {
    reason: "reference_not_found",
    code: "not_found",
    pattern:
      /Remote branch .* not found|couldn't find remote ref|did not match any file\(s\) known|unknown revision|ambiguous argument|invalid reference|[Nn]ot a valid object name|bad revision|bad object|branch '[^']*' not found|is not a commit and a branch|src refspec .* does not match any|unadvertised object|not our ref|reference is not a tree|invalid object name/,
  },
  {
    reason: "identity_missing",
    code: "failed_precondition",
    pattern: /Please tell me who you are|unable to auto-detect email|empty ident name|no email was given/,
  },
  {
    reason: "dirty_worktree",
    code: "failed_precondition",
    pattern:
      /would be overwritten by|commit your changes or stash|cannot (?:pull with )?rebase: You have unstaged|[Yy]ou have unstaged changes|contains uncommitted changes/,
  },
  {
    reason: "conflict",
    code: "aborted",
    pattern:
      /^CONFLICT|Automatic merge failed|could not apply|unmerged files|needs merge|you need to resolve|is unmerged|have not concluded your merge|[Uu]nmerged paths/m,
  },
  {
    reason: "no_upstream",
    code: "failed_precondition",
    pattern:
      /has no upstream branch|no tracking information|No configured push destination|No remote repository specified|no upstream configured/,
  },
  {
    reason: "rejected",
    code: "aborted",
    pattern: /\[(?:remote )?rejected\]|non-fast-forward|Not possible to fast-forward|divergent branches|stale info/,
  },
  {
    reason: "nothing_to_commit",
    code: "failed_precondition",
    pattern: /nothing to commit|nothing added to commit|no changes added to commit/,
  },
  { reason: "not_a_repository", code: "failed_precondition", pattern: /not a git repository/i },
  {
    reason: "network",
    code: "unavailable",
    pattern:
      /Could not resolve host|Connection (?:refused|timed out|reset)|Failed to connect|Network is unreachable|unable to access|early EOF|RPC failed|hung up unexpectedly|Could not read from remote|Couldn't connect|SSL|server certificate|transfer closed|unable to connect/,
  },
];

const plain: Readonly<Record<Reason, string>> = {
  authentication: "the remote refused to let you in, or does not show this repository without a sign-in",
  repository_not_found: "there is no such repository",
  reference_not_found: "there is no such branch, tag or commit",
  conflict: "there are conflicts to resolve",
  no_upstream: "the branch has no upstream; push with setUpstream or name a remote",
  rejected: "the remote has changes that are not here; pull first",
  dirty_worktree: "uncommitted changes would be overwritten; commit or discard them first",
  nothing_to_commit: "there is nothing to commit",
  identity_missing: "git does not know who you are; set user.name and user.email",
  not_a_repository: "the folder is in no git repository",
  network: "the remote cannot be reached",
};

/** One clear error of what git wrote when it failed, with `details.reason` where it is known. */
export function gitError(what: string, output: string): DormouseError {
  const text = withoutCredentials(output);
  const rule = rules.find(({ pattern }) => pattern.test(text));
  const said = tellingLine(text);
  if (!rule) return new DormouseError("failed_precondition", `git ${what}: ${said || "failed without a word"}`);
  const message = `git ${what}: ${plain[rule.reason]}${said ? ` (${said})` : ""}`;
  return new DormouseError(rule.code, message, { details: { reason: rule.reason } });
}

/** An error of one of git's reasons that was found out without git. */
export function gitReasonError(what: string, reason: Reason, detail: string): DormouseError {
  const code = rules.find((rule) => rule.reason === reason)?.code ?? "failed_precondition";
  return new DormouseError(code, `git ${what}: ${plain[reason]} (${detail})`, { details: { reason } });
}

/** A URL may hold a password or a token, and git repeats it. */
export function withoutCredentials(text: string): string {
  return text.replace(/(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@']+@/gi, "$1***@");
}

/** The line that says most: a fatal one, else an error, else the last that is no hint and no progress. */
function tellingLine(text: string): string {
  const lines = text
    .split(/[\r\n]+/)
    .map((line) => line.trim())
    .filter((line) => line && !/^hint:|^\S.*: +\d+% \(|^Cloning into|^remote: *$/.test(line));
  const telling =
    lines.find((line) => /^! \[|^CONFLICT/.test(line)) ??
    lines.find((line) => /^fatal: /.test(line) && !/Could not read from remote/.test(line)) ??
    lines.find((line) => /^(?:error|ERROR): /.test(line)) ??
    lines.find((line) => /^fatal: /.test(line)) ??
    lines.at(-1);
  return (telling ?? "").replace(/^(?:fatal|error|ERROR): /, "").slice(0, 300);
}
