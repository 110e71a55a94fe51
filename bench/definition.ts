import { type Connection, Workspace } from "@dormouse/sdk";
import { pushFeature } from "../packages/image/src/testing/push.ts";
import { startRegistry, type TestRegistry } from "../packages/image/src/testing/registry.ts";
import { pushOddUserImage } from "../packages/image/src/testing/test-images.ts";
import { createPretendInternet, type PretendInternet } from "../tests/support/pretend-internet.ts";
import { figures, ratio } from "./figures.ts";
import { withPlatform } from "./platform.ts";

const rounds = Number(process.env.DORMOUSE_BENCH_ROUNDS ?? 10);
const cacheDir = process.env.DORMOUSE_CACHE || "/var/cache/dormouse";
const note = (text: string) => process.stderr.write(`${text}\n`);

process.stdout.write(`${JSON.stringify(await measureDefinitions(), null, 2)}\n`);
// Connections that are kept alive hold no result back.
process.exit();

/**
 * How long a repository takes to open: without a definition; with an image, a feature and a command in it, the first time
 * and from then on; and from a template that was baked of it. In turn, so that what else this machine does hits all alike.
 */
async function measureDefinitions() {
  await using registry = await startRegistry();
  await using internet = await createPretendInternet("dmbnet");
  const { plain, defined } = await makeRepositories(registry, internet);
  return await withPlatform({ poolSize: 1, registry: { insecure: [registry.address] } }, async ({ connection }) => {
    note("first opening: the image is pulled and booted unless the cache has it, the feature installed …");
    const first = await timeCreate(connection, { repository: defined });
    note("baking a template …");
    const source = await Workspace.create({ connection, repository: defined, prebuild: true });
    const bakeStartMs = performance.now();
    await source.bake("bench");
    const bakeMs = performance.now() - bakeStartMs;
    note(`${rounds} openings of each …`);
    const times: Record<"base" | "definition" | "template", number[]> = { base: [], definition: [], template: [] };
    for (let round = 0; round < rounds; round++) {
      times.base.push(await timeCreate(connection, { repository: plain }));
      times.definition.push(await timeCreate(connection, { repository: defined }));
      times.template.push(await timeCreate(connection, { template: "bench" }));
    }
    const [base, definition, template] = [times.base, times.definition, times.template].map(figures);
    if (!base || !definition || !template) throw new Error("nothing was measured");
    return {
      firstOpeningMs: Math.round(first),
      bakeMs: Math.round(bakeMs),
      createToReady: { base, definition, template },
      ratios: {
        definitionToBase: ratio(definition.p50Ms, base.p50Ms),
        templateToBase: ratio(template.p50Ms, base.p50Ms),
      },
    };
  });
}

async function makeRepositories(registry: TestRegistry, internet: PretendInternet) {
  const image = (await pushOddUserImage(registry, { cacheDir })).reference;
  const install = "#!/bin/sh\nset -e\nmkdir -p /opt/tool\nhead -c 20000000 /dev/urandom >/opt/tool/data\n";
  await pushFeature(registry, { id: "tool", version: "1.0.0", files: { "install.sh": install } });
  const files = { "README.md": "# bench\n", "src/main.c": "int main(void) { return 0; }\n" };
  const definition = {
    image,
    features: { [`${registry.address}/features/tool:1`]: {} },
    forwardPorts: [3000],
    postCreateCommand: "true",
  };
  return {
    plain: await internet.addRepository("plain", files),
    defined: await internet.addRepository("defined", { ...files, ".devcontainer.json": JSON.stringify(definition) }),
  };
}

/** Until it runs, as an SDK user sees it; it is gone afterwards. */
async function timeCreate(connection: Connection, input: { repository?: string; template?: string }): Promise<number> {
  const startMs = performance.now();
  await using workspace = await Workspace.create({ connection, ...input });
  const readyMs = performance.now() - startMs;
  const problem = workspace.info.devcontainer?.problem;
  if (problem) throw new Error(problem.message);
  return readyMs;
}
