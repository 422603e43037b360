"""Labels the texts of requests in a few threads; a request that finds the queue full is refused."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from rnnexp.runtime.encoding import Prediction, TextModel
from rnnexp.serve.limits import Limits
from rnnexp.serve.texts import RequestError

UNAVAILABLE, TIMEOUT = 503, 504
_RETRY_AFTER_S = "1"


class Workers:
    """The threads. Its methods are called in the thread of the event loop."""

    def __init__(self, model: TextModel, n_threads: int, limits: Limits) -> None:
        self._model, self._limits = model, limits
        self._capacity = n_threads + limits.waiting
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="predict")
        self._n_open = 0
        self._lock = threading.Lock()

    async def predict(self, texts: Sequence[str], deadline: float) -> list[Prediction]:
        """Returns the predictions.

        Args:
            texts: to label.
            deadline: in the time of the event loop.

        Raises:
            RequestError: if the queue is full, or the time limit is exceeded.
        """
        with self._lock:
            if self._n_open >= self._capacity:
                raise RequestError(
                    UNAVAILABLE, "the server is busy; send the request again later", {"Retry-After": _RETRY_AFTER_S}
                )
            self._n_open += 1
        work = self._pool.submit(self._model.predict, texts)
        work.add_done_callback(lambda _: self._closed())
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.wrap_future(work)
        except TimeoutError:
            raise RequestError(
                TIMEOUT, f"no answer within {self._limits.request_s:g} s; send fewer or shorter texts"
            ) from None

    def _closed(self) -> None:
        with self._lock:
            self._n_open -= 1
