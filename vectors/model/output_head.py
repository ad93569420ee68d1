"""The output head apart from the blocks, so that logits over a large vocabulary are computed in chunks."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vectors.model.loading import is_out_of_memory
from vectors.model.residual_model import ResidualModel

MAX_ENTRIES: Final = 1 << 24
"""Logits that are computed at once; in float32 they take 64 MiB, and a function of them a few times that."""

_LOSS_SCALE: Final = 2.0**10  # keeps half-precision gradients from underflowing

_COMPARED: Final = 1024  # tokens whose logits are compared

_PRODUCTS: WeakKeyDictionary[ResidualModel, bool] = WeakKeyDictionary()

_HEADS: WeakKeyDictionary[ResidualModel, "Callable[[Tensor], Tensor] | None"] = WeakKeyDictionary()


def final_states(
    model: ResidualModel, arguments: Mapping[str, Any], *, last: bool = False
) -> Float[Tensor, "batch pos width"]:
    """Return what the output head reads at each position, by a forward of the blocks and the final norm.

    A model whose head cannot be run on its own gives its logits instead, and `logits_from` returns them as they are.

    Args:
        model: the model; its hooks act as in any forward.
        arguments: arguments of the forward, such as those of `ResidualModel.batch`; without a KV cache by default.
        last: whether only the states at the last position are read; the others may then be missing.
    """
    arguments = {"use_cache": False, **arguments}
    if _head(model) is None:
        output = model.hf(**arguments, **(model.last_only if last else {}))
        logits: Tensor = output.logits
        return logits
    return _states(model, arguments)


def logits_from(model: ResidualModel, states: Float[Tensor, "... width"]) -> Float[Tensor, "... vocab"]:
    """Return the logits of final states, with everything that the model does to them, such as a soft cap."""
    head = _head(model)
    return states if head is None else head(states.reshape(-1, states.shape[-1])).view(*states.shape[:-1], -1)


def logits_of(
    model: ResidualModel, states: Float[Tensor, "n width"], tokens: Int[Tensor, " tokens"]
) -> Float[Tensor, "n tokens"]:
    """Return the float32 logits of some tokens, without running the whole head where the head is a matrix product."""
    if not _is_product(model):
        return logits_from(model, states).float()[:, tokens.to(states.device)]
    return _product(model, states, tokens)


def logit_chunks(
    model: ResidualModel, *rows: Float[Tensor, "n width"]
) -> Iterator[tuple[slice, list[Float[Tensor, "some vocab"]]]]:
    """Yield the float32 logits of final states, a few rows at a time: which rows, and the logits of each of `rows`.

    At most about `MAX_ENTRIES` logits are in memory. Each of `rows` has the same number of rows.
    """
    for chunk in _chunks(model, rows):
        yield chunk, [logits_from(model, states[chunk]).float() for states in rows]


def map_logits(
    model: ResidualModel,
    function: Callable[..., Float[Tensor, "some *values"]],
    *rows: Float[Tensor, "n width"],
    beside: Tensor | None = None,
) -> Float[Tensor, "n *values"]:
    """Return `function` of the float32 logits of final states, computed for a few rows at a time.

    If the first of `rows` requires a gradient, the gradient is computed with the values, so that the backward pass
    needs no logits; the function then returns one number for each row, and the others of `rows` get no gradient.

    Args:
        model: the model.
        function: maps logits, one argument for each of `rows`, to values with one row for each of theirs.
        rows: final states; each of the tensors has the same number of rows.
        beside: something that the function reads beside the logits, with a row for each, such as target ids.
    """
    states = rows[0]
    with_gradient = torch.is_grad_enabled() and states.requires_grad
    values, gradients = [], []
    for chunk in _chunks(model, rows):
        inputs = [other[chunk].detach() for other in rows]
        with torch.set_grad_enabled(with_gradient):
            inputs[0].requires_grad_(with_gradient)
            logits = [logits_from(model, other).float() for other in inputs]
            result = function(*logits) if beside is None else function(*logits, beside[chunk])
            if with_gradient:
                (gradient,) = torch.autograd.grad(_LOSS_SCALE * result.sum(), inputs[:1])
                gradients.append(gradient.float() / _LOSS_SCALE)
        values.append(result.detach())
    joined = torch.cat(values) if values else states.new_zeros(0, dtype=torch.float32)
    if not gradients:
        return joined
    attached: Tensor = _KnownGradient.apply(states, joined, torch.cat(gradients))  # type: ignore[no-untyped-call]
    return attached


def _chunks(model: ResidualModel, rows: Sequence[Tensor]) -> Iterator[slice]:
    """Return slices of rows that have at most `MAX_ENTRIES` logits, over all tensors."""
    vocabulary = model.hf.config.get_text_config(decoder=True).vocab_size
    size = max(1, MAX_ENTRIES // (vocabulary * len(rows)))
    return (slice(start, start + size) for start in range(0, len(rows[0]), size))


class _KnownGradient(torch.autograd.Function):
    """Values of rows, whose gradient by the same rows' states is known."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, values: Tensor, gradient: Tensor) -> Tensor:
        """Return the values."""
        ctx.save_for_backward(gradient)
        ctx.states_dtype = states.dtype
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient by the states."""
        (gradient,) = ctx.saved_tensors
        by_states = outputs[0][:, None] * gradient
        return by_states.to(ctx.states_dtype), None, None


def _states(model: ResidualModel, arguments: Mapping[str, Any]) -> Tensor:
    states: Tensor = model.hf.base_model(**arguments)[0]
    return states


def _head(model: ResidualModel) -> Callable[[Tensor], Tensor] | None:
    """Return the model without its blocks, as a function of final states; None if that gives other logits."""
    if model not in _HEADS:
        try:
            # in a thread of its own, in which the shifts of this one do not act
            with ThreadPoolExecutor(max_workers=1) as thread:
                _HEADS[model] = thread.submit(_checked_head, model).result()
        except Exception as error:  # a model that is built differently may raise anything
            if is_out_of_memory(error):
                raise
            _HEADS[model] = None
    return _HEADS[model]


def _checked_head(model: ResidualModel) -> Callable[[Tensor], Tensor] | None:
    if model.hf.base_model is model.hf:
        return None
    head = _make_head(model.hf)
    arguments = {**model.batch([[model.bos_id or 0, 0, 1], [model.bos_id or 0, 1]]), "use_cache": False}
    with torch.inference_mode():
        logits = model.hf(**arguments).logits
        alone = head(_states(model, arguments).flatten(0, 1)).view(*logits.shape[:2], -1)
    # a head of another shape rounds differently; a scale or a soft cap that is left out changes far more
    tolerance = (0.001 if model.precise else 0.05) * float(logits.float().std())
    same = alone.shape == logits.shape and bool(((alone - logits).abs() <= tolerance).all())
    return head if same else None


def _product(model: ResidualModel, states: Tensor, tokens: Tensor) -> Tensor:
    head = model.hf.get_output_embeddings()
    rows = tokens.to(head.weight.device)
    bias = None if getattr(head, "bias", None) is None else head.bias[rows].float()
    logits = torch.nn.functional.linear(states.to(head.weight.device).float(), head.weight[rows].float(), bias)
    cap = getattr(model.hf.config.get_text_config(decoder=True), "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _is_product(model: ResidualModel) -> bool:
    """Return whether the head is a matrix product with its weights, and a soft cap: whether it gives those logits."""
    if model not in _PRODUCTS:
        head = _head(model) and model.hf.get_output_embeddings()
        weight = getattr(head, "weight", None)
        _PRODUCTS[model] = False
        if weight is not None and weight.ndim == 2 and weight.is_floating_point() and not weight.is_meta:
            with torch.inference_mode():
                states = _states(model, {**model.batch([[model.bos_id or 0, 0, 1]]), "use_cache": False})[0]
                logits = logits_from(model, states).float()
                if len(weight) >= logits.shape[1]:
                    some = torch.linspace(0, logits.shape[1] - 1, _COMPARED).long()  # all of them may take a gigabyte
                    alone, logits = _product(model, states, some).to(logits.device), logits[:, some.to(logits.device)]
                    tolerance = (0.001 if model.precise else 0.05) * float(logits.std())
                    _PRODUCTS[model] = bool(((alone - logits).abs() <= tolerance).all())
    return _PRODUCTS[model]


def _make_head(hf: Any) -> Callable[[Tensor], Tensor]:
    """Return a function of final states that runs the model's own forward with a stand-in for its blocks.

    The stand-in is in a shallow copy of the model, so that the model itself is unchanged and threads do not meet.
    """
    name = next(name for name, module in hf.named_children() if module is hf.base_model)

    def head(states: Tensor) -> Tensor:
        shell = copy.copy(hf)
        shell.__dict__.pop("forward", None)  # accelerate's wrapper runs the original
        shell.__dict__ |= {hooks: OrderedDict() for hooks in ("_forward_hooks", "_forward_pre_hooks")}
        shell._modules = {**hf._modules, name: _Blocks(hf.base_model, states[None])}
        output = shell(input_ids=torch.zeros(1, len(states), dtype=torch.long, device=states.device), use_cache=False)
        logits: Tensor = output.logits[0]
        return logits

    return head


class _Blocks(nn.Module):
    """A stand-in for the blocks of a model, whose output is given."""

    def __init__(self, blocks: nn.Module, states: Tensor) -> None:
        super().__init__()
        self._states, self._original = states, (blocks,)  # in a tuple, so that it is no submodule

    def __getattr__(self, name: str) -> Any:
        """Return a setting of the blocks; a part of them that is run in their place is this stand-in too."""
        value = getattr(self._original[0], name)
        return self if isinstance(value, nn.Module) else value

    def forward(self, *_: Any, **__: Any) -> Any:
        """Return the states as the output of a transformers model."""
        return _Output(self._states)


class _Output(SimpleNamespace):
    """The output of a transformers model: a tuple whose absent fields are None."""

    def __init__(self, states: Tensor) -> None:
        super().__init__(last_hidden_state=states)

    def __getitem__(self, index: int) -> Tensor:
        if index != 0:
            raise IndexError(index)
        states: Tensor = self.last_hidden_state
        return states

    def __getattr__(self, _: str) -> None:
        return None
