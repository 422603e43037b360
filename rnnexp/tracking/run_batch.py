"""Collects metrics, params and tags of one run, to send them in few calls.

For MLflow's database each call costs several transactions, however little it contains.
"""

from collections.abc import Mapping
from typing import Any

_MAX_METRICS, _MAX_PARAMS_OR_TAGS = 800, 100
"""MLflow accepts 1,000 items in a call, at most 100 of them params and 100 tags."""
_PARAM_LENGTH, _TAG_LENGTH = 6000, 5000


def to_ms(seconds: float) -> int:
    """Converts seconds to MLflow's milliseconds."""
    return int(seconds * 1000)


class RunBatch:
    """Metrics, params and tags of one run that are not yet sent. A later value of a tag replaces an earlier one."""

    def __init__(self) -> None:
        self._metrics: list[Any] = []
        self._params: list[Any] = []
        self._tags: dict[str, str] = {}

    def metrics(self, values: Mapping[str, float], when_ms: int, step: int) -> None:
        """Adds one point to each named metric."""
        from mlflow.entities import Metric

        self._metrics += [Metric(name, float(value), when_ms, step) for name, value in values.items()]

    def params(self, values: Mapping[str, Any]) -> None:
        """Adds params, cut to the length that MLflow accepts."""
        from mlflow.entities import Param

        self._params += [Param(name, str(value)[:_PARAM_LENGTH]) for name, value in values.items()]

    def tags(self, values: Mapping[str, Any]) -> None:
        """Sets tags, cut to the length that MLflow accepts."""
        self._tags |= {name: str(value)[:_TAG_LENGTH] for name, value in values.items()}

    def send(self, client: Any, run_id: str) -> None:
        """Sends everything. After a failure the next replay repeats all values; repeated values change nothing."""
        from mlflow.entities import RunTag

        tags = [RunTag(name, value) for name, value in self._tags.items()]
        while self._metrics or self._params or tags:
            client.log_batch(
                run_id,
                metrics=self._metrics[:_MAX_METRICS],
                params=self._params[:_MAX_PARAMS_OR_TAGS],
                tags=tags[:_MAX_PARAMS_OR_TAGS],
            )
            del self._metrics[:_MAX_METRICS], self._params[:_MAX_PARAMS_OR_TAGS], tags[:_MAX_PARAMS_OR_TAGS]
        self._tags.clear()
