"""The listening socket and its errors."""

import socket

import pytest
from app.errors import ConfigurationError
from app.listener import open_listener, url_of


def test_port_0_picks_a_free_one_and_connections_wait_for_a_worker() -> None:
    with open_listener("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}"
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass


def test_a_port_that_is_taken() -> None:
    with open_listener("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} of 127\.0\.0\.1 is taken; .*--port"):
            open_listener("127.0.0.1", port)


@pytest.mark.parametrize("host", ["198.51.100.7", "no-such-host.invalid", "", "a" * 300, "\ud800"])
def test_a_host_that_is_not_of_this_machine(host: str) -> None:
    with pytest.raises(ConfigurationError, match="not an address of this machine"):
        open_listener(host, 0)


def test_all_addresses_are_shown_as_one_that_a_browser_can_open() -> None:
    with open_listener("0.0.0.0", 0) as listener:  # noqa: S104
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
