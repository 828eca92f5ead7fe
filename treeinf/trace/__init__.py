"""The replay of training over the rows that a model was trained on."""

from treeinf.trace.reproduction import ReproductionReport
from treeinf.trace.rows import StagedRows, sum_derivatives
from treeinf.trace.staged_scores import StagedScores
from treeinf.trace.training_trace import TrainingTrace, as_trained

__all__ = [
    "ReproductionReport",
    "StagedRows",
    "StagedScores",
    "TrainingTrace",
    "as_trained",
    "sum_derivatives",
]
