"""Notes on stderr before a command samples: what is steered, and what to expect of it."""

from typing import TYPE_CHECKING

from cli.terminal.output import figure, note
from vectors.common.validation import quote

if TYPE_CHECKING:
    from steer.composition.forecast import Forecast
    from steer.sampling.run_plan import RunPlan
    from vectors.concepts.vector import ConceptVector
    from vectors.model.residual_model import ResidualModel

ALIKE = 0.5
"""Cosine from which two concepts are named as similar."""

FAR = 0.99
"""Share of natural texts that a shift may exceed before a note says so."""

_LITTLE, _MUCH = 0.1, 1.0  # of the norm of the residual stream: where a shift tends to do little, or to break texts


def note_plan(plan: "RunPlan", model: "ResidualModel") -> None:
    """Print what a user should know of a plan before it is sampled."""
    point = plan.point
    if plan.max_pressure is not None:
        note(f"p95 pressure within {plan.max_pressure:g} nats/token at {point.scale:g} of these doses")
    if not any(point.norms.values()):
        why = "every dose is 0" if point.doses else "no expression"
        radius = ", and --radius has no effect" if plan.radius else ""
        note(f"note: {why}: this samples the model without steering{radius}")
        return
    for vector in point.vectors:
        if not vector.calibrated:
            note(f"note: {quote(vector.name)} has no measured unit, so its dose 1 is the {vector.gap_name}")
        if plan.positions is not None and (moved := moved_note(vector, plan.positions)):
            note(moved)
    from steer.composition.forecast import forecast

    covariances = None
    if plan.positions != "bos":  # all texts share the start token, so that its activations do not vary
        from vectors.activations.natural_covariance import cached_covariance

        covariances = cached_covariance(model, point.layers)
    steered = [name for name, dose in point.doses.items() if dose > 0]
    for line in forecast_lines(forecast(point, covariances), steered, like_pilot=_samples_like_pilot(plan)):
        note(line)


def moved_note(vector: "ConceptVector", positions: str) -> str | None:
    """Return a note that a concept is added elsewhere than where its doses were measured; None if it is not."""
    made = vector.all_positions
    if made == (positions,):
        return None
    return f"note: {quote(vector.name)} was made for positions {' and '.join(made)}: its doses were measured there"


def note_natural_gap(vector: "ConceptVector", model: "ResidualModel") -> None:
    """Print how large a dose of 1 is that no pilot measured: its length against that of the residual stream."""
    texts = vector.evidence.get("texts")
    norm = stream_norm(model, texts if isinstance(texts, list) and texts else [vector.name], vector.layer)
    ratio = vector.gap / norm
    if ratio < _LITTLE:
        guess = "likely does little; doses of 2 to 5 may show the concept"
    elif ratio <= _MUCH:
        guess = "usually keeps texts readable; try doses of 0.5 to 3 to see the concept"
    else:
        guess = f"likely breaks the texts; try doses around {figure(_MUCH / 2 / ratio)}"
    note(
        f"note: {quote(vector.name)} is not calibrated: dose 1 adds a vector of length {figure(vector.gap)}, "
        f"{ratio:.2g} times the usual length of the residual stream at layer {vector.layer} ({figure(norm)}), and "
        f"{guess}"
    )


def stream_norm(model: "ResidualModel", texts: list[str], layer: int) -> float:
    """Return the mean norm of the residual stream after a layer, over the texts' own tokens."""
    from vectors.activations.text_activations import encode_texts, token_activations

    total, count = 0.0, 0
    for _, activations, own in token_activations(model, encode_texts(model, texts), [layer]):
        norms = activations[layer].float().norm(dim=-1)[own.to(activations[layer].device)]
        total, count = total + float(norms.sum()), count + norms.numel()
    return total / count


def _samples_like_pilot(plan: "RunPlan") -> bool:
    """Return whether a run samples as the pilots of its concepts did, so that their success rates apply."""
    from vectors.decoding.token_sampling import Settings

    plain = Settings(max_tokens=plan.settings.max_tokens, positions=plan.settings.positions)
    where = plan.positions
    same_positions = where is None or all(moved_note(vector, where) is None for vector in plan.point.vectors)
    added = plan.point.method != "rotate" and not plan.gate
    return plan.settings == plain and plan.prompt is None and same_positions and added


def forecast_lines(forecast: "Forecast", names: list[str], *, like_pilot: bool = True) -> list[str]:
    """Return what to expect of the named concepts, one line each."""
    lines = []
    cosines = sorted(forecast.cosines.values())
    if cosines:
        values = f"{cosines[0]:.2f}" if len(cosines) == 1 else f"{cosines[0]:.2f} to {cosines[-1]:.2f}"
        lines.append(f"{'cosine' if len(cosines) == 1 else 'cosines'} {values}")
    if forecast.joint is not None and like_pilot:
        subject = quote(names[0]) if len(names) == 1 else "both" if len(names) == 2 else f"all {len(names)}"
        alone = " and ".join(map(quote, forecast.alone))
        fewer = f", or fewer: {alone} measured alone only" if forecast.alone else ""
        lines = ["; ".join([f"expect {subject} in {forecast.joint} of texts at radius 0{fewer}", *lines])]
    for attribute, rivals in forecast.rivals.items():
        lines.append(
            f"note: {' and '.join(map(quote, rivals))} are values of one attribute, {attribute}: a text has one"
        )
    for name, most in forecast.beyond.items():
        lines.append(f"note: the pilot of {quote(name)} only went up to dose {most:.3g}: this dose was never tried")
    for (one, other), cosine in forecast.cosines.items():
        if abs(cosine) >= ALIKE:
            way = "similar" if cosine > 0 else "opposite"
            lines.append(f"note: {quote(one)} and {quote(other)} have {way} directions (cosine {cosine:.2f})")
    for name, dose in forecast.falling.items():
        lines.append(f"note: {quote(name)} shows most at dose {figure(dose)}; at this dose it shows clearly less")
    # the pilot of a single concept has sampled its shift, however far that reaches
    known = len(names) == 1 and names[0] in forecast.success
    for layer, share in forecast.outlying.items():
        if share >= FAR and not known:
            lines.append(
                f"note: at layer {layer} this shift reaches farther from the mean than {share:.0%} of the model's own "
                "texts: texts may break down, lower the doses"
            )
    return lines
