"""Follows a process of a workspace through its stream of events."""

import base64
import codecs
import http.client
import json
import time
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Tuple

from .connection import Connection
from .errors import DormouseError, error_of_answer

#: Receives a piece of output as text.
OutputCallback = Callable[[str], None]

# The stream says something every few seconds; silence for this long is a dead connection.
_SILENCE_SECONDS = 60.0
_RECONNECT_SECONDS = 60.0
_KEPT_BYTES = 4 * 1024 * 1024


class ExecResult(NamedTuple):
    """How a command ended. A non-zero exit code and a time-out are results, not errors."""

    #: 128 + signal number when a signal ended it, as shells report it.
    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool
    #: Output beyond 4 MiB a stream was dropped from its beginning.
    truncated: bool
    duration_seconds: float


def follow(
    connection: Connection,
    workspace_id: str,
    process_id: str,
    started: float,
    on_stdout: Optional[OutputCallback] = None,
    on_stderr: Optional[OutputCallback] = None,
) -> ExecResult:
    """Follows a process to its end, from its beginning, also across cut connections.

    ``started`` is the moment of ``time.monotonic`` from which its duration counts.
    """
    outputs = {"stdout": _Output(on_stdout), "stderr": _Output(on_stderr)}
    offset = 0
    is_lost = False
    lost_since: Optional[float] = None
    while True:
        try:
            for event in _events(connection, workspace_id, process_id, offset):
                lost_since = None
                kind = event["type"]
                if kind in outputs:
                    data = base64.b64decode(event["data"])
                    offset = int(event["offset"]) + len(data)
                    outputs[kind].append(data)
                elif kind == "lost":
                    is_lost = True
                    offset = int(event["offset"]) + int(event["bytes"])
                elif kind == "exit":
                    stdout, stderr = outputs["stdout"], outputs["stderr"]
                    return ExecResult(
                        exit_code=int(event["exitCode"]),
                        stdout=stdout.end(),
                        stderr=stderr.end(),
                        timed_out=bool(event["timedOut"]),
                        truncated=is_lost or stdout.is_dropped or stderr.is_dropped,
                        duration_seconds=time.monotonic() - started,
                    )
        except DormouseError as error:
            if error.code != "unavailable":
                raise
            lost_since = lost_since if lost_since is not None else time.monotonic()
            if time.monotonic() - lost_since > _RECONNECT_SECONDS:
                raise
        # Cut before the exit: what was missed is replayed from the offset.
        time.sleep(0.1 if lost_since is None else 0.5)


def _events(connection: Connection, workspace_id: str, process_id: str, offset: int) -> Iterator[Dict[str, Any]]:
    body = {"processId": process_id, "offset": offset}
    with connection.stream(workspace_id, "exec/attach", body, _SILENCE_SECONDS) as response:
        for name, data in _server_sent_events(response):
            value = json.loads(data) if data else None
            if name == "error":
                raise error_of_answer(500, value, data)
            if name == "message" and isinstance(value, dict) and isinstance(value.get("json"), dict):
                yield value["json"]


def _server_sent_events(response: http.client.HTTPResponse) -> Iterator[Tuple[str, str]]:
    """Name and data of each event, https://html.spec.whatwg.org/multipage/server-sent-events.html."""
    name = "message"
    data = []
    while True:
        try:
            line = response.readline().decode("utf-8")
        except (OSError, http.client.HTTPException) as error:
            raise DormouseError("unavailable", "the connection to the workspace was cut: %s" % error) from error
        if not line:
            return
        line = line.rstrip("\r\n")
        if line == "":
            if data or name != "message":
                yield name, "\n".join(data)
            name, data = "message", []
        elif line.startswith("event:"):
            name = line[len("event:") :].strip()
        elif line.startswith("data:"):
            data.append(line[len("data:") :].lstrip(" "))


class _Output:
    """Keeps the end of a stream, and passes it on as it comes."""

    def __init__(self, callback: Optional[OutputCallback]) -> None:
        # A character may be cut in two by a piece's end: the decoder keeps the half.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._callback = callback
        self._kept = bytearray()
        self.is_dropped = False

    def append(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > 2 * _KEPT_BYTES:
            self._shorten()
        self._pass(self._decoder.decode(data))

    def end(self) -> str:
        self._pass(self._decoder.decode(b"", final=True))
        self._shorten()
        return self._kept.decode("utf-8", "replace")

    def _shorten(self) -> None:
        if len(self._kept) > _KEPT_BYTES:
            del self._kept[:-_KEPT_BYTES]
            self.is_dropped = True

    def _pass(self, text: str) -> None:
        if text and self._callback is not None:
            self._callback(text)
