import { eventIterator, oc } from "@orpc/contract";
import { z } from "zod";
import * as s from "./api-schemas.ts";
import * as e from "./egress-schemas.ts";
import { execResult } from "./guest-schemas.ts";
import { hostCapacity } from "./host-schemas.ts";
import * as o from "./organisation-schemas.ts";
import * as p from "./ports.ts";
import * as secret from "./secret-schemas.ts";

const ref = z.object({ workspace: s.workspaceRef });
const empty = z.object({});

const workspaces = {
  create: oc
    .route({
      method: "POST",
      path: "/workspaces",
      summary: "Create a workspace",
      tags: ["Workspaces"],
      successStatus: 201,
    })
    .input(s.createWorkspace)
    .output(s.workspace),
  list: oc
    .route({
      method: "GET",
      path: "/workspaces",
      summary: "List workspaces",
      description:
        "Your own; with `organisation` those in it, for its owners and admins everybody's. They can hibernate and delete those too, but not open them.",
      tags: ["Workspaces"],
    })
    .input(z.object({ organisation: o.organisationRef.optional() }))
    .output(z.object({ workspaces: z.array(s.workspace) })),
  get: oc
    .route({ method: "GET", path: "/workspaces/{workspace}", summary: "Get a workspace", tags: ["Workspaces"] })
    .input(ref)
    .output(s.workspace),
  update: oc
    .route({
      method: "PATCH",
      path: "/workspaces/{workspace}",
      summary: "Rename or extend a workspace",
      tags: ["Workspaces"],
    })
    .input(ref.extend(s.updateWorkspace.shape))
    .output(s.workspace),
  delete: oc
    .route({
      method: "DELETE",
      path: "/workspaces/{workspace}",
      summary: "Delete a workspace, from any state",
      tags: ["Workspaces"],
    })
    .input(ref)
    .output(empty),
  unpushed: oc
    .route({
      method: "GET",
      path: "/workspaces/{workspace}/unpushed",
      summary: "What would be lost with a workspace: changed files, commits that no remote has, stashes",
      description: "`work` is null when there is no repository, or nothing is known of it. Wakes nothing.",
      tags: ["Workspaces"],
    })
    .input(ref)
    .output(z.object({ work: s.unpushedWork.nullable() })),
  hibernate: oc
    .route({
      method: "POST",
      path: "/workspaces/{workspace}/hibernate",
      summary: "Put a workspace to sleep",
      tags: ["Workspaces"],
    })
    .input(ref)
    .output(s.workspace),
  wake: oc
    .route({ method: "POST", path: "/workspaces/{workspace}/wake", summary: "Wake a workspace", tags: ["Workspaces"] })
    .input(ref)
    .output(s.workspace),
  fork: oc
    .route({
      method: "POST",
      path: "/workspaces/{workspace}/fork",
      summary: "Make workspaces that go on from this one as it is, or from one of its snapshots",
      tags: ["Snapshots"],
      successStatus: 201,
    })
    .input(ref.extend(s.forkWorkspace.shape))
    .output(z.object({ snapshot: s.snapshot, forks: z.array(s.forkResult) })),
  restore: oc
    .route({
      method: "POST",
      path: "/workspaces/{workspace}/restore",
      summary: "Go back to a snapshot; the present moment is kept as a snapshot first",
      tags: ["Snapshots"],
    })
    .input(ref.extend({ snapshot: z.string().min(1).max(128) }))
    .output(s.workspace),
  rebuild: oc
    .route({
      method: "POST",
      path: "/workspaces/{workspace}/rebuild",
      summary: "Apply the repository's devcontainer.json again, in a new machine",
      description: "The repository's folder is carried over as it is; nothing else of the machine is.",
      tags: ["Workspaces"],
    })
    .input(ref.extend(s.rebuildWorkspace.shape))
    .output(s.workspace),
  attach: oc
    .route({
      method: "POST",
      path: "/workspaces/{workspace}/attach",
      summary: "A tool attaches: run what the repository's devcontainer.json has for that (postAttachCommand)",
      description:
        "In the background; what came of it stands in `devcontainer.attached`, and an event tells it. `runs` is false when there is nothing to run.",
      tags: ["Workspaces"],
    })
    .input(ref)
    .output(z.object({ runs: z.boolean() })),
  lockFeatures: oc
    .route({
      method: "POST",
      path: "/workspaces/{workspace}/lock-features",
      summary:
        "Write devcontainer-lock.json beside the repository's devcontainer.json: its features with their digests",
      tags: ["Workspaces"],
    })
    .input(ref.extend(s.lockFeatures.shape))
    .output(s.featureLock),
  exec: oc
    .route({
      method: "POST",
      path: "/workspaces/{workspace}/exec",
      summary: "Run a command to its end",
      tags: ["Workspaces"],
    })
    .input(ref.extend(s.execRequest.shape))
    .output(execResult),
  logs: oc
    .route({
      method: "GET",
      path: "/workspaces/{workspace}/logs",
      summary: "State changes and the machine's console",
      tags: ["Workspaces"],
    })
    .input(ref)
    .output(
      z.object({
        transitions: z.array(
          z.object({ at: z.iso.datetime(), state: s.workspaceState, reason: z.string().nullable() }),
        ),
        console: z.string(),
        /** What images, features and lifecycle commands wrote. */
        setup: z.string(),
      }),
    ),
  serviceLog: oc
    .route({
      method: "GET",
      path: "/workspaces/{workspace}/services/{service}/log",
      summary: "What a service of its Compose file wrote last; wakes the workspace",
      tags: ["Workspaces"],
    })
    .input(ref.extend({ service: z.string().min(1).max(255) }))
    .output(z.object({ text: z.string() })),
  /** First the state as it is, then every change and every step of progress. */
  events: oc
    .route({
      method: "GET",
      path: "/workspaces/{workspace}/events",
      summary: "Follow a workspace (server-sent events)",
      tags: ["Workspaces"],
    })
    .input(ref)
    .output(eventIterator(s.workspaceEvent)),
};

