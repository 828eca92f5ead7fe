"""The replay of training over the rows that a model was trained on."""

from treeinf.trace.reproduction import ReproductionReport
from treeinf.trace.rows import StagedRows, sum_derivatives
from treeinf.trace.training_trace import TrainingTrace

__all__ = ["ReproductionReport", "StagedRows", "TrainingTrace", "sum_derivatives"]
