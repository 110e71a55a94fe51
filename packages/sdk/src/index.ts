export { DormouseError, type ErrorCode } from "@dormouse/base";
export type {
  EgressAttempt,
  EgressCounters,
  EgressDecision,
  EgressHour,
  EgressLayer,
  EgressLog,
  EgressMode,
  EgressPolicy,
  EgressRefusal,
  ExecResult,
  FileChange,
  FileEntry,
  ForwardedPort,
  GitBranch,
  GitCommit,
  GitProgress,
  GitStatus,
  Invitation,
  ListeningPort,
  MemberUsage,
  Organisation,
  OrganisationMember,
  OrganisationRole,
  PersonalSetup,
  PortLink,
  Prebuild,
  PtyInfo,
  SecretInfo,
  SetPort,
  SetSecret,
  Snapshot,
  Template,
  UnpushedWork,
  Workspace as WorkspaceInfo,
  WorkspaceEgress,
  WorkspaceEvent,
  WorkspaceState,
} from "@dormouse/contract";
export { readCredentials, saveCredentials } from "#credentials";
export type { ConnectionState } from "./channel.ts";
export { type ApiClient, Connection, type ConnectionOptions, type GuestClient } from "./connection.ts";
export type { Credentials } from "./credentials.ts";
export type { Egress } from "./egress.ts";
export type { Command, ExecOptions } from "./exec.ts";
export type { Files, WatchOptions, WriteOptions } from "./files.ts";
export type { Git, GitTransferOptions } from "./git.ts";
export type { PortChange, Ports } from "./ports.ts";
export type { FollowProcessOptions, OutputCallback, Process } from "./process.ts";
export type { CreateTerminalOptions, FollowTerminalOptions, Terminal, TerminalExit, Terminals } from "./pty.ts";
export { Secrets } from "./secrets.ts";
export {
  type CreateOptions,
  type ForkOptions,
  type ForkOutcome,
  type RebuildOptions,
  type Via,
  Workspace,
} from "./workspace.ts";
