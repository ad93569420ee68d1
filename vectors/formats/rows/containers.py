"""Find the row of each layer in what a file holds: tensors, alone or stacked, in lists, and under names or layers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from vectors.common.errors import VectorError
from vectors.common.layer_ranges import LayerRanges
from vectors.common.validation import check_integer, list_names, quote
from vectors.formats.layer_names import find_layer
from vectors.formats.layer_shifts import MAX_ROWS
from vectors.formats.rows.meaning import check_meaning, other_file

MAX_NUMBERS: Final = 2**24  # a row for each of a thousand layers, sixteen thousand wide
_FLOATS: Final = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_DEPTH: Final = 4
_BESIDE: Final = frozenset(
    ["explained_variance", "explained_variances", "variances", "norms", "norm", "accuracies", "accuracy", "scores",
     "aucs", "losses", "metrics", "layer_scores", "n_samples", "stats"]
)  # fmt: skip
_LAYER_KEYS: Final = (
    "layer", "layers", "layer_idx", "layer_index", "layer_id", "layer_ids", "layer_indices", "target_layer",
    "target_layers",
)  # fmt: skip
_MODEL_KEYS: Final = ("model_type", "model_hint", "model_name", "model_id", "model", "base_model", "model_name_or_path")
_HOOK_KEYS: Final = ("hook", "hook_name", "hook_point", "hook_type", "component", "submodule_name", "stream", "point")
_BEFORE: Final = re.compile(r"resid_?(?:ual_?)?pre|block_input|hook_in\b|\binput\b|pre_?block", re.IGNORECASE)
_EMBEDDINGS: Final = "it holds {} rows for {} layers: row 0, of the embeddings, is left out, and row 1 is layer 0"
_INNER: Final = ("metadata", "config", "cfg", "info", "meta", "args", "hparams", "settings")


@dataclass(frozen=True)
class Rows:
    """The rows that a file holds.

    Attributes:
        by_layer: the row of each block, by 0-based block.
        notes: what a user should know of them.
        entries: what the file says beside its rows.
    """

    by_layer: dict[int, Tensor]
    notes: tuple[str, ...] = ()
    entries: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str | None:
        """The model that the file names, if any, in whatever words."""
        return next((self.entries[key] for key in _MODEL_KEYS if isinstance(self.entries.get(key), str)), None)


def rows_in(value: Any, *, n_layers: int, chosen: LayerRanges | None = None, named: int | None = None) -> Rows:
    """Return the rows of what a file holds; with chosen layers, of these only.

    It may be a row, "d_model"; a stack of rows for all layers, with or without one for the embeddings first; a list of
    rows; a mapping from layers or names of layers to rows; or any of these under one name.

    Args:
        value: tensors, lists and mappings, with other entries beside them.
        n_layers: number of layers of the model.
        chosen: the layers to return, and the layer of a row that has none.
        named: the layer that the name of the file says, if any; what the file itself says comes first.

    Raises:
        VectorError: anything else, or vectors that mean something else than to be added to the residual stream.

    >>> rows_in({"layers.3": torch.ones(2)}, n_layers=4).by_layer
    {3: tensor([1., 1.])}
    """
    finder = _Finder(n_layers, chosen, named)
    rows = finder.find(value, None, 0)
    if not 0 < len(rows) <= MAX_ROWS:
        raise VectorError(f"it holds {len(rows)} rows, expected 1 to {MAX_ROWS}")
    if chosen is not None:
        rows = {layer: rows[layer] for layer in chosen.choose(rows, "it", error=VectorError)}
    return Rows(rows, tuple(dict.fromkeys(finder.notes)), finder.entries)


class _Finder:
    def __init__(self, n_layers: int, chosen: LayerRanges | None, named: int | None) -> None:
        self.n_layers, self.chosen, self.named = n_layers, chosen, named
        self.notes: list[str] = []
        self.entries: dict[str, Any] = {}

    def find(self, value: Any, stated: list[int] | None, depth: int) -> dict[int, Tensor]:
        """Return the rows of a value for which the file states these layers, if any."""
        if depth > _DEPTH:
            raise VectorError("its vectors are nested too deeply: save them by layer, layers.N")
        if isinstance(value, Mapping):
            return self.find_named(value, stated, depth)
        array = _array(value)
        if array is None and isinstance(value, list | tuple) and value:
            rows = [_array(each) for each in value]
            if any(row is None for row in rows):
                wrong = next(each for each, row in zip(value, rows, strict=True) if row is None)
                raise VectorError(f"it holds a list with {_kind(wrong)} in it, expected a row for each layer")
            flat = [_squeezed(row, f"item {index}") for index, row in enumerate(rows) if row is not None]
            if any(row.ndim != 1 or len(row) != len(flat[0]) for row in flat):
                raise VectorError(
                    f"it holds a list of {len(flat)} arrays of several shapes, expected a row for each layer"
                )
            array = torch.stack([row.float() for row in flat])
        if array is None:
            raise VectorError(f"it holds {_kind(value)}, expected rows by layer")
        return self.find_stacked(_squeezed(array, "its array"), stated)

    def find_stacked(self, array: Tensor, stated: list[int] | None) -> dict[int, Tensor]:
        if array.ndim == 1:
            return {self.single_layer(stated): array}
        if array.ndim > 2:
            raise VectorError(
                f"its array has shape {tuple(array.shape)}, expected (layers, d_model): vectors of attention heads or "
                "of several positions cannot be used here"
            )
        if stated is not None and len(stated) == len(array):
            return dict(zip(stated, array, strict=True))
        if len(array) == self.n_layers:
            return dict(enumerate(array))
        if len(array) == self.n_layers + 1:
            self.notes.append(_EMBEDDINGS.format(len(array), self.n_layers))
            return dict(enumerate(array[1:]))
        raise VectorError(
            f"it holds {len(array)} rows, and the model has {self.n_layers} layers: give one row for each layer, the "
            "first for block 0 (or one more, the first for the embeddings)"
        )

    def single_layer(self, stated: list[int] | None) -> int:
        """Return the layer of a row that has no name of a layer."""
        if stated is not None:
            if len(stated) != 1:
                raise VectorError(f"it states {len(stated)} layers for one row: save it for one layer")
            return stated[0]
        if self.chosen is not None:
            if self.chosen.only is None:
                raise VectorError(
                    f"it holds one row without a layer, for layers {self.chosen}: choose one with --layer"
                )
            return self.chosen.only
        if self.named is not None:
            self.notes.append(f"its layer, {self.named}, is from its name: --layer says another")
            return self.named
        raise VectorError("its row has no layer: say its layer with --layer (layer=...), as in --layer 12")

    def find_named(self, mapping: Mapping[Any, Any], stated: list[int] | None, depth: int) -> dict[int, Tensor]:
        entries, arrays = dict[str, Any](), dict[str, Any]()
        for key, value in mapping.items():
            name = _name(key)
            if isinstance(value, Tensor) and value.ndim == 0 and not value.is_meta:
                value = value.item()
            if isinstance(value, str | bool | int | float) and _names_layer(name):
                raise VectorError(f"its {quote(name)} is {_kind(value)}, of shape (), expected floating-point numbers")
            if name in _BESIDE or name in _LAYER_KEYS or value is None or isinstance(value, str | bool | int | float):
                entries[name] = value
            elif name in _INNER and isinstance(value, Mapping):
                entries |= {_name(inner): each for inner, each in value.items()}
            elif _is_empty(value):
                continue
            else:
                arrays[name] = value
        self.notes += check_meaning(entries)
        self.entries |= entries
        if not 0 < len(arrays) <= MAX_ROWS:
            raise VectorError(f"it holds {len(arrays)} arrays, expected 1 to {MAX_ROWS}")
        stated = _stated_layers(entries) or stated
        layers = {name: self.layer_of(name) for name in arrays}
        unnamed = [name for name, layer in layers.items() if layer is None]
        if not unnamed:
            return self.find_layers(arrays, {name: layer for name, layer in layers.items() if layer is not None}, depth)
        if len(arrays) == 1:
            return self.find(arrays[unnamed[0]], stated, depth + 1)
        raise VectorError(
            f"it holds arrays named {list_names(unnamed)}, which are no layers: save one vector, with names such as "
            "layers.7 for its rows"
        )

    def layer_of(self, name: str) -> int | None:
        if what := other_file(name):
            raise VectorError(f"it holds {quote(name)}: it is {what}, no vector that is added to the residual stream")
        return find_layer(name)

    def find_layers(self, arrays: Mapping[str, Any], layers: Mapping[str, int], depth: int) -> dict[int, Tensor]:
        """Return a row for each name of a layer."""
        rows: dict[int, Tensor] = {}
        for name, value in arrays.items():
            layer = layers[name]
            if layer in rows:
                raise VectorError(f"two of its arrays are for layer {layer}: leave one out")
            row = self.row_of(value, name, depth)
            if row.ndim != 1:
                raise VectorError(
                    f"its array for layer {layer} has shape {tuple(row.shape)}, expected one dimension, d_model"
                )
            rows[layer] = row
        if sorted(rows) == list(range(self.n_layers + 1)) and all(name.isdigit() for name in arrays):
            self.notes.append(_EMBEDDINGS.format(len(rows), self.n_layers))
            return {layer - 1: row for layer, row in rows.items() if layer}
        return rows

    def row_of(self, value: Any, name: str, depth: int) -> Tensor:
        if isinstance(value, Mapping):
            layer = find_layer(name)
            (row,) = self.find({**value, "layer": layer}, None, depth + 1).values()
            return row
        array = _array(value)
        if array is None:
            raise VectorError(f"its {quote(name)} is {_kind(value)}, expected a row of numbers")
        return _squeezed(array, f"its array {quote(name)}")


def _array(value: Any) -> Tensor | None:
    """Return a tensor, or a list of numbers as one; None for anything else."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, list | tuple) and value and _is_numbers(value):
        if _count(value, 0) > MAX_NUMBERS:
            raise VectorError(f"it holds lists of more than {MAX_NUMBERS} numbers: save the rows alone")
        try:
            return torch.tensor(value, dtype=torch.float64)
        except (ValueError, TypeError, RuntimeError, OverflowError) as error:
            raise VectorError("it holds lists of numbers of several lengths: save rows of equal length") from error
    return None


