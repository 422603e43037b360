"""The application: its paths, and what they answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from rnnexp import __version__
from rnnexp.runtime.encoding import Prediction
from rnnexp.serve import docs_page, texts
from rnnexp.serve.guard import DEADLINE, State
from rnnexp.serve.limits import Limits
from rnnexp.serve.texts import RequestError
from rnnexp.serve.workers import UNAVAILABLE, Workers

_METADATA = ("study", "trial", "best_epoch", "metrics", "labels", "formats", "input", "data", "created", "versions")


class Answer(BaseModel):
    """The prediction for one text; `probability` is that of the label."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Predictions(BaseModel):
    """The predictions for the texts of a request, in their order."""

    predictions: list[Answer]


class Texts(BaseModel):
    """The body of a request: the texts to label."""

    texts: list[str]


class Error(BaseModel):
    """What is wrong with a request, in one line."""

    error: str


def build(manifest: Mapping[str, Any], workers: Workers, limits: Limits, server: State) -> FastAPI:
    """Builds the application.

    Args:
        manifest: of the bundle.
        workers: label the texts.
        limits: of a request.
        server: the state of the server.
    """
    app = FastAPI(title="rnnexp serve", version=__version__, docs_url=None, redoc_url=None)
    errors: dict[int | str, dict[str, Any]] = {status: {"model": Error} for status in (400, 413, 415, 422, 503, 504)}

    @app.post("/predict", response_model=Predictions, responses=errors, openapi_extra=_body(Texts))
    async def predict(request: Request) -> JSONResponse:
        """Labels texts: {"texts": ["a text", ...]}."""
        return await _answer(request, texts.of_predict(await request.body(), _content_type(request), limits))

    @app.post("/invocations", response_model=Predictions, responses=errors)
    async def invocations(request: Request) -> JSONResponse:
        """Labels texts in MLflow's protocol: {"inputs": ["a text", ...]}, instances, dataframe_split, CSV."""
        return await _answer(request, texts.of_invocations(await request.body(), _content_type(request), limits))

    async def _answer(request: Request, found: Sequence[str]) -> JSONResponse:
        predictions = await workers.predict(found, request.scope[DEADLINE])
        return JSONResponse({"predictions": [_plain(one) for one in predictions]})

    @app.get("/health")
    @app.get("/ping", include_in_schema=False)
    async def health() -> JSONResponse:
        """Status 200 while the server accepts requests; 503 when it is about to end."""
        if server.is_draining:
            return JSONResponse({"status": "draining"}, UNAVAILABLE)
        return JSONResponse({"status": "ok"})

    @app.get("/metadata")
    async def metadata() -> JSONResponse:
        """Where the model comes from, its labels, and the limits of a request."""
        about = {name: manifest[name] for name in _METADATA if name in manifest}
        accepted = {"body_bytes": limits.body_bytes, "texts": limits.texts, "characters": limits.characters}
        return JSONResponse({**about, "limits": accepted})

    @app.get("/version", include_in_schema=False)
    async def version() -> JSONResponse:
        return JSONResponse(__version__)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page.render(app.openapi()))

    @app.exception_handler(RequestError)
    async def refuse(_: Request, error: RequestError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def refuse_path(request: Request, error: HTTPException) -> JSONResponse:
        expected = {404: "expected /predict, /invocations, /health, /metadata or /docs", 405: "see /docs"}
        hint = expected.get(error.status_code, "")
        line = f"{request.method} {request.url.path[:80]}: {str(error.detail).lower()}{'; ' + hint if hint else ''}"
        return JSONResponse({"error": line}, error.status_code, error.headers)

    return app


def _plain(prediction: Prediction) -> dict[str, Any]:
    return {
        "label": prediction.label,
        "probability": prediction.probability,
        "probabilities": prediction.probabilities,
    }


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "")


def _body(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {texts.JSON: {"schema": schema}}}}
