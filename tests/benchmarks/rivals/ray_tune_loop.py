"""Ray Tune: a grid over the eight configurations, two concurrent trials with one CPU each.

The training function and its callback, which reports and saves after every epoch, follow Ray's guide.
"""

import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks import plain
from tests.benchmarks.rivals.task import REUSE_WORKERS, PartTimer, parse_arguments, print_result

_WORKERS = 2


def train(config: dict[str, Any]) -> None:
    """Trains one configuration in a Ray worker process."""
    import keras
    from ray import tune

    class Report(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            with tempfile.TemporaryDirectory() as folder:
                self.model.save(Path(folder) / "model.keras")
                tune.report(dict(logs or {}), checkpoint=tune.Checkpoint.from_directory(folder))

    plain.train(config["configurations"][config["configuration"]], plain.EPOCHS, config["seed"], [Report()])


def main() -> None:
    parts, (task, options) = PartTimer(), parse_arguments()
    import ray
    from ray import tune

    parts.end("imports")
    ray.init(num_cpus=_WORKERS, include_dashboard=False)
    parts.end("cluster")
    configurations = task.configurations
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={
            "configuration": tune.grid_search(list(task.order)),
            "configurations": configurations,
            "seed": task.seed,
        },
        # With reused workers, TensorFlow and the texts are loaded twice instead of eight times.
        tune_config=tune.TuneConfig(
            metric="val_accuracy", mode="max", max_concurrent_trials=_WORKERS, reuse_actors=REUSE_WORKERS in options
        ),
        run_config=tune.RunConfig(name="eight", storage_path=str(task.folder), verbose=1),
    )
    results = tuner.fit()
    parts.end("trials")
    if results.errors:
        raise RuntimeError(f"{results.num_errors} trials failed: {results.errors[0]}")
    by_configuration = {
        result.config["configuration"]: float(result.metrics_dataframe["val_accuracy"].max()) for result in results
    }
    ray.shutdown()
    print_result([by_configuration[index] for index in range(len(configurations))], parts)


if __name__ == "__main__":
    main()
