import { secretPlaceholder } from "@dormouse/contract";
import { describe, expect, it } from "vitest";
import { createSeal } from "./seal.ts";

const seal = createSeal("a secret of the installation");
const of = { organisationId: "org-1", secretId: "sec-1" };

describe("sealed values", () => {
  it("open as what they were, and are never twice the same", () => {
    const sealed = seal.seal("schlüssel", of);
    expect(seal.open(sealed, of)).toBe("schlüssel");
    expect(seal.seal("schlüssel", of)).not.toBe(sealed);
    expect(Buffer.from(sealed.split(".")[1] ?? "", "base64").includes("schl")).toBe(false);
  });

  it("open for no other secret, no other organisation, no other installation, and not damaged", () => {
    const sealed = seal.seal("value", of);
    const message = "the value of secret sec-1 cannot be opened";
    expect(() => seal.open(sealed, { ...of, organisationId: "org-2" })).toThrow(message);
    expect(() => seal.open(sealed, { ...of, secretId: "sec-2" })).toThrow("the value of secret sec-2 cannot be opened");
    expect(() => createSeal("another").open(sealed, of)).toThrow(message);
    expect(() => seal.open(`${sealed.slice(0, -8)}AAAAAAA=`, of)).toThrow(message);
    expect(() => seal.open("nonsense", of)).toThrow(message);
  });

  it("have a placeholder of each workspace's own, as the contract has it", () => {
    const one = seal.placeholder("ws-1", "sec-1");
    expect(secretPlaceholder.parse(one)).toBe(seal.placeholder("ws-1", "sec-1"));
    const others = [seal.placeholder("ws-2", "sec-1"), seal.placeholder("ws-1", "sec-2")];
    expect(new Set([one, ...others, createSeal("another").placeholder("ws-1", "sec-1")]).size).toBe(4);
  });
});
