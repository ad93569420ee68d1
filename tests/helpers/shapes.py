"""A type checker for jaxtyping's import hook that checks tensor annotations only.

A static checker cannot see shapes and dtypes. Other annotations are left to it, because tests pass arguments of the
wrong type on purpose.
"""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` with its tensor arguments and its tensor result checked at every call."""
    function.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if _is_tensor(hint)}
    return beartype(function)


def _is_tensor(hint: Any) -> bool:
    options = [option for option in get_args(hint) or (hint,) if option is not type(None)]
    return all(isinstance(option, type) and issubclass(option, AbstractArray) for option in options)
