"""Shell patterns on the paths of a release."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache


def matches(path: str, pattern: str) -> bool:
    """Shell pattern on the whole relative path, upper or lower case; `**/` stands for any number of folders,
    none included, and `{a,b}` for a or b.
    """
    return _expression(pattern).fullmatch(path) is not None


def matching(paths: Iterable[str], pattern: str) -> list[str]:
    """Those of the paths that the pattern fits, in their order."""
    return [path for path in paths if matches(path, pattern)]


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(_translated(pattern), flags=re.IGNORECASE | re.DOTALL)  # a name may hold a line's end


def _translated(pattern: str) -> str:
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    expression = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?|\{[^{}]*\})", pattern):
        if part.startswith("{") and part.endswith("}"):
            expression += f"(?:{'|'.join(_translated(option) for option in part[1:-1].split(','))})"
        else:
            expression += signs.get(part) or re.escape(part)
    return expression