const snapshots = {
  create: oc
    .route({
      method: "POST",
      path: "/workspaces/{workspace}/snapshots",
      summary: "Take a snapshot of a running workspace",
      tags: ["Snapshots"],
      successStatus: 201,
    })
    .input(ref.extend({ name: s.snapshotName.optional() }))
    .output(s.snapshot),
  list: oc
    .route({
      method: "GET",
      path: "/workspaces/{workspace}/snapshots",
      summary: "The workspace's timeline, newest first",
      tags: ["Snapshots"],
    })
    .input(ref)
    .output(z.object({ snapshots: z.array(s.snapshot) })),
  delete: oc
    .route({
      method: "DELETE",
      path: "/workspaces/{workspace}/snapshots/{snapshot}",
      summary: "Delete a snapshot",
      tags: ["Snapshots"],
    })
    .input(ref.extend({ snapshot: z.string().min(1).max(128) }))
    .output(empty),
};

const portRef = ref.extend({ port: p.portNumber });

const ports = {
  list: oc
    .route({
      method: "GET",
      path: "/workspaces/{workspace}/ports",
      summary: "What listens in a workspace, what its definition names and what was set; wakes nothing",
      tags: ["Ports"],
    })
    .input(ref)
    .output(z.object({ ports: z.array(p.forwardedPort) })),
  set: oc
    .route({
      method: "PATCH",
      path: "/workspaces/{workspace}/ports/{port}",
      summary: "Set who may open a port, its label, its protocol, whether it is forwarded",
      description: "`null` goes back to what the definition says. More than the platform's policy allows is refused.",
      tags: ["Ports"],
    })
    .input(portRef.extend(p.setPort.shape))
    .output(p.forwardedPort),
  createLink: oc
    .route({
      method: "POST",
      path: "/workspaces/{workspace}/ports/{port}/links",
      summary: "Make a link that opens a port for whoever has it; it is shown once",
      description:
        "The token stands in the link's fragment. Programs send it as `Authorization: Bearer dml_…` to the port's origin.",
      tags: ["Ports"],
      successStatus: 201,
    })
    .input(portRef.extend({ expiresInSeconds: p.linkSeconds.default(24 * 3600) }))
    .output(p.portLink.extend({ url: z.string() })),
  links: oc
    .route({
      method: "GET",
      path: "/workspaces/{workspace}/ports/{port}/links",
      summary: "Links to a port that have not expired",
      tags: ["Ports"],
    })
    .input(portRef)
    .output(z.object({ links: z.array(p.portLink) })),
  revokeLink: oc
    .route({
      method: "DELETE",
      path: "/workspaces/{workspace}/ports/{port}/links/{id}",
      summary: "Revoke a link; what was opened with it is closed",
      tags: ["Ports"],
    })
    .input(portRef.extend({ id: z.string().min(1).max(128) }))
    .output(empty),
};

