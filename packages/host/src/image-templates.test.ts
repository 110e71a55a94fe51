import { expect, test } from "vitest";
import { ImageTemplates, type ImageTemplatesOptions } from "./image-templates.ts";

const images = (insecure: string[]) =>
  new ImageTemplates({ cacheDir: "/nowhere", registry: { insecure } } as unknown as ImageTemplatesOptions);

test.each(["127.0.0.1:5000", "127.1:5000", "localhost:5000", "10.1.2.3", "169.254.169.254", "[::1]:5000"])(
  "nothing is fetched from %s for a repository that names it",
  async (registry) => {
    const refusal = { code: "permission_denied", message: expect.stringContaining(`${registry} is an address of`) };
    await expect(images([]).resolve(`${registry}/team/app:1`)).rejects.toMatchObject(refusal);
    const feature = { kind: "registry" as const, registry, namespace: "team", id: "tool", tag: "1" };
    await expect(images([]).fetchFeature(feature)).rejects.toMatchObject(refusal);
    const tarball = { kind: "tarball" as const, url: `https://${registry}/tool.tgz` };
    await expect(images([]).fetchFeature(tarball)).rejects.toMatchObject({ code: "permission_denied" });
  },
);

test("a registry that whoever runs the host has named is asked", async () => {
  // Nothing listens there, and that is what is told.
  const refusal = { code: "failed_precondition" };
  await expect(images(["127.0.0.1:1"]).resolve("127.0.0.1:1/team/app:1")).rejects.toMatchObject(refusal);
});
