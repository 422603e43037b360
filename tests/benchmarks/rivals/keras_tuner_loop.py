"""KerasTuner: a hypermodel, a grid search over the eight configurations, and its usual checkpoints and trial files."""

from typing import Any

from tests.benchmarks import plain
from tests.benchmarks.rivals.task import PartTimer, parse_arguments, print_result


def main() -> None:
    parts, (task, _) = PartTimer(), parse_arguments()
    import keras
    import keras_tuner

    parts.end("imports")
    configurations = task.configurations

    class Eight(keras_tuner.HyperModel):  # type: ignore[misc]
        def build(self, hp: Any) -> Any:
            keras.utils.set_random_seed(task.seed)
            return plain.model(configurations[hp.Choice("configuration", list(task.order))])

        def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
            settings = configurations[hp.get("configuration")]
            (x, y), validation = plain.data(settings["maxlen"], settings.get("n_train", plain.N_TRAIN))
            return model.fit(x, y, *args, batch_size=plain.BATCH_SIZE, validation_data=validation, **kwargs)

    tuner = keras_tuner.GridSearch(
        Eight(),
        objective="val_accuracy",
        max_trials=len(configurations),
        executions_per_trial=1,
        directory=str(task.folder),
        project_name="eight",
    )
    tuner.search(epochs=plain.EPOCHS, verbose=0)
    parts.end("trials")
    by_configuration = {
        trial.hyperparameters.get("configuration"): trial.score for trial in tuner.oracle.trials.values()
    }
    print_result([by_configuration[index] for index in range(len(configurations))], parts)


if __name__ == "__main__":
    main()
