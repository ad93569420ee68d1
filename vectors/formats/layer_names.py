"""Parse the layer from the name of a tensor, a module or a TransformerLens hook."""

import re

from vectors.common.errors import VectorError
from vectors.common.validation import quote

_NUMBER = r"(0|[1-9][0-9]{0,4})"
_LENS = re.compile(rf"blocks\.{_NUMBER}\.(hook_[a-z_]+|[a-z_]+\.hook_[a-z_]+)", re.ASCII)
_AFTER, _BEFORE = ("hook_resid_post", "hook_out"), ("hook_resid_pre", "hook_in")
_PLAIN = re.compile(
    rf"(?:(?:[a-z_]+\.)*(?:layers?|h|blocks?|directions?)[._]?)?{_NUMBER}(?:\.(?:v|shared\.v|vector|direction))?",
    re.ASCII,
)


def layer_of(name: str) -> int:
    """Return the 0-based block whose output a name refers to.

    A name of the residual stream before a block (`hook_resid_pre`) gives the block before it.

    Raises:
        VectorError: a name of anything else than the residual stream after a block.

    >>> layer_of("blocks.7.hook_resid_post"), layer_of("blocks.8.hook_resid_pre"), layer_of("model.layers.7")
    (7, 7, 7)
    >>> layer_of("layer7.v"), layer_of("direction.7"), layer_of("7")
    (7, 7, 7)
    """
    if lens := _LENS.fullmatch(name):
        block, point = int(lens[1]), lens[2]
        if point in _AFTER:
            return block
        if point in _BEFORE and block > 0:
            return block - 1
        where = "the embeddings, before any block" if point in _BEFORE else "no residual point after a block"
        raise VectorError(f"{quote(name)} is {where}: only the residual stream after a block can be steered here")
    if plain := _PLAIN.fullmatch(name):
        return int(plain[1])
    raise VectorError(
        f"{quote(name)} names no residual stream after a block: expected a name such as layers.7, direction.7 or "
        "blocks.7.hook_resid_post"
    )
