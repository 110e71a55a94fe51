import { DormouseError } from "@dormouse/base";
import type { createWorkspace, TemplateInfo } from "@dormouse/contract";
import type { z } from "zod";
import type { RepositoryKey } from "../definitions/build-store.ts";
import { openDefinition } from "../definitions/definition.ts";
import type { Definitions, Guess } from "../definitions/definitions.ts";
import { hasDotfilesToBring } from "../definitions/dotfiles.ts";
import { stepsOfMachine } from "../definitions/steps.ts";
import type { FindPrebuild } from "../prebuilds/find.ts";
import type { TemplateCatalogue } from "../templates/catalogue.ts";
import type { TemplateRow } from "../templates/store.ts";
import type { RepositoryUrl } from "./repository-url.ts";
import type { WorkspaceRow } from "./view.ts";

/** What of a new workspace depends on what it starts from. */
export type Beginning = Pick<
  WorkspaceRow,
  "repository" | "ref" | "folder" | "prepared" | "definition" | "vcpus" | "memoryMib" | "diskGib"
>;

type Input = z.output<typeof createWorkspace>;

/**
 * What a new workspace begins as.
 * @throws DormouseError `invalid_argument` naming the field that does not fit a template that was baked.
 */
export async function beginningOf(
  input: Input,
  from: Awaited<ReturnType<TemplateCatalogue["get"]>>,
  repository: RepositoryUrl | undefined,
  options: {
    ownerId: string;
    organisationId: string;
    definitions: Pick<Definitions, "guess">;
    findPrebuild: FindPrebuild;
  },
): Promise<Beginning> {
  const { ownerId, organisationId, definitions, findPrebuild } = options;
  const whose = { ownerId, organisationId };
  if (from.baked) return ofBaked(input, from.baked, repository);
  const { prebuild, ref = null, devcontainer: wanted = null } = input;
  // A machine of another size, or a repository that lies elsewhere, is not what was prebuilt.
  const isUsual = repository && !prebuild && input.resources === undefined && input.folder === undefined;
  const ahead = isUsual ? await findPrebuild({ ...whose, repository: repository.url, ref, wanted }) : undefined;
  if (ahead) return ofPrebuild(ref, ahead);
  return await ofShipped(input, from.shipped, repository, (key) =>
    definitions.guess({ ...whose, ...key }, input.prebuild),
  );
}

async function ofShipped(
  input: Input,
  template: TemplateInfo,
  repository: RepositoryUrl | undefined,
  ask: (key: Omit<RepositoryKey, "ownerId" | "organisationId">) => Promise<Guess | undefined>,
): Promise<Beginning> {
  const { prebuild, ref = null, devcontainer: wanted = null } = input;
  // What its machine is going to be, most likely: then it is made only once.
  const takesGuess = repository && input.resources === undefined && input.folder === undefined;
  const guess = takesGuess ? await ask({ repository: repository.url, ref, wanted }) : undefined;
  return {
    repository: repository?.url ?? null,
    ref,
    folder: input.folder ?? guess?.folder ?? usualFolder(repository),
    prepared: repository === undefined,
    definition: guess?.definition ?? (repository || prebuild ? openDefinition(wanted, prebuild) : null),
    ...(guess?.definition.start?.resources ?? { ...template.resources, ...definedOnly(input.resources ?? {}) }),
  };
}

/** All that its definition wants done ahead is done; newer commits are fetched, and the file is looked at again. */
function ofPrebuild(
  ref: string | null,
  { row, template: { definition, folder } }: NonNullable<Awaited<ReturnType<FindPrebuild>>>,
): Beginning {
  const { start } = definition;
  if (!start || row.commit === null) throw new DormouseError("internal", `prebuild ${row.id} says not what it is`);
  const prebuilt = { id: row.id, commit: row.commit };
  return {
    ...{ repository: row.repository, ref, folder, prepared: false, ...start.resources },
    definition: { ...definition, stage: "guessed", prebuilt, notes: [...definition.notes] },
  };
}

/** What lies in a template that was baked is there already; of another repository nothing but itself is brought. */
function ofBaked(input: Input, baked: TemplateRow, repository: RepositoryUrl | undefined): Beginning {
  const { name, version, definition } = baked;
  const { start } = definition;
  if (!start) throw new DormouseError("internal", `template ${name} does not say what it starts from`);
  const check = (field: string, asked: unknown, has: unknown) => {
    if (asked === undefined || asked === has) return;
    throw new DormouseError("invalid_argument", `${field}: template ${name} has ${has}; create without ${field}`);
  };
  for (const [what, asked] of Object.entries(definedOnly(input.resources ?? {}))) {
    check(`resources.${what}`, asked, start.resources[what as keyof typeof start.resources]);
  }
  const own = { ...definition, template: { name, version }, isPrebuild: input.prebuild };
  if (baked.repository === null) {
    // What is a person's own has still to be done.
    const isComplete = stepsOfMachine(own).every(({ hook }) => own.done.includes(hook)) && !hasDotfilesToBring(own);
    return {
      repository: repository?.url ?? null,
      ref: input.ref ?? null,
      folder: input.folder ?? (repository ? usualFolder(repository) : baked.folder),
      prepared: repository === undefined && isComplete,
      definition: own,
      ...start.resources,
    };
  }
  check("repository", repository?.url, baked.repository);
  check("ref", input.ref, baked.ref ?? "its default branch");
  check("folder", input.folder, baked.folder);
  const { repository: url, ref, folder } = baked;
  return { repository: url, ref, folder, prepared: false, definition: own, ...start.resources };
}

const usualFolder = (repository: RepositoryUrl | undefined) =>
  repository ? `/workspaces/${repository.name}` : "/workspace";

function definedOnly<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as never;
}
