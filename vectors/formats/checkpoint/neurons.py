"""A shift at the start token alone as a pair of neurons more: they see the start token, and nothing else.

Position 0 attends to itself alone, so that what a block's feed-forward part reads there is the same in every text. A
plane before that point, behind what is read at all other positions, makes a step: of two neurons that differ by their
bias, both are silent behind the plane and differ by a constant before it, which no rounding changes. The difference
writes the shift. (Another embedding of the start token would not do: later positions read its keys and values in the
blocks below, too.)
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from vectors.common.errors import ModelError
from vectors.common.validation import quote
from vectors.formats.checkpoint.biases import Feedforward, feedforward, share, size_in
from vectors.model.hooks import shift_layers
from vectors.model.positions import shift_by_position
from vectors.model.residual_model import ResidualModel

NEURONS: Final = 32
"""How many a block gains, all but two of them zero: block sizes of quantised formats divide it."""

MARGIN: Final = 0.5
"""Least distance of the start token from what is read elsewhere, in standard deviations of that along the way."""

_BEFORE, _BEHIND = 64.0, 936.0  # where the start token and the next of all others lie, for the first neuron
_STEP = 32.0  # by which the second one has less: half of what the start token gives, so that both are far from zero
_NEAREST = 400  # steps of the search for the nearest point of what is read elsewhere
_RIDGE = 1e-3  # of the mean variance
_SIZES = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")


def grow(twin: Any, blocks_path: str, width: int) -> int:
    """Give every block of a twin that has biases more neurons, all zero, and return the number of the first of them.

    Raises:
        ModelError: a family whose number of neurons is no setting.
    """
    config, maps = twin.config, [feedforward(block, width) for block in twin.get_submodule(blocks_path)]
    size = next((each for each in _SIZES if hasattr(config, each)), None)
    if size is None or any(each is None or not 1 <= len(each.into) <= 2 for each in maps):
        raise ModelError(
            f"blocks of family {config.model_type!r} cannot gain neurons (their number is no setting), so that a "
            "checkpoint cannot tell the start token apart: take concepts made for positions all, or steer live"
        )
    known = [each for each in maps if each is not None]
    first = size_in(known[0].out)
    setattr(config, size, first + NEURONS)
    for each in known:
        for module in each.into:
            _grow(module, out=True)
        _grow(each.out, out=False)
    return first


def write_at_start(
    twin: Any,
    at: int,
    model: ResidualModel,
    deltas: Mapping[int, Tensor],
    ids: Sequence[Sequence[int]],
    *,
    sign: float,
    positions: str,
) -> float:
    """Let neurons of a twin write shifts at the start token alone, and return their least margin.

    Args:
        twin: of the model, with neurons to spare.
        at: number of the first of those.
        model: the model itself.
        deltas: by 0-based block, what steering adds to its output, "d_model" each.
        ids: texts that begin with the start token: what the neurons are to be silent about.
        sign: of what they write, 1 to add the shift.
        positions: where steering adds the shifts.

    Raises:
        ModelError: a start token that looks like others.
    """
    blocks = twin.get_submodule(model.blocks_path)
    maps = {layer: _maps(blocks[layer], model) for layer in sorted(deltas)}
    seen = {layer: _Reads(_maps(model.blocks[layer], model).into[0]) for layer in maps}
    _run(model, deltas, ids, positions, seen)
    margins = []
    for layer, (into, out) in ((layer, (each.into, each.out)) for layer, each in maps.items()):
        row, offset, margin = plane(seen[layer].start, torch.cat(seen[layer].others))
        margins.append(margin)
        if margin < MARGIN:
            raise ModelError(
                f"at layer {layer} of model {quote(model.name)} the start token reads too much like other positions "
                f"(margin {margin:.2g}, at least {MARGIN:g}): choose another layer"
            )
        _side(into[0])[at : at + 2] = row.to(into[0].weight)
        into[0].bias[at : at + 2] = torch.tensor([offset, offset - _STEP]).to(into[0].bias)
        for module in into[1:]:  # what the gate lets through
            module.bias[at : at + 2] = 1.0
        apart = _apart(twin, model, out, at)  # as the blocks below, already written, make it
        column = (sign * deltas[layer].double() / share(twin.config) / apart).to(out.weight)
        _side(out)[:, at : at + 2] = torch.stack([column, -column], dim=1)
    return min(margins)


def plane(
    start: Float64[Tensor, " d_model"], others: Float64[Tensor, "n d_model"]
) -> tuple[Float64[Tensor, " d_model"], float, float]:
    """Return a plane between one point and others, and how far apart they are in standard deviations.

    In coordinates in which the others vary as much in every direction, the nearest point of their convex hull is found
    by Gilbert's algorithm (1966); the plane stands across the way to it. The point lies 64 before it and the next of
    the others 936 behind: what is read where nothing was measured may come as near as a tenth of the way.

    >>> others = torch.tensor([[0.0, 0.0], [0.0, 2.0], [-1.0, 1.0]]).double()
    >>> row, offset, _ = plane(torch.tensor([2.0, 1.0]).double(), others)
    >>> [round(float(point @ row) + offset) for point in others]
    [-936, -936, -1436]
    """
    middle = others.mean(dim=0)
    scatter = (others - middle).T @ (others - middle) / len(others)
    values, modes = torch.linalg.eigh(scatter)
    flat = modes / (values + _RIDGE * values.mean().clamp(min=1e-12)).sqrt()
    points, point = (others - middle) @ flat, (start - middle) @ flat
    nearest = torch.zeros_like(point)
    for _ in range(_NEAREST):
        towards = points[(points @ (point - nearest)).argmax()] - nearest
        step = float((point - nearest) @ towards / (towards @ towards).clamp(min=1e-30))
        if step <= 1e-9:
            break
        nearest = nearest + min(step, 1.0) * towards
    across = point - nearest
    row = flat @ across
    gap = float(start @ row - (others @ row).max())
    if gap <= 0:
        return row, 0.0, 0.0
    row = (row * ((_BEFORE + _BEHIND) / gap)).float().double()  # rounded before the offset, which then makes up for it
    return row, _BEFORE - float(start @ row), gap / float(across.norm())


class _Reads:
    """Keeps what a block's feed-forward part reads, at the start token and elsewhere."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.others: list[Tensor] = []
        self.start = torch.zeros(0)
        self.mask = torch.zeros(0, 0, dtype=torch.bool)

    def __call__(self, _module: Any, inputs: tuple[Tensor, ...]) -> None:
        read = inputs[0].reshape(*self.mask.shape, -1).cpu().double()
        self.start = read[0, 0]
        self.others.append(read[:, 1:][self.mask[:, 1:]])


