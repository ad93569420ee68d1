"""What several tests share: planted texts, stand-in hub models, families, a reader of pages, the shape checker."""

from helpers import shapes  # the pytest option of jaxtyping looks for `helpers.shapes.check` as an attribute

__all__ = ["shapes"]
