import type { RepositoryKey } from "../definitions/build-store.ts";
import type { TemplateRow, TemplateStore } from "../templates/store.ts";
import { type PrebuildRow, type PrebuildStore, plainRef } from "./store.ts";

/** What a new workspace of a repository can start from. */
export type FindPrebuild = (key: RepositoryKey) => Promise<{ row: PrebuildRow; template: TemplateRow } | undefined>;

/** Templates that are prebuilds are found by their prebuild alone: no name that people give has a colon. */
export const prebuildTemplate = (id: string) => `prebuild:${id}`;

/**
 * Finds what was prebuilt of a repository's ref, or of a commit. Only its owner's, in the same organisation: what is in it may be
 * nobody else's, and no other key opens it.
 */
export function prebuildFinder(options: {
  store: Pick<PrebuildStore, "ready">;
  templates: Pick<TemplateStore, "versions">;
}): FindPrebuild {
  const { store, templates } = options;
  return async ({ ownerId, organisationId, repository, ref, wanted }) => {
    if (wanted === false) return undefined;
    const rows = await store.ready({ ownerId, organisationId, repository });
    const isOfRef = (row: PrebuildRow) =>
      plainRef(row.ref) === plainRef(ref) ||
      (ref !== null && /^[0-9a-f]{7,64}$/.test(ref) && row.commit?.startsWith(ref) === true);
    const row = rows.find((each) => each.devcontainer === wanted && isOfRef(each));
    const [template] = row ? await templates.versions(prebuildTemplate(row.id)) : [];
    return row && template && { row, template };
  };
}