def _count(value: Sequence[Any], depth: int) -> int:
    """Return how many numbers a list holds, or more than are allowed: it may hold one long list many times."""
    if not isinstance(value[0], list | tuple) or not value[0]:
        return len(value)
    total = 0
    for each in value if depth < _DEPTH else ():
        total += _count(each, depth + 1) if isinstance(each, list | tuple) and each else 1
        if total > MAX_NUMBERS:
            break
    return total


def _is_numbers(value: Sequence[Any]) -> bool:
    first: Any = value
    for _ in range(_DEPTH):
        if not isinstance(first, list | tuple) or not first:
            break
        first = first[0]
    return isinstance(first, int | float) and not isinstance(first, bool)


def _squeezed(array: Tensor, what: str) -> Tensor:
    """Return an array of floating-point numbers without axes of length one."""
    if array.dtype not in _FLOATS or array.layout is not torch.strided or array.is_meta:
        raise VectorError(
            f"{what} is of {array.dtype}, {str(array.layout).removeprefix('torch.')}, expected floating-point numbers"
        )
    if not 0 < array.numel() <= MAX_NUMBERS:
        raise VectorError(f"{what} has shape {tuple(array.shape)}: expected a row, d_model, or one row for each layer")
    return array.detach().reshape([size for size in array.shape if size != 1] or [1])


