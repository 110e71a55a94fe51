/** What the console and the editor's page both know in a browser's storage of their origin. */
export const browserStorage = {
  /** In localStorage: the name of the workspace that was opened last, whose page the console has prepared. */
  lastOpened: "dormouse.lastOpened",
  /** A database of files as the editor saw them last; the console removes it when somebody signs out. */
  rememberedFiles: "dormouse-remembered-files",
  /** In localStorage: the name of the organisation whose workspaces the console shows. */
  organisation: "dormouse.organisation",
  /** In sessionStorage: the token of an invitation, as long as somebody signs in to use it. */
  invitation: "dormouse.invitation",
} as const;
