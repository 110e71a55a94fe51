export { type ControlConfig, type ControlConfigInput, controlConfig } from "./config.ts";
export { type Control, startControl } from "./control.ts";
