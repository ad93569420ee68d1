"""A passport: what a model is, and a sample of its weights that still knows it after it was quantised or cast.

The hash of `vectors.model.weights` knows the same weights in every dtype. Quantising rounds each weight to a grid, and
that changes the hash; so a passport holds weights from all over the blocks, each with the step of the grid that it lies
on, if it lies on one. Two models are one if their weights differ by no more than half of both steps. Training moves
weights farther: a tuned model has many that another grid point would be nearer to.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from vectors.common.errors import ModelError, VectorError
from vectors.common.validation import check_integer, quote
from vectors.model.weights import device_of, is_quantised

Relation = Literal["same", "requantised", "other"]
"""The same weights, the same model quantised or cast, or another model."""

OUTSIDE: Final = 0.02
"""Largest share of weights farther apart than half of both steps for one model.

Quantised by rounding (torch's int8, llama.cpp's Q8_0 to Q4_0), models show 0 to 0.012; against 8 bits, the same models
after two hundred steps of training at 1e-5 show 0.04 and more. 4 bits hide such training here, and the norms show it.
"""

_MODULES, _ROWS, _RUN = 64, 16, 16
_NORMS, _GAINS = 32, 8
_VALUES: Final = _MODULES * _ROWS
_LEVELS: Final = 256
_CAST: Final = 2.0**-8  # relative error of a cast to bfloat16
_EQUAL: Final = 2.0**-11  # of weights that only arithmetic in another order has changed
_TEXTS: Final = ("family", "tokenizer", "precision", "layout")
_COUNTS: Final = ("n_layers", "d_model", "vocab_size")
_ARRAYS: Final = ("values", "steps", "gains")
_MAX_TEXT, _MAX_COUNT = 200, 10**9


@dataclass(frozen=True, kw_only=True)
class Passport:
    """What a model is.

    Attributes:
        family: transformers' name of its kind (`model_type`).
        n_layers, d_model, vocab_size: its shape.
        tokenizer: digest of its tokens.
        precision: how its weights are stored, such as float32, int8 or Q4_K_M.
        layout: digest of the names and shapes of its blocks' linear modules.
        values: weights from all over the blocks, float32.
        steps: the step of the grid on which each lies; 0 for a weight on no grid.
        gains: weights of its norms, which quantising leaves as they are, float32.
    """

    family: str
    n_layers: int
    d_model: int
    vocab_size: int
    tokenizer: str
    precision: str
    layout: str
    values: np.ndarray
    steps: np.ndarray
    gains: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Return it as a plain JSON object."""
        fields: dict[str, Any] = {key: getattr(self, key) for key in (*_TEXTS, *_COUNTS)}
        for key in _ARRAYS:
            fields[key] = base64.b64encode(getattr(self, key).astype("<f4").tobytes()).decode()
        return fields

    @classmethod
    def from_dict(cls, fields: object) -> "Passport":
        """Read it from a plain JSON object.

        Raises:
            VectorError: a field is missing, of another kind, or too large.
        """
        if not isinstance(fields, Mapping) or {*fields} != {*_TEXTS, *_COUNTS, *_ARRAYS}:
            raise VectorError(f"the passport is {quote(fields)}: extract the vector again")
        checked: dict[str, Any] = {}
        for key in _TEXTS:
            if not isinstance(fields[key], str) or len(fields[key]) > _MAX_TEXT:
                raise VectorError(f"the passport's {key} is {quote(fields[key])}: expected a short text")
            checked[key] = fields[key]
        for key in _COUNTS:
            checked[key] = check_integer(
                fields[key], f"the passport's {key}", low=1, high=_MAX_COUNT, error=VectorError
            )
        arrays: dict[str, Any] = {key: _numbers(fields[key], key) for key in _ARRAYS}
        if len(arrays["values"]) != len(arrays["steps"]) or (arrays["steps"] < 0).any():
            raise VectorError("the passport's steps do not fit its values: extract the vector again")
        return cls(**checked, **arrays)

    def relation(self, other: "Passport") -> Relation:
        """Return what this model is to another; the hashes of both are known to differ."""
        alike = all(getattr(self, key) == getattr(other, key) for key in ("family", "n_layers", "d_model", "layout"))
        if not alike or len(self.values) != len(other.values) or not len(self.values):
            return "other"
        if len(self.gains) != len(other.gains) or self.tuned(other) > OUTSIDE:
            return "other"
        apart = np.abs(self.values.astype(np.float64) - other.values)
        size = np.maximum(np.abs(self.values), np.abs(other.values)).astype(np.float64)
        if not self.on_grid and not other.on_grid:
            return "same" if np.mean(apart > _EQUAL * size + 1e-12) < 1e-3 else "other"
        return "requantised" if self.outside(other) <= OUTSIDE else "other"

    def equals(self, other: "Passport") -> bool:
        """Return whether all sampled weights are equal, and kept alike."""
        return (
            self.precision == other.precision
            and np.array_equal(self.values, other.values)
            and np.array_equal(self.gains, other.gains)
        )

    def outside(self, other: "Passport") -> float:
        """Return the share of weights that are farther apart than rounding to both grids explains."""
        apart = np.abs(self.values.astype(np.float64) - other.values)
        size = np.maximum(np.abs(self.values), np.abs(other.values)).astype(np.float64)
        allowed = 0.525 * (self.steps.astype(np.float64) + other.steps) + _CAST * size + 1e-12
        return float(np.mean(apart > allowed))

    def tuned(self, other: "Passport") -> float:
        """Return the share of norm weights that differ in bfloat16, which a cast does not change further."""
        if not len(self.gains):
            return 0.0
        return float(np.mean(_in_bfloat16(self.gains) != _in_bfloat16(other.gains)))

    @property
    def on_grid(self) -> bool:
        """Whether most of its weights lie on a grid, so that it was quantised."""
        return bool(np.mean(self.steps > 0) > 0.5)


