"""What MLflow is told of a run in one call: for its database each call is several transactions, whatever is in it."""

from collections.abc import Mapping
from typing import Any

_MOST_METRICS, _MOST_OTHERS = 800, 100
"""MLflow takes 1,000 things a call, of them 100 params and 100 tags."""
_PARAM_LENGTH, _TAG_LENGTH = 6000, 5000


class RunBatch:
    """Metrics, params and tags of one run that are still to be sent; of a tag the last value counts."""

    def __init__(self) -> None:
        self._metrics: list[Any] = []
        self._params: list[Any] = []
        self._tags: dict[str, str] = {}

    def metrics(self, values: Mapping[str, float], when_ms: int, step: int) -> None:
        from mlflow.entities import Metric

        self._metrics += [Metric(name, float(value), when_ms, step) for name, value in values.items()]

    def params(self, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        self._params += [Param(name, str(value)[:_PARAM_LENGTH]) for name, value in values.items()]

    def tags(self, values: Mapping[str, Any]) -> None:
        self._tags |= {name: str(value)[:_TAG_LENGTH] for name, value in values.items()}

    def send(self, client: Any, run_id: str) -> None:
        """Sends all of it; what was sent before a failure is sent again with the next try, which changes nothing."""
        from mlflow.entities import RunTag

        tags = [RunTag(name, value) for name, value in self._tags.items()]
        while self._metrics or self._params or tags:
            client.log_batch(
                run_id,
                metrics=self._metrics[:_MOST_METRICS],
                params=self._params[:_MOST_OTHERS],
                tags=tags[:_MOST_OTHERS],
            )
            del self._metrics[:_MOST_METRICS], self._params[:_MOST_OTHERS], tags[:_MOST_OTHERS]
        self._tags.clear()
