"""The code of an MLflow model: from texts to labels and probabilities. MLflow runs this file."""

from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel
from pydantic import BaseModel


class Answer(BaseModel):
    """The prediction for one text; `probability` is the probability of the label."""

    label: str
    probability: float
    probabilities: dict[str, float]


class TextModel(PythonModel):  # type: ignore[misc]
    """The MLflow interface of a bundle."""

    def load_context(self, context: Any) -> None:
        """Opens the bundle that was saved with the model."""
        from rnnexp.export import predictor
        from rnnexp.export.bundle import Bundle

        self.model = predictor.load(Bundle.open(Path(context.artifacts["bundle"])))

    def predict(self, model_input: list[str]) -> list[Answer]:
        """Returns the prediction for each text."""
        return [
            Answer(label=found.label, probability=found.probability, probabilities=found.probabilities)
            for found in self.model.predict(model_input)
        ]


mlflow.models.set_model(TextModel())
