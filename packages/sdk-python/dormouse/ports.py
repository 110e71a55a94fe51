"""Ports that programs of a workspace listen on."""

import time
from typing import Any, Callable, Dict, List, Optional
from urllib.parse import quote

from .connection import Connection
from .errors import DormouseError

_POLL_SECONDS = 0.5


class Ports:
    """Lists ports, and sets who may open them."""

    def __init__(self, connection: Connection, info: Callable[[], Dict[str, Any]]) -> None:
        self._connection = connection
        self._info = info

    def list(self) -> "List[Dict[str, Any]]":
        """What listens, what the workspace's definition names and what was set. Wakes nothing."""
        return list(self._connection.api("GET", self._path())["ports"])

    def url(self, port: int) -> str:
        """The origin of a port, e.g. ``http://3000--name.localhost:7070``.

        Who may open it is its visibility; a program sends its API key or a link's token as
        ``Authorization: Bearer …``.
        """
        template = self._info()["portUrl"]
        if template is None:
            raise DormouseError("failed_precondition", "this platform has no domain for ports")
        return str(template).replace("{port}", str(port))

    def set(
        self,
        port: int,
        *,
        visibility: Optional[str] = None,
        label: Optional[str] = None,
        protocol: Optional[str] = None,
        forwarded: Optional[bool] = None,
    ) -> Dict[str, Any]:
        """Sets who may open a port (``private``, ``organisation``, ``public``), its label, its protocol (``http``,
        ``https``, ``h2c``), or whether it is forwarded at all; None leaves it as it is."""
        given = {"visibility": visibility, "label": label, "protocol": protocol, "isForwarded": forwarded}
        body = {field: value for field, value in given.items() if value is not None}
        return self._connection.api("PATCH", self._path("/%d" % port), body)

    def reset(self, port: int) -> Dict[str, Any]:
        """Goes back to what the definition says of a port."""
        nothing = {"visibility": None, "label": None, "protocol": None, "isForwarded": None}
        return self._connection.api("PATCH", self._path("/%d" % port), nothing)

    def create_link(self, port: int, expires_in_seconds: int = 86400) -> Dict[str, Any]:
        """A link that opens the port for whoever has it; its ``url`` is in this answer and nowhere else."""
        return self._connection.api("POST", self._path("/%d/links" % port), {"expiresInSeconds": expires_in_seconds})

    def links(self, port: int) -> "List[Dict[str, Any]]":
        """Links to a port that have not expired."""
        return list(self._connection.api("GET", self._path("/%d/links" % port))["links"])

    def revoke_link(self, port: int, link: str) -> None:
        """Ends a link, and what was opened with it."""
        self._connection.api("DELETE", self._path("/%d/links/%s" % (port, quote(link, safe=""))))

    def wait_for(self, port: int, timeout_seconds: float = 30) -> Dict[str, Any]:
        """Returns when something listens on the port.

        Raises ``deadline_exceeded`` naming the port after ``timeout_seconds``.
        """
        until = time.monotonic() + timeout_seconds
        while True:
            for found in self.list():
                if found["port"] == port and found["isListening"]:
                    return found
            if time.monotonic() + _POLL_SECONDS > until:
                message = "nothing listened on port %d within %g seconds" % (port, timeout_seconds)
                raise DormouseError("deadline_exceeded", message)
            time.sleep(_POLL_SECONDS)

    def _path(self, rest: str = "") -> str:
        return "/workspaces/%s/ports%s" % (quote(str(self._info()["id"]), safe=""), rest)