const templates = {
  list: oc
    .route({ method: "GET", path: "/templates", summary: "List templates", tags: ["Templates"] })
    .input(empty)
    .output(z.object({ templates: z.array(s.template) })),
  get: oc
    .route({ method: "GET", path: "/templates/{template}", summary: "All versions of a template", tags: ["Templates"] })
    .input(z.object({ template: z.string() }))
    .output(z.object({ versions: z.array(s.template) })),
  create: oc
    .route({
      method: "POST",
      path: "/templates",
      summary: "Make a workspace a template, or the next version of one",
      description:
        "Its processes are ended, its machine is booted from its drive, so that nothing of its memory remains, and kept; the workspace is deleted. Refused for a workspace that was created with an environment, which may hold secrets.",
      tags: ["Templates"],
      successStatus: 201,
    })
    .input(s.bakeTemplate)
    .output(s.template),
  delete: oc
    .route({
      method: "DELETE",
      path: "/templates/{template}",
      summary: "Delete a template with all its versions; workspaces that exist are not touched",
      tags: ["Templates"],
    })
    .input(z.object({ template: z.string() }))
    .output(empty),
  deleteVersion: oc
    .route({
      method: "DELETE",
      path: "/templates/{template}/versions/{version}",
      summary: "Delete one version of a template; without the newest, the one before is what workspaces start from",
      tags: ["Templates"],
    })
    .input(z.object({ template: z.string(), version: z.coerce.number().int() }))
    .output(empty),
};

const prebuildRef = z.object({ prebuild: z.string().min(1).max(128) });

const prebuilds = {
  run: oc
    .route({
      method: "POST",
      path: "/prebuilds",
      summary: "Prebuild a repository",
      description:
        "Answers at once; `get` tells how far it is. From then on the repository is prebuilt by the triggers of its own definition (`customizations.dormouse.prebuild`), until this is deleted, and its workspaces start from what was prebuilt.",
      tags: ["Prebuilds"],
      successStatus: 201,
    })
    .input(s.createPrebuild)
    .output(s.prebuild),
  list: oc
    .route({ method: "GET", path: "/prebuilds", summary: "List prebuilds", tags: ["Prebuilds"] })
    .input(empty)
    .output(z.object({ prebuilds: z.array(s.prebuild) })),
  get: oc
    .route({ method: "GET", path: "/prebuilds/{prebuild}", summary: "A prebuild", tags: ["Prebuilds"] })
    .input(prebuildRef)
    .output(s.prebuild),
  logs: oc
    .route({
      method: "GET",
      path: "/prebuilds/{prebuild}/logs",
      summary: "What a prebuild wrote when it was made last",
      tags: ["Prebuilds"],
    })
    .input(prebuildRef)
    .output(z.object({ text: z.string() })),
  hook: oc
    .route({
      method: "GET",
      path: "/prebuilds/{prebuild}/hook",
      summary: "What a git server calls when something has changed",
      description:
        "A webhook as GitHub's, Gitea's and Forgejo's: POST to this path, the body signed with the secret in `X-Hub-Signature-256`. The repository is looked at then; what the call says is not believed.",
      tags: ["Prebuilds"],
    })
    .input(prebuildRef)
    .output(z.object({ path: z.string(), secret: z.string() })),
  delete: oc
    .route({
      method: "DELETE",
      path: "/prebuilds/{prebuild}",
      summary: "Delete a prebuild and those of its pull requests; workspaces that exist are not touched",
      tags: ["Prebuilds"],
    })
    .input(prebuildRef)
    .output(empty),
};

const apiKeys = {
  create: oc
    .route({
      method: "POST",
      path: "/api-keys",
      summary: "Create an API key; it is shown once",
      description:
        "With `organisation` it is for that one alone: it acts there without naming it, finds nothing of any other, and changes nothing of the account.",
      tags: ["Account"],
      successStatus: 201,
    })
    .input(
      z.object({
        name: z.string().min(1).max(100),
        organisation: o.organisationRef.optional(),
        expiresInSeconds: z.number().int().positive().optional(),
      }),
    )
    .output(s.apiKey.extend({ key: z.string() })),
  list: oc
    .route({ method: "GET", path: "/api-keys", summary: "List API keys", tags: ["Account"] })
    .input(empty)
    .output(z.object({ apiKeys: z.array(s.apiKey) })),
  delete: oc
    .route({ method: "DELETE", path: "/api-keys/{id}", summary: "Revoke an API key", tags: ["Account"] })
    .input(z.object({ id: z.string() }))
    .output(empty),
};