def read_passport(hf: Any, tokenizer: Any, blocks: nn.Module, *, precision: str | None = None) -> Passport:
    """Return the passport of a model.

    Args:
        hf: the transformers model.
        tokenizer: its tokenizer.
        blocks: its list of blocks.
        precision: how its file is quantised, if it is known.

    Raises:
        ModelError: its weights hold NaN or infinity.
    """
    config = hf.config.get_text_config(decoder=True)
    linear = _linear_modules(blocks)
    layout = hashlib.sha256(" ".join(f"{name} {shape}" for name, _, shape in linear).encode()).hexdigest()[:16]
    quantised = is_quantised(hf) or (precision is not None and precision not in ("F32", "F16", "BF16"))
    values, steps = list[float](), list[float]()
    for name, module, shape in linear[:: max(1, -(-len(linear) // _MODULES))]:
        run, columns = _sample(name, module, shape)
        for row, column in zip(run, columns, strict=True):
            step = grid_step(row)
            values.append(float(row[column]))
            steps.append(step if step or not quantised else 2 * float(np.abs(run).max()) / _LEVELS)
    gains = _gains(blocks)
    if not np.isfinite(values).all() or not np.isfinite(gains).all():
        raise ModelError("the model's weights hold NaN or infinity: download it again")
    dtype = str(hf.dtype).removeprefix("torch.")
    stored = precision if precision and dtype == "float32" else f"{precision} as {dtype}" if precision else dtype
    stored = "int8" if is_quantised(hf) and not precision else stored
    return Passport(
        family=str(config.model_type), n_layers=len(list(blocks.children())), d_model=int(config.hidden_size),
        vocab_size=int(config.vocab_size), tokenizer=_tokens_digest(tokenizer), precision=stored, layout=layout,
        values=np.array(values, np.float32), steps=np.array(steps, np.float32),
        gains=gains,
    )  # fmt: skip


def grid_step(run: np.ndarray) -> float:
    """Return the step of the grid on which neighbouring weights lie, or 0 if they lie on none.

    A grid has 256 points at most, and 32 for weights that are kept in bfloat16, whose rounding hides a finer one.

    >>> round(grid_step(np.float32(0.3 + 0.25 * np.array([0, 3, 5, 6, 9, 14]))), 3)
    0.25
    >>> grid_step(np.random.default_rng(0).normal(size=16).astype(np.float32))
    0.0
    """
    in_bfloat16 = not (run.astype(np.float32).view(np.uint32) & 0xFFFF).any()
    points = np.unique(run.astype(np.float64))
    spread = points[-1] - points[0]
    if len(points) < 2:
        return 0.0
    most = 32 if in_bfloat16 else _LEVELS
    rounding = (
        1.5 * np.abs(points).max() * (2.0**-8 if in_bfloat16 else 2.0**-11)
    )  # of two weights, kept in half precision
    steps = spread / np.arange(max(1, len(points) - 1), most)
    places = (points - points[0]) / steps[:, None]
    on_grid = (np.abs(places - places.round()) * steps[:, None] <= rounding).all(axis=1) & (rounding < 0.3 * steps)
    return float(steps[on_grid.argmax()]) if on_grid.any() else 0.0


def _linear_modules(blocks: nn.Module) -> list[tuple[str, nn.Module, tuple[int, int]]]:
    """Return the outermost linear modules with their names and (outputs, inputs): LoRA wraps one in another."""
    found: list[tuple[str, nn.Module, tuple[int, int]]] = []
    for name, module in blocks.named_modules():
        if found and name.startswith(f"{found[-1][0]}."):
            continue
        sizes = (getattr(module, "out_features", None), getattr(module, "in_features", None))
        if type(module).__name__ == "Conv1D":  # of GPT-2
            sizes = (getattr(module, "nf", None), getattr(module, "nx", None))
        if isinstance(sizes[0], int) and isinstance(sizes[1], int) and min(sizes[0], sizes[1]) >= _RUN:
            found.append((name, module, (sizes[0], sizes[1])))
    return found


def _sample(name: str, module: nn.Module, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return runs of neighbouring weights of some rows, and which weight of each run was drawn."""
    draw = np.random.default_rng(np.frombuffer(hashlib.sha256(name.encode()).digest()[:8], np.uint64)[0])
    first = _RUN * int(draw.integers(shape[1] // _RUN))
    rows = draw.integers(shape[0], size=_ROWS)
    columns = draw.integers(_RUN, size=_ROWS)
    weight = getattr(module, "weight", None)
    if type(module) is nn.Linear and type(weight) is nn.Parameter and not weight.is_meta and weight.is_floating_point():
        run = weight[torch.as_tensor(rows)][:, first : first + _RUN]
    else:
        run = _probed(module, shape, first)[:, torch.as_tensor(rows)].T
    return run.detach().float().cpu().numpy(), columns


def _probed(module: nn.Module, shape: tuple[int, int], first: int) -> Tensor:
    """Return columns of a linear map of any kind (quantised, offloaded, with a LoRA): what it makes of unit vectors."""
    device = device_of(module) or torch.device("cpu")
    dtypes = [value.dtype for value in module.parameters() if value.is_floating_point()]
    units = torch.zeros(_RUN + 1, shape[1], device=device, dtype=dtypes[0] if dtypes else torch.float32)
    units[torch.arange(_RUN), first + torch.arange(_RUN)] = 1.0
    with torch.no_grad():
        outputs: Tensor = module(units)
    return outputs[:-1] - outputs[-1:]


def _gains(blocks: nn.Module) -> np.ndarray:
    """Return weights of norms from all over the blocks."""
    norms = [
        (name, module.weight)
        for name, module in blocks.named_modules()
        if type(getattr(module, "weight", None)) is nn.Parameter
        and module.weight.ndim == 1
        and not module.weight.is_meta
        and module.weight.is_floating_point()
    ]
    gains = list[Tensor]()
    for name, weight in norms[:: max(1, -(-len(norms) // _NORMS))]:
        draw = np.random.default_rng(np.frombuffer(hashlib.sha256(name.encode()).digest()[:8], np.uint64)[0])
        gains.append(weight.detach()[torch.as_tensor(draw.integers(len(weight), size=_GAINS))].float().cpu())
    return torch.cat(gains).numpy() if gains else np.zeros(0, np.float32)


def _in_bfloat16(values: np.ndarray) -> np.ndarray:
    return torch.from_numpy(np.array(values, np.float32)).to(torch.bfloat16).float().numpy()


def _tokens_digest(tokenizer: Any) -> str:
    try:
        tokens = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    except Exception:  # a stand-in, or a tokenizer without a list
        return ""
    return hashlib.sha256("\n".join(f"{number} {token}" for token, number in tokens).encode()).hexdigest()[:16]


def _numbers(text: object, what: str) -> np.ndarray:
    limit = 4 * _VALUES
    try:
        if not isinstance(text, str) or len(text) > 2 * limit:
            raise ValueError("too long")
        raw = base64.b64decode(text, validate=True)
        numbers = np.frombuffer(raw, "<f4")
    except (ValueError, binascii.Error) as error:
        raise VectorError(f"the passport's {what} are damaged: extract the vector again") from error
    if len(numbers) > _VALUES or not np.isfinite(numbers).all():
        raise VectorError(f"the passport's {what} are damaged: extract the vector again")
    return numbers
