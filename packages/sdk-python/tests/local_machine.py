"""The public API over a real agent on this host, started by the repository's Node."""

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).resolve().parents[3]


class LocalMachine(NamedTuple):
    url: str
    api_key: str
    folder: str
    process: "subprocess.Popen[bytes]"

    def stop(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


def start_local_machine() -> LocalMachine:
    node = _ROOT / "node_modules/node/bin/node"
    program = _ROOT / "tests/support/serve-local-machine.ts"
    process = subprocess.Popen([str(node), str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the local machine did not start: exit code %s" % process.wait())
    said = json.loads(line)
    return LocalMachine(said["url"], said["apiKey"], said["folder"], process)
