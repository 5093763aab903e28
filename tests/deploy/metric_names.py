"""The names of the metrics: those that the code writes down, and those that a PromQL expression uses."""

import ast
import re
from pathlib import Path

from tests.deploy.dockerfile import ROOT

_NAME = re.compile(r"\bslimrank_[a-z0-9_]+\b")
_TEXT = re.compile(r'"[^"]*"')
# What the exposition adds to the name of a counter, a histogram or a summary.
_SUFFIXES = ("", "_total", "_bucket", "_sum", "_count")


def used_in(expression: str) -> set[str]:
    """The metrics that an expression names; label values may look like one and are left out."""
    return set(_NAME.findall(_TEXT.sub('""', expression)))


def defined_in_the_code(folder: Path = ROOT / "app") -> set[str]:
    """Every text in the code that is the name of a metric."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and _NAME.fullmatch(text):
                names.add(text)
    return names


def is_defined(name: str, defined: set[str]) -> bool:
    """Whether the exposition of the defined metrics has samples of that name."""
    return any(name.removesuffix(suffix) in defined for suffix in _SUFFIXES if name.endswith(suffix))
