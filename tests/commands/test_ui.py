"""The UI's address."""

import pytest

from rnnexp import addresses


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
