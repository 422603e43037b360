"""The model that MLflow logs, as code: texts in, labels and probabilities out. MLflow runs this file."""

from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel
from pydantic import BaseModel


class Answer(BaseModel):
    """What the model says of one text; `probability` is the label's."""

    label: str
    probability: float


class TextModel(PythonModel):  # type: ignore[misc]
    """A bundle behind MLflow's interface."""

    def load_context(self, context: Any) -> None:
        """Opens the bundle that was logged with the model."""
        from rnnexp.export.bundle import Bundle
        from rnnexp.export.predictor import Predictor

        self.predictor = Predictor(Bundle.open(Path(context.artifacts["bundle"])))

    def predict(self, model_input: list[str]) -> list[Answer]:
        """Answers each text."""
        return [
            Answer(label=found.label, probability=found.probability) for found in self.predictor.predict(model_input)
        ]


mlflow.models.set_model(TextModel())
