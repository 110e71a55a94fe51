import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { world } from "../../packages/network/src/testing/pretend-egress.ts";
import { makeRepository } from "./pretend-internet.ts";

/** A registry of npm, an index of Python packages, an archive of Debian and a forge, under the names of the real ones. */
export interface PretendPackages extends AsyncDisposable {
  /** PEM of who vouches for them. */
  certificate: string;
  /** Of the one npm package, as `package-lock.json` has it. */
  npmIntegrity: string;
  [Symbol.asyncDispose](): Promise<void>;
}

const hosts = ["registry.npmjs.org", "pypi.org", "files.pythonhosted.org", "deb.debian.org", "github.com"];
const digest = (algorithm: string, bytes: Buffer, form: "hex" | "base64") =>
  createHash(algorithm).update(bytes).digest(form);

/** Starts them in the namespace of a pretended internet, where the resolver knows their names. */
export async function startPretendPackages(namespace: string): Promise<PretendPackages> {
  const owned = disposer();
  try {
    const root = await mkdtemp(join(tmpdir(), "dormouse-packages-"));
    owned.add(() => rm(root, { recursive: true, force: true }));
    const put = async (path: string, content: string | Buffer) => {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), content);
    };
    const [certificate, key] = [join(root, "certificate.pem"), join(root, "key.pem")];
    const names = hosts.map((host) => `DNS:${host}`).join(",");
    const ofKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key];
    const subject = ["-subj", "/CN=packages.test", "-addext", `subjectAltName=${names}`];
    await run("openssl", ["req", "-x509", "-days", "2", ...ofKey, "-out", certificate, ...subject]);

    await put("build/package/package.json", JSON.stringify({ name: "greet", version: "1.0.0", main: "index.js" }));
    await put("build/package/index.js", 'module.exports = () => "greetings";\n');
    const archive = join(root, "greet-1.0.0.tgz");
    await run("tar", ["-czf", archive, "-C", join(root, "build"), "package"]);
    const npm = await readFile(archive);
    const npmIntegrity = `sha512-${digest("sha512", npm, "base64")}`;
    const tarball = "https://registry.npmjs.org/greet/-/greet-1.0.0.tgz";
    await put("registry.npmjs.org/greet/-/greet-1.0.0.tgz", npm);
    const version = { name: "greet", version: "1.0.0", main: "index.js", dist: { tarball, integrity: npmIntegrity } };
    const packument = { name: "greet", "dist-tags": { latest: "1.0.0" }, versions: { "1.0.0": version } };
    await put("registry.npmjs.org/greet/index.html", JSON.stringify(packument));

    const wheel = Buffer.from("not a wheel, but its bytes are as good\n".repeat(1_000));
    const file = "greet-1.0.0-py3-none-any.whl";
    const link = `https://files.pythonhosted.org/packages/${file}#sha256=${digest("sha256", wheel, "hex")}`;
    await put("pypi.org/simple/greet/index.html", `<!DOCTYPE html><a href="${link}">${file}</a>\n`);
    await put(`files.pythonhosted.org/packages/${file}`, wheel);

    const packages = Buffer.from(
      "Package: greet\nVersion: 1.0.0\nArchitecture: all\nMaintainer: Ada <ada@example.test>\nFilename: pool/greet.deb\n" +
        `Size: 1\nSHA256: ${"0".repeat(64)}\nDescription: greets\n`,
    );
    const listed = `${digest("sha256", packages, "hex")} ${packages.length} main/binary-amd64/Packages`;
    const about = "Origin: Debian\nSuite: trial\nCodename: trial\nArchitectures: amd64\nComponents: main\n";
    await put(
      "deb.debian.org/debian/dists/trial/Release",
      `${about}Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n ${listed}\n`,
    );
    await put("deb.debian.org/debian/dists/trial/main/binary-amd64/Packages", packages);

    await makeRepository(join(root, "github.com/ada/demo.git"), { "README.md": "# Demo\n" }, {});
    const script = fileURLToPath(new URL("package-server.ts", import.meta.url));
    const args = ["netns", "exec", namespace, process.execPath, script, root, world.registries, certificate, key];
    const child: ChildProcess = spawn("ip", args, { stdio: ["ignore", "pipe", "inherit"] });
    owned.add(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      await once(child, "exit");
    });
    if (child.stdout) await once(child.stdout, "data");
    return {
      certificate: await readFile(certificate, "utf8"),
      npmIntegrity,
      async [Symbol.asyncDispose]() {
        await owned[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await owned[Symbol.asyncDispose]();
    throw error;
  }
}
