"""HTTP with connections kept open, one per thread."""

import http.client
import json
import select
import socket
import threading
from contextlib import contextmanager
from typing import IO, Any, Dict, Iterator, Optional, Union
from urllib.parse import quote, urlsplit

from .credentials import Credentials
from .errors import DormouseError, error_of_answer

DEFAULT_TIMEOUT_SECONDS = 60.0
_PIECE_BYTES = 256 * 1024


class Connection:
    """One caller at one platform. Safe to use from several threads: each has a connection of its own."""

    def __init__(self, credentials: Credentials) -> None:
        self._local = threading.local()
        parts = urlsplit(credentials.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DormouseError(
                "invalid_argument",
                "url is %s: it must be an address such as http://127.0.0.1:7070" % credentials.url,
            )
        self.url = credentials.url.rstrip("/")
        self._credentials = credentials
        self._parts = parts

    def __del__(self) -> None:
        self.close()

    def twin(self) -> "Connection":
        """Another one for the same caller, which lives by itself."""
        return Connection(self._credentials)

    def api(
        self, method: str, path: str, body: Optional[Dict[str, Any]] = None, timeout: float = DEFAULT_TIMEOUT_SECONDS
    ) -> Any:
        """Calls the REST API; answers the decoded JSON."""
        payload = None if body is None else _encode(body)
        return _decode(self.read(self._request(method, "/api" + path, payload, "application/json", timeout)))

    def rpc(self, workspace: str, procedure: str, body: Dict[str, Any], timeout: float = DEFAULT_TIMEOUT_SECONDS) -> Any:
        """Calls a workspace's agent, e.g. ``exec/run``. What is None is left out."""
        payload = _encode({"json": {name: value for name, value in body.items() if value is not None}})
        path = "/api/workspaces/%s/guest/rpc/%s" % (quote(workspace, safe=""), procedure)
        answer = _decode(self.read(self._request("POST", path, payload, "application/json", timeout)))
        return answer.get("json") if isinstance(answer, dict) else None

    @contextmanager
    def stream(
        self, workspace: str, procedure: str, body: Dict[str, Any], silence: float
    ) -> Iterator[http.client.HTTPResponse]:
        """Calls a procedure that answers with a stream of events, over a connection of its own.

        ``silence`` is how many seconds may pass without a byte.
        """
        own = Connection(self._credentials)
        payload = _encode({"json": body})
        path = "/api/workspaces/%s/guest/rpc/%s" % (quote(workspace, safe=""), procedure)
        try:
            yield own._request("POST", path, payload, "application/json", silence)
        finally:
            own.close()

    def file(
        self,
        method: str,
        workspace: str,
        query: str,
        body: Union[None, bytes, IO[bytes]] = None,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> http.client.HTTPResponse:
        """Calls a workspace's file route; the answer's body is the caller's to read to its end."""
        path = "/api/workspaces/%s/guest/file?%s" % (quote(workspace, safe=""), query)
        return self._request(method, path, body, "application/octet-stream", timeout)

    def read(self, response: http.client.HTTPResponse, count: Optional[int] = None) -> bytes:
        """Reads an answer's body, all of it or the next piece."""
        try:
            return response.read() if count is None else response.read(count)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Closes this thread's connection; the next call opens another."""
        connection = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            connection.close()

    def _request(
        self, method: str, path: str, body: Union[None, bytes, IO[bytes]], content_type: str, timeout: float
    ) -> http.client.HTTPResponse:
        headers = {"Authorization": "Bearer " + self._credentials.api_key, "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type
        is_kept = getattr(self._local, "connection", None) is not None
        try:
            response = self._send(method, path, body, headers, timeout)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            # The server closed the kept connection at this very moment. What only reads is asked again at once.
            self.close()
            if not is_kept or method != "GET":
                raise self._unavailable(error) from error
            response = self._send(method, path, body, headers, timeout)
        if response.status >= 400:
            text = self.read(response).decode("utf-8", "replace")
            raise error_of_answer(response.status, _decode_or_none(text), text)
        return response

    def _send(
        self, method: str, path: str, body: Union[None, bytes, IO[bytes]], headers: Dict[str, str], timeout: float
    ) -> http.client.HTTPResponse:
        try:
            connection = self._open(timeout)
            connection.request(method, path, body=body, headers=headers, encode_chunked=False)
            return connection.getresponse()
        except (socket.timeout, TimeoutError) as error:
            self.close()
            where = path.split("?")[0]
            message = "%s %s was not answered within %g seconds" % (method, where, timeout)
            raise DormouseError("deadline_exceeded", message) from error
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            raise
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unavailable(error) from error

    def _open(self, timeout: float) -> http.client.HTTPConnection:
        connection: Optional[http.client.HTTPConnection] = getattr(self._local, "connection", None)
        if connection is not None and (connection.sock is None or _is_closed_by_peer(connection.sock)):
            self.close()
            connection = None
        if connection is None:
            kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
            connection = kind(self._parts.hostname or "", self._parts.port, timeout=timeout)
            connection.blocksize = _PIECE_BYTES
            connection.connect()
            # Small requests go out at once.
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._local.connection = connection
        connection.sock.settimeout(timeout)
        return connection

    def _unavailable(self, error: Exception) -> DormouseError:
        origin = "%s://%s" % (self._parts.scheme, self._parts.netloc)
        if isinstance(error, ConnectionRefusedError):
            return DormouseError("unavailable", "nothing answers at %s: is Dormouse running there?" % origin)
        return DormouseError("unavailable", "no answer from %s: %s" % (origin, error))


def _is_closed_by_peer(sock: socket.socket) -> bool:
    """Between answers nothing arrives but the end: servers close connections that were idle for a while."""
    readable, _, _ = select.select([sock], [], [], 0)
    return bool(readable)


def _encode(value: Any) -> bytes:
    # Lone surrogates stand for bytes that are not UTF-8; escaped they survive.
    return json.dumps(value, ensure_ascii=True).encode("ascii")


def _decode(data: bytes) -> Any:
    return json.loads(data.decode("utf-8")) if data else None


def _decode_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
