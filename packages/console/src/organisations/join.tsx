import { type Account, browserStorage, type OrganisationRole } from "@dormouse/contract";
import { useEffect, useState } from "preact/hooks";
import { api, messageOf, post } from "../api.ts";

/** What an invitation says of itself. */
interface Shown {
  organisation: string;
  role: OrganisationRole;
  inviter: string;
}

/**
 * Has somebody join an organisation by a one-time link, whose token stands in the fragment: as who is signed in, or with a new
 * account. The token stays in this tab while they sign in.
 */
export function JoinPage() {
  const [token] = useState(takeToken);
  const [shown, setShown] = useState<Shown>();
  const [account, setAccount] = useState<Account | null>();
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();

  useEffect(() => {
    if (!token) return setProblem("this is no link to join: its end is missing");
    post("/api/auth/invitation", { token }).then(
      (answer) => setShown(answer as Shown),
      (caught: unknown) => setProblem(messageOf(caught)),
    );
    api.me.get({}).then(setAccount, () => setAccount(null));
  }, [token]);

  const join = async (work: () => Promise<unknown>) => {
    setBusy(true);
    setProblem(undefined);
    try {
      await work();
      sessionStorage.removeItem(browserStorage.invitation);
      if (shown) localStorage.setItem(browserStorage.organisation, shown.organisation);
      location.replace("/");
    } catch (caught) {
      setProblem(messageOf(caught));
      setBusy(false);
    }
  };
  const onSubmit = (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const [name, email, password] = ["name", "email", "password"].map((field) => form.get(field));
    void join(() => post("/api/auth/sign-up/invitation", { token, name, email, password }));
  };

  return (
    <main class="sign-in">
      <img class="sign-in-mark" src="/console/favicon.svg" alt="" />
      <h1>{shown ? `Join ${shown.organisation}` : "Join an organisation"}</h1>
      {shown && (
        <p class="muted">
          {shown.inviter} invites you as {shown.role === "member" ? "a member" : `an ${shown.role}`}.
        </p>
      )}
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {shown && account && token && (
        <div class="card form">
          <p>
            You are signed in as <strong>{account.email}</strong>.
          </p>
          <button
            class="button primary"
            type="button"
            disabled={isBusy}
            onClick={() => void join(() => api.organisations.join({ token }))}
          >
            Join {shown.organisation}
          </button>
        </div>
      )}
      {shown && account === null && (
        <>
          <form class="card form" onSubmit={onSubmit}>
            <label>
              <span>Name</span>
              <input name="name" type="text" autocomplete="name" required maxLength={100} autofocus />
            </label>
            <label>
              <span>E-mail</span>
              <input name="email" type="email" autocomplete="username" required />
            </label>
            <label>
              <span>Password</span>
              <input
                name="password"
                type="password"
                autocomplete="new-password"
                required
                minLength={10}
                maxLength={128}
              />
              <small class="muted">At least 10 characters.</small>
            </label>
            <button class="button primary" type="submit" disabled={isBusy}>
              Make an account and join
            </button>
          </form>
          <p class="muted small">
            You have an account? <a href="/signin?next=%2Fjoin">Sign in first.</a>
          </p>
        </>
      )}
    </main>
  );
}

/** Out of the address, where it would stay in the history, into this tab's own storage. */
function takeToken(): string | null {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return sessionStorage.getItem(browserStorage.invitation);
  sessionStorage.setItem(browserStorage.invitation, token);
  history.replaceState(null, "", location.pathname);
  return token;
}
