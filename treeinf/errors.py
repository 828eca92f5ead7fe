"""Exceptions that a caller may want to catch, and the warnings of treeinf."""

__all__ = [
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
    """Base of every error that is treeinf's own."""


class ModelFormatError(TreeinfError, ValueError):
    """The bytes are not a model file, or not a whole one."""


class UnsupportedModelError(TreeinfError, ValueError):
    """The model cannot be represented exactly, or the method cannot explain it.

    The message names what was met, what is read, and the way out.
    """


class ModelParityError(TreeinfError, RuntimeError):
    """Raw scores of the representation differ from the library's own."""


class TrainingDataMismatchError(TreeinfError, ValueError):
    """The rows, labels or weights are not those the model was trained on."""


class DeviceUnavailableError(TreeinfError, RuntimeError):
    """The device asked for cannot be used; the message says why."""


class DeviceMemoryError(TreeinfError, MemoryError):
    """The device has too little memory; the message says what would fit."""


class TreeinfWarning(UserWarning):
    """Base of every warning that is treeinf's own."""


class TrainingDataWarning(TreeinfWarning):
    """The replay of training is approximate; the message says by how much and why."""


class SubsampledTrainingWarning(TrainingDataWarning):
    """The model saw a sample of the rows in each iteration."""


class ModelVersionWarning(TreeinfWarning):
    """The model is newer than all versions of its library that were tested."""


class SelfExplanationWarning(TreeinfWarning):
    """The explained rows are train rows, scored by a model that has seen them."""
