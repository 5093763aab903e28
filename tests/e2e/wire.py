"""Requests and answers as bytes on sockets: what tests send that no client library would."""

import json
import socket
from typing import Any

import httpx2

from tests.processes import WAIT_SECONDS, Service
from tests.small_model import NAME

RANK = f"/v1/models/{NAME}/rank"
RECOMMEND = f"/v1/models/{NAME}/recommend"
ORDINARY = "?ordinary"
"""A query makes a request go the ordinary way."""
BODY = b'{"user": {"user_id": "u1"}, "candidates": ["i1", "i2", "nobody"]}'


def connect(served: Service) -> socket.socket:
    url = httpx2.URL(served.url)
    return socket.create_connection((url.host, url.port or 80), timeout=WAIT_SECONDS)


def request(path: str = RANK, body: bytes = BODY, *headers: str, version: str = "1.1") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def until_closed(connection: socket.socket) -> bytes:
    """All that comes before the connection ends."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def read_answers(connection: socket.socket, count: int) -> list[tuple[int, dict[str, str], Any]]:
    """So many answers: status, headers and JSON body. Raises ConnectionError when the connection ends before."""
    found: list[tuple[int, dict[str, str], Any]] = []
    data = b""
    while len(found) < count:
        while b"\r\n\r\n" not in data:
            data += _more(connection)
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers["content-length"])
        while len(data) < length:
            data += _more(connection)
        found.append((int(first.split()[1]), headers, json.loads(data[:length])))
        data = data[length:]
    assert data == b""
    return found


def _more(connection: socket.socket) -> bytes:
    received = connection.recv(65536)
    if not received:
        raise ConnectionError("the connection was closed")
    return received
