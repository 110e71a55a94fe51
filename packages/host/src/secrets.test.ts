import type { MachineSecret } from "@dormouse/contract";
import { describe, expect, it } from "vitest";
import { environmentOf, hostsOf, secretsOf, withoutValues } from "./secrets.ts";

const placeholder = (letter: string) => `dormouse-secret-${letter.repeat(40)}`;
const secrets: MachineSecret[] = [
  { name: "A", placeholder: placeholder("a"), hosts: ["b.test", "a.test"], isInsecure: false, value: "value of A" },
  { name: "B", placeholder: placeholder("b"), hosts: ["a.test"], isInsecure: true, value: "value of B" },
];
const record = { machineId: "vm-1", organisationId: "org-1", secrets: withoutValues(secrets) };

describe("secrets of a machine", () => {
  it("are written without their values", () => {
    expect(JSON.stringify(withoutValues(secrets))).not.toContain("value of");
    expect(hostsOf(record)).toEqual(["a.test", "b.test"]);
  });

  it("have values as control told them, and none when it has not", () => {
    const told = secretsOf(record, secrets);
    expect(told).toMatchObject({ organisation: "org-1", secrets: [{ value: "value of A" }, { value: "value of B" }] });
    expect(secretsOf(record, undefined).secrets.map(({ value }) => value)).toEqual([undefined, undefined]);
    // Another secret of the same name has another placeholder.
    const [first] = secrets;
    const other = first ? [{ ...first, placeholder: placeholder("c") }] : [];
    expect(secretsOf(record, other).secrets[0]?.value).toBeUndefined();
  });

  it("are of an organisation", () => {
    const nobodys = { ...record, organisationId: undefined };
    expect(() => secretsOf(nobodys, secrets)).toThrow("machine vm-1 is of no organisation and has secrets");
    expect(secretsOf({ ...nobodys, secrets: [] }, [])).toEqual({ organisation: "", secrets: [] });
  });

  it("bring variables by which programs find whom to trust, unless the workspace has its own", () => {
    const env = { TOKEN: placeholder("a"), SSL_CERT_FILE: "/own.pem" };
    expect(environmentOf({ env, trusts: null })).toEqual(env);
    expect(environmentOf({ env, trusts: ["a.test"] })).toEqual({
      ...env,
      NODE_EXTRA_CA_CERTS: "/etc/dormouse/node-ca.pem",
      REQUESTS_CA_BUNDLE: "/etc/dormouse/bundle.pem",
      GIT_SSL_CAINFO: "/etc/dormouse/bundle.pem",
    });
  });
});
