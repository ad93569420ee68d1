"""Runs to be put on pages."""

import pytest

import steer
from steer.reports.report import Report
from steer.runs.sample_set import SampleSet
from vectors.model.residual_model import ResidualModel, load_model


@pytest.fixture(scope="session")
def almanac() -> ResidualModel:
    """The embedded model."""
    return load_model(device="cpu")


@pytest.fixture(scope="session")
def run(almanac: ResidualModel) -> SampleSet:
    """Texts steered to two concepts."""
    return steer.sample(almanac, "sonnet + cat", n=24, radius=0.5, seed=3)


@pytest.fixture(scope="session")
def measured(almanac: ResidualModel, run: SampleSet) -> Report:
    """Their report."""
    return steer.report(run, model=almanac)