const me = {
  get: oc
    .route({ method: "GET", path: "/me", summary: "Who am I", tags: ["Account"] })
    .input(empty)
    .output(s.account),
  quota: oc
    .route({ method: "GET", path: "/me/quota", summary: "What I have of what I may have", tags: ["Account"] })
    .input(empty)
    .output(s.allowance.extend({ organisations: z.array(s.allowance.extend({ name: z.string() })) })),
  settings: oc
    .route({ method: "GET", path: "/me/settings", summary: "The editor's settings", tags: ["Account"] })
    .input(empty)
    .output(s.userSettings),
  saveSettings: oc
    .route({ method: "PUT", path: "/me/settings", summary: "Save the editor's settings", tags: ["Account"] })
    .input(s.userSettings.partial())
    .output(s.userSettings),
  extensions: oc
    .route({
      method: "GET",
      path: "/me/extensions",
      summary: "The editor's extensions",
      description: "A `.vsix` file is installed by sending it as the body of `POST /me/extensions`.",
      tags: ["Account"],
    })
    .input(empty)
    .output(s.editorExtensions),
  installExtension: oc
    .route({
      method: "POST",
      path: "/me/extensions/from-gallery",
      summary: "Install an extension from the gallery, or another version of it",
      tags: ["Account"],
    })
    .input(
      z.object({
        identifier: s.extensionIdentifier,
        /** Default: the newest that is no pre-release. */
        version: z.string().max(100).optional(),
        metadata: s.editorExtension.shape.metadata.optional(),
      }),
    )
    .output(s.editorExtension),
  saveExtension: oc
    .route({
      method: "PUT",
      path: "/me/extensions/{id}",
      summary: "Save what the editor notes about an extension",
      tags: ["Account"],
    })
    .input(z.object({ id: z.string(), metadata: s.editorExtension.shape.metadata }))
    .output(s.editorExtension),
  removeExtension: oc
    .route({ method: "DELETE", path: "/me/extensions/{id}", summary: "Uninstall an extension", tags: ["Account"] })
    .input(z.object({ id: z.string() }))
    .output(empty),
  setup: oc
    .route({
      method: "GET",
      path: "/me/setup",
      summary: "What I want in each new workspace: dotfiles, shell, git identity",
      tags: ["Account"],
    })
    .input(empty)
    .output(s.personalSetup),
  saveSetup: oc
    .route({
      method: "PUT",
      path: "/me/setup",
      summary: "Change what I want in each new workspace; null takes it away",
      tags: ["Account"],
    })
    .input(s.personalSetup.partial())
    .output(s.personalSetup),
  setPassword: oc
    .route({
      method: "POST",
      path: "/me/password",
      summary: "Set or change the password",
      description: "`current` is needed as soon as there is a password.",
      tags: ["Account"],
    })
    .input(z.object({ current: z.string().max(128).optional(), next: z.string().min(10).max(128) }))
    .output(empty),
};

const egressRules = z.object({ rules: z.array(e.egressRule).min(1).max(100) });

