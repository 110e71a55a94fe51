export { contentHash } from "./content-hash.ts";
export { type FileLockOptions, withFileLock } from "./file-lock.ts";
export { writeFileAtomic } from "./files.ts";
export { type RunOptions, type RunResult, run } from "./run.ts";
export { readServiceConfig } from "./service-config.ts";
