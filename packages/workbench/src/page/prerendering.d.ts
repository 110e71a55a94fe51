// Prerendering Revamped (WICG): not in TypeScript's library yet.
interface Document {
  /** Whether the browser prepares the page before anybody asked for it. */
  readonly prerendering?: boolean;
}
