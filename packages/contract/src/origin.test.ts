import { expect, test } from "vitest";
import { checkOrigin } from "./origin.ts";

const host = "dormouse.test:7070";
const cookie = "dormouse.session_token=x";

test("lets the platform's own pages and programs without cookies through", () => {
  for (const headers of [
    { cookie, origin: "http://dormouse.test:7070" },
    { cookie, origin: "https://dormouse.test:7070" },
    { cookie, origin: "null", "sec-fetch-site": "same-origin" },
    {},
  ]) {
    expect(() => checkOrigin(headers, host)).not.toThrow();
  }
});

test("refuses pages of other sites, of other ports of this one, and of no origin", () => {
  for (const origin of ["http://evil.test", "http://dormouse.test:3000", "http://dormouse.test", "null"]) {
    expect(() => checkOrigin({ cookie, origin }, host), origin).toThrow(`pages of ${origin} may not act here`);
    expect(() => checkOrigin({ cookie, origin, "sec-fetch-site": "same-site" }, host), origin).toThrow();
  }
  expect(() => checkOrigin({ cookie }, host)).toThrow("must name its Origin");
  // Signing somebody in as somebody else needs no cookie.
  expect(() => checkOrigin({ origin: "http://evil.test" }, host)).toThrow("pages of http://evil.test");
});
