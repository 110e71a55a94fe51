/** Every limit of a boundary, with its reason. Beyond one, a call fails with `resource_exhausted` or `invalid_argument`. */
export const limits = {
  /** A workspace's name is a DNS label, so that it can stand in a host name. */
  workspaceNameLength: 63,
  /** PATH_MAX of Linux. */
  pathBytes: 4096,
  /** What one `files.read` or `files.write` message carries; more goes through the streaming file route. */
  messageFileBytes: 32 * 1024 * 1024,
  /** Entries one `files.list` answers; more are said to be left out. */
  listEntries: 100_000,
  /** Output kept per stream by `exec.run`, and for replay per process. */
  execOutputBytes: 4 * 1024 * 1024,
  /** Scrollback the agent keeps per terminal. */
  ptyScrollbackBytes: 1024 * 1024,
  /** Terminals one machine holds. */
  ptys: 64,
  /** Processes the agent remembers, running or ended. */
  processes: 512,
  /** Debug sessions at once, those that a debugger starts for further processes included. */
  debugSessions: 32,
  /** Editors that follow one debug session. */
  debugClients: 16,
  /** A launch configuration as JSON. */
  debugConfigurationBytes: 256 * 1024,
  /** What a debug session's program wrote, kept for editors that come later. */
  debugOutputBytes: 1024 * 1024,
  /** Debug messages kept for an editor that does not take them; beyond that it begins anew. */
  debugOutboxBytes: 16 * 1024 * 1024,
  /** Language servers at once, those of all pages: each takes tens of megabytes. */
  languageSessions: 32,
  /** One message of a language server or to one; a document that is opened is one. */
  languageMessageCharacters: 32 * 1024 * 1024,
  /** What a language server said, kept for a page that does not take it; beyond that the page begins anew. */
  languageOutboxCharacters: 32 * 1024 * 1024,
  /** Changed files one `git.status` answers; more are said to be left out. */
  gitStatusFiles: 20_000,
  /** Commits that `git.unpushed` counts: beyond that it is only a matter of many. */
  gitUnpushedCommits: 1000,
  /** Matches one search answers. */
  searchResults: 20_000,
  /** Names of files one folder answers; what is beyond is not found by name. */
  fileNames: 300_000,
  /** One environment variable, name and value together (MAX_ARG_STRLEN of Linux is 128 KiB). */
  environmentBytes: 128 * 1024,
  /** A workspace may live at most 30 days without being extended. */
  ttlSeconds: 30 * 24 * 3600,
  /** Falling asleep sooner than in a minute would be felt; later than in 30 days it is not meant. */
  hibernateAfterSeconds: { min: 60, max: 30 * 24 * 3600 },
  /** Deleting what has just fallen asleep is never meant; a year is as good as never. */
  deleteAfterSeconds: { min: 60, max: 365 * 24 * 3600 },
  /** A snapshot's name is a label on the timeline. */
  snapshotNameLength: 100,
  /** A port's label is shown in a column. */
  portLabelLength: 100,
  /** A link to a port that should last longer is better made anew. */
  portLinkSeconds: 30 * 24 * 3600,
  /** Editor extensions: a package as it is sent, what is in it unpacked and in how many files, and one file of these. */
  extensionBytes: 64 * 1024 * 1024,
  extensionUnpackedBytes: 256 * 1024 * 1024,
  extensionFiles: 10_000,
  extensionFileBytes: 64 * 1024 * 1024,
  /** `package.json` of an extension, and its translations: each page of its owner is sent them. */
  extensionManifestBytes: 1024 * 1024,
  /** Extensions of one person, and the bytes of their packages together. */
  extensions: 100,
  extensionsBytes: 512 * 1024 * 1024,
  /** What the editor notes about an extension, as JSON. */
  extensionMetadataBytes: 16 * 1024,
  /** Forks of one call: each takes a machine at once. */
  forks: 100,
  /** A name of 253 characters, a protocol and ports. */
  egressRuleLength: 300,
  /** Of one list of one layer; a host takes a few thousand in all. */
  egressRules: 2000,
  /** Of one organisation; each that a machine has is looked for in its requests. */
  secrets: 100,
  secretNameLength: 128,
  /** A header of more is refused by many servers. */
  secretValueBytes: 8 * 1024,
  secretHosts: 20,
  secretRepositories: 100,
  /** As a workspace's. */
  organisationNameLength: 63,
  /** That one person is an owner of: whoever wants more has found another use for them. */
  organisationsOfOwner: 100,
  /** One page shows them. */
  organisationMembers: 1000,
  /** Open ones of an organisation: each is a way in. */
  invitations: 100,
  /** A way in that should last longer is better made anew. */
  invitationSeconds: 30 * 24 * 3600,
} as const;
