"""Ids of requests that bring none."""

import itertools
import secrets


class RequestIds:
    """Eight random digits of one application, then a number.

    They are drawn with the application and not with this module: workers are forked from a process that has imported
    it, and must not give the same ids.
    """

    def __init__(self) -> None:
        self._ours = secrets.token_hex(4)
        self._numbers = itertools.count()

    def new(self) -> str:
        """The next id, of 16 hexadecimal digits."""
        return f"{self._ours}{next(self._numbers):08x}"
