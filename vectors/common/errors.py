"""Errors and warnings of the project; each message is one line: what was given, what was expected, how to fix it."""


class SteerError(Exception):
    """Base class of all errors that the project raises on purpose."""


class InputError(SteerError):
    """An argument, text or expression cannot be used."""


class ModelError(SteerError):
    """A model cannot be found, loaded or steered."""


class VectorError(SteerError):
    """A concept vector, or its file, is invalid or belongs to another model."""


class OutputError(SteerError):
    """A result cannot be written to the given path."""


class UnsteeredError(SteerError):
    """A shift does not reach the logits: generated text would be unsteered."""


class SteerWarning(UserWarning):
    """Something works, but slower or less exactly than it could; issued once."""
