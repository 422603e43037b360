"""Requests to a running server: right ones are answered, wrong ones get one clear line, and the server lives."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.json_shapes import check
from tests.serve.clients import JSON, Server, running, texts

pytestmark = pytest.mark.integration

CSV = {"Content-Type": "text/csv"}
GOOD = {"label": "yes", "probability": 0.75, "probabilities": {"no": 0.25, "yes": 0.75}}
BAD = {"label": "no", "probability": 0.75, "probabilities": {"no": 0.75, "yes": 0.25}}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as found:
        yield found


def test_predict_labels_texts(server: Server) -> None:
    assert server.send("/predict", texts("good", "bad", ""))[:2] == (200, {"predictions": [GOOD, BAD, BAD]})
    check("serve", server.send("/predict", texts("good"))[1])
    assert server.send("/predict", '{"text": "Good!"}')[:2] == (200, {"predictions": [GOOD]})
    charset = {"Content-Type": "application/json; charset=utf-8"}
    assert server.send("/predict", texts("naïve good").encode(), charset)[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": ["good", "bad"]},
        {"inputs": [["good"], ["bad"]]},
        {"inputs": {"text": ["good", "bad"]}},
        {"instances": ["good", "bad"]},
        {"dataframe_split": {"columns": ["text"], "data": [["good"], ["bad"]]}},
        {"dataframe_records": [{"text": "good"}, {"text": "bad"}]},
        {"inputs": ["good", "bad"], "params": {}},
    ],
)
def test_invocations_speak_the_protocol_of_mlflow(server: Server, body: Any) -> None:
    assert server.send("/invocations", json.dumps(body))[:2] == (200, {"predictions": [GOOD, BAD]})


def test_invocations_accept_csv(server: Server) -> None:
    assert server.send("/invocations", 'text\n"good, really"\nbad\n', CSV)[:2] == (200, {"predictions": [GOOD, BAD]})


def test_what_the_server_tells_about_itself(server: Server) -> None:
    assert server.send("/health")[:2] == (200, {"status": "ok"})
    assert server.send("/ping")[0] == 200
    _, about, _ = server.send("/metadata")
    assert (about["study"], about["trial"], about["labels"]) == ("fake", 3, ["no", "yes"])
    assert about["limits"] == {"body_bytes": 1_000_000, "texts": 1000, "characters": 10_000}
    assert "secret" not in about
    _, api, _ = server.send("/openapi.json")
    assert set(api["paths"]) == {"/predict", "/invocations", "/health", "/metadata"}
    assert api["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]["required"] == [
        "texts"
    ]
    status, page, _ = server.send("/docs")
    assert status == 200
    assert "POST /predict" in page
    assert "src=" not in page, "the page loads nothing"
    assert "http://" not in page.replace("http://HOST:PORT", "")


def test_the_limits_are_those_that_are_told(server: Server) -> None:
    assert server.send("/predict", texts(*["good"] * 1000))[0] == 200
    assert server.send("/predict", texts("x" * 10_000))[0] == 200
    assert server.send("/predict", texts("x" * 10_001))[:2] == (
        413,
        {"error": "texts: number 0: got 10,001 characters, expected at most 10,000"},
    )


JSON_TYPE = "application/json"
OBJECT = '{"texts": ["x"]}'
MALFORMED: list[tuple[str, bytes | str, dict[str, str], int, str]] = [
    ("/predict", "", JSON, 400, "the body is empty"),
    ("/predict", " \n", JSON, 400, "the body is empty"),
    ("/predict", "{", JSON, 400, "the body is not JSON (Expecting property name"),
    ("/predict", '{"texts": ["x"]', JSON, 400, "the body is not JSON"),
    ("/predict", '{"texts": ["x"],}', JSON, 400, "the body is not JSON"),
    ("/predict", "texts=x", JSON, 400, "the body is not JSON"),
    ("/predict", "[" * 100_000, JSON, 400, "the body is not JSON"),
    ("/predict", "9" * 5000, JSON, 400, "the body is not JSON"),
    ("/predict", OBJECT + OBJECT, JSON, 400, "the body is not JSON (Extra data"),
    ("/predict", b'{"texts": ["caf\xe9"]}', JSON, 400, "the body is not UTF-8 (byte 15)"),
    ("/predict", OBJECT.encode("utf-16"), JSON, 400, "the body is not UTF-8 (byte 0)"),
    ("/predict", b"\x00\x01\x02", JSON, 400, "the body is not JSON"),
    ("/predict", "null", JSON, 422, 'got None, expected {"texts": ["a text", ...]}'),
    ("/predict", "7", JSON, 422, 'got 7, expected {"texts"'),
    ("/predict", '"x"', JSON, 422, "got 'x', expected"),
    ("/predict", "[]", JSON, 422, "got an empty list, expected"),
    ("/predict", '["x"]', JSON, 422, "got ['x'], expected"),
    ("/predict", "{}", JSON, 422, "got an empty object, expected"),
    ("/predict", '{"inputs": ["x"]}', JSON, 422, "got an object with the keys ['inputs'], expected"),
    ("/predict", '{"text": "x", "texts": ["x"]}', JSON, 422, "got an object with the keys ['text', 'texts']"),
    ("/predict", '{"texts": ["x"], "labels": 1}', JSON, 422, "unknown key 'labels', expected only texts"),
    ("/predict", '{"texts": []}', JSON, 422, "texts: got an empty list, expected a list of one or more texts"),
    ("/predict", '{"texts": "x"}', JSON, 422, "texts: got 'x', expected a list"),
    ("/predict", '{"texts": {"0": "x"}}', JSON, 422, "texts: got an object with the keys ['0'], expected a list"),
    ("/predict", '{"texts": null}', JSON, 422, "texts: got None, expected a list"),
    ("/predict", '{"texts": true}', JSON, 422, "texts: got True, expected a list"),
    ("/predict", '{"texts": [7]}', JSON, 422, "texts: number 0: got 7, expected a string"),
    ("/predict", '{"texts": ["x", null]}', JSON, 422, "texts: number 1: got None, expected a string"),
    ("/predict", '{"texts": ["x", ["y"]]}', JSON, 422, "texts: number 1: got ['y'], expected a string"),
    ("/predict", '{"texts": [{"text": "y"}]}', JSON, 422, "texts: number 0: got an object with the keys ['text']"),
    ("/predict", '{"texts": [NaN]}', JSON, 422, "texts: number 0: got nan, expected a string"),
    ("/predict", '{"texts": [1e999]}', JSON, 422, "texts: number 0: got inf, expected a string"),
    ("/predict", '{"texts": ["\\ud800"]}', JSON, 422, "texts: number 0: has half of a surrogate pair"),
    ("/predict", '{"text": 7}', JSON, 422, "texts: number 0: got 7, expected a string"),
    ("/predict", texts(*["x"] * 1001), JSON, 413, "texts: got 1,001 texts, expected at most 1,000"),
    (
        "/predict",
        texts("good", "x" * 20_000),
        JSON,
        413,
        "texts: number 1: got 20,000 characters, expected at most",
    ),
    ("/predict", "x" * 1_000_001, JSON, 413, "the body has more than 1,000,000 bytes"),
    ("/predict", OBJECT, {}, 415, "Content-Type: got '', expected application/json"),
    ("/predict", OBJECT, {"Content-Type": "text/plain"}, 415, "Content-Type: got 'text/plain'"),
    ("/predict", "text\nx\n", CSV, 415, "Content-Type: got 'text/csv', expected application/json"),
    (
        "/predict",
        OBJECT,
        {"Content-Type": "application/json; charset=latin-1"},
        415,
        "got charset 'latin-1', expected utf-8",
    ),
    ("/predict", OBJECT, {"Content-Type": "application/x-www-form-urlencoded"}, 415, "expected application/json"),
    ("/predict", OBJECT, {"Content-Type": "\x01"}, 415, "Content-Type: got "),
    ("/invocations", "", JSON, 400, "the body is empty"),
    ("/invocations", "x", JSON, 400, "the body is not JSON"),
    ("/invocations", "[]", JSON, 400, "expected one of the keys inputs, instances, dataframe_split, dataframe_records"),
    ("/invocations", OBJECT, JSON, 400, "got an object with the keys ['texts'], expected one of the keys inputs"),
    ("/invocations", '{"inputs": ["x"], "instances": ["x"]}', JSON, 400, "expected one of the keys"),
    ("/invocations", '{"inputs": []}', JSON, 422, "inputs: got an empty list"),
    ("/invocations", '{"inputs": "x"}', JSON, 422, "inputs: got 'x', expected a list"),
    ("/invocations", '{"inputs": [["x", "y"]]}', JSON, 422, "inputs: number 0: got ['x', 'y'], expected a string"),
    (
        "/invocations",
        '{"inputs": {"a": ["x"], "b": ["y"]}}',
        JSON,
        422,
        "inputs: got an object with the keys ['a'",
    ),
    ("/invocations", '{"dataframe_split": ["x"]}', JSON, 422, "dataframe_split: expected columns and data"),
    (
        "/invocations",
        '{"dataframe_split": {"columns": ["a"]}}',
        JSON,
        422,
        "dataframe_split: expected columns and data",
    ),
    ("/invocations", '{"dataframe_split": {"data": [[1]]}}', JSON, 422, "dataframe_split: number 0: got 1"),
    (
        "/invocations",
        '{"dataframe_records": [{"a": "x", "b": "y"}]}',
        JSON,
        422,
        "dataframe_records: number 0: got an object",
    ),
    ("/invocations", "a,b\nx,y\n", CSV, 422, "row 0 has 2 fields, expected one: the text"),
    ("/invocations", "a\nx\n\ny\n", CSV, 422, "row 2 has 0 fields, expected one: the text"),
    ("/invocations", 'a\n"x', CSV, 400, "the body is not CSV (unexpected end of data)"),
    ("/invocations", "text\n", CSV, 422, "the column: got an empty list"),
    ("/invocations", b"a\n\xff\n", CSV, 400, "the body is not UTF-8 (byte 2)"),
    ("/invocations", OBJECT, {"Content-Type": "text/html"}, 415, "expected application/json or text/csv"),
]
"""Path, body, headers, and the status and the words of the answer."""


def test_sixty_malformed_requests_get_sixty_clear_answers(server: Server) -> None:
    assert len(MALFORMED) >= 60
    for path, body, headers, expected, words in MALFORMED:
        status, answer, _ = server.send(path, body, headers)
        assert status == expected, (path, body[:80], answer)
        assert list(answer) == ["error"]
        assert words in answer["error"], (path, body[:80], answer)
        assert answer["error"].isprintable()
        assert len(answer["error"]) < 250
    assert server.send("/predict", texts("good"))[:2] == (200, {"predictions": [GOOD]})


def test_an_unknown_path_and_method(server: Server) -> None:
    status, answer, _ = server.send("/predictions")
    assert (status, answer["error"][:30]) == (404, "GET /predictions: not found; e")
    status, answer, headers = server.send("/predict")
    assert (status, answer["error"]) == (405, "GET /predict: method not allowed; see /docs")
    assert headers["allow"] == "POST"
    assert server.send("/docs/../metadata?x=1", method="DELETE")[0] in (404, 405)


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    ],
)
def test_what_is_not_http_costs_only_its_connection(server: Server, content: bytes) -> None:
    try:
        answer = server.raw(content)
    except ConnectionError:
        answer = b""
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
    assert server.send("/health")[0] == 200


def test_a_page_of_another_site_cannot_use_a_server_on_loopback(server: Server) -> None:
    status, answer, _ = server.send("/metadata", headers={"Host": "attacker.example"})
    assert (status, answer) == (
        421,
        {"error": "Host: expected localhost or 127.0.0.1 or ::1; this server listens on loopback only"},
    )
    assert server.send("/metadata", headers={"Host": f"localhost:{server.port}"})[0] == 200
    assert server.send("/metadata", headers={"Host": f"[::1]:{server.port}"})[0] == 200


def test_a_server_with_a_token_can_stand_behind_a_proxy_of_another_name() -> None:
    token = "a-token-of-some-length"
    with running("--token", token) as server:
        headers = {**JSON, "Authorization": f"Bearer {token}", "Host": "model.example"}
        assert server.send("/predict", texts("good"), headers)[0] == 200


def test_a_token_is_demanded_for_all_that_tells_of_the_model() -> None:
    token = "a-token-of-some-length"
    with running("--token", token, "--remote") as server:
        with_token = {**JSON, "Authorization": f"Bearer {token}", "Host": "model.example"}
        assert server.send("/predict", texts("good"), with_token)[0] == 200
        for headers in ({}, {"Authorization": f"Basic {token}"}, {"Authorization": f"Bearer {token}x"}):
            for path, body in (("/predict", texts("good")), ("/metadata", None), ("/invocations", texts("good"))):
                status, answer, found = server.send(path, body, {**JSON, **headers})
                assert (status, found["www-authenticate"]) == (401, "Bearer")
                assert answer == {"error": "Authorization: expected Bearer and the server's token"}
        for path in ("/health", "/ping", "/docs", "/openapi.json"):
            assert server.send(path)[0] == 200
