"""The Almanac's ready-made concepts: a vector for each value, all learned together from the stream."""

from vectors.almanac.world import distribution

CONCEPTS: dict[str, tuple[str, str | bool]] = {
    **{
        str(value): (name, value)
        for name in distribution.VALUES
        if name not in distribution.DETAILS
        for value in distribution.VALUES[name]
    },
    **{detail: (detail, True) for detail in distribution.DETAILS},
}
"""Each concept's name, and the attribute and value it stands for."""