const egress = {
  show: oc
    .route({
      method: "GET",
      path: "/workspaces/{workspace}/egress",
      summary: "What may leave a workspace, and which layer says so",
      tags: ["Egress"],
    })
    .input(ref)
    .output(e.workspaceEgress),
  set: oc
    .route({
      method: "PUT",
      path: "/workspaces/{workspace}/egress",
      summary: "Replace the workspace's own layer; takes effect at once, also for open connections",
      tags: ["Egress"],
    })
    .input(ref.extend(e.egressLayer.shape))
    .output(e.workspaceEgress),
  allow: oc
    .route({
      method: "POST",
      path: "/workspaces/{workspace}/egress/allow",
      summary: "Allow places in the workspace's own layer",
      tags: ["Egress"],
    })
    .input(ref.extend(egressRules.shape))
    .output(e.workspaceEgress),
  deny: oc
    .route({
      method: "POST",
      path: "/workspaces/{workspace}/egress/deny",
      summary: "Deny places in the workspace's own layer, whatever allows them",
      tags: ["Egress"],
    })
    .input(ref.extend(egressRules.shape))
    .output(e.workspaceEgress),
  log: oc
    .route({
      method: "GET",
      path: "/workspaces/{workspace}/egress/log",
      summary: "Where a workspace wanted to go and was not let",
      tags: ["Egress"],
    })
    .input(ref)
    .output(e.egressLog),
  test: oc
    .route({
      method: "POST",
      path: "/workspaces/{workspace}/egress/test",
      summary: "What would become of a connection; opens none",
      tags: ["Egress"],
    })
    .input(ref.extend(e.egressAttempt.shape))
    .output(e.egressDecision),
  layer: oc
    .route({
      method: "GET",
      path: "/egress",
      summary: "What the installation, an organisation, a template or a repository says of egress",
      tags: ["Egress"],
    })
    .input(e.egressScope)
    .output(e.egressLayer),
  setLayer: oc
    .route({
      method: "PUT",
      path: "/egress",
      summary: "Replace what the installation, an organisation, a template or a repository says of egress",
      description:
        "For the administrator; an organisation's for its owners and admins. What is beyond a cap is not allowed, whatever layers below say. Takes effect at once for all workspaces that it is about.",
      tags: ["Egress"],
    })
    .input(e.egressScope.extend({ layer: e.egressLayer }))
    .output(e.egressLayer),
};

const orgRef = z.object({ organisation: o.organisationRef });

const organisations = {
  list: oc
    .route({ method: "GET", path: "/organisations", summary: "List my organisations", tags: ["Organisations"] })
    .input(empty)
    .output(z.object({ organisations: z.array(o.organisation) })),
  create: oc
    .route({
      method: "POST",
      path: "/organisations",
      summary: "Create an organisation; whoever does is its owner",
      tags: ["Organisations"],
      successStatus: 201,
    })
    .input(z.object({ name: o.organisationName }))
    .output(o.organisation),
  get: oc
    .route({
      method: "GET",
      path: "/organisations/{organisation}",
      summary: "Get an organisation",
      tags: ["Organisations"],
    })
    .input(orgRef)
    .output(o.organisation),
  rename: oc
    .route({
      method: "PATCH",
      path: "/organisations/{organisation}",
      summary: "Rename an organisation",
      tags: ["Organisations"],
    })
    .input(orgRef.extend({ name: o.organisationName }))
    .output(o.organisation),
  delete: oc
    .route({
      method: "DELETE",
      path: "/organisations/{organisation}",
      summary: "Delete an organisation that has no workspaces, templates and prebuilds; for its owners",
      tags: ["Organisations"],
    })
    .input(orgRef)
    .output(empty),
  members: oc
    .route({
      method: "GET",
      path: "/organisations/{organisation}/members",
      summary: "Who is in an organisation",
      tags: ["Organisations"],
    })
    .input(orgRef)
    .output(z.object({ members: z.array(o.organisationMember) })),
  setRole: oc
    .route({
      method: "PATCH",
      path: "/organisations/{organisation}/members/{member}",
      summary: "Make a member an owner, an admin or a member",
      description: "By id or e-mail address. Only owners make or unmake owners; one owner stays.",
      tags: ["Organisations"],
    })
    .input(orgRef.extend({ member: o.memberRef, role: o.organisationRole }))
    .output(o.organisationMember),
  removeMember: oc
    .route({
      method: "DELETE",
      path: "/organisations/{organisation}/members/{member}",
      summary: "Remove somebody from an organisation, or leave it",
      description:
        "Their workspaces stay in it, asleep, for its owners and admins to delete; they can be opened by nobody. Their prebuilds go.",
      tags: ["Organisations"],
    })
    .input(orgRef.extend({ member: o.memberRef }))
    .output(empty),
  invite: oc
    .route({
      method: "POST",
      path: "/organisations/{organisation}/invitations",
      summary: "Make a link by which one person can join, once; it is shown once",
      description: "The token stands in the link's fragment. Who has no account makes one there.",
      tags: ["Organisations"],
      successStatus: 201,
    })
    .input(orgRef.extend(o.createInvitation.shape))
    .output(o.invitation.extend({ url: z.string() })),
  invitations: oc
    .route({
      method: "GET",
      path: "/organisations/{organisation}/invitations",
      summary: "Invitations that were neither used nor have expired",
      tags: ["Organisations"],
    })
    .input(orgRef)
    .output(z.object({ invitations: z.array(o.invitation) })),
  revokeInvitation: oc
    .route({
      method: "DELETE",
      path: "/organisations/{organisation}/invitations/{id}",
      summary: "Revoke an invitation",
      tags: ["Organisations"],
    })
    .input(orgRef.extend({ id: z.string().min(1).max(128) }))
    .output(empty),
  join: oc
    .route({
      method: "POST",
      path: "/organisations/join",
      summary: "Join an organisation with the token of an invitation",
      tags: ["Organisations"],
    })
    .input(z.object({ token: z.string().min(1).max(200) }))
    .output(o.organisation),
  quota: oc
    .route({
      method: "GET",
      path: "/organisations/{organisation}/quota",
      summary: "What an organisation has of what it may have",
      tags: ["Organisations"],
    })
    .input(orgRef)
    .output(s.allowance),
  setQuota: oc
    .route({
      method: "PATCH",
      path: "/organisations/{organisation}/quota",
      summary: "Set what an organisation may have in all; null: as much as there is",
      description: "For the administrator, of any organisation.",
      tags: ["Organisations"],
    })
    .input(orgRef.extend(o.organisationQuota.partial().shape))
    .output(s.allowance),
  usage: oc
    .route({
      method: "GET",
      path: "/organisations/{organisation}/usage",
      summary: "What people have used in an organisation, in the last 30 days; for its owners and admins",
      tags: ["Organisations"],
    })
    .input(orgRef)
    .output(z.object({ people: z.array(o.memberUsage) })),
};

