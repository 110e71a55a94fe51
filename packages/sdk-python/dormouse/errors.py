"""The one error of this package."""

from typing import Any, Dict, Optional

_CODES_OF_STATUS = {
    400: "invalid_argument",
    401: "unauthenticated",
    403: "permission_denied",
    404: "not_found",
    409: "failed_precondition",
    429: "resource_exhausted",
    501: "unimplemented",
    502: "unavailable",
    503: "unavailable",
    504: "deadline_exceeded",
}

# Names that oRPC gives to refusals of its own, in Dormouse's words.
_CODES_OF_RPC = {
    "BAD_REQUEST": "invalid_argument",
    "UNAUTHORIZED": "unauthenticated",
    "FORBIDDEN": "permission_denied",
    "CONFLICT": "already_exists",
    "TIMEOUT": "deadline_exceeded",
    "TOO_MANY_REQUESTS": "resource_exhausted",
    "INTERNAL_SERVER_ERROR": "internal",
    "SERVICE_UNAVAILABLE": "unavailable",
}


class DormouseError(Exception):
    """Something was refused or did not work.

    ``code`` is one of a closed set (``not_found``, ``unauthenticated``, ``deadline_exceeded``, …), the
    message is written for people, and ``details`` holds facts for programs.
    """

    def __init__(self, code: str, message: str, details: Optional[Dict[str, Any]] = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or {}


def error_of_answer(status: int, body: Any, text: str) -> DormouseError:
    """The error that an answer tells of, in the platform's form, in the agent's, or in neither."""
    if isinstance(body, dict) and isinstance(body.get("json"), dict):
        body = body["json"]
    if isinstance(body, dict) and isinstance(body.get("code"), str) and isinstance(body.get("message"), str):
        code = _CODES_OF_RPC.get(body["code"], body["code"].lower())
        details = body.get("details", body.get("data"))
        details = details if isinstance(details, dict) else {}
        return DormouseError(code, _describe_issues(details) or body["message"], details)
    code = _CODES_OF_STATUS.get(status, "internal" if status >= 500 else "invalid_argument")
    return DormouseError(code, text.strip()[:500] or "HTTP %d" % status)


def _describe_issues(details: Dict[str, Any]) -> str:
    issues = details.get("issues")
    if not isinstance(issues, list):
        return ""
    lines = []
    for issue in issues:
        if isinstance(issue, dict):
            field = ".".join(str(part) for part in issue.get("path") or [])
            message = str(issue.get("message"))
            lines.append("%s: %s" % (field, message) if field else message)
    return "; ".join(lines)
