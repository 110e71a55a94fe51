import type { DefinedPort, Workspace } from "@dormouse/contract";
import {
  attributesOf,
  type DevcontainerConfig,
  type DormouseCustomizations,
  type MergedConfig,
  type PortAttributes,
  type PortVisibility,
  portsToForward,
  substituteLocal,
} from "@dormouse/devcontainer";
import { type VariableOwner, variablesOf } from "./definition.ts";

/** What a definition says of ports, as it is written: variables in it are not replaced. */
export interface PortRules {
  forwardPorts: (number | string)[];
  appPort: (number | string)[];
  portsAttributes: Record<string, PortAttributes>;
  otherPortsAttributes: PortAttributes;
  /** By port number. */
  visibility: Record<string, PortVisibility>;
}

/** Of a workspace without a definition. */
export const noPortRules: PortRules = {
  forwardPorts: [],
  appPort: [],
  portsAttributes: {},
  otherPortsAttributes: {},
  visibility: {},
};

/** The rules of image, features and file together. */
export function portRulesOf(
  { forwardPorts, portsAttributes, otherPortsAttributes = {} }: MergedConfig,
  { appPort = [] }: DevcontainerConfig,
  { ports = {} }: DormouseCustomizations,
): PortRules {
  const visibility = Object.entries(ports).map(([port, proposed]) => [port, proposed.visibility] as const);
  return {
    forwardPorts,
    appPort: [appPort].flat(),
    portsAttributes: { ...portsAttributes },
    otherPortsAttributes,
    visibility: Object.fromEntries(visibility),
  };
}

/** What the API shows of a definition's ports. */
export type ShownPorts = Pick<
  NonNullable<Workspace["devcontainer"]>,
  "ports" | "portsAttributes" | "otherPortsAttributes" | "portsVisibility"
>;

/** The rules as they are for one workspace. */
export function portsOf(written: PortRules, owner: VariableOwner): ShownPorts {
  const rules = substituteLocal(written, variablesOf(owner));
  const { portsAttributes, otherPortsAttributes, visibility: portsVisibility } = rules;
  const ports = portsToForward(rules).map((port): DefinedPort => {
    const { label = null, ...attributes } = attributesOf(rules, port);
    const visibility = port.host === "localhost" ? portsVisibility[port.port] : undefined;
    return { ...port, label, ...attributes, ...(visibility && { visibility }) };
  });
  return { ports, portsAttributes, otherPortsAttributes, portsVisibility };
}
