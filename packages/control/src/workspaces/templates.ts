import { DormouseError } from "@dormouse/base";
import type { Template } from "@dormouse/contract";
import { type HostConnection, remote } from "../host/client.ts";

/** The templates that workspaces can be created from. */
export interface TemplateCatalogue {
  list(): Promise<Template[]>;
  /** @throws DormouseError `not_found` naming the templates there are. */
  get(name: string): Promise<Template>;
}

/** What exists is found without asking for that long; what is missing is always asked for. */
const freshMs = 10_000;

/** The {@link TemplateCatalogue} of one host. */
export function templateCatalogue(host: HostConnection): TemplateCatalogue {
  let kept: { atMs: number; templates: Template[] } | undefined;
  async function list() {
    const { templates } = await remote(host.calls.templates.list({}, { signal: AbortSignal.timeout(10_000) }));
    const shown = templates.map(({ name, createdMs, resources }) => ({
      name,
      createdAt: new Date(createdMs).toISOString(),
      resources,
    }));
    kept = { atMs: performance.now(), templates: shown };
    return shown;
  }
  return {
    list,
    async get(name) {
      const isFresh = kept !== undefined && performance.now() - kept.atMs < freshMs;
      const cached = isFresh ? kept?.templates.find((template) => template.name === name) : undefined;
      if (cached) return cached;
      const all = await list();
      const found = all.find((template) => template.name === name);
      if (found) return found;
      const there =
        all.length > 0 ? `the templates are: ${all.map((template) => template.name).join(", ")}` : "there are none yet";
      throw new DormouseError("not_found", `template: there is no template ${JSON.stringify(name)}; ${there}`, {
        details: { templates: all.map((template) => template.name) },
      });
    },
  };
}
