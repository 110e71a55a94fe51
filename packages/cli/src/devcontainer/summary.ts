import { formatBytes } from "@dormouse/base";
import {
  attributesOf,
  type ComposePlan,
  customizationsOf,
  type DevcontainerConfig,
  type DormouseCustomizations,
  type FeatureMetadata,
  type FeatureNode,
  featureEntry,
  installationOrder,
  type LifecyclePlan,
  lifecyclePlan,
  type MergedConfig,
  mergeConfig,
  type ParsedHostRequirements,
  parseHostRequirements,
  portsToForward,
  sourceOf,
  usersOf,
  type VscodeCustomizations,
  vscodeOf,
} from "@dormouse/devcontainer";

/** What a definition asks for, as far as it can be told without fetching images and features. */
export interface DefinitionSummary {
  source: ReturnType<typeof sourceOf>;
  /** What runs beside it, in the order in which it is started. */
  services: { name: string; image: string | null; build: string | null }[];
  /** In the order in which they are installed. */
  features: { feature: string; options: Readonly<Record<string, string | boolean>>; known: boolean }[];
  lifecycle: LifecyclePlan;
  ports: { host: string; port: number; label?: string }[];
  hostRequirements: ParsedHostRequirements;
  /** Absent where the image decides. */
  users: { containerUser?: string; remoteUser?: string };
  /** Secrets that are recommended; nothing is known of their values. */
  secrets: { name: string; description?: string; documentationUrl?: string }[];
  customizations: DormouseCustomizations;
  vscode: VscodeCustomizations;
}

/** Sums up a valid definition. */
export function summarize(
  config: DevcontainerConfig,
  localFeatures: ReadonlyMap<string, FeatureMetadata>,
  defaultNamespace: string | undefined,
  compose?: ComposePlan,
): DefinitionSummary {
  const nodes = orderOf(config, localFeatures, defaultNamespace);
  const entries = nodes.map(({ reference, metadata }) => featureEntry(reference.text, metadata));
  const merged = mergeConfig({ features: entries, config });
  return {
    source: sourceOf(config),
    services: (compose?.services ?? []).map(({ name, image, build }) => ({
      ...{ name, image: build ? null : image },
      build: build?.context ?? null,
    })),
    features: nodes.map(({ reference, given }) => ({
      feature: reference.text,
      options: given,
      known: localFeatures.has(reference.text),
    })),
    lifecycle: lifecyclePlan(merged),
    ports: portsOf(merged, config),
    hostRequirements: parseHostRequirements(merged.hostRequirements),
    users: knownUsers(merged),
    secrets: Object.entries(config.secrets ?? {}).map(([name, secret]) => ({ name, ...secret })),
    customizations: customizationsOf(merged),
    vscode: vscodeOf(merged),
  };
}

/** Features that would have to be fetched count as having no dependencies; short forms without a meaning are left out. */
function orderOf(
  config: DevcontainerConfig,
  localFeatures: ReadonlyMap<string, FeatureMetadata>,
  defaultNamespace: string | undefined,
): FeatureNode[] {
  const options = defaultNamespace === undefined ? {} : { defaultNamespace };
  const features = Object.entries(config.features ?? {}).filter(
    ([identifier]) => defaultNamespace !== undefined || identifier.includes("/"),
  );
  return installationOrder({
    ...options,
    features: Object.fromEntries(features),
    overrideFeatureInstallOrder: config.overrideFeatureInstallOrder ?? [],
    lookup: ({ kind, text, name }) => {
      const metadata = localFeatures.get(text);
      if (metadata) return { metadata };
      return kind === "local" ? undefined : { metadata: { id: name, version: "0.0.0" } };
    },
  });
}

function portsOf(merged: MergedConfig, config: DevcontainerConfig): DefinitionSummary["ports"] {
  return portsToForward({ forwardPorts: merged.forwardPorts, appPort: config.appPort }).map((port) => {
    const { label } = attributesOf(merged, port);
    return label === undefined ? port : { ...port, label };
  });
}

function knownUsers(merged: MergedConfig): DefinitionSummary["users"] {
  if (merged.containerUser !== undefined) return usersOf(merged);
  return merged.remoteUser === undefined ? {} : { remoteUser: merged.remoteUser };
}

