"""Shifts distilled from prompts: the steered model predicts without the prompt what the plain one does behind it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vectors.activations.text_likelihood import check_likelihood
from vectors.common.errors import InputError
from vectors.common.rng import Stream, rng
from vectors.decoding.prompted_samples import EXAMPLE_TOKENS, text_states
from vectors.extraction.shifts.learned_shift import typical_activation
from vectors.extraction.shifts.likely_tokens import LikelyTokens, likely_tokens
from vectors.model.hooks import shift_layers
from vectors.model.positions import Site, sum_by_layer
from vectors.model.residual_model import ResidualModel

STEPS = 100
"""Optimiser steps."""

BATCHES = 20
"""Batches of lessons, which the steps go through again and again."""

ROWS = 8
"""Texts in a batch."""

TOKENS = 28
"""Tokens read of each text."""

RATE = 0.02
"""Initial learning rate of Adam, relative to the layer's root-mean-square activation."""

EARLY = 8.0
"""The first token of a text counts as one and this many more: it decides what kind of text follows."""

HALF_LIFE = 2.0
"""Tokens in which that extra weight halves."""

KL = 1.0
"""Penalty on leaving the plain model late in a text, in nats per nat."""

LATE = 6
"""Tokens after which it counts: by then the text itself says what kind it is, and the model goes on alone."""

LOSS_SCALE = 2.0**10
"""Keeps half-precision gradients from underflowing; Adam's steps do not depend on it."""

TokenIds = Sequence[int]
Pairs = Callable[[int], Sequence[tuple[TokenIds, TokenIds]]]
"""Maps the number of a batch to the token ids of prompts, the start token included, and of the text behind each."""

Weights = Float64[np.ndarray, " texts"]

_LEAST_REST = 1e-3  # of a token's probability that is always left
_COUNTED = 4  # batches that the likely tokens are counted in


@dataclass(frozen=True, eq=False)
class Lesson:
    """A batch of texts, and what the model reads at each of their tokens with and without a prompt.

    Attributes:
        texts: token ids of each text, without the start token.
        prompted: final states behind the prompt, which predict the tokens of all texts, one after the other.
        plain: the same without the prompt.
        share: for each token how much of what the prompted model predicts is in what the plain one does, 0 to 1; if it
            is given, what is left without it is to be learned.
    """

    texts: list[list[int]]
    prompted: Float[Tensor, "n width"]
    plain: Float[Tensor, "n width"]
    share: Float[Tensor, " n"] | None = None


@dataclass(frozen=True, eq=False)
class Lessons:
    """What `distil` learns from; the prompts are read once.

    Attributes:
        batches: the texts.
        tokens: the tokens by which predictions are compared.
    """

    batches: list[Lesson]
    tokens: LikelyTokens


def read_lessons(
    model: ResidualModel, pairs: Pairs, *, batches: int = BATCHES, progress: Callable[[int], None] | None = None
) -> Lessons:
    """Read texts behind their prompts and without them.

    Args:
        model: the model.
        pairs: the prompts and texts.
        batches: number of batches.
        progress: called with 1 after each batch.

    Raises:
        InputError: a prompt and its text exceed the context of the model.
        ModelError: a model without a start token.
    """
    start, lessons = model.start_ids(), list[Lesson]()
    for number in range(batches):
        batch = pairs(number)
        check_length(model, batch)
        alone = [(start, text) for _, text in batch]
        with torch.no_grad():
            plain = text_states(model, alone)
            prompted = plain if batch == alone else text_states(model, batch)
        lessons.append(Lesson([list(text) for _, text in batch], prompted, plain))
        if progress:
            progress(1)
    counted = [states for lesson in lessons[:_COUNTED] for states in (lesson.prompted, lesson.plain)]
    vocabulary = int(model.hf.config.get_text_config(decoder=True).vocab_size)
    in_texts = {token for lesson in lessons for text in lesson.texts for token in text}
    return Lessons(lessons, likely_tokens(model, counted, vocabulary, also=in_texts))


