import { DormouseError } from "@dormouse/base";
import type { Template, TemplateInfo } from "@dormouse/contract";
import { type Actor, actsIn } from "../accounts/actor.ts";
import { type HostConnection, remote } from "../host/client.ts";
import type { TemplateRow, TemplateStore } from "./store.ts";

/** The templates that workspaces can be created from. */
export interface TemplateCatalogue {
  /** Those that ship with the product, then those that were baked in a person's organisations, in their newest version. */
  list(actor: Actor): Promise<Template[]>;
  /** All versions of one, newest first. @throws DormouseError `not_found` naming the templates there are. */
  versions(actor: Actor, name: string): Promise<Template[]>;
  /** What a new workspace of an organisation starts from. @throws DormouseError `not_found` naming the templates there are. */
  get(name: string, organisationId: string): Promise<{ shipped: TemplateInfo; baked: TemplateRow | undefined }>;
}

/** What exists is found without asking for that long; what is missing is always asked for. */
const freshMs = 10_000;

/** The {@link TemplateCatalogue} of one host. */
export function templateCatalogue(host: HostConnection, store: TemplateStore): TemplateCatalogue {
  let kept: { atMs: number; templates: TemplateInfo[] } | undefined;
  async function shipped(isFresh: boolean) {
    if (isFresh && kept && performance.now() - kept.atMs < freshMs) return kept.templates;
    const { templates } = await remote(host.calls.templates.list({}, { signal: AbortSignal.timeout(10_000) }));
    kept = { atMs: performance.now(), templates };
    return templates;
  }
  type Where = Actor | { organisationId: string };
  const seen = async (where: Where) =>
    "userId" in where
      ? (await store.list(where)).filter(({ organisationId }) => actsIn(where, organisationId))
      : await store.list(where);
  async function list(where: Where) {
    const [own, baked] = await Promise.all([shipped(false), seen(where)]);
    return [...own.map(ofHost), ...baked.filter(({ name }) => !isPrebuild(name)).map(toTemplate)];
  }
  async function unknown(name: string, where: Where): Promise<DormouseError> {
    const names = (await list(where)).map((template) => template.name);
    const there = names.length > 0 ? `the templates are: ${names.join(", ")}` : "there are none yet";
    return new DormouseError("not_found", `template: there is no template ${JSON.stringify(name)}; ${there}`, {
      details: { templates: names },
    });
  }
  return {
    list,
    async versions(actor, name) {
      const own = (await shipped(true)).find((template) => template.name === name);
      if (own) return [ofHost(own)];
      const isSeen = (await seen(actor)).some((template) => template.name === name);
      if (isPrebuild(name) || !isSeen) throw await unknown(name, actor);
      return (await store.versions(name)).map(toTemplate);
    },
    async get(name, organisationId) {
      for (const isFresh of [true, false]) {
        const own = await shipped(isFresh);
        const found = own.find((template) => template.name === name);
        if (found) return { shipped: found, baked: undefined };
        const [base] = own;
        const [newest] = isPrebuild(name) ? [] : await store.versions(name);
        // Another organisation's is sealed with another key.
        if (newest?.organisationId === organisationId && base) return { shipped: base, baked: newest };
      }
      throw await unknown(name, { organisationId });
    },
  };
}

/** They hold what is in somebody's repository: they are that person's, and found by its address alone. */
const isPrebuild = (name: string) => name.includes(":");

function ofHost({ name, createdMs, resources }: TemplateInfo): Template {
  const createdAt = new Date(createdMs).toISOString();
  const nobody = { owner: null, organisation: null };
  return { name, version: 1, createdAt, ...nobody, resources, repository: null, ref: null, folder: "/workspace" };
}

/** What the API shows of a template that was baked. */
export function toTemplate(row: TemplateRow): Template {
  const { name, version, createdAt, owner, organisation, definition, repository, ref, folder } = row;
  const resources = definition.start?.resources;
  if (!resources) throw new DormouseError("internal", `template ${name} does not say what it starts from`);
  const whose = { owner, organisation };
  return { name, version, createdAt: createdAt.toISOString(), ...whose, resources, repository, ref, folder };
}
