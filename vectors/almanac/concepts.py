"""The embedded model's concepts: one for each value of each attribute, and one for each detail."""

from vectors.almanac.world.distribution import DETAILS, VALUES

CONCEPTS: dict[str, tuple[str, str | bool]] = {
    **{str(value): (name, value) for name in VALUES if name not in DETAILS for value in VALUES[name]},
    **{detail: (detail, True) for detail in DETAILS},
}
"""The attribute and the value that each concept stands for, by the concept's name."""
