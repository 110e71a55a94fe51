import { readFile } from "node:fs/promises";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createId, type Disposer, disposer, type Logger } from "@dormouse/base";
import { writeFileAtomic } from "@dormouse/base/node";
import { eq } from "drizzle-orm";
import { createApiKeys } from "./accounts/api-keys.ts";
import { createAuth } from "./accounts/auth.ts";
import { createAuthenticator } from "./accounts/authenticate.ts";
import { createPeople } from "./accounts/people.ts";
import { createPersonalSetups } from "./accounts/personal-setups.ts";
import { secretFile } from "./accounts/secrets.ts";
import { createSignInLink } from "./accounts/sign-in-links.ts";
import { apiDocuments } from "./api/documents.ts";
import { createInternalServer } from "./api/internal-server.ts";
import { apiRouter } from "./api/router.ts";
import { createApiServer } from "./api/server.ts";
import type { ControlConfig, ListenAddress } from "./config.ts";
import { type Database, openDatabase } from "./database/open.ts";
import { installation } from "./database/schema.ts";
import { buildStore } from "./definitions/build-store.ts";
import { createBuilder } from "./definitions/builder.ts";
import { createBuilderMachines } from "./definitions/builder-machines.ts";
import { createCarrier } from "./definitions/carry.ts";
import { createDefinitions } from "./definitions/definitions.ts";
import { createImageBuilder } from "./definitions/image-builder.ts";
import { createSetUpLogs } from "./definitions/set-up-logs.ts";
import { keepRemovingUnusedBuilds } from "./definitions/unused-builds.ts";
import { egressPolicies } from "./egress/policies.ts";
import { egressService } from "./egress/service.ts";
import { egressStore } from "./egress/store.ts";
import { watchEgress } from "./egress/watch.ts";
import { createGallery } from "./extensions/gallery.ts";
import { extensionRoutes } from "./extensions/routes.ts";
import { extensionService } from "./extensions/service.ts";
import { extensionStore } from "./extensions/store.ts";
import { connectHost, remote } from "./host/client.ts";
import { organisationService } from "./organisations/service.ts";
import { organisationStore } from "./organisations/store.ts";
import { organisationUsage } from "./organisations/usage.ts";
import { createPortAddresses } from "./ports/addresses.ts";
import { createPortGate } from "./ports/gate.ts";
import { createPortService } from "./ports/service.ts";
import { portStore } from "./ports/store.ts";
import { prebuildFinder } from "./prebuilds/find.ts";
import { createRefReader } from "./prebuilds/refs.ts";
import { startPrebuilding } from "./prebuilds/runner.ts";
import { prebuildService } from "./prebuilds/service.ts";
import { prebuildStore } from "./prebuilds/store.ts";
import { workspaceSecrets } from "./secrets/of-workspace.ts";
import { createSeal } from "./secrets/seal.ts";
import { secretService } from "./secrets/service.ts";
import { secretStore } from "./secrets/store.ts";
import { templateBaker } from "./templates/bake.ts";
import { templateCatalogue } from "./templates/catalogue.ts";
import { templateStore } from "./templates/store.ts";
import { createChanges } from "./workspaces/changes.ts";
import { createEngine } from "./workspaces/engine.ts";
import { createMeter } from "./workspaces/meter.ts";
import { createQuota } from "./workspaces/quota.ts";
import { startReconciler } from "./workspaces/reconciler.ts";
import { workspaceService } from "./workspaces/service.ts";
import { createSightings } from "./workspaces/sightings.ts";
import { workspaceStore } from "./workspaces/store.ts";
import { type OwnedRow, toWorkspace } from "./workspaces/view.ts";

/** Control, running. Disposing it stops it; what is under way goes on after the next start. */
export interface Control extends AsyncDisposable {
  /** `http://host:port` of the public API. */
  url: string;
  /** `http://host:port` of the internal contract. */
  internalUrl: string;
}

/**
 * Starts control: database, accounts, API, reconciler.
 * @throws DormouseError `unavailable` when the database cannot be used; nothing is left then.
 */
export async function startControl(config: ControlConfig, log: Logger): Promise<Control> {
  const resources = disposer();
  try {
    return await start(config, log, resources);
  } catch (error) {
    await resources[Symbol.asyncDispose]();
    throw error;
  }
}

