"""What a command says on stderr of a plan before it samples: what is switched on, and what to expect of it."""

from typing import TYPE_CHECKING

from cli.terminal.output import note
from vectors.common.validation import quote

if TYPE_CHECKING:
    from steer.composition.forecast import Forecast
    from steer.sampling.run_plan import RunPlan
    from vectors.model.residual_model import ResidualModel

ALIKE = 0.5
"""Cosine from which two concepts are named: each then brings much of the other."""

FAR = 0.99
"""Share of natural texts that a shift may reach beyond without a word."""


def tell(plan: "RunPlan", model: "ResidualModel") -> None:
    """Note what a reader should know of a plan."""
    point = plan.point
    if plan.max_pressure is not None:
        note(f"p95 pressure within {plan.max_pressure:g} nats/token at {point.scale:g} of these doses")
    if not any(point.norms.values()):
        idle = ", and the radius has nothing to scale" if plan.radius else ""
        note(f"note: every dose is 0: these are samples of the base model as it is{idle}")
        return
    for vector in point.vectors:
        if not vector.calibrated:
            note(f"note: {quote(vector.name)} has no measured unit, dose 1 is its natural gap")
        if vector.positions != plan.settings.positions:
            note(f"note: {quote(vector.name)} was made for positions {vector.positions}: its doses hold there")
    from steer.composition.forecast import forecast

    covariances = None
    if plan.positions != "bos":  # all texts share the start token, so that its activations do not vary
        from vectors.activations.natural_covariance import cached_covariance

        covariances = cached_covariance(model, point.layers)
    found = forecast(point, covariances)
    for line in lines(found, [name for name, dose in point.doses.items() if dose > 0], as_piloted=_as_piloted(plan)):
        note(line)


def _as_piloted(plan: "RunPlan") -> bool:
    """Whether texts are sampled as the pilots of the concepts sampled theirs, so that these say what to expect."""
    from vectors.decoding.token_sampling import Settings

    plain = Settings(max_tokens=plan.settings.max_tokens, positions=plan.settings.positions)
    there = all(vector.positions == plan.settings.positions for vector in plan.point.vectors)
    added = plan.point.method != "rotate" and not plan.gate
    return plan.settings == plain and plan.prompt is None and there and added


def lines(found: "Forecast", names: list[str], *, as_piloted: bool = True) -> list[str]:
    """Say what to expect of the concepts that are asked for, a line each."""
    said = []
    cosines = sorted(found.cosines.values())
    if cosines:
        span = f"{cosines[0]:.2f}" if len(cosines) == 1 else f"{cosines[0]:.2f} to {cosines[-1]:.2f}"
        said.append(f"{'cosine' if len(cosines) == 1 else 'cosines'} {span}")
    if found.joint is not None and as_piloted:
        what = quote(names[0]) if len(names) == 1 else "both" if len(names) == 2 else f"all {len(names)}"
        fewer = f", or fewer: {' and '.join(map(quote, found.alone))} tried alone only" if found.alone else ""
        said = ["; ".join([f"expect {what} in {found.joint} of texts at radius 0{fewer}", *said])]
    for attribute, rivals in found.rivals.items():
        said.append(f"note: {' and '.join(map(quote, rivals))} are each a {attribute}: a text has one of them")
    for name, most in found.beyond.items():
        said.append(f"note: nothing is known of {quote(name)} at this dose: its pilot went up to {most:.3g}")
    for (one, other), cosine in found.cosines.items():
        if abs(cosine) >= ALIKE:
            way = "one way" if cosine > 0 else "opposite ways"
            said.append(f"note: {quote(one)} and {quote(other)} point much {way} (cosine {cosine:.2f})")
    for layer, share in found.outlying.items():
        if share >= FAR:
            said.append(
                f"note: at layer {layer} this reaches farther out than {share:.0%} of the model's own texts: the "
                "entries may break down, lower the doses"
            )
    return said
