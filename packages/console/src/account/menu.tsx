import { type Account, browserStorage, type Organisation } from "@dormouse/contract";
import { useState } from "preact/hooks";
import { post } from "../api.ts";
import { PasswordDialog } from "./password-dialog.tsx";
import { SecretsDialog } from "./secrets-dialog.tsx";
import { SetupDialog } from "./setup-dialog.tsx";

/** Who is signed in, with what they can do about their account. */
export function AccountMenu({
  account,
  organisation,
  onNewOrganisation,
}: {
  account: Account | undefined;
  /** The one that is looked at; undefined: all of one's own. */
  organisation: Organisation | undefined;
  onNewOrganisation: () => void;
}) {
  const [isSettingUp, setSettingUp] = useState(false);
  const [isShowingSecrets, setShowingSecrets] = useState(false);
  const [isSettingPassword, setSettingPassword] = useState(false);

  const signOut = async () => {
    // Whether or not the server heard it, the way back in is the sign-in page.
    await post("/api/auth/sign-out", {}).catch(() => undefined);
    // What the editor remembers of files is for whoever was signed in.
    indexedDB.deleteDatabase(browserStorage.rememberedFiles);
    location.assign("/signin");
  };

  if (!account) return null;
  return (
    <>
      <details class="menu">
        <summary class="button quiet">{account.name || account.email}</summary>
        <div class="menu-items card">
          <p class="muted small menu-note">{account.email}</p>
          <button type="button" onClick={() => setSettingUp(true)}>
            Personal set-up
          </button>
          <button type="button" onClick={() => setShowingSecrets(true)}>
            Secrets
          </button>
          <button type="button" onClick={() => setSettingPassword(true)}>
            Set password
          </button>
          <button type="button" onClick={onNewOrganisation}>
            New organisation
          </button>
          <a href="/api/reference">API reference</a>
          <button type="button" onClick={signOut}>
            Sign out
          </button>
        </div>
      </details>
      {isSettingUp && <SetupDialog onClose={() => setSettingUp(false)} />}
      {isShowingSecrets && <SecretsDialog organisation={organisation} onClose={() => setShowingSecrets(false)} />}
      {isSettingPassword && <PasswordDialog onClose={() => setSettingPassword(false)} />}
    </>
  );
}
