"""Addresses of tracking stores: a password in one reaches MLflow's client and no message.

MLflow, requests and urllib3 put the address into their errors, and errors go into logs. So a name and a
password are taken out of the address and handed over where MLflow looks for them, in the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit, urlunsplit


def is_server(uri: str | None) -> bool:
    """Whether the address is that of an MLflow server, not of a file or a database."""
    return bool(uri) and urlsplit(uri).scheme in ("http", "https")


def without_password(text: str) -> str:
    """The text with `name:password@` cut out of each address in it, also where the password holds a slash."""
    return re.sub(r"(?<=://)\S*@", "", text)


@contextmanager
def opened(uri: str, **settings: str) -> Iterator[str]:
    """The address to give to MLflow's client, without a password where it is a server's.

    Inside the `with` the environment holds what MLflow needs beside it, and `settings`; afterwards it is
    as before.
    """
    parts = urlsplit(uri)
    if is_server(uri) and (parts.username or parts.password):
        settings["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
        settings["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
        uri = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    before = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    try:
        yield uri
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
