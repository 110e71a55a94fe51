/**
 * Where to go after signing in. Only paths of this origin are taken, so that a link
 * cannot lead a person who just signed in to somewhere else.
 */
export function nextOf(address: URL): string {
  const next = address.searchParams.get("next");
  if (!next?.startsWith("/")) return "/";
  const target = new URL(next, address.origin);
  return target.origin === address.origin ? target.pathname + target.search + target.hash : "/";
}
