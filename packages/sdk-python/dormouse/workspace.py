"""Workspaces: real machines with files and processes."""

import base64
import time
from datetime import datetime
from types import TracebackType
from typing import Any, Dict, List, Optional, Sequence, Type, Union
from urllib.parse import quote

from .connection import Connection
from .credentials import find_credentials
from .errors import DormouseError
from .filesystem import Filesystem
from .ports import Ports
from .process import ExecResult, OutputCallback, follow

_CREATE_TIMEOUT_SECONDS = 280.0
_BUILD_TIMEOUT_SECONDS = 3600.0
_QUICK_SECONDS = 30.0
_ANSWER_MARGIN_SECONDS = 30.0


class Workspace:
    """A workspace. In a ``with`` block it is deleted at the end::

        with Workspace.create(ttl_seconds=3600) as env:
            print(env.exec("uname -a").stdout)
    """

    def __init__(self, connection: Connection, info: Dict[str, Any]) -> None:
        """Use :meth:`create` or :meth:`connect`."""
        self._connection = connection
        self._info = info
        self.filesystem = Filesystem(connection, info["id"])
        self.ports = Ports(connection, lambda: self._info)

    @classmethod
    def create(
        cls,
        template: str = "base",
        ttl_seconds: Optional[int] = None,
        repository: Optional[str] = None,
        ref: Optional[str] = None,
        name: Optional[str] = None,
        env: Optional[Dict[str, str]] = None,
        resources: Optional[Dict[str, int]] = None,
        devcontainer: Union[None, str, bool] = None,
        prebuild: bool = False,
        organisation: Optional[str] = None,
        *,
        url: Optional[str] = None,
        api_key: Optional[str] = None,
        timeout_seconds: Optional[float] = None,
    ) -> "Workspace":
        """Makes a workspace and answers when it runs; when that fails nothing of it is left.

        ``devcontainer`` names one of several definitions of the repository; False: none is applied. With ``prebuild``
        only those of its commands are run that a template is made with. ``organisation`` is whose it is, by name or id;
        default: ``DORMOUSE_ORG``, the saved one, or the caller's own.
        """
        credentials = find_credentials(url, api_key)
        connection = Connection(credentials)
        body = {
            "template": template,
            "organisation": organisation or credentials.organisation,
            "ttlSeconds": ttl_seconds,
            "repository": repository,
            "ref": ref,
            "name": name,
            "env": env,
            "resources": resources,
            "devcontainer": devcontainer,
            "prebuild": prebuild,
            "wait": True,
        }
        given = {field: value for field, value in body.items() if value is not None}
        # What a repository asks for may have to be fetched and built first.
        usual = _CREATE_TIMEOUT_SECONDS if repository is None else _BUILD_TIMEOUT_SECONDS
        return cls(connection, connection.api("POST", "/workspaces", given, timeout_seconds or usual))

    @classmethod
    def connect(cls, reference: str, *, url: Optional[str] = None, api_key: Optional[str] = None) -> "Workspace":
        """The workspace of this name or id."""
        connection = Connection(find_credentials(url, api_key))
        return cls(connection, connection.api("GET", "/workspaces/" + quote(reference, safe="")))

    @classmethod
    def list(
        cls,
        organisation: Optional[str] = None,
        *,
        url: Optional[str] = None,
        api_key: Optional[str] = None,
    ) -> "List[Workspace]":
        """The caller's workspaces, of all organisations or of the one that is meant; for who manages that, everybody's."""
        credentials = find_credentials(url, api_key)
        connection = Connection(credentials)
        of = organisation or credentials.organisation
        path = "/workspaces" if of is None else "/workspaces?organisation=" + quote(of, safe="")
        return [cls(connection, info) for info in connection.api("GET", path)["workspaces"]]

    @property
    def id(self) -> str:
        return str(self._info["id"])

    @property
    def name(self) -> str:
        return str(self._info["name"])

    @property
    def organisation(self) -> str:
        """The name of its organisation; ``personal`` for the caller's own."""
        return str(self._info["organisation"])

    @property
    def state(self) -> str:
        """``running``, ``hibernated``, ``failed``, …, as of the last answer; :meth:`refresh` asks again."""
        return str(self._info["state"])

    @property
    def url(self) -> str:
        """The page of this workspace."""
        return str(self._info["url"])

    @property
    def folder(self) -> str:
        """Where processes start, and where the repository is."""
        return str(self._info["folder"])

    @property
    def expires_at(self) -> Optional[datetime]:
        """When it is deleted unless extended; None: kept."""
        text = self._info["expiresAt"]
        # Before Python 3.11 fromisoformat knows no Z.
        return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))

    def rebuild(
        self,
        *,
        devcontainer: Union[None, str, bool] = None,
        if_needed: bool = False,
        timeout_seconds: float = _BUILD_TIMEOUT_SECONDS,
    ) -> "Workspace":
        """Applies the repository's ``devcontainer.json`` again, in a machine made anew unless ``if_needed``.

        The repository's folder is carried over as it is, nothing else of the machine is. ``devcontainer`` names one of
        several definitions; False: none.
        """
        body: Dict[str, Any] = {"ifNeeded": if_needed}
        if devcontainer is not None:
            body["devcontainer"] = devcontainer
        self._info = self._connection.api("POST", self._path("/rebuild"), body, timeout_seconds)
        return self

    def bake(self, name: str, timeout_seconds: float = 600) -> Dict[str, Any]:
        """Makes it the next version of a template, for others to be created from, and deletes it."""
        return self._connection.api("POST", "/templates", {"name": name, "workspace": self.id}, timeout_seconds)

    def exec(
        self,
        command: Union[str, Sequence[str]],
        timeout_seconds: Optional[float] = None,
        cwd: Optional[str] = None,
        env: Optional[Dict[str, str]] = None,
        user: Optional[str] = None,
        stdin: Union[None, str, bytes] = None,
        on_stdout: Optional[OutputCallback] = None,
        on_stderr: Optional[OutputCallback] = None,
    ) -> ExecResult:
        """Runs a command to its end.

        A string goes to the user's shell, a sequence is a program with its arguments. After
        ``timeout_seconds`` it is killed and the result says ``timed_out``; default: no limit.
        With callbacks output is passed on as it comes, also after a cut connection.
        """
        is_streamed = on_stdout is not None or on_stderr is not None
        if is_streamed and stdin is not None:
            raise DormouseError("invalid_argument", "stdin cannot be combined with on_stdout or on_stderr")
        started = time.monotonic()
        data = stdin.encode("utf-8") if isinstance(stdin, str) else stdin
        body = {
            "command": command if isinstance(command, str) else list(command),
            "cwd": cwd,
            "env": env,
            "user": user,
            "timeoutMs": None if timeout_seconds is None else max(1, round(timeout_seconds * 1000)),
        }
        if is_streamed:
            process_id = self._rpc("exec/start", body, _ANSWER_MARGIN_SECONDS)["processId"]
            return follow(self._connection, self.id, process_id, started, on_stdout, on_stderr)
        body["stdin"] = None if data is None else base64.b64encode(data).decode("ascii")
        # What goes on after this is followed by its stream: no request hangs for hours.
        body["waitMs"] = round(_QUICK_SECONDS * 1000)
        try:
            return _exec_result(self._rpc("exec/run", body, _QUICK_SECONDS + _ANSWER_MARGIN_SECONDS))
        except DormouseError as error:
            process_id = error.details.get("processId")
            if error.code != "deadline_exceeded" or not isinstance(process_id, str):
                raise
        return follow(self._connection, self.id, process_id, started)

    def hibernate(self) -> None:
        """Puts it to sleep as it is; the next call that needs its machine wakes it."""
        self._info = self._connection.api("POST", self._path("/hibernate"), {}, _CREATE_TIMEOUT_SECONDS)

    def wake(self) -> None:
        self._info = self._connection.api("POST", self._path("/wake"), {}, _CREATE_TIMEOUT_SECONDS)

    def snapshot(self, name: Optional[str] = None) -> Dict[str, Any]:
        """Keeps this moment of it, memory and disk; returns when the snapshot is durable.

        A snapshot with a name is kept until it is deleted. Of a workspace that sleeps, its sleep is returned.
        """
        body = {} if name is None else {"name": name}
        return self._connection.api("POST", self._path("/snapshots"), body, _CREATE_TIMEOUT_SECONDS)

    def snapshots(self) -> List[Dict[str, Any]]:
        """Its timeline, newest first."""
        return list(self._connection.api("GET", self._path("/snapshots"))["snapshots"])

    def restore(self, snapshot: str) -> None:
        """Goes back to one of its snapshots, by id or name. What it is now is kept as a snapshot first."""
        body = {"snapshot": snapshot}
        self._info = self._connection.api("POST", self._path("/restore"), body, _CREATE_TIMEOUT_SECONDS)

    def fork(
        self,
        count: int = 1,
        *,
        snapshot: Optional[str] = None,
        name: Optional[str] = None,
        env: Optional[Dict[str, str]] = None,
        ttl_seconds: Optional[int] = None,
    ) -> "List[Union[Workspace, DormouseError]]":
        """Makes workspaces that go on from this one as it is now, or from one of its snapshots.

        Each succeeds or fails by itself: the list has a workspace or its error for each.
        """
        given = {"count": count, "snapshot": snapshot, "name": name, "env": env, "ttlSeconds": ttl_seconds}
        body = {field: value for field, value in given.items() if value is not None}
        answer = self._connection.api("POST", self._path("/fork"), body, count * _CREATE_TIMEOUT_SECONDS)
        return [self._fork_outcome(fork) for fork in answer["forks"]]

    def _fork_outcome(self, fork: Dict[str, Any]) -> "Union[Workspace, DormouseError]":
        if "workspace" in fork:
            return Workspace(self._connection.twin(), fork["workspace"])
        return DormouseError(fork["error"]["code"], fork["error"]["message"])

    def egress(self) -> Dict[str, Any]:
        """What may leave the workspace: ``policy``, the ``layers`` that it comes from, and what is ``proposed``."""
        return self._connection.api("GET", self._path("/egress"))

    def allow_egress(self, *rules: str) -> Dict[str, Any]:
        """Allows places, each ``[PROTOCOL:]HOST[:PORTS]`` or ``preset:NAME``; takes effect at once."""
        return self._connection.api("POST", self._path("/egress/allow"), {"rules": list(rules)})

    def deny_egress(self, *rules: str) -> Dict[str, Any]:
        """Denies places, whatever allows them; open connections there are cut."""
        return self._connection.api("POST", self._path("/egress/deny"), {"rules": list(rules)})

    def egress_log(self) -> Dict[str, Any]:
        """Where the workspace wanted to go and was not let (``refusals``), and what went through (``counters``)."""
        return self._connection.api("GET", self._path("/egress/log"))

    def set_ttl(self, ttl_seconds: Optional[int]) -> None:
        """It is deleted this long from now; None keeps it."""
        self._info = self._connection.api("PATCH", self._path(), {"ttlSeconds": ttl_seconds})

    def unpushed_work(self) -> Optional[Dict[str, Any]]:
        """What would be lost with it: changed files, commits that no remote has, stashes.

        None without a repository, or when nothing is known of it. One that sleeps is not woken.
        """
        work = self._connection.api("GET", self._path("/unpushed"))["work"]
        return work if isinstance(work, dict) else None

    def refresh(self) -> None:
        """Asks the platform how it stands."""
        self._info = self._connection.api("GET", self._path())

    def kill(self) -> None:
        """Deletes it with everything in it, from any state. One that is gone already is no error."""
        try:
            self._connection.api("DELETE", self._path())
        except DormouseError as error:
            if error.code != "not_found":
                raise
        finally:
            self._connection.close()

    def close(self) -> None:
        """Closes this program's connection; the workspace goes on."""
        self._connection.close()

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.kill()

    def __repr__(self) -> str:
        return "<Workspace %s %s>" % (self.name, self.state)

    def _path(self, rest: str = "") -> str:
        return "/workspaces/%s%s" % (quote(self.id, safe=""), rest)

    def _rpc(self, procedure: str, body: Dict[str, Any], timeout: float) -> Dict[str, Any]:
        answer = self._connection.rpc(self.id, procedure, body, timeout)
        return answer if isinstance(answer, dict) else {}


def _exec_result(answer: Dict[str, Any]) -> ExecResult:
    return ExecResult(
        exit_code=int(answer["exitCode"]),
        stdout=answer["stdout"],
        stderr=answer["stderr"],
        timed_out=bool(answer["timedOut"]),
        truncated=bool(answer["truncated"]),
        duration_seconds=float(answer["durationMs"]) / 1000,
    )
