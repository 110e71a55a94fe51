import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll } from "vitest";
import { pushFeature } from "../../packages/image/src/testing/push.ts";
import { startRegistry, type TestRegistry } from "../../packages/image/src/testing/registry.ts";
import { pushMuslImage, pushOddUserImage } from "../../packages/image/src/testing/test-images.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";
import { createPretendInternet, type PretendInternet } from "./pretend-internet.ts";

/** A platform, a registry with two images and two features, and servers of repositories, for tests of definitions. */
export function useDevcontainers() {
  let registry: TestRegistry;
  let internet: PretendInternet;
  let platform: TestPlatform;
  let images: { musl: string; odd: string };

  beforeAll(async () => {
    registry = await startRegistry();
    internet = await createPretendInternet();
    const context = { cacheDir: process.env.DORMOUSE_CACHE || "/var/cache/dormouse" };
    images = {
      musl: (await pushMuslImage(registry, context)).reference,
      odd: (await pushOddUserImage(registry, context)).reference,
    };
    await pushFeature(registry, {
      id: "git",
      version: "1.3.0",
      metadata: { options: { version: { type: "string", default: "os-provided" } } },
      files: {
        "install.sh":
          '#!/bin/sh\nset -e\necho "installing git $VERSION"\nmkdir -p /opt\necho "git $VERSION" >/opt/git-version\n',
      },
    });
    await pushFeature(registry, {
      id: "node",
      version: "1.6.1",
      metadata: {
        options: { version: { type: "string", default: "lts" } },
        containerEnv: { NODE_HOME: "/opt/node", PATH: "/opt/node/bin:${PATH}" },
        installsAfter: [`${registry.address}/features/git`],
        onCreateCommand: "echo node >>/tmp/hooks",
      },
      files: {
        "install.sh":
          "#!/bin/sh\nset -e\ntest -e /opt/git-version\nmkdir -p /opt/node/bin\nprintf '#!/bin/sh\\necho v%s\\n' \"$VERSION\" >/opt/node/bin/nodeling\n" +
          'chmod 755 /opt/node/bin/nodeling\necho "$_REMOTE_USER $_REMOTE_USER_HOME" >/opt/node/user\n',
      },
    });
    platform = await startTestPlatform({
      registry: { insecure: [registry.address] },
      devcontainer: { hookTimeoutSeconds: 8, featureNamespace: `${registry.address}/features` },
    });
  });
  afterAll(async () => {
    await platform?.[Symbol.asyncDispose]();
    await internet?.[Symbol.asyncDispose]();
    await registry?.stop();
  });

  /** Opens a repository with this definition and what else is in it. */
  async function open(name: string, definition: unknown, files: Record<string, string> = {}) {
    const text = typeof definition === "string" ? definition : JSON.stringify(definition, null, 2);
    const repository = await internet.addRepository(name, { ".devcontainer/devcontainer.json": text, ...files });
    return await openRepository(repository);
  }

  async function openRepository(repository: string, env?: Record<string, string>) {
    const steps: string[] = [];
    const { connection } = platform;
    const onProgress = ({ step, message }: { step: string; message: string }) => void steps.push(`${step}: ${message}`);
    return { workspace: await Workspace.create({ connection, repository, env, onProgress }), steps };
  }

  return {
    get registry() {
      return registry;
    },
    get internet() {
      return internet;
    },
    get platform() {
      return platform;
    },
    get images() {
      return images;
    },
    open,
    openRepository,
  };
}
