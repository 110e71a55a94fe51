"""Files of a workspace."""

from http.client import HTTPResponse
from typing import IO, Any, Dict, List, NamedTuple, Optional, Union
from urllib.parse import quote

from .connection import Connection
from .errors import DormouseError

_TRANSFER_TIMEOUT_SECONDS = 300.0
_PIECE_BYTES = 256 * 1024


class Entry(NamedTuple):
    """What a path is. ``modified`` is in seconds since the epoch, as ``os.stat`` has it."""

    path: str
    name: str
    #: ``file``, ``directory``, ``symlink`` or ``other``.
    type: str
    size: int
    mode: int
    modified: float


class Filesystem:
    """Files of a workspace; paths are absolute, as in the machine."""

    def __init__(self, connection: Connection, workspace_id: str) -> None:
        self._connection = connection
        self._workspace_id = workspace_id

    def read(self, path: str) -> str:
        """A whole file as text; bytes that are not UTF-8 become U+FFFD."""
        return self.read_bytes(path).decode("utf-8", "replace")

    def read_bytes(self, path: str) -> bytes:
        """A whole file. What may not fit into memory goes through :meth:`download`."""
        return self._connection.read(self._get(path))

    def download(self, path: str, target: IO[bytes]) -> int:
        """Copies a file of any size into an open file; answers how many bytes it had."""
        response = self._get(path)
        count = 0
        try:
            while True:
                piece = self._connection.read(response, _PIECE_BYTES)
                if not piece:
                    return count
                target.write(piece)
                count += len(piece)
        except BaseException:
            # The rest of the answer is still on its way: this connection is of no more use.
            self._connection.close()
            raise

    def write(self, path: str, content: Union[str, bytes, IO[bytes]], mode: Optional[int] = None) -> None:
        """Replaces a file as a whole, with text, bytes or what an open file holds; makes missing parent folders."""
        body = content.encode("utf-8") if isinstance(content, str) else content
        query = "path=%s&parents=true" % _encode_path(path)
        if mode is not None:
            query += "&mode=%03o" % mode
        self._connection.read(self._connection.file("PUT", self._workspace_id, query, body, _TRANSFER_TIMEOUT_SECONDS))

    def list(self, path: str) -> List[Entry]:
        """What is in a folder."""
        return [_entry(value) for value in self._rpc("list", path=path)["entries"]]

    def stat(self, path: str) -> Entry:
        """What a path is; DormouseError ``not_found`` when there is nothing."""
        return _entry(self._rpc("stat", path=path))

    def exists(self, path: str) -> bool:
        return bool(self._rpc("exists", path=path)["exists"])

    def make_dir(self, path: str) -> None:
        """Makes a folder and its missing parents."""
        self._rpc("makeDirectory", path=path)

    def rename(self, source: str, target: str, overwrite: bool = False) -> None:
        self._rpc("rename", **{"from": source, "to": target, "overwrite": overwrite})

    def remove(self, path: str, recursive: bool = False) -> None:
        """Removes a file, or a folder with ``recursive=True``."""
        self._rpc("remove", path=path, recursive=recursive)

    def _rpc(self, procedure: str, **body: Any) -> Dict[str, Any]:
        answer = self._connection.rpc(self._workspace_id, "files/" + procedure, body)
        return answer if isinstance(answer, dict) else {}

    def _get(self, path: str) -> HTTPResponse:
        query = "path=" + _encode_path(path)
        return self._connection.file("GET", self._workspace_id, query, None, _TRANSFER_TIMEOUT_SECONDS)


def _encode_path(path: str) -> str:
    """Percent-encoded bytes; what ``os.fsdecode`` made of other bytes than UTF-8 becomes those bytes again."""
    if "\0" in path:
        raise DormouseError("invalid_argument", "path holds a NUL")
    return quote(path.encode("utf-8", "surrogateescape"), safe="/")


def _entry(value: Dict[str, Any]) -> Entry:
    return Entry(
        path=value["path"],
        name=value["name"],
        type=value["type"],
        size=int(value["size"]),
        mode=int(value["mode"]),
        modified=float(value["modifiedMs"]) / 1000,
    )
