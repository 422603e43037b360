"""The plain loop: Optuna and MLflow in SQLite, Keras' `fit`, one process, one trial after another."""

from typing import Any

from tests.benchmarks import plain
from tests.benchmarks.rivals.task import PartTimer, parse_arguments, print_result


def main() -> None:
    parts, (task, _) = PartTimer(), parse_arguments()
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
    for index in range(len(configurations)):
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
            accuracy = max(plain.train(settings, plain.EPOCHS, task.seed, callbacks))
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
