import { access, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { type BuildContext, cached, defaultCacheDir } from "../cache.ts";
import { checkImageManifest, digestOf, parseImageConfig, parseManifest } from "./manifest.ts";
import { deadlineSignal, defaultLimits, imageFile, imageHash, type PullLimits, packImage } from "./pack-image.ts";
import { type PulledImage, writeFlatLayout } from "./pull-image.ts";
import { copyArchiveToLayout, inspectArchive } from "./skopeo.ts";

/** An image that was built here; no registry knows it. */
export interface BuiltImage extends PulledImage {
  /** Of its manifest: what it is asked for by. */
  digest: string;
}

const configFile = "config.json";

/**
 * Takes an image out of an archive as `docker save` writes it, whoever made it: the same checks, limits and jail as for
 * one from a registry, see {@link packImage}.
 * @param name for people, in messages.
 * @throws DormouseError as {@link packImage} does, `failed_precondition` for what is no image for this machine.
 */
export async function importImage(
  archive: string,
  name: string,
  context: BuildContext & PullLimits = {},
): Promise<BuiltImage> {
  const text = await inspectArchive("raw", archive, name, context);
  const manifest = parseManifest(text, name);
  if ("manifests" in manifest) throw new DormouseError("failed_precondition", `${name} is a list of images, not one`);
  const digest = digestOf(text);
  const configText = await inspectArchive("config", archive, name, context);
  const config = parseImageConfig(configText, name);
  const folder = await packImage(
    {
      ...{ kind: "built-image", name, title: `Packing ${name}`, digest },
      async fetch({ layout, maxBytes, timeoutMs, report, signal }) {
        checkImageManifest(manifest, name, maxBytes);
        report(`Unpacking ${name}`, 0.3);
        await copyArchiveToLayout(archive, layout, name, { timeoutMs, signal });
      },
      finish: (target) => writeFile(join(target, configFile), configText),
    },
    context,
  );
  return { hash: await imageHash(digest), path: join(folder, imageFile), config, digest };
}

/**
 * An image that {@link importImage} made on this host.
 * @throws DormouseError `not_found` when it is not here (any more).
 */
export async function findBuiltImage(digest: string, context: BuildContext = {}): Promise<BuiltImage> {
  const hash = await imageHash(digest);
  const folder = join(context.cacheDir ?? defaultCacheDir(), `built-image-${hash}`);
  const path = join(folder, imageFile);
  try {
    await access(path);
    const config = parseImageConfig(await readFile(join(folder, configFile), "utf8"), digest);
    return { hash, path, config, digest };
  } catch (cause) {
    throw new DormouseError("not_found", `this host has not built the image ${digest}`, { cause });
  }
}

/**
 * Such an image for machines to unpack, see `pullFlattened`. It is taken out of what machines have as their root.
 * @returns the layout's folder.
 */
export async function flattenBuilt(image: BuiltImage, context: BuildContext & PullLimits = {}): Promise<string> {
  const { timeoutMs } = { ...defaultLimits, ...context };
  const name = "the image that was built";
  const build = async (folder: string) => {
    using deadline = deadlineSignal(name, timeoutMs, context.signal);
    const { signal } = deadline;
    const work = join(folder, "work");
    // Nobody else on this host may enter: there are programs in it that belong to root and run as their owner.
    await mkdir(work, { mode: 0o700 });
    const tree = join(work, "tree");
    await run("fsck.erofs", [`--extract=${tree}`, image.path], { timeoutMs, signal });
    const config = await readFile(join(dirname(image.path), configFile), "utf8");
    await writeFlatLayout({ folder, tree, config, timeoutMs, signal });
    await rm(work, { recursive: true });
  };
  const title = `Making one layer of ${name}`;
  const hash = await imageHash(image.digest);
  return join(await cached({ name: "flat-image", hash, title, build, sideBySide: { timeoutMs } }, context), "layout");
}
