"""Interactive search: a tree of nodes, each a centre and a radius, with screens of samples in one file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steer.runs.sample import Sample, difference
from steer.runs.sample_file import SampleFile
from steer.runs.sample_set import SampleSet
from steer.sampling.exploration_file import MAX_SCREEN, Screen, read_exploration
from steer.sampling.replay import plan_of
from steer.sampling.run_plan import RunPlan
from steer.sampling.sampler import samples_at
from steer.search.recentring import SHRINK, recentre
from vectors.common.errors import InputError, SteerError
from vectors.common.files import check_output_path
from vectors.common.validation import check_integer, list_names, quote
from vectors.model.residual_model import ResidualModel

WIDER = 1.5
"""Factor on the radius for a wider search, and its inverse for a narrower one."""


@dataclass(frozen=True)
class Node:
    """A centre and a radius to sample at.

    Attributes:
        number: 0-based, in the order of creation.
        parent: number of the node that it was reached from, None for the root.
        plan: the plan of its samples.
    """

    number: int
    parent: int | None
    plan: RunPlan


class Exploration:
    """A tree of nodes, each with screens of samples.

    All samples share one seed and have different indices, so that an index identifies a sample of any node. The file
    holds one line per sample, with its node, the parent of the node, the first index of its screen and the size of the
    screen. This is enough to resume the exploration and to sample every text again. A pressure budget applies to the
    root only.

    Args:
        model: the model to sample.
        plan: of the root; its radius must be above 0.
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
        self.model, self.file, self.n = model, file, check_integer(n, "n", low=1, high=MAX_SCREEN)
        self.current = Node(0, None, plan)
        self.nodes = {0: self.current}
        self.samples: dict[int, Sample] = {}
        self._node_of: dict[int, int] = {}  # number of the node by sample index
        self._last_screens: dict[int, Screen] = {}  # by number of the node
        self._next_index = 0  # first index of the next screen

    @classmethod
    def resumed(cls, model: ResidualModel, file: SampleFile) -> "Exploration":
        """Return the exploration of a file, at the node of its last sample.

        Raises:
            InputError: a file without an exploration, or with samples of several runs.
            ModelError: a model, a vector or a natural covariance that has changed since.
        """
        samples = read_exploration(file.path)
        first, first_screen = samples[0]
        exploration = cls(model, plan_of(model, SampleSet([first])), file, n=first_screen.size)
        runs = dict[int, dict[str, Any]]()
        for sample, screen in samples:
            number = screen.node
            if number not in exploration.nodes:
                parent = exploration._known_node(screen.parent or 0)
                exploration.nodes[number] = Node(number, parent.number, exploration._plan_from(parent, sample))
            exploration.current = exploration.nodes[number]
            if number not in runs:
                runs[number] = exploration.current.plan.identity(model)
            if different := difference(sample, runs[number]):
                raise InputError(
                    f"sample {sample.index} in {quote(file.path)} is of another run than its node {number}: {different}"
                )
            exploration._last_screens[number] = replace(screen, size=exploration.n)
            exploration._next_index = max(exploration._next_index, screen.start + exploration.n)
            exploration._add(sample, exploration.current)
        file.expect = shared_fields(exploration.current.plan, model)
        return exploration

    @property
    def screen(self) -> list[Sample]:
        """The finished samples of the last screen at this node."""
        return [self.samples[index] for index in self._screen_indices if index in self.samples]

    @property
    def missing(self) -> list[int]:
        """Indices of the last screen at this node that have no sample yet."""
        return [index for index in self._screen_indices if index not in self.samples]

    @property
    def _screen_indices(self) -> range:
        screen = self._last_screens.get(self.current.number)
        return screen.indices if screen else range(0)

    def sample_screen(self) -> Iterator[Sample]:
        """Complete the last screen at this node, or sample the next one; yield each sample once it is in the file.

        Raises:
            InputError: a node where nothing can be sampled; the exploration then returns to its parent.
            OutputError: a file that was removed meanwhile.
        """
        self.file.check_path()
        node, screen = self.current, self._last_screens.get(self.current.number)
        if screen is None or not self.missing:
            screen = Screen(node.number, node.parent, self._next_index, self.n)
        try:
            samples = samples_at(self.model, node.plan, [i for i in screen.indices if i not in self.samples])
        except SteerError:
            if node.number not in self.nodes and node.parent is not None:
                self.current = self.nodes[node.parent]
            raise
        self._last_screens[node.number] = screen
        self._next_index = max(self._next_index, screen.start + self.n)
        return self._append(samples, node, screen)

    def _append(self, samples: Iterator[Sample], node: Node, screen: Screen) -> Iterator[Sample]:
        for sample in samples:
            self.file.append(sample, screen.to_dict())
            self._add(sample, node)
            yield sample

    def pick(self, picks: Sequence[int], *, shrink: float = SHRINK) -> None:
        """Go to a new node: the mean direction of some samples of one node, at a smaller radius.

        Raises:
            InputError: no pick, an unknown index, or picks from several nodes.
        """
        unknown = next((index for index in picks if index not in self.samples), None)
        if unknown is not None or not picks:
            problem = "no sample is picked" if unknown is None else f"there is no sample {unknown}"
            first = self.screen[0].index if self.screen else 0
            raise InputError(f"{problem}: pick by the number before each text, such as {first}")
        parent = self._common_node(picks)
        centre = recentre([self.samples[index] for index in picks], picks, shrink=shrink)
        point = centre.point(self.model, parent.plan.point.vectors)
        self._go_to_new(replace(parent.plan, point=point, radius=centre.radius, max_pressure=None), parent)

    def widen(self) -> None:
        """Go to a new node with the same centre and a larger radius."""
        self._scale_radius(WIDER)

    def narrow(self) -> None:
        """Go to a new node with the same centre and a smaller radius."""
        self._scale_radius(1 / WIDER)

    def _scale_radius(self, factor: float) -> None:
        plan = self.current.plan
        self._go_to_new(replace(plan, radius=plan.radius * factor, max_pressure=None), self.current)

    def go_back(self) -> bool:
        """Go back to the parent of this node; return False at the root."""
        if self.current.parent is None:
            return False
        self.current = self.nodes[self.current.parent]
        return True

    def go_to(self, number: int) -> None:
        """Go to an earlier node by its number.

        Raises:
            InputError: an unknown number.
        """
        if number not in self.nodes:
            raise InputError(f"there is no node {number}: go to one of {list_names(sorted(self.nodes))}")
        self.current = self.nodes[number]

    def save(self, path: str | Path, picks: Sequence[int] = (), *, force: bool = False) -> Path:
        """Write the samples of this node, or picked samples of one node, as a run, and return its path.

        Raises:
            InputError: no sample, an unknown index, or samples of several nodes.
            OutputError: a file that exists or cannot be written.
        """
        chosen = picks or [index for index in self.samples if self._node_of[index] == self.current.number]
        unknown = [index for index in chosen if index not in self.samples]
        if unknown or not chosen:
            raise InputError(
                f"there is no sample {unknown[0]} to save" if unknown else "there is no sample to save yet"
            )
        self._common_node(chosen)
        check_output_path(path, force=force, hint="it is not written over")
        return SampleSet(self.samples[index] for index in dict.fromkeys(chosen)).save(path, force=force)

    def _common_node(self, indices: Sequence[int]) -> Node:
        numbers = {self._node_of[index] for index in indices}
        if len(numbers) > 1:
            raise InputError("these samples are of different nodes, and each node has its own centre: pick from one")
        return self.nodes[numbers.pop()]

    def _known_node(self, number: int) -> Node:
        if number not in self.nodes:
            raise InputError(f"{quote(self.file.path)} mentions node {number} before its samples: it is damaged")
        return self.nodes[number]

    def _go_to_new(self, plan: RunPlan, previous: Node) -> None:
        # a node without samples is not in the file, so it cannot be a parent
        parent = previous.number if previous.number in self.nodes else previous.parent
        self.current = Node(max(self.nodes) + 1, parent, plan)
        self._last_screens.pop(self.current.number, None)

    def _add(self, sample: Sample, node: Node) -> None:
        self.samples[sample.index] = sample
        self._node_of[sample.index] = node.number
        self.nodes.setdefault(node.number, node)

    def _plan_from(self, parent: Node, sample: Sample) -> RunPlan:
        """Return the plan of a new node from its parent and the record of its first sample."""
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


def shared_fields(plan: RunPlan, model: ResidualModel) -> dict[str, Any]:
    """Return the fields that all samples of an exploration share, at any node."""
    run = plan.identity(model)
    settings = {key: value for key, value in run.pop("settings").items() if key not in ("around", "max_pressure")}
    return {key: value for key, value in run.items() if key != "radius"} | {"settings": settings}
