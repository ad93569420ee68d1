"""The grid of a sweep: its cells, and the folder with a run file for each."""

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from steer.runs.sample import difference
from steer.runs.sample_set import SampleSet
from vectors.common.errors import InputError, OutputError
from vectors.common.files import expand_path, is_temporary_file, read_bytes, write_atomically
from vectors.common.validation import MAX_SEED, check_integer, check_number, quote

FORMAT = "steer-sweep/1"
PLAN = "sweep.json"
MOST_CELLS = 10_000
_RANGES = (
    ("radii", "radius", 0.0, 1e6),
    ("doses", "dose", -1000.0, 1000.0),
    ("temperatures", "temperature", 0.0, 100.0),
)


@dataclass(frozen=True, order=True)
class Cell:
    """One cell of a grid.

    Attributes:
        layer: layer at which the concepts are added; `None` for the layers they were extracted at.
        temperature: divides the logits.
        dose: multiplies every dose of the expression.
        radius: size of each sample's own perturbation.
    """

    layer: int | None
    temperature: float
    dose: float
    radius: float

    @property
    def file(self) -> str:
        """Name of the cell's run file in the folder."""
        layer = "" if self.layer is None else f"_layer{self.layer}"
        radius, dose, temperature = (
            repr(value).removesuffix(".0") for value in (self.radius, self.dose, self.temperature)
        )
        return f"radius{radius}_dose{dose}_temperature{temperature}{layer}.jsonl"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """One expression over a grid of radii, doses, temperatures and layers.

    Attributes:
        expression: in canonical form.
        radii, doses, temperatures, layers: the values of the cells, each once, in order.
        n: samples in a cell.
        seed: of all cells: samples of one index share their random numbers across cells.
        max_tokens: length limit of the texts.

    Raises:
        InputError: a value outside its range, or none at all.
    """

    expression: str
    radii: tuple[float, ...]
    doses: tuple[float, ...] = (1.0,)
    temperatures: tuple[float, ...] = (1.0,)
    layers: tuple[int | None, ...] = (None,)
    n: int = 64
    seed: int = 0
    max_tokens: int = 128

    def __post_init__(self) -> None:
        """Check every value."""
        for name, value_name, low, high in _RANGES:
            values = sorted({check_number(value, value_name) for value in getattr(self, name)})
            for value in values:
                if not low <= value <= high:
                    raise InputError(f"{value_name} is {value:g}: give numbers from {low:g} to {high:g}")
            if not values:
                raise InputError(f"there are no {name}: give one or more, from {low:g} to {high:g}")
            object.__setattr__(self, name, tuple(values))
        layers = dict.fromkeys(None if layer is None else check_integer(layer, "layer") for layer in self.layers)
        if not layers:
            raise InputError("there are no layers: give one or more, or leave them out")
        object.__setattr__(self, "layers", tuple(layers))
        object.__setattr__(self, "n", check_integer(self.n, "n", low=2))
        object.__setattr__(self, "seed", check_integer(self.seed, "seed", high=MAX_SEED))
        object.__setattr__(self, "max_tokens", check_integer(self.max_tokens, "max_tokens", low=1))
        if len(self.cells) > MOST_CELLS:
            raise InputError(f"the grid has {len(self.cells)} cells: keep to {MOST_CELLS}")

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, the radius changing fastest."""
        values = itertools.product(self.layers, self.temperatures, self.doses, self.radii)
        return tuple(itertools.starmap(Cell, values))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, content: Any, where: str) -> "Grid":
        """Return the grid that `to_dict` turned into a dict.

        Raises:
            InputError: content that is not a plan of a sweep; the message begins with `where`.
        """
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(
                f"{where} is not the plan of a sweep ({FORMAT}): give a folder that `steer sweep -o` wrote"
            )
        names = [name for name in cls.__dataclass_fields__ if name in content]
        try:
            return cls(**{name: content[name] for name in names})
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        except TypeError as error:
            raise InputError(f"{where} lacks keys of the plan: give a folder that `steer sweep -o` wrote") from error


def open_folder(folder: str | Path, grid: Grid, *, force: bool = False) -> tuple[Path, Grid]:
    """Open the folder of a sweep, new or of the same sweep, and return its path and the grid.

    The plan is written when the folder is new and again when cells or samples are added; existing runs are kept.

    Raises:
        OutputError: a folder of another sweep or of something else, or one that cannot be written.
    """
    path = expand_path(folder, OutputError)
    if not str(folder) or str(folder).startswith("-"):
        raise OutputError(f"{quote(folder)} is not a name for a folder: give another, such as './{folder or 'sweep'}'")
    plan = path / PLAN
    try:
        path.mkdir(parents=True, exist_ok=True)
        is_empty = all(is_temporary_file(entry) for entry in path.iterdir())
    except OSError as error:
        raise OutputError(f"cannot use {quote(path)} as a folder ({error.strerror}): choose another") from error
    if is_empty:
        write_atomically(plan, _to_json(grid))
        return path, grid
    if not plan.exists():
        raise OutputError(f"folder {quote(path)} holds something other than a sweep: choose a new one")
    old = read_grid(path)
    for name in ("expression", "seed", "max_tokens"):
        if getattr(old, name) != getattr(grid, name):
            raise OutputError(
                f"folder {quote(path)} holds a sweep with {name} {quote(getattr(old, name))}, not "
                f"{quote(getattr(grid, name))}: choose a new folder"
            )
    if old != grid:
        write_atomically(plan, _to_json(_join(old, grid)), force=True)
    return path, grid


def read_grid(folder: str | Path) -> Grid:
    """Return the plan of a sweep's folder.

    Raises:
        InputError: no such folder, or one without a plan.
    """
    plan = expand_path(folder, InputError) / PLAN
    try:
        content = json.loads(read_bytes(plan, "the plan of a sweep"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{quote(plan)} is not JSON: give a folder that `steer sweep -o` wrote") from error
    return Grid.from_dict(content, quote(plan))


def read_cell(folder: Path, cell: Cell, n: int, expect: Mapping[str, Any]) -> SampleSet | None:
    """Return a cell's first `n` samples, or None if some are still missing.

    Raises:
        OutputError: a damaged file, or samples of another model, vector or dtype than expected.
    """
    path = folder / cell.file
    if not path.exists():
        return None
    try:
        samples = SampleSet(sample for sample in SampleSet.load(path) if sample.index < n)
    except InputError as error:
        raise OutputError(f"{error} (or remove {quote(path)} to sample the cell again)") from error
    for sample in samples:
        if different := difference(sample, expect):
            raise OutputError(
                f"{quote(path)} is of another run: {different}; choose a new folder, or remove the file to "
                "sample the cell again"
            )
    return samples if len(samples) == n else None


def parse_range(text: str, name: str) -> tuple[float, ...]:
    """Return the numbers of a list such as `0,0.5,1`, or of a range such as `0:2:0.25`, which includes both ends.

    Raises:
        InputError: a text that is neither.

    >>> parse_range("0:1:0.25", "--radius")
    (0.0, 0.25, 0.5, 0.75, 1.0)
    """
    try:
        values = [float(part) for part in text.replace(":", ",").split(",")]
    except ValueError:
        values = []
    is_range = ":" in text
    is_finite = bool(values) and all(map(math.isfinite, values))
    if not is_finite or (is_range and ("," in text or len(values) != 3 or values[2] <= 0 or values[1] < values[0])):
        raise InputError(f"{name} is {quote(text)}: give numbers, 0,0.5,1, or a range from:to:step, 0:2:0.25")
    if not is_range:
        return tuple(values)
    first, last, step = values
    count = math.floor((last - first) / step + 1e-9) + 1
    if count > MOST_CELLS:
        raise InputError(f"{name} is {quote(text)}: that is {count} values, keep to {MOST_CELLS}")
    return tuple(round(first + index * step, 12) for index in range(count))


def _join(old: Grid, new: Grid) -> Grid:
    """Return the grid with the cells of both."""
    return replace(
        new,
        radii=(*old.radii, *new.radii),
        doses=(*old.doses, *new.doses),
        temperatures=(*old.temperatures, *new.temperatures),
        layers=(*old.layers, *new.layers),
        n=max(old.n, new.n),
    )


def _to_json(grid: Grid) -> bytes:
    return (json.dumps(grid.to_dict(), indent=1) + "\n").encode()
