export { type Clock, manualClock, systemClock } from "./clock.ts";
export { type Disposer, disposer } from "./disposer.ts";
export { DormouseError, type ErrorCode, type ErrorDetails, errorCodes, httpStatusOf } from "./errors.ts";
export { createId, isId } from "./ids.ts";
export { KeyedLock } from "./keyed-lock.ts";
export { createLogger, type LogFields, type Logger, type LogLevel } from "./log.ts";
export { formatBytes, formatDuration, type Progress, type ProgressEvent, silentProgress } from "./progress.ts";
export { slices } from "./slices.ts";
export { type RetryOptions, retry, sleep, withTimeout } from "./time.ts";
