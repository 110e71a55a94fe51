import type { GitBlame } from "@dormouse/contract/guest-schemas";

/** Reads what `git blame --porcelain` writes. */
export function parseBlame(output: string): GitBlame {
  const commits: GitBlame["commits"] = [];
  const indexes = new Map<string, number>();
  const lines: number[] = [];
  let current = -1;
  let at = 0;
  for (const line of output.split("\n")) {
    const header = /^([0-9a-f]{40,64}) \d+ (\d+)/.exec(line);
    if (line.startsWith("\t")) {
      lines[at - 1] = current;
    } else if (header?.[1]) {
      at = Number(header[2]);
      current = indexOf(header[1]);
    } else if (current >= 0) {
      read(commits[current], line);
    }
  }
  return { commits, lines };

  function indexOf(hash: string): number {
    // Git's name for what is in no commit.
    if (/^0+$/.test(hash)) return -1;
    const known = indexes.get(hash);
    if (known !== undefined) return known;
    indexes.set(hash, commits.length);
    return commits.push({ hash, author: "", email: "", authoredMs: 0, subject: "" }) - 1;
  }
}

function read(commit: GitBlame["commits"][number] | undefined, line: string): void {
  if (!commit) return;
  const space = line.indexOf(" ");
  const value = line.slice(space + 1);
  switch (line.slice(0, space)) {
    case "author":
      commit.author = value;
      break;
    case "author-mail":
      commit.email = value.replace(/^<|>$/g, "");
      break;
    case "author-time":
      commit.authoredMs = Number(value) * 1000;
      break;
    case "summary":
      commit.subject = value;
      break;
  }
}
