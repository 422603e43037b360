"""The UI's address."""

import re
import socket

import pytest

from rnnexp import addresses
from rnnexp.commands.host import page, resolve
from rnnexp.errors import UserError


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.1.2.3", False),
        ("no-such-name.invalid", False),
        ("x..y", False),
    ],
)
def test_an_address_that_others_can_reach_is_recognised(host: str, is_loopback: bool) -> None:
    assert addresses.is_loopback(host) == is_loopback


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "http://127.0.0.1:81"), ("::1", "http://[::1]:81")])
def test_the_address_works_in_a_browser(host: str, shown: str) -> None:
    assert page(host, 81) == shown


def test_an_address_of_ipv6_is_listened_on() -> None:
    family, address = resolve("::1", 0)
    assert family is socket.AF_INET6
    with socket.socket(family) as listener:
        try:
            listener.bind(address)
        except OSError as error:
            pytest.skip(f"this machine has no IPv6: {error}")


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("no-such-name.invalid", 81, "--host: got 'no-such-name.invalid', expected an address or a name of this"),
        ("127.0.0.1", 0, "--port: got 0, expected 1 to 65535"),
        ("127.0.0.1", 70_000, "--port: got 70000, expected 1 to 65535"),  # the system would take 4464
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(host: str, port: int, message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        resolve(host, port, first_port=1)
