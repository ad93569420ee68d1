"""Write a shift at the start token alone as two additional neurons that are active at the start token only.

Position 0 attends to itself alone, so that the input of a block's feed-forward part there is the same in every text.
The neurons' weights are the normal of a plane that separates this input from the inputs at all other positions. The two
neurons differ in their bias: both are inactive on the far side of the plane, and on the near side their activations
differ by a constant, which the output weights turn into the shift. (Changing the embedding of the start token would not
do: later positions read its keys and values in the blocks below, too.)
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from vectors.common.errors import ModelError
from vectors.common.validation import quote
from vectors.formats.checkpoint.biases import Feedforward, feedforward, in_features, residual_multiplier
from vectors.model.hooks import shift_layers
from vectors.model.positions import shift_by_position
from vectors.model.residual_model import ResidualModel

NEURONS: Final = 32
"""Neurons added to each block, all but two of them zero; a multiple of the block sizes of quantised formats."""

MARGIN: Final = 0.5
"""Smallest accepted distance between the start token and other positions, in standard deviations of the latter."""

_START, _OTHERS = 64.0, 936.0  # the first neuron's input at the start token, and minus the largest one elsewhere
_STEP = 32.0  # the second neuron's bias is lower by this: half of the start token's, so both are far from zero
_ITERATIONS = 400  # of the search for the nearest point of the convex hull
_RIDGE = 1e-3  # relative to the mean variance
_SIZES = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")


def add_neurons(hf: Any, blocks_path: str, width: int) -> int:
    """Add zero neurons to every block of a model with biases, and return the index of the first of them.

    Raises:
        ModelError: a family whose config does not set the number of neurons.
    """
    config, blocks = hf.config, [feedforward(block, width) for block in hf.get_submodule(blocks_path)]
    setting = next((name for name in _SIZES if hasattr(config, name)), None)
    if setting is None or any(block is None or not 1 <= len(block.into) <= 2 for block in blocks):
        raise ModelError(
            f"blocks of family {config.model_type!r} cannot gain neurons (their number is no setting), so that a "
            "checkpoint cannot treat the start token differently: use concepts made for positions all, or steer live"
        )
    layers = [block for block in blocks if block is not None]
    first = in_features(layers[0].out)
    setattr(config, setting, first + NEURONS)
    for block in layers:
        for module in block.into:
            _enlarge(module, out=True)
        _enlarge(block.out, out=False)
    return first


def write_at_start(
    hf: Any,
    first: int,
    model: ResidualModel,
    deltas: Mapping[int, Tensor],
    ids: Sequence[Sequence[int]],
    *,
    sign: float,
    positions: str,
) -> float:
    """Make two neurons of each block write its shift at the start token, and return the smallest margin.

    Args:
        hf: the copy of the model to change, with additional neurons.
        first: index of the first of them.
        model: the original model.
        deltas: the shift of each block's output, by 0-based block, "d_model" each.
        ids: texts that begin with the start token; the neurons are fit to be inactive at their other positions.
        sign: 1 to add the shift, -1 to subtract it.
        positions: where live steering adds the shifts.

    Raises:
        ModelError: a start token that cannot be separated from other positions.
    """
    blocks = hf.get_submodule(model.blocks_path)
    feedforwards = {layer: _feedforward(blocks[layer], model) for layer in sorted(deltas)}
    inputs = {layer: _InputRecorder(_feedforward(model.blocks[layer], model).into[0]) for layer in feedforwards}
    _run(model, deltas, ids, positions, inputs)
    margins = []
    for layer, block in feedforwards.items():
        gate, out = block.into[0], block.out
        row, offset, margin = separating_plane(inputs[layer].start, torch.cat(inputs[layer].others))
        margins.append(margin)
        if margin < MARGIN:
            raise ModelError(
                f"at layer {layer} of model {quote(model.name)} the start token is too similar to other positions "
                f"(margin {margin:.2g}, at least {MARGIN:g}): choose another layer"
            )
        pair = slice(first, first + 2)
        _weight(gate)[pair] = row.to(gate.weight)
        gate.bias[pair] = torch.tensor([offset, offset - _STEP]).to(gate.bias)
        for module in block.into[1:]:  # the values that the gate multiplies
            module.bias[pair] = 1.0
        # measured on the copy, whose lower blocks already write their shifts
        difference = _activation_difference(hf, model, out, first)
        column = (sign * deltas[layer].double() / residual_multiplier(hf.config) / difference).to(out.weight)
        _weight(out)[:, pair] = torch.stack([column, -column], dim=1)
    return min(margins)


def separating_plane(
    start: Float64[Tensor, " d_model"], others: Float64[Tensor, "n d_model"]
) -> tuple[Float64[Tensor, " d_model"], float, float]:
    """Return the normal and the offset of a plane between one point and others, and the margin in standard deviations.

    In coordinates that whiten the others, Gilbert's algorithm (1966) finds the point of their convex hull nearest to
    the start; the normal is the difference of the two. It is scaled so that the start gives 64 and the nearest of the
    others -936: inputs that were not measured stay below zero unless they come nine tenths of the way to the start.

    >>> others = torch.tensor([[0.0, 0.0], [0.0, 2.0], [-1.0, 1.0]]).double()
    >>> row, offset, _ = separating_plane(torch.tensor([2.0, 1.0]).double(), others)
    >>> [round(float(point @ row) + offset) for point in others]
    [-936, -936, -1436]
    """
    mean = others.mean(dim=0)
    covariance = (others - mean).T @ (others - mean) / len(others)
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
    whitening = eigenvectors / (eigenvalues + _RIDGE * eigenvalues.mean().clamp(min=1e-12)).sqrt()
    points, point = (others - mean) @ whitening, (start - mean) @ whitening
    nearest = torch.zeros_like(point)
    for _ in range(_ITERATIONS):
        towards = points[(points @ (point - nearest)).argmax()] - nearest
        step = float((point - nearest) @ towards / (towards @ towards).clamp(min=1e-30))
        if step <= 1e-9:
            break
        nearest = nearest + min(step, 1.0) * towards
    normal = point - nearest
    row = whitening @ normal
    gap = float(start @ row - (others @ row).max())
    if gap <= 0:
        return row, 0.0, 0.0
    row = (row * ((_START + _OTHERS) / gap)).float().double()  # rounded first, so that the offset makes up for it
    return row, _START - float(start @ row), gap / float(normal.norm())


class _InputRecorder:
    """A hook that records the inputs of a module, at the start token and at all other positions."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.others: list[Tensor] = []
        self.start = torch.zeros(0)
        self.mask = torch.zeros(0, 0, dtype=torch.bool)

    def __call__(self, _module: Any, inputs: tuple[Tensor, ...]) -> None:
        rows = inputs[0].reshape(*self.mask.shape, -1).cpu().double()
        self.start = rows[0, 0]
        self.others.append(rows[:, 1:][self.mask[:, 1:]])


