"""What the record of a finished run says about its point, and whether model, vectors and covariances are unchanged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from steer.composition.steering_point import SteeringPoint, compose
from steer.runs.sample import Sample, short_digest
from vectors.common.errors import InputError, ModelError
from vectors.common.paths import VECTOR_SUFFIX, model_folder
from vectors.common.validation import check_number, quote
from vectors.concepts.library import names
from vectors.concepts.vector import ConceptVector
from vectors.model.positions import check_positions
from vectors.model.residual_model import ResidualModel

if TYPE_CHECKING:
    from vectors.activations.covariance import LowRankCovariance


@dataclass(frozen=True)
class RecordedRun:
    """How a finished run was steered, as its samples record it.

    Attributes:
        model: name of the model.
        model_hash: digest of its weights.
        doses: dose of every concept by name.
        composition: the method that composed them.
        layers: the layers to which vectors of several layers were restricted, or None.
        scale: the factor that kept the point within its pressure budget.
        positions: where the point was added; None if each concept was added where it was made for.
        gate: whether a gate was used.
        prompt: the text that was continued, if any.
        vectors: digest of every concept's vector by name.
        covariances: digest of the natural covariance by layer; empty if the run used none.
    """

    model: str
    model_hash: str
    doses: dict[str, float]
    composition: str
    layers: str | None
    scale: float
    positions: str | None
    gate: bool
    prompt: str | None
    vectors: dict[str, str]
    covariances: dict[str, str]

    @classmethod
    def of(cls, sample: Sample) -> "RecordedRun":
        """Read the record of a sample.

        Raises:
            InputError: a value that cannot be used.
        """
        settings = sample.settings
        return cls(
            model=sample.model,
            model_hash=str(settings.get("model_hash", "")),
            doses=dict(sample.doses),
            composition=str(settings.get("composition", "exact")),
            layers=None if settings.get("layers") is None else str(settings["layers"]),
            scale=check_number(settings.get("scale", 1.0), "scale"),
            positions=_positions(settings.get("positions", "all")),
            gate=bool(settings.get("gate", False)),
            prompt=sample.prompt or None,
            vectors=_digests(settings.get("vectors")),
            covariances=_digests(settings.get("spread")),
        )

    def point(self, model: ResidualModel, vectors: Sequence[ConceptVector] = ()) -> SteeringPoint:
        """Compose the point of the run again, from the given vectors and otherwise from the model's library.

        Raises:
            InputError: a concept that the library lacks.
            ModelError: a model or a vector that has changed since the run.
        """
        self.check_model(model)
        by_name, stored = {vector.name: vector for vector in vectors}, names(model)
        for name in self.doses:
            if name not in by_name and name not in stored:
                raise InputError(
                    f"this run was steered by {quote(name)}, which the library lacks: copy its file to "
                    f"{str(model_folder(model.name, model.hash) / name) + VECTOR_SUFFIX!r}"
                )
        # vectors of the point of an earlier sample have only the chosen layers already
        restricted = all(name in by_name and self._is_recorded(by_name[name]) for name in self.doses)
        point = compose(
            {by_name.get(name, name): dose for name, dose in self.doses.items()},
            model,
            method=self.composition,
            layers=None if restricted else self.layers,
        )
        self.check_vectors(point.vectors)
        if self.positions is not None:
            point = point.at_positions(self.positions)
        return replace(point.scaled(self.scale), chosen_layers=self.layers)

    def _is_recorded(self, vector: ConceptVector) -> bool:
        return self.vectors.get(vector.name) == short_digest(vector.digest)

    def check_model(self, model: ResidualModel) -> None:
        """Refuse other weights than those of the run.

        Raises:
            ModelError: naming both models.
        """
        if self.model_hash != short_digest(model.hash):
            raise ModelError(
                f"this run was sampled from other weights than {quote(model.name)} has: load {quote(self.model)}"
            )

    def check_vectors(self, vectors: Sequence[ConceptVector]) -> None:
        """Refuse vectors other than those of the run.

        Raises:
            ModelError: naming the vector.
        """
        for vector in vectors:
            if not self._is_recorded(vector):
                raise ModelError(
                    f"vector {quote(vector.name)} has changed since this run: put its file back, or "
                    "delete yours if it hides a shipped concept"
                )

    def check_covariances(self, model: ResidualModel, covariances: "Mapping[int, LowRankCovariance] | None") -> None:
        """Refuse covariances other than those that the directions of the run were drawn from.

        Raises:
            ModelError: naming the folder to restore.
        """
        digests = {str(layer): short_digest(covariance.digest) for layer, covariance in (covariances or {}).items()}
        if self.covariances and self.covariances != digests:
            raise ModelError(
                "the covariance of natural activations was measured again after this run, whose directions were drawn "
                f"from the earlier one: put back {str(model_folder(model.name, model.hash) / 'natural_covariance')!r}"
            )


def _positions(recorded: Any) -> str | None:
    return None if recorded is None else check_positions(recorded, scopes=True)


def _digests(recorded: Any) -> dict[str, str]:
    return {str(name): str(digest) for name, digest in recorded.items()} if isinstance(recorded, Mapping) else {}
