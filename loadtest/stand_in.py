"""A server that knows the right answers beforehand and does no work: what the generator itself can reach, and a place
for planted faults, to show that the instrument sees them.

    python -m loadtest.stand_in PORT ANSWERS.json [--fault stall|wrong|drop]
"""

import argparse
import asyncio
import json
import time
from pathlib import Path

import httptools
import uvloop

_STALL_EVERY_SECONDS, _STALL_SECONDS = 1.0, 0.05
_ONE_IN = 100


class StandIn(asyncio.Protocol):
    """Answers each request with the answer that was made for its body."""

    answers: dict[bytes, bytes]
    wrong: bytes
    fault: str
    served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        answer = self.answers[b"".join(self._body)]
        self._body = []
        StandIn.served += 1
        struck = StandIn.served % _ONE_IN == 0
        if self.fault == "drop" and struck:
            self._transport.abort()  # type: ignore[attr-defined]
            return
        if self.fault == "wrong" and struck:
            answer = self.wrong
        self._transport.write(answer)  # type: ignore[attr-defined]


def _response(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _serve(port: int, fault: str) -> None:
    server = await asyncio.get_running_loop().create_server(StandIn, "127.0.0.1", port)
    async with server:
        while True:
            await asyncio.sleep(_STALL_EVERY_SECONDS)
            if fault == "stall":
                # The whole loop stands still, as it does in a long garbage collection.
                time.sleep(_STALL_SECONDS)  # noqa: ASYNC251


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--fault", default="none", choices=("none", "stall", "wrong", "drop"))
    arguments = parser.parse_args()
    pairs = json.loads(arguments.answers.read_text())
    StandIn.answers = {request.encode(): _response(answer.encode()) for request, answer in pairs}
    StandIn.wrong = _response(b'{"items": [{"item_id": "nobody", "score": 0.5}]}')
    StandIn.fault = arguments.fault
    uvloop.run(_serve(arguments.port, arguments.fault))


if __name__ == "__main__":
    main()
