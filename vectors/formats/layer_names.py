"""Parse the layer from the name of a tensor, a module, a file or a hook, as several tools write it."""

import re

from vectors.common.errors import VectorError
from vectors.common.validation import quote

_NUMBER = r"(0|[1-9][0-9]{0,4})"
_LENS = re.compile(rf"blocks\.{_NUMBER}\.(hook_[a-z_]+|[a-z_]+\.hook_[a-z_]+)", re.ASCII)
_AFTER, _BEFORE = ("hook_resid_post", "hook_out"), ("hook_resid_pre", "hook_in")
# a module (and its output or input, in nnsight's words), an index, or a word for layers with one
_PLAIN = re.compile(
    rf"(?:(?:[a-z_]+\.)*(?:layers?|h|blocks?|directions?)[._ -]?)?\[?{_NUMBER}\]?"
    r"(?:\.(?:v|shared\.v|vector|direction|steering_vector|output|input)(?:\.0|\[0\])?)?",
    re.ASCII | re.IGNORECASE,
)
# pyvene: layer_3_comp_block_output_unit_pos_nunit_1#0, or with dots
_PYVENE = re.compile(rf"layer[._]{_NUMBER}[._]comp[._]([a-z_]+?)(?:[._]unit.*)?", re.ASCII)
# dictionary_learning and others: resid_post_layer_3
_RESIDUAL = re.compile(
    rf"(?:hook_)?(?:resid(?:ual)?(?:_stream)?)[._]?(post|pre|out)?[._]?(?:layer|block)?[._]?{_NUMBER}", re.ASCII
)
_HIDDEN = re.compile(rf"hidden_states?(?:[._ ]?\[?{_NUMBER}\]?)", re.ASCII)
_OTHER_TOWER = re.compile(r"(?:^|\.)(?:vision|visual|audio|image|encoder|vit|clip)[a-z_]*\.", re.IGNORECASE)
_OTHER_PLACE = re.compile(
    r"mlp|ffn|feed_?forward|attn|attention|_proj|\bhook_|embed_|embeddings?\b|resid_mid|layer_?norm|\bnorm\b|"
    r"\bln_?[12f]\b|lm_head|comp_|\.comp\.",
    re.IGNORECASE,
)
_LENS_IN_FILE_NAME = re.compile(r"blocks[._]([0-9]{1,4})[._]((?:[a-z]+[._])?hook_[a-z_]+)", re.IGNORECASE | re.ASCII)
_BEFORE_IN_FILE_NAME = re.compile(r"(?:^|[^a-z])(?:resid_?pre|hook_in)(?![a-z])", re.IGNORECASE)
_OTHER_IN_FILE_NAME = re.compile(r"(?:^|[^a-z])(?:resid_?mid|(?:mlp|attn|ffn)_?(?:out|in)|hook_[zqkv])(?![a-z])", re.I)
_IN_FILE_NAME = re.compile(r"(?:^|[^a-z])(?:layer|block)s?[_.-]?([0-9]{1,4})(?![0-9])", re.IGNORECASE | re.ASCII)


def layer_of(name: str) -> int:
    """Return the 0-based block whose output a name refers to.

    A name of the residual stream before a block (`hook_resid_pre`) gives the block before it, and so does an index of
    transformers' `hidden_states`, which begin with the embeddings.

    Raises:
        VectorError: a name of anything else than the residual stream after a block.

    >>> layer_of("blocks.7.hook_resid_post"), layer_of("blocks.8.hook_resid_pre"), layer_of("model.layers.7")
    (7, 7, 7)
    >>> layer_of("layer7.v"), layer_of("direction.7"), layer_of("7"), layer_of("hidden_states.8")
    (7, 7, 7, 7)
    """
    layer = find_layer(name)
    if layer is None:
        raise VectorError(
            f"{quote(name)} names no residual stream after a block: expected a name such as layers.7, direction.7 or "
            "blocks.7.hook_resid_post"
        )
    return layer


def find_layer(name: str) -> int | None:
    """Return the block whose output a name refers to, None for a name that refers to no place in a model.

    Raises:
        VectorError: a name of another place than the residual stream after a block.
    """
    if _OTHER_TOWER.search(name):
        raise VectorError(f"{quote(name)} is part of another model than the language model: only that is steered here")
    if lens := _LENS.fullmatch(name):
        block, point = int(lens[1]), lens[2]
        return _after(block, point in _BEFORE, name) if point in (*_AFTER, *_BEFORE) else _refuse(name)
    if (pyvene := _PYVENE.fullmatch(name)) and pyvene[2] in ("block_output", "block_input"):
        return _after(int(pyvene[1]), pyvene[2] == "block_input", name)
    if residual := _RESIDUAL.fullmatch(name):
        return _after(int(residual[2]), residual[1] == "pre", name)
    if hidden := _HIDDEN.fullmatch(name):
        return _after(int(hidden[1]), True, name)
    if plain := _PLAIN.fullmatch(name):
        return _after(int(plain[1]), ".input" in name.lower(), name)
    return _refuse(name) if _OTHER_PLACE.search(name) else None


def layer_in_file_name(name: str) -> int | None:
    """Return the layer that the name of a file or a folder says, as in `vec_layer_13_Llama-2-7b.pt`, if any.

    Raises:
        VectorError: the name says that it is of another place than the residual stream after a block.

    >>> layer_in_file_name("vec_layer_13_Llama-2-7b.pt"), layer_in_file_name("layer_12"), layer_in_file_name("v.pt")
    (13, 12, None)
    >>> layer_in_file_name("final_sae_gpt2-small_blocks.8.hook_resid_pre_24576.pt")
    7
    """
    if lens := _LENS_IN_FILE_NAME.search(name):
        point = lens[2].lower()
        is_before = point.startswith(_BEFORE)
        if not is_before and not point.startswith(_AFTER):
            _refuse(name)
        return _after(int(lens[1]), is_before, name)
    found = {int(number) for number in _IN_FILE_NAME.findall(name)}
    if len(found) != 1:
        return None
    if _OTHER_IN_FILE_NAME.search(name):
        _refuse(name)
    return _after(found.pop(), bool(_BEFORE_IN_FILE_NAME.search(name)), name)


def _after(block: int, before: bool, name: str) -> int:
    if before and block == 0:
        raise VectorError(
            f"{quote(name)} is the embeddings, before any block: only the residual stream after a block can be steered "
            "here"
        )
    return block - before


def _refuse(name: str) -> int:
    raise VectorError(
        f"{quote(name)} is no residual point after a block: only the residual stream after a block can be steered here"
    )