def _run(
    model: ResidualModel,
    deltas: Mapping[int, Tensor],
    ids: Sequence[Sequence[int]],
    positions: str,
    inputs: Mapping[int, _InputRecorder],
) -> None:
    hooks = [recorder.module.register_forward_pre_hook(recorder) for recorder in inputs.values()]
    try:
        for first in range(0, len(ids), 16):
            batch = model.batch(ids[first : first + 16])
            for recorder in inputs.values():
                recorder.mask = batch["attention_mask"].bool().cpu()
            with torch.no_grad(), shift_layers(model, sum_by_layer(deltas, batch["input_ids"], positions)):
                model.hf(**batch, use_cache=False, **model.last_only)
    finally:
        for hook in hooks:
            hook.remove()


def sum_by_layer(
    deltas: Mapping[int, Tensor], ids: Tensor, positions: str
) -> dict[int, Float[Tensor, "rows pos d_model"]]:
    """Return the shift at each position of complete texts, by layer."""
    rows, length = ids.shape
    return {
        layer: shift_by_position(delta[None].expand(rows, -1), length, length, positions)
        for layer, delta in deltas.items()
    }


def _weight(module: Any) -> Tensor:
    """Return the weight of a linear layer as outputs by inputs; GPT-2's `Conv1D` has it transposed."""
    weight: Tensor = module.weight.data
    return weight.T if hasattr(module, "nf") else weight


def _enlarge(module: Any, *, out: bool) -> None:
    """Add outputs to a linear layer, or inputs, whose weights are zero."""
    weight = _weight(module)
    rows, columns = weight.shape
    larger = weight.new_zeros(rows + NEURONS * out, columns + NEURONS * (not out))
    larger[:rows, :columns] = weight
    transposed = hasattr(module, "nf")
    module.weight = nn.Parameter(larger.T.contiguous() if transposed else larger, requires_grad=False)
    if out:
        bias = module.bias.new_zeros(rows + NEURONS)
        bias[:rows] = module.bias
        module.bias = nn.Parameter(bias, requires_grad=False)
        setattr(module, "nf" if transposed else "out_features", rows + NEURONS)
    else:
        setattr(module, "nx" if transposed else "in_features", columns + NEURONS)


def _activation_difference(hf: Any, model: ResidualModel, out: Any, first: int) -> float:
    """Return the difference between the activations of the two neurons at the start token."""
    activations: list[float] = []

    def record(_module: Any, inputs: tuple[Tensor, ...]) -> None:
        activations.extend(inputs[0].reshape(-1, inputs[0].shape[-1])[0, first : first + 2].tolist())

    hook = out.register_forward_pre_hook(record)
    try:
        with torch.no_grad():
            hf(**model.batch([model.start_ids()]), use_cache=False)
    finally:
        hook.remove()
    return activations[0] - activations[1]


def _feedforward(block: nn.Module, model: ResidualModel) -> Feedforward:
    layers = feedforward(block, model.d_model)
    assert layers is not None  # checked by `add_neurons`
    return layers
