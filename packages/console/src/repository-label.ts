/** A repository as people say it: without scheme, user and `.git`. */
export function repositoryLabel(url: string): string {
  return url
    .replace(/^[a-z+]+:\/\//i, "")
    .replace(/^[^@/]+@/, "")
    .replace(/\.git\/?$/, "")
    .replace(/^([^/:]+):(?!\d)/, "$1/");
}
