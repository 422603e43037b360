"""Addresses without credentials: removes user, password and query from addresses, and known secrets from any text.

Whatever is stored or shown goes through this module: an address through `without_credentials`, a message of another
library through `redact`. The module reads the environment and imports nothing of this package.
"""

import ipaddress
import os
import re
import socket
from urllib.parse import parse_qsl, quote, unquote

VARIABLE, STORAGE = "MLFLOW_TRACKING_URI", "RNNEXP_STORAGE"
_USER, _PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
_HIDDEN = "***"
_MIN_SECRET, _MIN_USER = 4, 8
"""A shorter value is no secret, and its removal would damage ordinary words."""
_SECRET_VARIABLE = re.compile(
    r"(MLFLOW|DATABRICKS|AWS|AZURE|GOOGLE|RAY|RNNEXP)_.*(PASSWORD|TOKEN|SECRET|SECRET_KEY|ACCESS_KEY)|PGPASSWORD"
)
_USER_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#\"'<>]*@")
_QUERY = re.compile(r"(https?://[^\s?#\"'<>()]*)[?#][^\s\"'<>()]*", re.IGNORECASE)


def tracking_address() -> str:
    """Returns the address in MLFLOW_TRACKING_URI, as it is; empty if there is none."""
    return os.environ.get(VARIABLE, "").strip()


def storage_address() -> str:
    """Returns the address of the database of the studies in RNNEXP_STORAGE, as it is; empty if there is none."""
    return os.environ.get(STORAGE, "").strip()


def has_password(address: str) -> bool:
    """Tells whether an address contains a password."""
    user_info, query, _ = _split(address.partition("://")[2])
    return ":" in user_info or any(name == "password" for name, _ in parse_qsl(query))


def is_loopback(host: str) -> bool:
    """Tells whether only this machine reaches an address. A name is looked up, as a server does."""
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", None)
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def is_http(address: str | None) -> bool:
    """Tells whether an address is one of a server."""
    return address is not None and address.lower().startswith(("http://", "https://"))


def without_credentials(address: str) -> str:
    """Returns an address without user, password, query and fragment. A text that is no address is returned as it is."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    _, _, place = _split(rest)
    return f"{scheme}://{place}".rstrip("/") if is_http(address) else f"{scheme}://{place}"


def redact(text: str) -> str:
    """Returns a message without the secrets of the environment and without the credentials of addresses in it."""
    for secret in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return _QUERY.sub(r"\1", _USER_INFO.sub(r"\1", text))


def one_line(error: BaseException | str, limit: int = 160) -> str:
    """Returns a message as one line without credentials, cut to a length."""
    return redact(" ".join(str(error).split()))[:limit]


def hand_over_credentials() -> None:
    """Moves user and password from MLFLOW_TRACKING_URI to the variables from which MLflow sends them as a header.

    No address that MLflow stores or shows contains them then. As before, those of the address have precedence. MLflow
    appends the paths of its requests to the address, so a query could never be sent; it is removed.
    """
    address = tracking_address()
    if not is_http(address):
        return
    scheme, _, rest = address.partition("://")
    user_info, _, place = _split(rest)
    user, _, password = user_info.partition(":")
    if user and password:
        os.environ[_USER], os.environ[_PASSWORD] = unquote(user), unquote(password)
        user_info = ""
    # MLflow needs both. A user without a password stays in the address.
    os.environ[VARIABLE] = f"{scheme}://{user_info}{'@' if user_info else ''}{place}"


def _split(rest: str) -> tuple[str, str, str]:
    """Splits what follows `://` into user info, query with fragment, and host with path."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    port = authority.rpartition(":")[2]
    misplaced = "@" in rest and ":" in authority and not port.isdigit() and not authority.endswith("]")
    if "@" in authority or misplaced:  # a password may contain a slash that should be encoded
        source = rest if misplaced and "@" not in authority else authority
        user_info = source.rpartition("@")[0]
        rest = rest[len(user_info) + 1 :]
    else:
        user_info = ""
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    return user_info, rest[len(place) + 1 :], place


def _secrets() -> set[str]:
    """Returns the secrets of the environment, in the forms in which a message may contain them."""
    plain = {value for name, value in os.environ.items() if _SECRET_VARIABLE.fullmatch(name)}
    users = {os.environ.get(_USER, "")}
    user_info, query, _ = _split(tracking_address().partition("://")[2])
    user, _, password = user_info.partition(":")
    plain |= {user_info, password, query, *(value for _, value in parse_qsl(query))} | (set() if password else {user})
    users.add(user)
    user_info, query, _ = _split(storage_address().partition("://")[2])
    plain |= {user_info.partition(":")[2], *(value for name, value in parse_qsl(query) if name == "password")}
    known = {one for one in plain if len(one) >= _MIN_SECRET} | {one for one in users if len(one) >= _MIN_USER}
    return known | {form for one in known for form in (unquote(one), quote(one), quote(one, safe=""))}