const secretRef = orgRef.extend({ name: secret.secretName });

const secrets = {
  list: oc
    .route({
      method: "GET",
      path: "/organisations/{organisation}/secrets",
      summary: "Secrets of an organisation, without their values",
      description:
        "Your own are those of `personal`. A workspace has those of its organisation, and over them its owner's.",
      tags: ["Secrets"],
    })
    .input(orgRef)
    .output(z.object({ secrets: z.array(secret.secretInfo) })),
  set: oc
    .route({
      method: "PUT",
      path: "/organisations/{organisation}/secrets/{name}",
      summary: "Set a secret: machines get a placeholder, which is replaced on the way to its hosts alone",
      description:
        "An organisation's are for its owners and admins to set. Nobody reads the value again. It holds at once for running workspaces; a new name's variable is there for programs started from then on.",
      tags: ["Secrets"],
    })
    .input(secretRef.extend(secret.setSecret.shape))
    .output(secret.secretInfo),
  remove: oc
    .route({
      method: "DELETE",
      path: "/organisations/{organisation}/secrets/{name}",
      summary: "Remove a secret; what was authenticated with it is cut at once",
      tags: ["Secrets"],
    })
    .input(secretRef)
    .output(empty),
};

const hosts = {
  capacity: oc
    .route({ method: "GET", path: "/capacity", summary: "What the host holds and what is free", tags: ["Hosts"] })
    .input(empty)
    .output(hostCapacity),
};

/**
 * The public API, REST under `/api`. The OpenAPI 3.1 document at `/api/openapi.json`
 * is made from it. Calls need a session cookie or `Authorization: Bearer <API key>`.
 * Beside it the gateway passes `/api/workspaces/{workspace}/guest/rpc/…`, `…/guest/channel`
 * (WebSocket), `…/guest/file?path=…` (GET, PUT, raw bodies) and `…/guest/port/{port}` (`Upgrade: tcp`, the bytes of a
 * port) on to the workspace's agent.
 * Signing in: `POST /api/auth/sign-in/link` with `{ token }` (from the fragment of a one-time
 * link) or `POST /api/auth/sign-in/email` with `{ email, password }` set the session cookie,
 * `POST /api/auth/sign-out` ends it. `POST /api/auth/invitation` with `{ token }` says what an invitation is to, and
 * `POST /api/auth/sign-up/invitation` with `{ token, name, email, password }` makes an account, joins and signs in.
 */
export const apiContract = {
  workspaces,
  ports,
  snapshots,
  templates,
  prebuilds,
  egress,
  secrets,
  organisations,
  apiKeys,
  me,
  hosts,
};
export type ApiContract = typeof apiContract;