/** The summary for people: names with their lines. */
export function describeSummary(summary: DefinitionSummary): (readonly [name: string, lines: readonly string[]])[] {
  const { users } = summary;
  const sections: [string, string[]][] = [
    ["starts from", [describeSource(summary)]],
    ["services", summary.services.map(({ name, image, build }) => `${name} (${image ?? `built in ${build}`})`)],
    ["features", describeFeatures(summary)],
    ["lifecycle", describeLifecycle(summary)],
    [
      "ports",
      summary.ports.map(
        ({ host, port, label }) => `${host === "localhost" ? port : `${host}:${port}`}${label ? ` (${label})` : ""}`,
      ),
    ],
    ["needs", describeRequirements(summary.hostRequirements)],
    ["user", [users.remoteUser ?? users.containerUser ?? "the image's"]],
    ["secrets", summary.secrets.map(describeSecret)],
    ["vscode", describeVscode(summary.vscode)],
    ["dormouse", describeCustomizations(summary.customizations)],
  ];
  return sections.filter(([, lines]) => lines.length > 0);
}

function describeSource({ source }: DefinitionSummary): string {
  switch (source.kind) {
    case "base":
      return "base";
    case "image":
      return `the image ${source.image}`;
    case "dockerfile":
      return `an image built from ${source.dockerfile} in ${source.context}`;
    case "compose":
      return `the service ${source.service} of ${source.files.join(", ")}`;
  }
}

function describeFeatures({ features }: DefinitionSummary): string[] {
  const lines = features.map(({ feature, options }) => {
    const given = Object.entries(options).map(([name, value]) => `${name}=${value}`);
    return given.length === 0 ? feature : `${feature} (${given.join(", ")})`;
  });
  const isCertain = features.length < 2 || features.every(({ known }) => known);
  return isCertain
    ? lines
    : [...lines, "(in this order unless dependencies, which would have to be fetched, say otherwise)"];
}

function describeLifecycle({ lifecycle }: DefinitionSummary): string[] {
  return lifecycle.steps
    .filter(({ tasks }) => tasks.length > 0)
    .map(({ hook, occasions, runsIn, blocking, tasks }) => {
      // As a shell has it: one after the other with `;`, at the same time with `&`.
      const commands = tasks.map((task) =>
        task.commands.map((command) => (command.kind === "shell" ? command.line : command.argv.join(" "))).join(" & "),
      );
      const when = runsIn === "nowhere" ? "host-side: never run" : `on ${occasions.join(", ")}`;
      return `${hook} (${when}${blocking && runsIn === "machine" ? "; waited for" : ""}): ${commands.join("; ")}`;
    });
}

function describeRequirements(needs: ParsedHostRequirements): string[] {
  const parts: string[] = [];
  if (needs.cpus !== undefined) parts.push(`${needs.cpus} processors`);
  if (needs.memoryBytes !== undefined) parts.push(`${formatBytes(needs.memoryBytes)} of memory`);
  if (needs.storageBytes !== undefined) parts.push(`${formatBytes(needs.storageBytes)} of storage`);
  if (needs.gpu !== "none")
    parts.push(needs.gpu === "required" ? "a graphics processor" : "a graphics processor if there is one");
  return parts.length === 0 ? [] : [parts.join(", ")];
}

function describeSecret({ name, description, documentationUrl }: DefinitionSummary["secrets"][number]): string {
  return [description ? `${name}: ${description}` : name, ...(documentationUrl ? [`(${documentationUrl})`] : [])].join(
    " ",
  );
}

function describeVscode({ settings, extensions }: VscodeCustomizations): string[] {
  const names = Object.keys(settings);
  return [
    ...(names.length > 0 ? [`sets ${names.join(", ")}`] : []),
    ...(extensions.length > 0 ? [`recommends ${extensions.join(", ")}`] : []),
  ];
}

function describeCustomizations({ prebuild, dotfiles, egress, ports }: DormouseCustomizations): string[] {
  const lines: string[] = [];
  if (prebuild) {
    const triggers = prebuild.trigger.map((trigger) =>
      typeof trigger === "string" ? trigger : `cron ${trigger.cron}`,
    );
    lines.push(`prebuild on ${triggers.join(", ")}, kept ${prebuild.ttl}`);
  }
  if (dotfiles) lines.push(`dotfiles from ${dotfiles.repository}`);
  if (egress) lines.push(`asks for egress to ${egress.allow.join(", ") || "nowhere"}`);
  for (const [port, { visibility }] of Object.entries(ports ?? {})) lines.push(`port ${port} is ${visibility}`);
  return lines;
}
