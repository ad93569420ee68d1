"""Shared by tests: planted texts, stand-in hub models, families, padding, a page reader, the shape checker."""

from helpers import shapes  # the pytest option of jaxtyping looks for `helpers.shapes.check` as an attribute

__all__ = ["shapes"]
