"""The commands that measure: dose, sweep, fidelity, report, compare."""
