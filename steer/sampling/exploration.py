"""Interactive search: a tree of places, each a centre and a radius, with its screens of samples in one file."""

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
from steer.search.recentring import SHRINK, recentre
from vectors.common.errors import InputError, SteerError
from vectors.common.files import check_output_path, read_bytes
from vectors.common.validation import MAX_SEED, check_integer, quote
from vectors.model.residual_model import ResidualModel

MOST = 1000
"""Maximum number of samples on a screen."""

WIDER = 1.5
"""Factor on the radius for a wider search, and its inverse for a narrower one."""

_KEYS = ("place", "parent", "screen", "of")


@dataclass(frozen=True)
class Place:
    """A centre and a radius, as the plan of its samples, and the place that it was reached from.

    Attributes:
        number: 0-based, in the order in which places were reached.
        parent: number of the previous place, None for the first.
        plan: of the samples at this place.
    """

    number: int
    parent: int | None
    plan: RunPlan


class Exploration:
    """A tree of places, each with its screens of samples.

    All samples share one seed and have different indices, so that the index identifies a sample at any place. The file
    holds each sample as one line, as a run does, with its place, the parent of the place, the first index of its screen
    and the size of the screen. This is enough to resume, and to sample every text again. A pressure budget applies to
    the first place only.

    Args:
        model: the model to sample.
        plan: of the first place; its radius must be above 0.
        file: to which every sample is appended as it finishes.
        n: number of samples on a screen.

    Raises:
        InputError: a point whose doses are all 0, a radius of 0, or an invalid number.
    """

    def __init__(self, model: ResidualModel, plan: RunPlan, file: SampleFile, *, n: int) -> None:
        if not any(plan.point.norms.values()):
            raise InputError("every dose is 0, so that there is nothing to search around: give a concept a dose")
        if not plan.radius:
            raise InputError(
                "radius is 0, and every sample has the same direction there: give one above 0, such as 0.5"
            )
        self.model, self.file, self.n = model, file, check_integer(n, "n", low=1, high=MOST)
        self.here = Place(0, None, plan)
        self.places = {0: self.here}
        self.samples: dict[int, Sample] = {}
        self._place_of: dict[int, int] = {}  # number of the place by sample index
        self._screens: dict[int, list[int]] = {}  # first indices of the screens by place
        self._next = 0  # first index of the next screen

    @classmethod
    def resumed(cls, model: ResidualModel, file: SampleFile) -> "Exploration":
        """Return the exploration of a file, at the place of its last sample.

        Raises:
            InputError: a file without an exploration, or with samples of several runs.
            ModelError: a model, a vector or a natural covariance that has changed since.
        """
        lines, name = _read(file.path), quote(file.path)
        exploration = cls(model, plan_of(model, SampleSet([lines[0][0]])), file, n=lines[0][1]["of"])
        runs = dict[int, dict[str, Any]]()
        for sample, keys in lines:
            number = keys["place"]
            if number not in exploration.places:
                parent = exploration.place(keys["parent"])
                exploration.places[number] = Place(number, parent.number, exploration._plan_from(parent, sample))
            exploration.here = exploration.places[number]
            if number not in runs:
                runs[number] = exploration.here.plan.identity(model)
            if different := difference(sample, runs[number]):
                raise InputError(
                    f"sample {sample.index} in {name} is of another run than its place {number}: {different}"
                )
            if keys["screen"] not in (screens := exploration._screens.setdefault(number, [])):
                screens.append(keys["screen"])
            exploration._next = max(exploration._next, keys["screen"] + exploration.n)
            exploration._add(sample, exploration.here)
        file.expect = common(exploration.here.plan, model)
        return exploration

    @property
    def screen(self) -> list[Sample]:
        """The finished samples of the last screen at this place."""
        return [self.samples[index] for index in self._last if index in self.samples]

    @property
    def wanted(self) -> list[int]:
        """Indices that the last screen at this place lacks."""
        return [index for index in self._last if index not in self.samples]

    @property
    def _last(self) -> range:
        screens = self._screens.get(self.here.number)
        return range(screens[-1], screens[-1] + self.n) if screens else range(0)

    def more(self) -> Iterator[Sample]:
        """Complete the last screen at this place, or sample the next one; yield each sample once it is in the file.

        Raises:
            InputError: a place where nothing can be sampled; the exploration then returns to the previous place.
            OutputError: a file that was removed meanwhile.
        """
        self.file.check_place()
        if not self.wanted:
            self._screens.setdefault(self.here.number, []).append(self._next)
            self._next += self.n
        start, place = self._last.start, self.here
        try:
            samples = samples_at(self.model, place.plan, self.wanted)
        except SteerError:
            self._screens[place.number].pop()
            if place.number not in self.places and place.parent is not None:
                self.here = self.place(place.parent)
            raise
        screen = {"place": place.number, "parent": place.parent, "screen": start, "of": self.n}
        return self._append(samples, place, screen)

    def _append(self, samples: Iterator[Sample], place: Place, screen: dict[str, Any]) -> Iterator[Sample]:
        for sample in samples:
            self.file.append(sample, screen)
            self._add(sample, place)
            yield sample

    def pick(self, picks: Sequence[int], *, shrink: float = SHRINK) -> None:
        """Go to a new place: the mean direction of some samples of one place, at a smaller radius.

        Raises:
            InputError: no pick, an unknown index, or picks from several places.
        """
        missing = next((index for index in picks if index not in self.samples), None)
        if missing is not None or not picks:
            problem = "no sample is picked" if missing is None else f"there is no sample {missing}"
            first = self.screen[0].index if self.screen else 0
            raise InputError(f"{problem}: pick by the number before each text, such as {first}")
        parent = self._place_of_all(picks)
        centre = recentre([self.samples[index] for index in picks], picks, shrink=shrink)
        point = centre.point(self.model, parent.plan.point.vectors)
        self._go(replace(parent.plan, point=point, radius=centre.radius, max_pressure=None), parent)

    def wider(self) -> None:
        """Go to a new place with the same centre and a larger radius."""
        self._scale_radius(WIDER)

    def narrower(self) -> None:
        """Go to a new place with the same centre and a smaller radius."""
        self._scale_radius(1 / WIDER)

    def _scale_radius(self, factor: float) -> None:
        plan = self.here.plan
        self._go(replace(plan, radius=plan.radius * factor, max_pressure=None), self.here)

    def back(self) -> bool:
        """Go back to the previous place; return False if there is none."""
        if self.here.parent is None:
            return False
        self.here = self.place(self.here.parent)
        return True

    def go(self, number: int) -> None:
        """Go to an earlier place by its number.

        Raises:
            InputError: an unknown number.
        """
        if number not in self.places:
            raise InputError(f"there is no place {number}: go to one of {', '.join(map(str, sorted(self.places)))}")
        self.here = self.places[number]

    def save(self, path: str | Path, picks: Sequence[int] = (), *, force: bool = False) -> Path:
        """Write the samples of this place, or picked samples of one place, as a run, and return its path.

        Raises:
            InputError: no sample, an unknown index, or samples of several places.
            OutputError: a file that exists or cannot be written.
        """
        chosen = picks or [index for index in self.samples if self._place_of[index] == self.here.number]
        missing = [index for index in chosen if index not in self.samples]
        if missing or not chosen:
            raise InputError(
                f"there is no sample {missing[0]} to save" if missing else "there is no sample to save yet"
            )
        self._place_of_all(chosen)
        check_output_path(path, force=force, hint="it is not written over")
        return SampleSet(self.samples[index] for index in dict.fromkeys(chosen)).save(path, force=force)

    def place(self, number: int) -> Place:
        """Return the place of a number that the file mentions.

        Raises:
            InputError: a place that has no samples yet.
        """
        if number not in self.places:
            raise InputError(f"{quote(self.file.path)} mentions place {number} before its samples: it is damaged")
        return self.places[number]

    def _place_of_all(self, indices: Sequence[int]) -> Place:
        origins = {self._place_of[index] for index in indices}
        if len(origins) > 1:
            raise InputError("these samples are of different places, and each has its centre: pick those of one")
        return self.place(origins.pop())

    def _go(self, plan: RunPlan, previous: Place) -> None:
        # a place without samples is not in the file, so it cannot be a parent
        parent = previous.number if previous.number in self.places else previous.parent
        self.here = Place(max(self.places) + 1, parent, plan)
        self._screens.pop(self.here.number, None)

    def _add(self, sample: Sample, place: Place) -> None:
        self.samples[sample.index] = sample
        self._place_of[sample.index] = place.number
        self.places.setdefault(place.number, place)

    def _plan_from(self, parent: Place, sample: Sample) -> RunPlan:
        """Return the plan of a new place from its parent and the record of its first sample."""
        around: Any = sample.settings.get("around")
        plan = replace(parent.plan, radius=sample.radius, max_pressure=None)
        if around == parent.plan.point.around:
            return plan
        try:
            picks = [check_integer(pick["index"], "a pick") for pick in around["picks"]]
            centre = recentre([self.samples[index] for index in picks], picks, shrink=around["shrink"])
        except (KeyError, TypeError) as error:
            raise InputError(f"{quote(self.file.path)} is centred on samples that it lacks: it is damaged") from error
        return replace(plan, point=centre.point(self.model, parent.plan.point.vectors))


