"""Where the tools that train sparse autoencoders put weights and settings, and what the settings say of a decoder.

SAELens: `cfg.json`, `sae_weights.safetensors`. Gemma Scope: `params.npz`, with the layer in its path; Gemma Scope 2:
`config.json`, `params.safetensors`. Llama Scope (lm_saes): `hyperparams.json`, `checkpoints/final.safetensors`.
sparsify: `layers.5/cfg.json` and `sae.safetensors`. dictionary_learning: `config.json`, `ae.pt`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vectors.common.errors import VectorError
from vectors.common.files import read_bytes
from vectors.common.tensor_file import MAX_HEADER
from vectors.common.validation import check_integer, quote
from vectors.formats.layer_names import find_layer, layer_in_file_name, layer_of

CONFIGS: Final = ("cfg.json", "config.json", "hyperparams.json", "hyperparameters.json")
WEIGHTS: Final = (
    "sae_weights.safetensors", "sae.safetensors", "params.safetensors", "params.npz", "checkpoints/final.safetensors",
    "final.safetensors", "ae.pt", "sae_weights.pt", "sae.pt",
)  # fmt: skip
FILES: Final = (".safetensors", ".npz", ".pt", ".pth", ".bin")
"""Endings of weights that can be given by themselves."""

_HOOKS: Final = ("hook_name", "hook_point", "hf_hook_point_in", "hook_point_in", "hook")
_HOOKS_OUT: Final = ("hook_name_out", "hf_hook_point_out", "hook_point_out")
_WIDTHS: Final = ("d_in", "d_model", "activation_dim", "act_size")
_NOT_SAES: Final = re.compile(r"transcod|crosscod|lorsa|mixcod|\bclt\b|molt", re.IGNORECASE)
_NOT_SCALED: Final = ("none", "", "false", "inference")
_SCOPE: Final = re.compile(r"gemma-scope-[\w.-]*?-(mlp|att|transcoders?)\b", re.IGNORECASE)
_FOLDER: Final = re.compile(
    r"^(mlp_out|attn_out|transcoder(?:_all)?|clt|crosscoder|embedding|embed_tokens|(?:model\.)?layers[._]\d+[._].+)$",
    re.IGNORECASE,
)
_NEAR: Final = 5  # folders above the weights that belong to the autoencoder


@dataclass(frozen=True)
class Layout:
    """An autoencoder on the disk.

    Attributes:
        weights: its file of weights.
        layer: the block whose output it was trained on, as its settings or its path say, or None.
        sure: whether the settings say so; a path only suggests it.
        width: width of the activations, if the settings say.
        model: the model that the settings name, if any.
        notes: what a user should know of it.
    """

    weights: Path
    layer: int | None
    sure: bool
    width: Any
    model: str | None
    notes: tuple[str, ...]


def find_layout(path: Path) -> Layout:
    """Return where the weights of an autoencoder are, and what its settings say.

    Args:
        path: its folder, or its file of weights.

    Raises:
        VectorError: a folder without weights, settings that cannot be read, or an autoencoder of anything else than
            the residual stream after a block.
    """
    folder = path if path.is_dir() else path.parent
    weights = _weights(path)
    places = [folder, *([folder.parent] if folder.name == "checkpoints" or path.is_file() else [])]
    config_path = next((place / name for place in places for name in CONFIGS if (place / name).is_file()), None)
    settings = {} if config_path is None else _read_settings(config_path)
    _check_kind(settings)
    layer, sure = _stated_layer(settings), True
    point = _first(settings, (*_HOOKS_OUT, *_HOOKS, "submodule_name"))
    if point is None:
        _check_path(path)
    if layer is None:
        parts = (weights.name, *(part.name for part in (weights.parent, *weights.parents)))
        layer, sure = (
            next((found for part in parts[:6] if (found := layer_in_file_name(part)) is not None), None),
            False,
        )
    width = next((settings[key] for key in _WIDTHS if settings.get(key) is not None), None)
    model = next(
        (settings[key] for key in ("model_name", "lm_name", "base_model") if isinstance(settings.get(key), str)), None
    )
    return Layout(weights, layer, sure, width, model, tuple(_notes(settings, layer, point, sure)))


def _weights(path: Path) -> Path:
    if path.is_file():
        return path
    for name in WEIGHTS:
        if (path / name).is_file():
            return path / name
    inside = sorted(each.name for each in path.iterdir() if each.is_dir())[:1] if path.is_dir() else []
    deeper = f" (it has folders, such as {quote(inside[0])}: give one of those)" if inside else ""
    raise VectorError(f"it holds none of {', '.join(WEIGHTS[:4])}, …, ae.pt{deeper}: give the folder of an autoencoder")


def _read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in one mapping; SAELens nests them under `metadata`, dictionary_learning under `trainer`."""
    raw = read_bytes(path, f"the {path.name} of a sparse autoencoder", limit=MAX_HEADER, error=VectorError)
    try:
        settings = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise VectorError(f"{quote(path)} is not JSON: give a folder that the training wrote") from error
    if not isinstance(settings, dict):
        raise VectorError(f"{quote(path)} is no JSON object: give a folder that the training wrote")
    nested = [settings[key] for key in ("metadata", "trainer", "buffer", "sae") if isinstance(settings.get(key), dict)]
    merged: dict[str, Any] = {}
    for table in (*reversed(nested), settings):
        merged |= {key: value for key, value in table.items() if value is not None}
    return merged


