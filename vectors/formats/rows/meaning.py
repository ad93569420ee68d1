"""What a file says of its vectors: anything else than adding them to the residual stream is refused, never added."""

import re
from collections.abc import Mapping
from typing import Any, Final

from vectors.common.errors import VectorError
from vectors.common.validation import escape_invisible, quote

_HOW: Final = frozenset(
    ["method", "mode", "operation", "operator", "op", "intervention", "interventiontype", "interventionclass",
     "algorithm", "steeringtype", "steeringmethod", "steeringmode", "type", "kind", "vectortype", "transform", "action",
     "edit", "edittype", "function", "application", "apply", "applied", "applyas", "applymode", "applyop", "semantics",
     "control", "dictclass", "saetype"]
)  # fmt: skip
_WHERE: Final = frozenset(
    ["target", "targetsubmodule", "hook", "hookname", "hookpoint", "hooktype", "component", "submodule",
     "submodulename", "site", "stream", "location", "module", "modulename", "moduletype", "layertype", "activationtype",
     "actname", "point"]
)  # fmt: skip
_CONDITIONS: Final = frozenset(
    ["condition", "conditions", "conditionvector", "conditionalvector", "conditionthreshold", "threshold", "gate",
     "gates", "probeaccuracies", "numheads", "headdim", "heads", "headindex", "hookheadindex", "tophead", "topheads"]
)  # fmt: skip
_STRENGTH: Final = frozenset(
    ["strength", "scale", "multiplier", "coeff", "coefficient", "coef", "alpha", "steeringstrength", "recommendedscale",
     "recommendedstrength", "lambda"]
)  # fmt: skip

_NOT_ADDED: Final = re.compile(
    r"ablat|project|orthogon|eras(e|ure|ing)|null.?space|leace|multipl|rotat|angular|spheric|slerp|clamp|replac|"
    r"overwrit|affine|reft|low.?rank|lm.?steer|transport|condition|\bcast\b|\biti\b|\bheads?\b|subtract|remov|suppress|"
    r"gated|\bgates?\b|router|patch|transcod|crosscod|lorsa|adaptive|norm.?preserv|soft.?prompt",
    re.IGNORECASE,
)
_BESIDE_STREAM: Final = re.compile(
    r"mlp|ffn|feed.?forward|attn|attention|\batt\b|\bhead|\bhook_[zqkv]\b|[qkvo]_proj|(up|down|gate)_proj|embed|router|"
    r"expert|norm|lm_head|unembed|logit|resid_mid|\bln_?[12f]?\b|final",
    re.IGNORECASE,
)

OTHER_FILES: Final[Mapping[str, str]] = {
    "rotate_layer": "a ReFT intervention, which edits a subspace", "learned_source": "a ReFT intervention",
    "projector1": "an LM-Steer matrix, which multiplies the stream", "projector2": "an LM-Steer matrix",
    "A_": "a linear map, which multiplies the stream", "lora_A": "a LoRA adapter", "lora_B": "a LoRA adapter",
    "base_model.model": "an adapter", "W_enc": "a sparse autoencoder, of which --row chooses a feature",
    "W_dec": "a sparse autoencoder, of which --row chooses a feature",
    "w_dec": "a sparse autoencoder, of which --row chooses a feature",
    "decoder.weight": "a sparse autoencoder, of which --row chooses a feature",
    "decoder_linear.weight": "a sparse autoencoder, of which --row chooses a feature",
    "condition": "a condition, which decides when to steer",
    "condition_vector": "a condition, which decides when to steer",
    "lm_head.weight": "a model", "embed_tokens.weight": "a model", "optimizer": "a training checkpoint",
    "state_dict": "a training checkpoint",
}  # fmt: skip
"""Names in files that hold something else than vectors to add, and what it is."""


def other_file(name: str) -> str | None:
    """Return what a file is that holds an array of this name, if it is known to be something else than vectors."""
    for start, what in OTHER_FILES.items():
        if name == start or name.startswith(f"{start}.") or name.endswith(f".{start}") or f".{start}." in name:
            return what
    return None


def check_meaning(entries: Mapping[str, Any]) -> list[str]:
    """Check what the entries beside the vectors of a file say, and return notes about them.

    Only words count: how the vectors are applied, and where. Entries about their making are ignored.

    Args:
        entries: names and values of any format; prefixes such as `controlvector.` do not matter.

    Raises:
        VectorError: vectors that are not added, or not to the residual stream after a block, or under a condition.

    >>> check_meaning({"controlvector.method": "pca", "hook": "resid_post", "alpha": 4.0})
    ['its alpha is 4: dose 1 adds its vectors at their own length, and dose 4 what it asks for']
    """
    notes = []
    for key, value in entries.items():
        name = re.sub(r"[^a-z]", "", key.rsplit(".", 1)[-1].lower())
        text = value if isinstance(value, str) else None
        if name in _CONDITIONS and _is_set(value):
            raise VectorError(
                f"its {quote(key)} says that it steers under a condition, or single attention heads: only vectors that "
                "are always added to the residual stream can be used here"
            )
        if name in _HOW and text is not None and (word := _NOT_ADDED.search(text)):
            raise VectorError(
                f"its {quote(key)} is {quote(text)} ({word[0]}): only vectors that are added to the residual stream "
                "can be used here"
            )
        if name in _WHERE and text is not None and (place := _BESIDE_STREAM.search(text)):
            raise VectorError(
                f"its {quote(key)} is {quote(text)} ({place[0]}): only vectors of the residual stream after a block "
                "can be used here"
            )
        strength = _number(value) if name in _STRENGTH else None
        if strength not in (None, 1.0):
            notes.append(
                f"its {escape_invisible(key)} is {strength:g}: dose 1 adds its vectors at their own length, and dose "
                f"{strength:g} what it asks for"
            )
    return notes


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None


def _is_set(value: Any) -> bool:
    """Whether an entry has a value: None, False, 0, an empty list and the text "none" have not."""
    if isinstance(value, str):
        return value.strip().lower() not in ("", "none", "null", "false", "0")
    try:
        return bool(value)
    except (RuntimeError, ValueError):  # a tensor of several values
        return True
