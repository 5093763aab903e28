"""What the kernel knows of a service's sockets, and clients that open them at a given moment."""

import os
import socket
from pathlib import Path

from tests.processes import WAIT_SECONDS

_ESTABLISHED, _LISTENING = "01", "0A"


def _inodes(port: int, state: str) -> set[str]:
    """The sockets with that local port of 127.0.0.1, as /proc/PID/fd names them."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, its_state, _, _, _, _, _, inode, *_ = line.split()
        if its_state == state and local == f"0100007F:{port:04X}":
            found.add(f"socket:[{inode}]")
    return found


def _among(pid: int, wanted: set[str]) -> int:
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += os.readlink(descriptor) in wanted  # noqa: PTH115  (no path)
        except FileNotFoundError:  # closed meanwhile
            continue
    return count


def held(pid: int, port: int) -> int:
    """How many accepted connections of that port the process holds."""
    return _among(pid, _inodes(port, _ESTABLISHED))


def listens(pid: int, port: int) -> bool:
    """Whether the process has the listening socket of that port."""
    return _among(pid, _inodes(port, _LISTENING)) > 0


def connected(port: int) -> socket.socket:
    """A connection that the kernel has, though perhaps no process yet."""
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS)


def connected_at_once(port: int, number: int) -> list[socket.socket]:
    """So many connections, none of which waits for the one before."""
    connections = []
    for _ in range(number):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
        connections.append(one)
    for one in connections:
        one.settimeout(WAIT_SECONDS)
    return connections


def get(connection: socket.socket, path: str) -> None:
    """Send a request, and read nothing."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """The status and the body of an answer that ends with the connection."""
    received = b""
    while part := connection.recv(65536):
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), body