def _check_kind(settings: Mapping[str, Any]) -> None:
    """Refuse what does not write the residual stream after a block."""
    for key in ("architecture", "type", "sae_type", "dict_class", "trainer_class"):
        if isinstance(settings.get(key), str) and _NOT_SAES.search(settings[key]):
            raise VectorError(f"it is a transcoder or crosscoder ({key} {quote(settings[key])}): give an autoencoder")
    if settings.get("transcode") or settings.get("skip_connection") or settings.get("io") == "in_and_out":
        raise VectorError("it is a transcoder, from the input to the output of a component: give an autoencoder")
    if settings.get("hook_head_index") is not None or settings.get("hook_point_head_index") is not None:
        raise VectorError("it is an autoencoder of a single attention head: give one of the residual stream")
    inside, out = _first(settings, _HOOKS), _first(settings, _HOOKS_OUT)
    if inside is not None and out is not None and inside != out:
        raise VectorError(f"it is a transcoder from {quote(inside)} to {quote(out)}: give an autoencoder")


def _check_path(path: Path) -> None:
    for depth, part in enumerate((path.name, *(parent.name for parent in path.absolute().parents))):
        match = _SCOPE.search(part) or (_FOLDER.search(part) if depth < _NEAR else None)
        if match is not None:
            raise VectorError(
                f"{quote(part)} is of {quote(match[1])}, and its decoder does not write the residual stream after a "
                "block: give an autoencoder of the residual stream"
            )


def _stated_layer(settings: Mapping[str, Any]) -> int | None:
    """Return the block that the settings name, by a hook, a module, or a number."""
    hook = _first(settings, (*_HOOKS_OUT, *_HOOKS))
    if hook is not None and not isinstance(hook, str):
        raise VectorError(f"its settings name no hook ({quote(hook)}): give a folder that the training wrote")
    for name in (hook, settings.get("submodule_name"), settings.get("act_name")):
        if isinstance(name, str) and name and (layer := find_layer(name)) is not None:
            return layer - 1 if settings.get("io") == "in" and name != hook else layer
    if hook is not None and any(character.isdigit() for character in hook):
        return layer_of(hook)
    number = next((settings[key] for key in ("layer", "hook_layer", "hook_point_layer") if key in settings), None)
    if number is None:
        return None
    before = settings.get("io") == "in" or (hook is not None and "pre" in hook)
    return check_integer(number, "its layer", low=int(before), error=VectorError) - before


def _notes(settings: Mapping[str, Any], layer: int | None, point: Any, sure: bool) -> list[str]:
    notes = []
    for key in ("normalize_activations", "norm_activation"):
        value = settings.get(key)
        if (isinstance(value, str) and value.lower() not in _NOT_SCALED) or value is True:
            notes.append(
                f"its {key} is {quote(value)}: it was trained on rescaled activations, so that a feature's length is "
                "not that of its shift in the stream: try several doses"
            )
    if settings.get("finetuning_scaling_factor") is True:
        notes.append("its features are scaled after the decoder, which is left out here: try several doses")
    if layer is not None and not sure:
        notes.append(f"its layer, {layer}, is from its path, and it is taken for one of the residual stream")
    elif point is None:
        notes.append("its settings do not say which point it was trained on: it is taken for the residual stream")
    return notes


def _first(settings: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((settings[key] for key in keys if settings.get(key)), None)
