import { FileSystemProviderError, FileSystemProviderErrorCode } from "@codingame/monaco-vscode-files-service-override";
import { DormouseError, type ErrorCode } from "@dormouse/base";

const codes: Partial<Record<ErrorCode, FileSystemProviderErrorCode>> = {
  not_found: FileSystemProviderErrorCode.FileNotFound,
  already_exists: FileSystemProviderErrorCode.FileExists,
  permission_denied: FileSystemProviderErrorCode.NoPermissions,
  resource_exhausted: FileSystemProviderErrorCode.FileExceedsStorageQuota,
  unavailable: FileSystemProviderErrorCode.Unavailable,
  deadline_exceeded: FileSystemProviderErrorCode.Unavailable,
};

/** What the editor understands of an error of the machine's file system; the message stays. */
export function toFileError(caught: unknown): FileSystemProviderError {
  if (caught instanceof FileSystemProviderError) return caught;
  const error = DormouseError.from(caught, "unknown");
  return FileSystemProviderError.create(error.message, codes[error.code] ?? FileSystemProviderErrorCode.Unknown);
}