def _run(
    model: ResidualModel,
    deltas: Mapping[int, Tensor],
    ids: Sequence[Sequence[int]],
    positions: str,
    seen: Mapping[int, _Reads],
) -> None:
    hooks = [reads.module.register_forward_pre_hook(reads) for reads in seen.values()]
    try:
        for first in range(0, len(ids), 16):
            batch = model.batch(ids[first : first + 16])
            for reads in seen.values():
                reads.mask = batch["attention_mask"].bool().cpu()
            with torch.no_grad(), shift_layers(model, spread(deltas, batch["input_ids"], positions)):
                model.hf(**batch, use_cache=False, **model.last_only)
    finally:
        for hook in hooks:
            hook.remove()


def spread(deltas: Mapping[int, Tensor], ids: Tensor, positions: str) -> dict[int, Float[Tensor, "rows pos d_model"]]:
    """Return the shift of each position of texts that were given whole."""
    rows, length = ids.shape
    return {
        layer: shift_by_position(delta[None].expand(rows, -1), length, length, positions)
        for layer, delta in deltas.items()
    }


def _side(module: Any) -> Tensor:
    """The weights of a linear map, a row for each number that it gives."""
    weight: Tensor = module.weight.data
    return weight.T if hasattr(module, "nf") else weight


def _grow(module: Any, *, out: bool) -> None:
    """Give a linear map more numbers to give, or to take, all of them zero."""
    weight = _side(module)
    rows, columns = weight.shape
    grown = weight.new_zeros(rows + NEURONS * out, columns + NEURONS * (not out))
    grown[:rows, :columns] = weight
    flipped = hasattr(module, "nf")
    module.weight = nn.Parameter(grown.T.contiguous() if flipped else grown, requires_grad=False)
    if out:
        bias = module.bias.new_zeros(rows + NEURONS)
        bias[:rows] = module.bias
        module.bias = nn.Parameter(bias, requires_grad=False)
        setattr(module, "nf" if flipped else "out_features", rows + NEURONS)
    else:
        setattr(module, "nx" if flipped else "in_features", columns + NEURONS)


def _apart(twin: Any, model: ResidualModel, out: Any, at: int) -> float:
    """How far apart the two neurons are at the start token."""
    read: list[float] = []

    def hook(_module: Any, inputs: tuple[Tensor, ...]) -> None:
        read.extend(inputs[0].reshape(-1, inputs[0].shape[-1])[0, at : at + 2].tolist())

    watched = out.register_forward_pre_hook(hook)
    try:
        with torch.no_grad():
            twin(**model.batch([model.start_ids()]), use_cache=False)
    finally:
        watched.remove()
    return read[0] - read[1]


def _maps(block: nn.Module, model: ResidualModel) -> Feedforward:
    maps = feedforward(block, model.d_model)
    assert maps is not None  # as `grow` has seen
    return maps
