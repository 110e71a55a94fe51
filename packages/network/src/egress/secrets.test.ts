import { describe, expect, it } from "vitest";
import { SecretSet } from "./secrets.ts";

const placeholder = (letter: string) => `dormouse-secret-${letter.repeat(40)}`;
const secret = (
  name: string,
  letter: string,
  hosts: string[],
  rest: { isInsecure?: boolean; value?: string | undefined } = {},
) => ({
  name,
  placeholder: placeholder(letter),
  hosts,
  isInsecure: false,
  value: `value of ${name}`,
  ...rest,
});
const set = new SecretSet({
  organisation: "org-1",
  secrets: [
    secret("TOKEN", "a", ["api.example.com"]),
    secret("WIDE", "b", ["*.corp.test", "corp.test"], { isInsecure: true }),
    secret("LOST", "c", ["api.example.com"], { value: undefined }),
    secret("UMLAUT", "d", ["api.example.com"], { value: "schlüssel" }),
  ],
});
const to = { host: "api.example.com", isEncrypted: true };
const refusal = (work: () => unknown) => {
  try {
    work();
  } catch (error) {
    return String((error as Error).message);
  }
  return "no refusal";
};

describe("SecretSet", () => {
  it("finds those of a name, and of names below a suffix, and no others", () => {
    const names = (host: string) => set.of(host).map(({ name }) => name);
    expect(names("api.example.com")).toEqual(["TOKEN", "LOST", "UMLAUT"]);
    expect(names("a.b.corp.test")).toEqual(["WIDE"]);
    expect(names("corp.test")).toEqual(["WIDE"]);
    for (const other of ["x.api.example.com", "example.com", "evilcorp.test", "api.example.com.evil.test"])
      expect(names(other)).toEqual([]);
  });

  it("replaces placeholders in values of headers, wherever they stand in them", () => {
    const headers = [
      "Authorization",
      `Bearer ${placeholder("a")}`,
      "x-api-key",
      placeholder("a"),
      "Cookie",
      `a=1; t=${placeholder("a")}; b=2`,
    ];
    expect(set.replace(headers, to)).toEqual([
      ...["Authorization", "Bearer value of TOKEN", "x-api-key", "value of TOKEN"],
      ...["Cookie", "a=1; t=value of TOKEN; b=2"],
    ]);
  });

  it("replaces inside Basic credentials, and leaves others as they are, byte for byte", () => {
    const basic = (text: string) => `Basic ${Buffer.from(text).toString("base64")}`;
    expect(set.replace(["authorization", basic(`x:${placeholder("a")}`)], to)).toEqual([
      "authorization",
      basic("x:value of TOKEN"),
    ]);
    const odd = "basic eDp5=";
    expect(set.replace(["authorization", odd], to)).toEqual(["authorization", odd]);
  });

  it("leaves names of headers alone, and gives values beyond ASCII as their UTF-8 bytes", () => {
    expect(set.replace([placeholder("a"), "1"], to)).toEqual([placeholder("a"), "1"]);
    const [, replaced = ""] = set.replace(["x", placeholder("d")], to);
    expect(Buffer.from(replaced, "latin1").toString("utf8")).toBe("schlüssel");
  });

  it("refuses what may not go there, says why, and holds no value", () => {
    const refused = (letter: string, where: { host: string; isEncrypted: boolean }) =>
      refusal(() => set.replace(["x", placeholder(letter)], where));
    expect(refused("b", to)).toBe("secret WIDE may not go to api.example.com");
    expect(refused("a", { ...to, isEncrypted: false })).toBe("secret TOKEN may go to api.example.com over TLS alone");
    expect(refused("c", to)).toBe("secret LOST cannot be read now; try again");
    expect(refused("z", to)).toMatch("is of no secret of this workspace");
    expect(set.replace(["x", placeholder("b")], { host: "www.corp.test", isEncrypted: false })).toEqual([
      "x",
      "value of WIDE",
    ]);
  });

  it("tells when connections to a host are to be treated otherwise", () => {
    const other = new SecretSet({
      organisation: "org-1",
      secrets: [secret("TOKEN", "a", ["api.example.com"], { value: "new" })],
    });
    expect(other.stateOf("api.example.com")).not.toBe(set.stateOf("api.example.com"));
    expect(other.stateOf("elsewhere.test")).toBe(set.stateOf("elsewhere.test"));
  });

  it("refuses hosts that are none", () => {
    for (const host of ["*", "*.com", "10.0.0.1", "a b", "https://x.test", "x.test:443"])
      expect(refusal(() => new SecretSet({ organisation: "o", secrets: [secret("T", "a", [host])] }))).toMatch(
        `hosts of secret T has "${host}": it must be a name`,
      );
  });
});
