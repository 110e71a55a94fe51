import { DormouseError } from "@dormouse/base";
import type { GitCredential } from "@dormouse/contract";
import type { Api } from "../vscode/extension.ts";
import { reasonOf } from "./report.ts";
import type { Repository } from "./repository.ts";

/**
 * Answers servers that want to know who asks. What the user typed is kept in the page, for each repository, until the
 * page is closed; it goes with single calls to the machine, which writes it nowhere.
 */
export interface Credentials {
  /** Runs something that may be refused; asks the user then, and runs it again with the answer. */
  answering(repository: Repository, work: (credential: GitCredential | undefined) => Promise<void>): Promise<void>;
}

/** Makes {@link Credentials} of this page. */
export function askedCredentials(api: Api): Credentials {
  const known = new Map<string, GitCredential>();

  const ask = async (): Promise<GitCredential | undefined> => {
    const options = { ignoreFocusOut: true };
    const username = await api.window.showInputBox({
      ...options,
      prompt: "The remote wants to know who you are. Your name there",
      placeHolder: "User name",
    });
    if (!username) return undefined;
    const password = await api.window.showInputBox({
      ...options,
      prompt: `Password or token of ${username}; it is kept in this page only`,
      placeHolder: "Password or token",
      password: true,
    });
    return password ? { username, password } : undefined;
  };

  return {
    async answering(repository, work) {
      for (;;) {
        const credential = known.get(repository.root);
        try {
          await work(credential);
          return;
        } catch (caught) {
          // A password is no answer to what SSH asks for.
          const isSsh = /publickey|Host key/i.test(DormouseError.from(caught).message);
          if (isSsh || reasonOf(caught) !== "authentication") throw caught;
          known.delete(repository.root);
          const typed = await ask();
          if (!typed) throw caught;
          known.set(repository.root, typed);
        }
      }
    },
  };
}
