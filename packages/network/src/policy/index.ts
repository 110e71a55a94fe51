export { checkPolicy } from "../egress/kernel-policy.ts";
export { normalHost } from "../egress/secrets.ts";
export { parseIpv4 } from "../ipv4.ts";
export { checkLayer, type EgressLayer, type EgressLayers, type EgressMode, hostRules, mergeLayers } from "./layers.ts";
export {
  type Attempt,
  type Decision,
  decide,
  decideName,
  type EgressPolicy,
  everything,
  isSpecial,
  nothing,
  type ParsedPolicy,
  parsePolicy,
} from "./policy.ts";
export { defaultPresets, type Preset, presets } from "./presets.ts";
export { normalName, parseRule, type Rule } from "./rule.ts";
