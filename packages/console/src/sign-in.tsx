import { useEffect, useState } from "preact/hooks";
import { messageOf, post } from "./api.ts";
import { nextOf } from "./next.ts";

/** Signs in by a one-time link, whose token stands in the fragment, or with e-mail address and password. */
export function SignInPage() {
  const [token] = useState(() => new URLSearchParams(location.hash.slice(1)).get("token"));
  const [isBusy, setBusy] = useState(token !== null);
  const [problem, setProblem] = useState<string>();

  const signIn = async (path: string, body: unknown) => {
    setBusy(true);
    setProblem(undefined);
    try {
      await post(path, body);
      location.replace(nextOf(new URL(location.href)));
    } catch (caught) {
      setProblem(messageOf(caught));
      setBusy(false);
    }
  };

  useEffect(() => {
    if (!token) return;
    // The token is used up by its first try; it has no business in the history.
    history.replaceState(null, "", location.pathname + location.search);
    void signIn("/api/auth/sign-in/link", { token });
  }, [token]);

  const onSubmit = (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    void signIn("/api/auth/sign-in/email", { email: form.get("email"), password: form.get("password") });
  };

  return (
    <main class="sign-in">
      <img class="sign-in-mark" src="/console/favicon.svg" alt="" />
      <h1>Sign in to Dormouse</h1>
      {token && isBusy ? (
        <p class="muted" role="status">
          Signing you in
        </p>
      ) : (
        <form class="card form" onSubmit={onSubmit}>
          {problem && (
            <p class="problem" role="alert">
              {problem}
            </p>
          )}
          <label>
            <span>E-mail</span>
            <input name="email" type="email" autocomplete="username" required autofocus />
          </label>
          <label>
            <span>Password</span>
            <input name="password" type="password" autocomplete="current-password" required />
          </label>
          <button class="button primary" type="submit" disabled={isBusy}>
            {isBusy ? "Signing in" : "Sign in"}
          </button>
        </form>
      )}
      {!(token && isBusy) && (
        <p class="muted small">
          No password yet? <code>dormouse up</code> prints a link that signs you in once.
        </p>
      )}
    </main>
  );
}