def distil(
    model: ResidualModel,
    lessons: Lessons,
    start: Mapping[Site, Float[Tensor, " d_model"]],
    *,
    steps: int = STEPS,
    rate: float = RATE,
    early: float = EARLY,
    likelihood: float = 0.0,
    kl: float = KL,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> dict[Site, Float64[Tensor, " d_model"]]:
    """Return shifts under which the model predicts texts as it does behind a prompt, without the prompt.

    Adam minimises the mean over tokens of KL(prompted || steered): the prompted model reads the prompt and the text,
    the steered one the start token and the text. Unlike the likelihood of the texts, this says for each token how
    likely all others are, so that few texts and steps are enough. A model that does not follow examples learns from the
    likelihood instead. After the first tokens, which decide what kind of text follows, a penalty keeps the steered
    model near the plain one.
    Source: Snell, Klein and Zhong, "Learning by distilling context" (2022), with shifts in place of weights.

    Args:
        model: the model that is steered.
        lessons: what it learns from.
        start: shifts to begin with, by layer and positions; all of them are learned together.
        steps: optimiser steps.
        rate: initial learning rate, relative to the root-mean-square activation of each layer.
        early: additional weight of the first token of a text, halved every `HALF_LIFE` tokens.
        likelihood: share of the loss that is the negative log-likelihood of the texts instead, 0 to 1.
        kl: weight of KL(steered || plain) at the tokens after the first `LATE` of a text, in nats per nat.
        seed: of the tokens that are compared.
        progress: called after each step with the loss in nats per token, all tokens counted alike.

    Raises:
        ModelError: a loss that is not finite.
    """
    prefix = model.start_ids()
    first = [[*prefix, *text] for text in lessons.batches[0].texts]
    typical = {layer: typical_activation(model, first, layer) for layer in {layer for layer, _ in start}}
    shifts = {
        site: shift.detach().float().to(model.device).clone().requires_grad_(True) for site, shift in start.items()
    }
    groups = [{"params": [shift], "lr": rate * typical[layer]} for (layer, _), shift in shifts.items()]
    adam = torch.optim.Adam(groups, betas=(0.9, 0.98))
    for step in range(steps):
        for group, (layer, _) in zip(adam.param_groups, shifts, strict=True):
            group["lr"] = rate * typical[layer] * (1 - step / steps)
        lesson = lessons.batches[step % len(lessons.batches)]
        tokens = lessons.tokens.draw(seed, step)
        with torch.no_grad():
            wanted = lessons.tokens.log_probs(model, lesson.prompted, tokens)
            needed = kl or lesson.share is not None
            plain = lessons.tokens.log_probs(model, lesson.plain, tokens) if needed else wanted
            if lesson.share is not None:
                wanted = _rest(plain, wanted, lesson.share.to(wanted))
        with torch.enable_grad():
            found = lessons.tokens.log_probs(model, steered_states(model, lesson.texts, shifts), tokens)
            distance = (1 - likelihood) * (wanted.exp() * (wanted - found)).sum(dim=-1)
            if likelihood:
                own = torch.tensor([token for text in lesson.texts for token in text])
                column = torch.searchsorted(lessons.tokens.likely, own).to(found.device)
                distance = distance - likelihood * found.gather(1, column[:, None])[:, 0]
            loss = (_weights(lesson.texts, early).to(distance) * distance).mean()
            if kl:
                late = torch.cat([torch.arange(len(text)) >= LATE for text in lesson.texts]).to(found)
                loss = loss + kl * (late * (found.exp() * (found - plain)).sum(dim=-1)).mean()
            check_likelihood(model, next(iter(shifts))[0], loss.item())
            gradients = torch.autograd.grad(LOSS_SCALE * loss, list(shifts.values()))
        for shift, gradient in zip(shifts.values(), gradients, strict=True):
            shift.grad = gradient
        adam.step()
        if progress:
            progress(float(distance.detach().mean()))
    return {site: shift.detach().cpu().double() for site, shift in shifts.items()}


def steered_states(
    model: ResidualModel, texts: Sequence[TokenIds], shifts: Mapping[Site, Float[Tensor, " d_model"]]
) -> Float[Tensor, "n width"]:
    """Return the final states that predict the tokens of texts behind the start token alone, under shifts."""
    start = model.start_ids()
    length = len(start) + max(map(len, texts))
    rows = {site: shift.expand(len(texts), -1) for site, shift in shifts.items()}
    with shift_layers(model, sum_by_layer(rows, length, len(start), "all")):
        return text_states(model, [(start, text) for text in texts])


def check_length(model: ResidualModel, pairs: Sequence[tuple[TokenIds, TokenIds]]) -> None:
    """Refuse a prompt that leaves no room for the text behind it.

    Raises:
        InputError: both together exceed the context of the model.
    """
    longest = max(len(prompt) + len(text) for prompt, text in pairs)
    if longest > model.max_context:
        raise InputError(
            f"a prompt and its text have {longest} tokens, more than the context of {model.max_context}: shorten one"
        )


def few_shot_pairs(
    model: ResidualModel,
    texts: Sequence[TokenIds],
    *,
    shots: int,
    between: TokenIds,
    seed: int,
    weights: Weights | None = None,
) -> Pairs:
    """Return batches of texts, each behind a prompt of a few other texts.

    Examples are cut where three of them would not fit into the context of the model.

    Args:
        model: the model.
        texts: token ids of texts without the start token; at least one more than `shots`.
        shots: number of texts in a prompt.
        between: token ids after each of them, such as a blank line.
        seed: of the draws.
        weights: sampling weight of each text.

    Raises:
        InputError: too few texts.
    """
    if len(texts) <= shots:
        raise InputError(f"there are {len(texts)} texts for prompts of {shots}: give {shots + 1} or more")
    start = model.start_ids()
    room = (model.max_context - len(start) - TOKENS) // shots - len(between)
    longest = max(1, min(EXAMPLE_TOKENS, room))

    def pairs(number: int) -> list[tuple[TokenIds, TokenIds]]:
        random = rng(seed, number, Stream.FIT)
        drawn: list[tuple[TokenIds, TokenIds]] = []
        for _ in range(ROWS):
            *examples, target = random.choice(len(texts), size=shots + 1, replace=False, p=_shares(weights, shots + 1))
            prompt = [*start, *(token for index in examples for token in (*texts[index][:longest], *between))]
            drawn.append((prompt, texts[target][:TOKENS]))
        return drawn

    return pairs


def text_pairs(model: ResidualModel, texts: Sequence[TokenIds], *, seed: int, weights: Weights | None = None) -> Pairs:
    """Return batches of texts without a prompt, to learn from their likelihood; short ones end with the end token.

    Args:
        model: the model.
        texts: token ids of texts without the start token.
        seed: of the draws.
        weights: sampling weight of each text.
    """
    start, end = model.start_ids(), sorted(model.eos_ids)[:1]

    def pairs(number: int) -> list[tuple[TokenIds, TokenIds]]:
        shares = _shares(weights, 1)
        drawable = len(texts) if shares is None else int(np.count_nonzero(shares))
        chosen = rng(seed, number, Stream.FIT).choice(len(texts), size=ROWS, replace=drawable < ROWS, p=shares)
        return [(start, [*texts[index], *end][:TOKENS]) for index in chosen]

    return pairs


def _rest(
    whole: Float[Tensor, "n tokens"], part: Float[Tensor, "n tokens"], share: Float[Tensor, " n"]
) -> Float[Tensor, "n tokens"]:
    """Return the log-probabilities of what is left of a distribution without a share of it, `(whole - s part)/(1-s)`.

    >>> whole, part = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    >>> _rest(whole, part, torch.tensor([0.5])).exp().round(decimals=2)
    tensor([[0.1000, 0.9000]])
    """
    rest = whole.exp() - share[:, None] * part.exp()
    rest = torch.maximum(rest, _LEAST_REST * whole.exp())
    log_rest: Tensor = rest.log() - rest.sum(dim=-1, keepdim=True).log()
    return log_rest


def _shares(weights: Weights | None, needed: int) -> Weights | None:
    """Return the probability of each text; texts of weight 0 get a little if too few have more to draw from."""
    if weights is None:
        return None
    shares = np.asarray(weights, dtype=np.float64)
    if np.count_nonzero(shares) < min(needed, len(shares)):
        shares = shares + 1e-9 * shares.max()
    probabilities: Weights = shares / shares.sum()
    return probabilities


def _weights(texts: Sequence[TokenIds], early: float) -> Float[Tensor, " n"]:
    """Return the weight of each token, with a mean of one."""
    weights = torch.cat([1 + early * 0.5 ** (torch.arange(len(text)) / HALF_LIFE) for text in texts])
    return weights / weights.mean()
