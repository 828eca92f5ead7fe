"""Exceptions and warnings of treeinf."""

__all__ = [
    "BagsNotFoundError",
    "DeviceMemoryError",
    "DeviceUnavailableError",
    "ModelFormatError",
    "ModelParityError",
    "ModelVersionWarning",
    "SelfExplanationWarning",
    "SubsampledTrainingWarning",
    "TrainingDataMismatchError",
    "TrainingDataWarning",
    "TreeinfError",
    "TreeinfWarning",
    "UnsupportedModelError",
]


class TreeinfError(Exception):
    """Base class of treeinf's exceptions."""


class ModelFormatError(TreeinfError, ValueError):
    """The content is not a model file, or is truncated or inconsistent."""


class UnsupportedModelError(TreeinfError, ValueError):
    """The model cannot be represented exactly, or the method cannot explain it.

    The message names what was found, what is supported, and a way out.
    """


class ModelParityError(TreeinfError, RuntimeError):
    """Recomputed raw scores differ from those of the library."""


class TrainingDataMismatchError(TreeinfError, ValueError):
    """The rows, labels or weights are not those the model was trained on."""


class BagsNotFoundError(TreeinfError, ValueError):
    """Which rows each tree was fitted on could not be recovered for all trees."""


class DeviceUnavailableError(TreeinfError, RuntimeError):
    """The requested device cannot be used; the message says why."""


class DeviceMemoryError(TreeinfError, MemoryError):
    """The device has too little memory; the message says what would fit."""


class TreeinfWarning(UserWarning):
    """Base class of treeinf's warnings."""


class TrainingDataWarning(TreeinfWarning):
    """The replay of training is approximate; the message says by how much and why."""


class SubsampledTrainingWarning(TrainingDataWarning):
    """Each iteration was fitted on a sample of the rows."""


class ModelVersionWarning(TreeinfWarning):
    """The model is newer than all versions of its library that were tested."""


class SelfExplanationWarning(TreeinfWarning):
    """The explained rows are train rows, scored by a model that has seen them."""
