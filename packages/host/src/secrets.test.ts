import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "@dormouse/base/node";
import type { MachineSecret } from "@dormouse/contract";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { environmentOf, hostsOf, secretsOf, trustScript, withoutValues } from "./secrets.ts";

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

describe("the script that has a machine trust", () => {
  let root: string;
  const certificate = (text: string) => `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----`;
  const usual = `# roots\n${certificate("one")}\n${certificate("two")}\n`;
  const [first, second] = [certificate("first"), certificate("second")];
  const at = (path: string) => join(root, path);
  const read = (path: string) => readFile(at(path), "utf8");
  /** Runs it on a folder in place of the machine's root. */
  const trust = async (pem: string, hash: string) => {
    const script = trustScript.replace(/(?<=[ =])\/(run|etc|usr)\//g, `${root}/$1/`);
    await run("busybox", ["sh", "-c", script, "trust", pem, hash]);
  };
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "dormouse-trust-"));
    for (const folder of ["run/dormouse/tools/bin", "etc/ssl/certs", "usr/local/share"])
      await mkdir(at(folder), { recursive: true });
    await symlink("/bin/busybox", at("run/dormouse/tools/bin/busybox"));
    await writeFile(at("run/dormouse/tools/ca-certificates.crt"), usual);
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  it("puts the certificate into the bundle, in the place of an earlier one, and takes it out again", async () => {
    await writeFile(at("etc/ssl/certs/ca-certificates.crt"), usual);
    await symlink("certs/ca-certificates.crt", at("etc/ssl/cert.pem"));
    await writeFile(at("etc/ssl/dormouse-extra-ca.pem"), `${certificate("host's own")}\n`);
    await trust(first, "11111111");
    await trust(first, "11111111");
    expect(await read("etc/ssl/certs/ca-certificates.crt")).toBe(`${usual}${first}\n`);
    expect(await read("etc/dormouse/node-ca.pem")).toBe(`${certificate("host's own")}\n${first}\n`);
    expect(await read("etc/ssl/certs/11111111.0")).toBe(`${first}\n`);
    await trust(second, "22222222");
    expect(await read("etc/dormouse/bundle.pem")).toBe(`${usual}${second}\n`);
    expect(await read("usr/local/share/ca-certificates/dormouse-secrets.crt")).toBe(`${second}\n`);
    await expect(read("etc/ssl/certs/11111111.0")).rejects.toThrow("ENOENT");
    await trust("", "");
    expect(await read("etc/ssl/certs/ca-certificates.crt")).toBe(usual);
    expect(await read("etc/ssl/dormouse-extra-ca.pem")).toBe(`${certificate("host's own")}\n`);
    for (const path of [
      "etc/dormouse/ca.pem",
      "etc/ssl/certs/22222222.0",
      "usr/local/share/ca-certificates/dormouse-secrets.crt",
    ])
      await expect(read(path)).rejects.toThrow("ENOENT");
  });

  it("gives an image without any bundle what our own tools trust", async () => {
    await trust(first, "11111111");
    expect(await read("etc/dormouse/bundle.pem")).toBe(`${usual}${first}\n`);
    expect(await read("etc/dormouse/node-ca.pem")).toBe(`${first}\n`);
    await trust(second, "11111111");
    expect(await read("etc/dormouse/bundle.pem")).toBe(`${usual}${second}\n`);
    await trust("", "");
    expect(await read("etc/dormouse/bundle.pem")).toBe(usual);
    expect(await read("etc/dormouse/node-ca.pem")).toBe("");
  });
});
