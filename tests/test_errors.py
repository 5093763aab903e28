"""The tree of errors is the one that its docstring draws."""

import re

import pytest
from app import errors
from app.errors import ServiceError

_LINE = re.compile(r"^ {4}([|` -]*)(\w+) +(\d{3}) (\w+)", re.MULTILINE)
CLASSES = [
    one for one in vars(errors).values() if isinstance(one, type) and one.__module__ == errors.__name__
]


def drawn_tree() -> dict[str, tuple[str, int, str]]:
    """By the name of a class: the name of its parent, its status and its code, as drawn."""
    found, path = {}, ["Exception"]
    for branch, name, status, code in _LINE.findall(errors.__doc__ or ""):
        # Each level of the drawing is four characters wide.
        del path[len(branch) // 4 + 1 :]
        found[name] = (path[-1], int(status), code)
        path.append(name)
    return found


def test_every_class_has_the_parent_status_and_code_that_the_docstring_draws() -> None:
    real = {one.__name__: (one.__base__.__name__, one.status, one.code) for one in CLASSES}
    assert real == drawn_tree()


def test_no_two_classes_share_a_code() -> None:
    codes = [one.code for one in CLASSES]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("error", CLASSES, ids=lambda one: one.__name__)
def test_an_error_carries_its_message_and_details(error: type[ServiceError]) -> None:
    raised = error("what was wrong; what to do", model="tiny", position=3)
    assert raised.message == str(raised) == "what was wrong; what to do"
    assert raised.details == {"model": "tiny", "position": 3}
    assert error("no details").details == {}
