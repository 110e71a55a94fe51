/** Who asks. */
export interface Actor {
  userId: string;
  email: string;
  name: string;
  /** A browser's session, which needs its requests' origin checked, or a program's key. */
  via: "session" | "key";
  /** Of a browser. */
  sessionId?: string;
}
