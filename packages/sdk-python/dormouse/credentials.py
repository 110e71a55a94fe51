"""Where the platform is and the key it takes."""

import json
import os
from pathlib import Path
from typing import NamedTuple, Optional
from urllib.parse import urlsplit

from .errors import DormouseError


class Credentials(NamedTuple):
    url: str
    api_key: str
    #: The organisation that is meant when none is named; None: the caller's own.
    organisation: Optional[str] = None


def find_credentials(url: Optional[str], api_key: Optional[str]) -> Credentials:
    """What is given, else what the environment says, else what ``dormouse login`` saved.

    Raises DormouseError ``unauthenticated`` saying how to sign in when something is missing.
    """
    url = url or os.environ.get("DORMOUSE_URL") or None
    api_key = api_key or os.environ.get("DORMOUSE_API_KEY") or None
    organisation = os.environ.get("DORMOUSE_ORG") or None
    if url is None or api_key is None:
        saved = _read_saved(_credentials_file())
        if saved is not None:
            # A key belongs to the address it was made at: it is never sent to another.
            if api_key is None and (url is None or _origin(url) == _origin(saved.url)):
                api_key = saved.api_key
                organisation = organisation or saved.organisation
            url = url or saved.url
    if url is None or api_key is None:
        missing = "address and no key" if url is None else "key for %s" % url
        raise DormouseError(
            "unauthenticated",
            "no %s: run `dormouse login`, or set DORMOUSE_URL and DORMOUSE_API_KEY" % missing,
        )
    return Credentials(url, api_key, organisation)


def _credentials_file() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "dormouse" / "credentials.json"


def _read_saved(file: Path) -> Optional[Credentials]:
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return None
    # The text is not repeated in the error: it may hold the key.
    try:
        value = json.loads(text)
        organisation = value.get("organisation")
        return Credentials(str(value["url"]), str(value["apiKey"]), organisation and str(organisation))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DormouseError(
            "failed_precondition",
            '%s does not hold {"url": "…", "apiKey": "…"}; write it anew with `dormouse login`' % file,
        ) from None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return "%s://%s" % (parts.scheme, parts.netloc)