async function start(config: ControlConfig, log: Logger, resources: Disposer): Promise<Control> {
  const database = await openDatabase({ url: config.databaseUrl, log });
  resources.add(async () => database[Symbol.asyncDispose]());
  const { db } = database;
  const host = connectHost(config.host);
  resources.add(async () => host[Symbol.asyncDispose]());

  const secret = await secretFile(join(config.dataDir, "session-secret"));
  const publicUrl = config.publicUrl.replace(/\/+$/, "");
  const organisationRows = organisationStore(db);
  const auth = createAuth({ db, organisations: organisationRows, secret, publicUrl, log });
  const apiKeys = createApiKeys(db);
  const people = createPeople(db, auth);
  const personalSetups = createPersonalSetups(db);
  const extensionPackages = { store: extensionStore(db), folder: join(config.dataDir, "extensions"), log };
  const extensions = await extensionService(extensionPackages);
  resources.add(() => extensions[Symbol.dispose]());
  const { galleryUrl } = config.extensions;
  const gallery =
    galleryUrl === null
      ? undefined
      : createGallery({ url: galleryUrl, secret: await secretFile(join(config.dataDir, "gallery-secret")) });
  resources.add(async () => gallery?.[Symbol.asyncDispose]());
  const authenticator = createAuthenticator({ auth, apiKeys });
  const administrator = await people.ensureAdministrator(config.administratorEmail);

  const store = workspaceStore(db);
  const changes = createChanges();
  const sightings = createSightings();
  const { domain: portsDomain, maxVisibility } = config.ports;
  const view = (row: OwnedRow) => toWorkspace(row, { publicUrl, portsDomain }, sightings.of(row.id));
  const meter = createMeter(db);
  const builds = buildStore(db);
  const { hookTimeoutSeconds, featureTimeoutSeconds, buildTimeoutSeconds, featureNamespace } = config.devcontainer;
  const builderMachines = createBuilderMachines({ host, store: builds, log });
  const own = { host, store: builds, machines: builderMachines };
  const builder = createBuilder({ ...own, featureTimeoutMs: featureTimeoutSeconds * 1000 });
  const carrier = createCarrier(host, join(config.dataDir, "carried"));
  const logs = createSetUpLogs(join(config.dataDir, "set-up-logs"), log);
  const layers = egressStore(db);
  const policies = egressPolicies(layers, config.egressMode);
  const secretRows = secretStore(db);
  const seal = createSeal(await secretFile(join(config.dataDir, "secrets-key")));
  const ofWorkspace = workspaceSecrets({ store: secretRows, organisations: organisationRows, seal, log });
  const definitions = createDefinitions({
    ...{ host, store: builds, builder, carrier, logs, policies, secrets: ofWorkspace },
    imageBuilder: createImageBuilder({ ...own, carrier, timeoutMs: buildTimeoutSeconds * 1000 }),
    hookTimeoutMs: hookTimeoutSeconds * 1000,
    defaultNamespace: featureNamespace,
    tell: (workspaceId, progress) => changes.publish(workspaceId, { type: "progress", ...progress }),
  });
  const bakedTemplates = templateStore(db);
  const engine = createEngine({
    personalSetups,
    store,
    definitions,
    templates: bakedTemplates,
    policies,
    secrets: ofWorkspace,
    host,
    changes,
    view,
    meter,
    sightings,
    log,
  });
  const templates = templateCatalogue(host, bakedTemplates);
  const quota = createQuota(config.quota, { store, organisations: organisationRows, sightings });
  const prebuildRows = prebuildStore(db);
  const workspaces = workspaceService({
    ...{ store, engine, definitions, logs, policies, host, changes, templates, quota, view, log },
    findPrebuild: prebuildFinder({ store: prebuildRows, templates: bakedTemplates }),
    organisations: organisationRows,
    addresses: createPortAddresses(db),
  });
  const portPolicy = { scheme: new URL(publicUrl).protocol, domain: portsDomain, maxVisibility };
  const portRows = portStore(db);
  const ports = createPortService({ store: portRows, workspaces, host, policy: portPolicy });
  const gate = createPortGate({
    ...{ store: portRows, rows: store, workspaces, authenticator, organisations: organisationRows, policy: portPolicy },
  });
  const baker = templateBaker({ store: bakedTemplates, host, workspaces, organisations: organisationRows, log });
  const prebuilds = prebuildService({
    ...{ store: prebuildRows, templates: bakedTemplates, baker, organisations: organisationRows, logs },
    secret: await secretFile(join(config.dataDir, "prebuild-hook-secret")),
  });
  const egress = egressService({
    ...{ store: layers, policies, workspaces: store, organisations: organisationRows, host },
    ...{ administratorId: administrator.id, log },
  });
  const secrets = secretService({
    ...{
      store: secretRows,
      ofWorkspace,
      seal,
      policies,
      workspaces: store,
      organisations: organisationRows,
      host,
      log,
    },
  });
  const organisations = organisationService({
    ...{ store: organisationRows, quota, publicUrl, administratorId: administrator.id, log },
    usage: organisationUsage(db, { store, sightings }),
    async onLeave(organisationId, userId) {
      await workspaces.suspend(organisationId, userId);
      await prebuilds.withdraw(organisationId, userId);
    },
  });
  const isOurs = await isDatabaseOfFolder(db, config.dataDir);
  if (!isOurs) log.error("this database belongs to another installation; machines it does not know are kept");

  const capacity = () => remote(host.calls.capacity({}, { signal: AbortSignal.timeout(10_000) }));
  const api = createApiServer({
    router: apiRouter({
      ...{ workspaces, ports, templates, baker, prebuilds, egress, secrets, organisations },
      ...{ apiKeys, people, personalSetups, extensions, gallery, quota, capacity },
    }),
    auth,
    authenticator,
    prebuilds,
    extensions: extensionRoutes(extensions, gallery),
    documents: apiDocuments(publicUrl),
    log,
  });
  const internal = createInternalServer({
    token: config.internalToken,
    authenticator,
    workspaces,
    gate,
    apiKeys,
    administratorId: administrator.id,
    createSignInLink: (options) => createSignInLink(db, { ...options, publicUrl }),
    host: config.host,
    log,
  });
  const reconciler = startReconciler({
    store,
    builds,
    builderMachines,
    engine,
    host,
    sightings,
    meter,
    log,
    keepUnknownMachines: !isOurs,
  });
  const tidying = new AbortController();
  const { unusedForMs } = config.devcontainer;
  const tidied =
    unusedForMs > 0
      ? keepRemovingUnusedBuilds({ store: builds, host, unusedForMs, log, signal: tidying.signal })
      : undefined;
  resources.add(async () => {
    tidying.abort();
    await tidied;
  });
  const prebuilding = startPrebuilding({
    ...{ store: prebuildRows, prebuilds, templates: bakedTemplates, baker, workspaces, people, policies, logs, log },
    refs: createRefReader(host, builderMachines),
    lookEveryMs: config.prebuilds.lookEverySeconds * 1000,
  });
  let prebuildingEnded: Promise<void> | undefined;
  // In the reverse order: first no new requests, then nothing under way, then the connections.
  resources.add(() => prebuildingEnded);
  resources.add(() => engine.stop());
  resources.add(() => reconciler.stop());
  // What is being made ends with the workspace that it is made in.
  resources.add(() => {
    prebuildingEnded = prebuilding.stop();
  });
  const applyAll = async () => {
    await egress.applyAll();
    await secrets.applyAll();
  };
  resources.add(watchEgress({ host, egress: { applyAll }, changes, log }));
  const internalUrl = await listen(internal, config.internalListen);
  resources.add(() => close(internal));
  const url = await listen(api, config.listen);
  resources.add(() => close(api));

  return { url, internalUrl, [Symbol.asyncDispose]: async () => resources[Symbol.asyncDispose]() };
}

/**
 * Whether the data folder and the database were made together. Machines of no workspace
 * are deleted with their disks, which must not happen because somebody pointed control
 * at an empty database for once.
 */
async function isDatabaseOfFolder(db: Database, dataDir: string): Promise<boolean> {
  const path = join(dataDir, "installation");
  await db
    .insert(installation)
    .values({ name: "id", value: createId("inst") })
    .onConflictDoNothing();
  const [row] = await db.select().from(installation).where(eq(installation.name, "id"));
  const ofFolder = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (ofFolder === undefined && row) await writeFileAtomic(path, row.value);
  return ofFolder === undefined || ofFolder === row?.value;
}

function listen(server: Server, address: ListenAddress): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(address.port, address.host, () => {
      server.off("error", reject);
      const { port } = server.address() as AddressInfo;
      resolve(`http://${address.host}:${port}`);
    });
  });
}

async function close(server: Server): Promise<void> {
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    // Followers of events would keep it open for ever; they come back by themselves.
    server.closeAllConnections();
  });
}
