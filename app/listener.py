"""The listening socket, opened once by the supervisor and inherited by every worker."""

import errno
import socket

from app.errors import ConfigurationError

BACKLOG = 2048


def open_listener(host: str, port: int) -> socket.socket:
    """A bound, listening TCP socket that never blocks. Raises ConfigurationError saying what is wrong with the address.

    It listens at once: a connection made before the first worker is up waits instead of being refused. Whether it
    blocks is the same for all processes that have it, and for a worker that would wait in it for ever: `socket.dup`
    sets it anew, as it is in the process that calls it.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigurationError(f"host {host!r} is not an address of this machine ({error})") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(_explain(error, host, port)) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL that a person on this machine would open."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104  (compared with, not bound to)
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken; stop what uses it, or choose another with --port"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"port {port} may not be used without more rights; choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"host {host!r} is not an address of this machine"
    return f"cannot listen on {host}, port {port}: {error.strerror}"