def _stated_layers(entries: Mapping[str, Any]) -> list[int] | None:
    """Return the layers that the entries beside the rows say, first by a hook, which may be before a block."""
    hooks = [value for key, value in entries.items() if key.lower() in _HOOK_KEYS and isinstance(value, str)]
    for hook in hooks:
        if (layer := find_layer(hook)) is not None:
            return [layer]
    before = any(_BEFORE.search(hook) for hook in hooks)
    for key in _LAYER_KEYS:
        value = entries.get(key)
        if isinstance(value, str):
            value = find_layer(value)
        if isinstance(value, Tensor):
            value = value.tolist()
        if value is not None and not isinstance(value, Mapping):
            values = list(value) if isinstance(value, list | tuple) else [value]
            layers = [check_integer(layer, f"its {key}", low=before, error=VectorError) for layer in values]
            return [layer - before for layer in layers]
    return None


def _names_layer(name: str) -> bool:
    try:
        return find_layer(name) is not None
    except VectorError:
        return False


def _name(key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bool) or not isinstance(key, int) or key < 0:
        raise VectorError(f"it holds an entry named {quote(key)}, expected names, and layers counted from 0")
    return str(key)


def _is_empty(value: Any) -> bool:
    return isinstance(value, list | tuple | dict) and not value


def _kind(value: Any) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"
