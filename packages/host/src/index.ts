export { type HostConfig, type HostConfigInput, hostConfig } from "./config.ts";
export { type DoctorFinding, examine } from "./doctor.ts";
export { type PreparedHost, prepareHost } from "./prepare-host.ts";
