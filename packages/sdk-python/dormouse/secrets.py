"""Values that workspaces use and never have."""

from typing import Any, Dict, List, Optional
from urllib.parse import quote

from .connection import Connection
from .credentials import find_credentials


class Secrets:
    """Secrets of an organisation, by default the one that is meant when none is named.

    In a workspace's environment stands a placeholder, which is replaced on the way to the hosts that a secret names, and
    nowhere else.
    """

    def __init__(
        self, organisation: Optional[str] = None, *, url: Optional[str] = None, api_key: Optional[str] = None
    ) -> None:
        credentials = find_credentials(url, api_key)
        self._connection = Connection(credentials)
        self._path = "/organisations/%s/secrets" % quote(organisation or credentials.organisation or "personal", safe="")

    def list(self) -> List[Dict[str, Any]]:
        """All of them, without their values, which nobody reads again."""
        return self._connection.api("GET", self._path)["secrets"]

    def set(
        self,
        name: str,
        value: str,
        *,
        hosts: "List[str]",
        repositories: "Optional[List[str]]" = None,
        insecure: bool = False,
    ) -> Dict[str, Any]:
        """Sets a secret, as a whole; its ``notes`` say what keeps it from having an effect.

        It holds at once in workspaces that run; a new variable is there for programs that are started from then on.
        """
        body = {"value": value, "hosts": hosts, "repositories": repositories, "insecure": insecure}
        return self._connection.api("PUT", self._path_of(name), body)

    def remove(self, name: str) -> None:
        """Removes a secret. Connections on which it was used are cut at once."""
        self._connection.api("DELETE", self._path_of(name))

    def _path_of(self, name: str) -> str:
        return "%s/%s" % (self._path, quote(name, safe=""))
