"""What goes wrong, by kind: each message is one line saying what was given, what was expected, and the mend."""


class SteerError(Exception):
    """Base of every error this project raises on purpose."""


class InputError(SteerError):
    """An argument, a text or an expression that cannot be used as given."""


class ModelError(SteerError):
    """A model that cannot be found, loaded or steered."""


class VectorError(SteerError):
    """A vector, or the file that holds it, that cannot be used with this model."""


class OutputError(SteerError):
    """A result that cannot be written where it was asked for."""


class UnsteeredError(SteerError):
    """A shift that did not reach the logits: text sampled now would be unsteered."""


class SteerWarning(UserWarning):
    """What is done another way than it could be, at a cost: said once."""
