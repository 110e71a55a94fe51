import type { TestPlatform } from "./platform.ts";

/** Somebody with an account on a {@link TestPlatform}. */
export interface Person {
  id: string;
  email: string;
  apiKey: string;
  /** Of a browser that is signed in. */
  cookie: string;
  /** {@link TestPlatform.call} with their key. */
  call: TestPlatform["call"];
}

/** As the gateway sends on what a page of the platform asks. */
export const pageHeaders = { "x-forwarded-host": "dormouse.test:7070", origin: "http://dormouse.test:7070" };

/** Has somebody new join an organisation of the administrator's by an invitation. */
export async function invitePerson(
  { call }: TestPlatform,
  { organisation, name, role = "member" }: { organisation: string; name: string; role?: "admin" | "member" },
): Promise<Person> {
  const invited = await call("POST", `/api/organisations/${organisation}/invitations`, { body: { role } });
  const token = new URL(String(invited.body.url)).hash.slice("#token=".length);
  const email = `${name}@x.test`;
  const joined = await call("POST", "/api/auth/sign-up/invitation", {
    body: { token, name, email, password: "a long enough password" },
    headers: { ...pageHeaders, "x-forwarded-for": `203.0.113.${name.length}` },
  });
  if (joined.status !== 200) throw new Error(`${name} could not join: ${JSON.stringify(joined.body)}`);
  const cookie = joined.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  const key = await call("POST", "/api/api-keys", { body: { name: "tests" }, headers: { ...pageHeaders, cookie } });
  const apiKey = String(key.body.key);
  return {
    id: (joined.body.user as { id: string }).id,
    ...{ email, apiKey, cookie },
    call: (method, path, options = {}) =>
      call(method, path, { headers: { authorization: `Bearer ${apiKey}` }, ...options }),
  };
}
