import type { GitCredential } from "@dormouse/contract/guest-schemas";

/**
 * The environment in which git answers a server's question with a credential: through a helper that is asked for the server
 * of `url` alone. It lives as long as git runs; the password stands in no file and no command line.
 */
export function credentialEnvironment(url: string, credential: GitCredential | undefined): Record<string, string> {
  if (!credential || !URL.canParse(url)) return {};
  const helper =
    '!f() { test "$1" != get || printf "username=%s\\npassword=%s\\n" "$DORMOUSE_GIT_USERNAME" "$DORMOUSE_GIT_PASSWORD"; }; f';
  const name = `credential.${new URL(url).origin}.helper`;
  return {
    GIT_CONFIG_COUNT: "2",
    // Those of the image, which might keep it, are not asked and not told.
    ...{ GIT_CONFIG_KEY_0: name, GIT_CONFIG_VALUE_0: "" },
    ...{ GIT_CONFIG_KEY_1: name, GIT_CONFIG_VALUE_1: helper },
    DORMOUSE_GIT_USERNAME: credential.username,
    DORMOUSE_GIT_PASSWORD: credential.password,
  };
}
