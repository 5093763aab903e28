"""Heads of hot requests that were parsed before: a client sends the same bytes again and again, but for the body.

What a parser makes of a head depends on nothing but its bytes. A head that it found to be a plain hot request with a
body of so many bytes is remembered, and when the same bytes come again, followed by just so many more, they need not be
parsed. Anything else goes through the parser, with every rule that it has.
"""

import re
from typing import Literal

import msgspec

Route = Literal["rank", "recommend"]
HOT_PATH = re.compile(rb"/v1/models/([A-Za-z0-9._-]{1,64})/(rank|recommend)")
"""The paths of hot requests: the model's name, and the route's."""

_END = b"\r\n\r\n"
_LONGEST_BYTES = 1024
_MOST_HEADS = 512


class KnownHead(msgspec.Struct, frozen=True):
    """What is known of a head: the request is `data[body_at:]` with nothing after it."""

    model: str
    route: Route
    body_at: int
    request_bytes: int


class KnownHeads:
    """The heads that one process remembers; when there are too many, it begins anew."""

    def __init__(self) -> None:
        self._heads: dict[bytes, KnownHead] = {}

    def __len__(self) -> int:
        return len(self._heads)

    def find(self, data: bytes) -> KnownHead | None:
        """What is known of a request that is all of `data`; None where it must be parsed."""
        found = self._heads.get(data[: data.find(_END, 0, _LONGEST_BYTES)])
        return found if found is not None and found.request_bytes == len(data) else None

    def learn(self, data: bytes, model: str, route: Route, body_bytes: int) -> None:
        """`data` was parsed and is one hot request whose id is not the client's; remember its head.

        Data that holds more, or a body in other clothes (chunks), is longer than its parts, and not remembered.
        """
        end = data.find(_END, 0, _LONGEST_BYTES)
        if end < 0 or end + len(_END) + body_bytes != len(data):
            return
        if len(self._heads) >= _MOST_HEADS:
            self._heads.clear()
        self._heads[data[:end]] = KnownHead(model, route, end + len(_END), len(data))
