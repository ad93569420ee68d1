"""A search by hand: screens of samples, some of them stood on, wider, narrower and back, kept as a tree in one file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steer.runs.sample import Sample, difference
from steer.runs.sample_file import SampleFile
from steer.runs.sample_set import SampleSet
from steer.sampling.replay import plan_of
from steer.sampling.run_plan import RunPlan
from steer.sampling.sampler import samples_at
from steer.search.perturbation import check_radius
from steer.search.recentring import SHRINK, recentre
from vectors.common.errors import InputError, SteerError
from vectors.common.files import check_output_path, read_bytes
from vectors.common.validation import MAX_SEED, check_integer, quote
from vectors.model.residual_model import ResidualModel

MOST = 1000
"""Samples on a screen, at most."""

WIDER = 1.5
"""What the radius is multiplied by to look farther away, and divided by to look nearer."""

_KEYS = ("place", "parent", "screen", "of")


@dataclass(frozen=True)
class Place:
    """A centre and a radius to look around it, and the place that one came from.

    Attributes:
        number: 0-based, in the order in which places were come to.
        parent: number of the place before, or None.
        plan: what samples here are.
    """

    number: int
    parent: int | None
    plan: RunPlan


class Exploration:
    """A tree of places, each with its screens of samples.

    All samples have one seed and indices of their own, so that each is known by its index alone, wherever it was come
    to. A file holds each sample as one line, as runs do, with its place, that place's parent, and which screen of how
    many it was on: enough to go on from, and to find every sample again. A pressure budget holds for the first place.

    Args:
        model: the model to sample.
        plan: of the first place; its radius is above 0.
        file: takes every sample as it finishes.
        n: samples on a screen.

    Raises:
        InputError: a search that has nowhere to look, or a number that is none.
    """

    def __init__(self, model: ResidualModel, plan: RunPlan, file: SampleFile, *, n: int) -> None:
        if not any(plan.point.norms.values()):
            raise InputError("every dose is 0, so that there is nothing to look around: give a concept a dose")
        if not plan.radius:
            raise InputError(
                "radius is 0, and every sample has the same direction there: give one above 0, such as 0.5"
            )
        self.model, self.file, self.n = model, file, check_integer(n, "n", low=1, high=MOST)
        self.here = Place(0, None, plan)
        self.places = {0: self.here}
        self.samples: dict[int, Sample] = {}
        self._where: dict[int, int] = {}  # from a sample to its place
        self._screens: dict[int, list[int]] = {}  # of each place: the first index of each
        self._next = 0

    @classmethod
    def resumed(cls, model: ResidualModel, file: SampleFile) -> "Exploration":
        """Return the exploration that a file holds, standing where its last sample was.

        Raises:
            InputError: a file that holds none, or lines that do not belong together.
            ModelError: other weights, or vectors that have changed since.
        """
        lines, name = _read(file.path), quote(file.path)
        made = cls(model, plan_of(model, SampleSet([lines[0][0]])), file, n=lines[0][1]["of"])
        runs = dict[int, dict[str, Any]]()
        for sample, about in lines:
            number = about["place"]
            if number not in made.places:
                parent = made.place(about["parent"])
                made.places[number] = Place(number, parent.number, made._again(parent, sample))
            made.here = made.places[number]
            if number not in runs:
                runs[number] = made.here.plan.identity(model)
            if different := difference(sample, runs[number]):
                raise InputError(
                    f"sample {sample.index} in {name} is of another run than its place {number}: {different}"
                )
            if about["screen"] not in (screens := made._screens.setdefault(number, [])):
                screens.append(about["screen"])
            made._next = max(made._next, about["screen"] + made.n)
            made._keep(sample, made.here)
        file.expect = common(made.here.plan, model)
        return made

    @property
    def screen(self) -> list[Sample]:
        """The samples of the last screen at this place that are finished."""
        return [self.samples[index] for index in self._last if index in self.samples]

    @property
    def wanted(self) -> list[int]:
        """What the last screen at this place lacks."""
        return [index for index in self._last if index not in self.samples]

    @property
    def _last(self) -> range:
        screens = self._screens.get(self.here.number)
        return range(screens[-1], screens[-1] + self.n) if screens else range(0)

    def more(self) -> Iterator[Sample]:
        """Sample what the last screen here lacks, or the next one, and yield each sample as soon as it is kept.

        Raises:
            InputError: a place where nothing can be sampled; one stands where one came from then.
            OutputError: the file was taken away.
        """
        self.file.check_place()
        if not self.wanted:
            self._screens.setdefault(self.here.number, []).append(self._next)
            self._next += self.n
        start, place = self._last.start, self.here
        try:
            found = samples_at(self.model, place.plan, self.wanted)
        except SteerError:
            self._screens[place.number].pop()
            if place.number not in self.places and place.parent is not None:
                self.here = self.place(place.parent)
            raise
        return self._kept(found, place, {"place": place.number, "parent": place.parent, "screen": start, "of": self.n})

    def _kept(self, found: Iterator[Sample], place: Place, about: dict[str, Any]) -> Iterator[Sample]:
        for sample in found:
            self.file.append(sample, about)
            self._keep(sample, place)
            yield sample

    def pick(self, picks: Sequence[int], *, shrink: float = SHRINK) -> None:
        """Stand on some samples of one place: their directions' mean is the centre, at a radius smaller than theirs.

        Raises:
            InputError: no pick, one that is not there, or picks of several places.
        """
        lost = next((index for index in picks if index not in self.samples), None)
        if lost is not None or not picks:
            said = "no sample is picked" if lost is None else f"there is no sample {lost}"
            first = self.screen[0].index if self.screen else 0
            raise InputError(f"{said}: pick by the number that stands before each, such as {first}")
        parent = self._one_place(picks)
        around = recentre([self.samples[index] for index in picks], picks, shrink=shrink)
        point = around.point(self.model, parent.plan.point.vectors)
        self._go(replace(parent.plan, point=point, radius=around.radius, max_pressure=None), parent)

    def wider(self) -> None:
        """Look farther away from the same centre."""
        self._look(WIDER)

    def narrower(self) -> None:
        """Look nearer to the same centre."""
        self._look(1 / WIDER)

    def _look(self, factor: float) -> None:
        plan = self.here.plan
        self._go(replace(plan, radius=check_radius(plan.radius * factor), max_pressure=None), self.here)

    def back(self) -> bool:
        """Go back to the place before; False where there is none."""
        if self.here.parent is None:
            return False
        self.here = self.place(self.here.parent)
        return True

    def go(self, number: int) -> None:
        """Go to a place that was come to before.

        Raises:
            InputError: there is none of that number.
        """
        if number not in self.places:
            raise InputError(f"there is no place {number}: go to one of {', '.join(map(str, sorted(self.places)))}")
        self.here = self.places[number]

    def save(self, path: str | Path, picks: Sequence[int] = (), *, force: bool = False) -> Path:
        """Write the samples of this place, or some picked at one place, as a run of its own, and return its path.

        Raises:
            InputError: one that is not there, none, or samples of several places.
            OutputError: a file that exists or cannot be written.
        """
        chosen = picks or [index for index in self.samples if self._where[index] == self.here.number]
        missing = [index for index in chosen if index not in self.samples]
        if missing or not chosen:
            raise InputError(
                f"there is no sample {missing[0]} to save" if missing else "there is no sample to save yet"
            )
        self._one_place(chosen)
        check_output_path(path, force=force, hint="it is not written over")
        return SampleSet(self.samples[index] for index in dict.fromkeys(chosen)).save(path, force=force)

    def place(self, number: int) -> Place:
        """Return a place that has samples.

        Raises:
            InputError: there is none of that number.
        """
        if number not in self.places:
            raise InputError(f"{quote(self.file.path)} tells of a place {number} before it was come to: it is damaged")
        return self.places[number]

    def _one_place(self, indices: Sequence[int]) -> Place:
        origins = {self._where[index] for index in indices}
        if len(origins) > 1:
            raise InputError("these samples are of different places, and each has its centre: take those of one")
        return self.place(origins.pop())

    def _go(self, plan: RunPlan, before: Place) -> None:
        # a place counts once it has a sample: one that has none is nowhere to come from
        parent = before.number if before.number in self.places else before.parent
        self.here = Place(max(self.places) + 1, parent, plan)
        self._screens.pop(self.here.number, None)

    def _keep(self, sample: Sample, place: Place) -> None:
        self.samples[sample.index] = sample
        self._where[sample.index] = place.number
        self.places.setdefault(place.number, place)

    def _again(self, parent: Place, sample: Sample) -> RunPlan:
        """The plan of a place that is come to for the first time, told by its parent and its first sample."""
        told: Any = sample.settings.get("around")
        plan = replace(parent.plan, radius=check_radius(sample.radius), max_pressure=None)
        if told == parent.plan.point.around:
            return plan
        try:
            picks = [check_integer(pick["index"], "a pick") for pick in told["picks"]]
            around = recentre([self.samples[index] for index in picks], picks, shrink=told["shrink"])
        except (KeyError, TypeError) as error:
            raise InputError(f"{quote(self.file.path)} stands on samples that it lacks: it is damaged") from error
        return replace(plan, point=around.point(self.model, parent.plan.point.vectors))


def common(plan: RunPlan, model: ResidualModel) -> dict[str, Any]:
    """Return what all samples of an exploration share, wherever they are come to."""
    run = plan.identity(model)
    settings = {key: value for key, value in run.pop("settings").items() if key not in ("around", "max_pressure")}
    return {key: value for key, value in run.items() if key != "radius"} | {"settings": settings}


def _read(path: Path) -> list[tuple[Sample, dict[str, Any]]]:
    """Return the samples of a file with what stands beside them."""
    name, found = quote(path), []
    for count, line in enumerate(read_bytes(path, "an exploration").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{name} line {count}"
        sample, content = Sample.from_json(line, where), json.loads(line)
        if not all(key in content for key in _KEYS):
            raise InputError(f"{where} tells no place: give a file that `steer explore` wrote")
        about = {
            key: check_integer(content[key], f"{where}: {key}", high=MAX_SEED >> 1)
            for key in _KEYS
            if content[key] is not None
        }
        if not 1 <= about.get("of", 0) <= MOST or "place" not in about or "screen" not in about:
            raise InputError(f"{where} tells no place: give a file that `steer explore` wrote")
        found.append((sample, {"parent": 0} | about))
    if not found:
        raise InputError(f"{name} has no samples yet: begin with an expression and -o {name}")
    return found