def common(plan: RunPlan, model: ResidualModel) -> dict[str, Any]:
    """Return what all samples of an exploration share, at any place."""
    run = plan.identity(model)
    settings = {key: value for key, value in run.pop("settings").items() if key not in ("around", "max_pressure")}
    return {key: value for key, value in run.items() if key != "radius"} | {"settings": settings}


def _read(path: Path) -> list[tuple[Sample, dict[str, Any]]]:
    """Return the samples of a file with the keys of their place and screen."""
    name, lines = quote(path), []
    for count, line in enumerate(read_bytes(path, "an exploration").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{name} line {count}"
        sample, content = Sample.from_json(line, where), json.loads(line)
        if not all(key in content for key in _KEYS):
            raise InputError(f"{where} has no place: give a file that `steer explore` wrote")
        screen = {
            key: check_integer(content[key], f"{where}: {key}", high=MAX_SEED >> 1)
            for key in _KEYS
            if content[key] is not None
        }
        if not 1 <= screen.get("of", 0) <= MOST or "place" not in screen or "screen" not in screen:
            raise InputError(f"{where} has no place: give a file that `steer explore` wrote")
        lines.append((sample, {"parent": 0} | screen))
    if not lines:
        raise InputError(f"{name} has no samples yet: begin with an expression and -o {name}")
    return lines
