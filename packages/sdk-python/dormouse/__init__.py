"""Client of Dormouse: workspaces, their files and commands. Standard library only."""

from .errors import DormouseError
from .filesystem import Entry, Filesystem
from .ports import Ports
from .process import ExecResult
from .secrets import Secrets
from .workspace import Workspace

__all__ = ["DormouseError", "Entry", "ExecResult", "Filesystem", "Ports", "Secrets", "Workspace"]
__version__ = "0.1.0"
