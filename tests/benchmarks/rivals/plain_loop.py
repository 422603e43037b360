"""The plain loop: Optuna and MLflow in SQLite, Keras' `fit`, one process, one trial after another.

Its options change one thing about the training: the batches, or the gradients.
"""

from collections.abc import Callable
from typing import Any

from tests.benchmarks import plain
from tests.benchmarks.rivals import variants
from tests.benchmarks.rivals.task import BY_LENGTH, WHOLE_GRADIENTS, PartTimer, parse_arguments, print_result


def _trainer(options: list[str]) -> Callable[..., list[float]]:
    if BY_LENGTH in options:
        return variants.train_by_length
    return variants.train_whole_gradients if WHOLE_GRADIENTS in options else plain.train


def main() -> None:
    parts, (task, options) = PartTimer(), parse_arguments()
    train = _trainer(options)
    import keras
    import mlflow
    import optuna

    parts.end("imports")
    mlflow.set_tracking_uri(f"sqlite:///{task.folder / 'mlflow.db'}")
    mlflow.create_experiment("eight", artifact_location=str(task.folder / "artifacts"))
    mlflow.set_experiment("eight")
    study = optuna.create_study(
        storage=f"sqlite:///{task.folder / 'optuna.db'}", study_name="eight", direction="maximize"
    )
    configurations = task.configurations
    for index in task.order:
        study.enqueue_trial({"configuration": index})
    parts.end("stores")

    def objective(trial: optuna.Trial) -> float:
        settings = configurations[trial.suggest_categorical("configuration", range(len(configurations)))]
        best = task.folder / f"best-{trial.number}.keras"
        callbacks = [
            keras.callbacks.ModelCheckpoint(str(best), monitor="val_accuracy", mode="max", save_best_only=True),
            keras.callbacks.LambdaCallback(on_epoch_end=_log),
        ]
        with mlflow.start_run(run_name=f"trial-{trial.number}"):
            mlflow.log_params(settings)
            accuracy = max(train(settings, plain.EPOCHS, task.seed, callbacks))
            mlflow.log_metric("best_val_accuracy", accuracy)
            mlflow.log_artifact(str(best))
        return accuracy

    def _log(epoch: int, logs: dict[str, Any]) -> None:
        mlflow.log_metrics(logs, step=epoch)

    study.optimize(objective, n_trials=len(configurations))
    parts.end("trials")
    by_configuration = {trial.params["configuration"]: trial.value for trial in study.trials}
    print_result([by_configuration[index] for index in range(len(configurations))], parts)


if __name__ == "__main__":
    main()
