"""Asks MLflow's server whether it can be used: its version, its clock, and why it refuses a request."""

import email.utils
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from rnnexp import addresses
from rnnexp.tracking.client import import_mlflow

_TIMEOUT_S = 10.0
_MAX_VERSION = 20
_UNCERTAIN_S = 1.0
"""A server sends its time in whole seconds."""


@dataclass(frozen=True)
class ServerFacts:
    """Facts about an MLflow server.

    Attributes:
        version: MLflow's there; empty if it cannot be used.
        version_here: MLflow's on this machine.
        clock_s: how far its clock is ahead of this machine's, in seconds; None if it does not tell.
        fault: why it cannot be used, and what to do; empty if it can.
    """

    version: str = ""
    version_here: str = ""
    clock_s: float | None = None
    fault: str = ""


def describe() -> ServerFacts:
    """Asks the server in MLFLOW_TRACKING_URI about itself."""
    mlflow = import_mlflow()
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    uri, began = addresses.tracking_address(), time.time()
    try:
        answer = http_request(get_default_host_creds(uri), "/version", "GET", timeout=_TIMEOUT_S, raise_on_status=False)
        clock_s = _ahead(answer.headers.get("Date"), began)
        if answer.status_code != HTTPStatus.OK:
            return ServerFacts(fault=_refusal(answer))
        mlflow.MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except Exception as error:
        return ServerFacts(fault=f"it cannot be used ({addresses.one_line(error)})")
    return ServerFacts(answer.text.strip()[:_MAX_VERSION], mlflow.__version__, clock_s)


def _ahead(date: str | None, began: float) -> float | None:
    """Returns how far a server's clock is ahead, in seconds; None if it did not send its time.

    Args:
        date: the header of its answer.
        began: when the request was sent.
    """
    if date is None:
        return None
    difference = email.utils.parsedate_to_datetime(date).timestamp() + _UNCERTAIN_S / 2 - (began + time.time()) / 2
    return 0.0 if abs(difference) < _UNCERTAIN_S else difference


def _refusal(answer: Any) -> str:
    """Returns why a server refuses a request, and what to do."""
    text = addresses.one_line(answer.text)
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        return (
            "it refuses this user; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    if answer.status_code == HTTPStatus.FORBIDDEN and "host" in text.lower():
        return (
            f"it refuses the name in the address ({text}); start it with --allowed-hosts NAME,NAME:PORT, both with and "
            "without the port"
        )
    return f"it answers with status {answer.status_code} ({text})"
