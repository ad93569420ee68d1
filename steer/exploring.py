"""A search by hand: screens of samples, some of them stood on, wider, narrower and back, kept as a tree in one file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steer.around import SHRINK, recentred
from steer.plan import Plan
from steer.record import Sample
from steer.replay import plan_of
from steer.samplefile import SampleFile
from steer.sampler import samples_at
from steer.samples import SampleSet
from vectors.checks import shown, whole
from vectors.errors import InputError
from vectors.files import read_bytes
from vectors.model import ResidualModel

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
    plan: Plan


class Exploration:
    """A tree of places, each with its screens of samples.

    All samples have one seed and indices of their own, so that each is known by its index alone, wherever it was come
    to. A file holds each sample as one line, as runs do, with its place, that place's parent, and which screen of how
    many it was on: enough to go on from, and to find every sample again.

    Args:
        model: the model to sample.
        plan: of the first place; its radius is above 0.
        file: takes every sample as it finishes.
        n: samples on a screen.

    Raises:
        InputError: a search that has nowhere to look, or a number that is none.
    """

    def __init__(self, model: ResidualModel, plan: Plan, file: SampleFile, *, n: int) -> None:
        if not any(plan.point.norms.values()):
            raise InputError("every dose is 0, so that there is nothing to look around: give a concept a dose")
        if not plan.radius:
            raise InputError(
                "radius is 0, and every sample has the same direction there: give one above 0, such as 0.5"
            )
        self.model, self.file, self.n = model, file, whole(n, "n", low=1)
        self.places = [Place(0, None, plan)]
        self.here = self.places[0]
        self.samples: dict[int, Sample] = {}
        self._where: dict[int, int] = {}  # from a sample to its place
        self._screens: list[tuple[int, range]] = []  # place and indices of each

    @classmethod
    def resumed(cls, model: ResidualModel, file: SampleFile) -> "Exploration":
        """Return the exploration that a file holds, standing where its last sample was.

        Raises:
            InputError: a file that holds none.
            ModelError: other weights, or vectors that have changed since.
        """
        lines = _read(file.path)
        first = SampleSet([lines[0][0]])
        made = cls(model, plan_of(model, first), file, n=lines[0][1]["of"])
        for sample, about in lines:
            if about["place"] == len(made.places):
                parent = made._place(about["parent"])
                made.places.append(Place(len(made.places), parent.number, made._again(parent, sample)))
            made.here = made._place(about["place"])
            start = about["screen"]
            if (made.here.number, range(start, start + made.n)) not in made._screens:
                made._screens.append((made.here.number, range(start, start + made.n)))
            made._keep(sample, made.here)
        return made

    @property
    def screen(self) -> list[Sample]:
        """The samples of the last screen at this place that are finished."""
        mine = [indices for place, indices in self._screens if place == self.here.number]
        return [self.samples[index] for index in mine[-1] if index in self.samples] if mine else []

    @property
    def wanted(self) -> list[int]:
        """What the last screen lacks, if it was on this place."""
        place, indices = self._screens[-1] if self._screens else (None, range(0))
        return [index for index in indices if place == self.here.number and index not in self.samples]

    def more(self) -> Iterator[Sample]:
        """Sample what the last screen lacks, or the next one, and yield each sample as soon as it is kept."""
        if not self.wanted:
            start = max((indices.stop for _, indices in self._screens), default=0)
            self._screens.append((self.here.number, range(start, start + self.n)))
        return self._sampled(self.here, self._screens[-1][1].start, self.wanted)

    def _sampled(self, place: Place, start: int, wanted: list[int]) -> Iterator[Sample]:
        about = {"place": place.number, "parent": place.parent, "screen": start, "of": self.n}
        for sample in samples_at(self.model, place.plan, wanted):
            self.file.append(sample, about)
            self._keep(sample, place)
            yield sample

    def pick(self, picks: Sequence[int], *, shrink: float = SHRINK) -> None:
        """Stand on some samples of one place: their directions' mean is the centre, at a radius smaller than theirs.

        Raises:
            InputError: no pick, one that is not there, or picks of several places.
        """
        known = [index for index in picks if index in self.samples]
        if len(known) < len(picks) or not picks:
            lost = next((index for index in picks if index not in self.samples), None)
            said = "no sample is picked" if lost is None else f"there is no sample {lost}"
            last = [sample.index for sample in self.screen]
            raise InputError(f"{said}: pick by the number that stands before each, such as {last[0] if last else 0}")
        origins = {self._where[index] for index in picks}
        if len(origins) > 1:
            raise InputError("these samples are of different searches: pick samples of one, since each has its centre")
        parent = self._place(origins.pop())
        around = recentred([self.samples[index] for index in picks], picks, shrink=shrink)
        self._go(replace(parent.plan, point=around.point(self.model), radius=around.radius), parent)

    def wider(self) -> None:
        """Look farther away from the same centre."""
        self._go(replace(self.here.plan, radius=self.here.plan.radius * WIDER), self.here)

    def narrower(self) -> None:
        """Look nearer to the same centre."""
        self._go(replace(self.here.plan, radius=self.here.plan.radius / WIDER), self.here)

    def back(self) -> bool:
        """Go back to the place before; False where there is none."""
        if self.here.parent is None:
            return False
        self.here = self._place(self.here.parent)
        return True

    def save(self, path: str | Path, picks: Sequence[int] = (), *, force: bool = False) -> Path:
        """Write the samples of this place, or those picked, as a run of its own, and return its path.

        Raises:
            InputError: one that is not there, or none.
            OutputError: a file that exists or cannot be written.
        """
        chosen = picks or [index for index in self.samples if self._where[index] == self.here.number]
        missing = [index for index in chosen if index not in self.samples]
        if missing or not chosen:
            raise InputError(
                f"there is no sample {missing[0]} to save" if missing else "there is no sample to save yet"
            )
        return SampleSet(self.samples[index] for index in dict.fromkeys(chosen)).save(path, force=force)

    def _go(self, plan: Plan, parent: Place) -> None:
        self.here = Place(len(self.places), parent.number, plan)
        self.places.append(self.here)

    def _keep(self, sample: Sample, place: Place) -> None:
        self.samples[sample.index] = sample
        self._where[sample.index] = place.number

    def _place(self, number: int) -> Place:
        if not 0 <= number < len(self.places):
            raise InputError(f"{shown(self.file.path)} tells of a place {number} before it was come to: it is damaged")
        return self.places[number]

    def _again(self, parent: Place, sample: Sample) -> Plan:
        """The plan of a place that is come to for the first time, told by its parent and its first sample."""
        told: Any = sample.settings.get("around")
        if told == parent.plan.point.around:
            return replace(parent.plan, radius=sample.radius)
        try:
            picks = [whole(pick["index"], "a pick") for pick in told["picks"]]
            around = recentred([self.samples[index] for index in picks], picks, shrink=told["shrink"])
        except (KeyError, TypeError) as error:
            raise InputError(f"{shown(self.file.path)} stands on samples that it lacks: it is damaged") from error
        return replace(parent.plan, point=around.point(self.model), radius=sample.radius)


def common(plan: Plan, model: ResidualModel) -> dict[str, Any]:
    """Return what all samples of an exploration share, wherever they are come to."""
    run = plan.identity(model)
    settings = {key: value for key, value in run.pop("settings").items() if key != "around"}
    return {key: value for key, value in run.items() if key != "radius"} | {"settings": settings}


def _read(path: Path) -> list[tuple[Sample, dict[str, Any]]]:
    """Return the samples of a file with what stands beside them."""
    name, found = shown(path), []
    for count, line in enumerate(read_bytes(path, "an exploration").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{name} line {count}"
        sample, content = Sample.from_json(line, where), json.loads(line)
        if not all(key in content for key in _KEYS):
            raise InputError(f"{where} tells no place: give a file that `steer explore` wrote")
        about = {key: whole(content[key], f"{where}: {key}") for key in _KEYS if content[key] is not None}
        if about.get("of", 0) < 1 or "place" not in about or "screen" not in about:
            raise InputError(f"{where} tells no place: give a file that `steer explore` wrote")
        found.append((sample, {"parent": 0} | about))
    if not found:
        raise InputError(f"{name} has no samples: begin anew")
    return found
