"""Addresses and messages without credentials."""

import pytest

from rnnexp import addresses

SECRETS = ("user-one", "pass:word/two", "token-three", "bearer-four", "password-five")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (addresses.VARIABLE, "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.setenv(name, "")  # so that what a test changes is restored at its end
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://host:5000", "http://host:5000"),
        ("http://host:5000/", "http://host:5000"),
        ("https://me:secret@host/mlflow", "https://host/mlflow"),
        ("https://me@host", "https://host"),
        ("https://me:p@ss@host", "https://host"),
        ("https://me:pa/ss@host/x", "https://host/x"),
        ("https://me:pa?ss@host/x", "https://host/x"),
        ("https://host/x?token=secret#part", "https://host/x"),
        ("https://host/a@b", "https://host/a@b"),
        ("https://[::1]:5000/a@b", "https://[::1]:5000/a@b"),
        ("https://[::1]/a@b", "https://[::1]/a@b"),
        ("postgresql://me:secret@db/runs", "postgresql://db/runs"),
        ("sqlite:////home/mlflow.db", "sqlite:////home/mlflow.db"),
        ("home", "home"),
    ],
)
def test_an_address_is_shown_without_credentials(address: str, shown: str) -> None:
    assert addresses.without_credentials(address) == shown


def test_a_message_has_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    user, password, token, bearer, other = SECRETS
    monkeypatch.setenv(addresses.VARIABLE, f"http://{user}:{password}@host:5000/?key={token}")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", bearer)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", other)
    message = (
        f"Failed to parse: http://{user}:{password}@host:5000/?key={token}/api; with url: /?key={token}/api; "
        f"http://{user}:pass%3Aword%2Ftwo@host, Bearer {bearer}, ({other}); see http://docs/page?x=1 and a@b"
    )
    shown = addresses.redact(message)
    assert not [secret for secret in (*SECRETS, "pass%3Aword%2Ftwo") if secret in shown], shown
    assert "host:5000" in shown
    assert "a@b" in shown


def test_a_message_without_secrets_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(addresses.VARIABLE, "http://mlflow:the@host")
    text = "the server http://host:5000/api refuses the run of mlflow (404)"
    assert addresses.redact(text) == text


def test_credentials_are_handed_over_to_the_variables_of_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv(addresses.VARIABLE, "http://me:p%40ss@host:5000/x?token=a")
    addresses.hand_over_credentials()
    assert os.environ[addresses.VARIABLE] == "http://host:5000/x"
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("me", "p@ss")
    monkeypatch.setenv(addresses.VARIABLE, "http://token-only@host")
    addresses.hand_over_credentials()
    assert os.environ[addresses.VARIABLE] == "http://token-only@host", "MLflow's variables need a password"
