"""The problem that a sweep solves: a model made ready, its windows, groups, geometry and options."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.kernels.groups import Group
from tangentlens.language.batches import Batch
from tangentlens.language.geometry import LogitGeometry, checked_geometry
from tangentlens.language.model import LanguageModel
from tangentlens.language.soundness import prepared
from tangentlens.language.sweep.fisher import logit_geometry
from tangentlens.language.sweep.groups import resolve_language_groups
from tangentlens.language.sweep.options import SweepOptions
from tangentlens.language.sweep.workspace import Workspace, in_folder, in_memory, sweep_fingerprint


@dataclass(frozen=True)
class SweepProblem:
    """Model, windows, groups and geometry of a sweep.

    Attributes:
        lm: the user's.
        working: the copy that is differentiated.
        batch: as `working` takes it.
        groups: of parameters.
        options: of the sweep.
    """

    lm: LanguageModel
    working: LanguageModel
    batch: Batch
    groups: tuple[Group, ...]
    options: SweepOptions

    @cached_property
    def geometry(self) -> LogitGeometry:
        """Of the logits; made when it is first asked for."""
        return logit_geometry(self.working.head, self.options.geometry)

    @property
    def members(self) -> dict[str, tuple[str, ...]]:
        """Group -> its parameters."""
        return {group.name: group.parameters for group in self.groups}

    def workspace(self, folder: Path | None) -> Workspace:
        """Scratch memory and results, in a folder where one is given.

        Raises:
            InvalidInputError: the folder holds another sweep, or these results cannot be kept in a folder.
        """
        if folder is None:
            return in_memory()
        self._check_storable()
        listed = {"options": [self.members, *self.options.numbers]}
        return in_folder(folder, sweep_fingerprint(self.lm.model, self.batch, listed))

    def versions(self) -> dict[str, int]:
        """How often every parameter of the user's model was changed in place."""
        return {name: p._version for name, p in self.lm.model.named_parameters() if not p.is_inference()}

    def require_unchanged(self, versions: Mapping[str, int]) -> None:
        """The parameters must be those of when `versions` were taken.

        Raises:
            NumericalError: one was changed in place.
        """
        if self.versions() != versions:
            raise NumericalError(
                "parameters changed during the call",
                where=type(self.lm.model).__name__,
                remedy="Train on another copy.",
            )

    def _check_storable(self) -> None:
        if self.options.modes is None:
            raise InvalidInputError(
                "kernels cannot be kept in a folder", where="work", remedy="Ask for modes=, or leave out work=."
            )
        blocks = {name: place for place, (name, _) in enumerate(self.lm.blocks)}
        for group in self.groups:
            places = {next((i for b, i in blocks.items() if name.startswith(f"{b}.")), -1) for name in group.parameters}
            if len(places) > 1:
                raise InvalidInputError(
                    "a group over several blocks is not finished block by block",
                    where=group.name,
                    remedy="Leave out work=, or take groups inside one block.",
                )


def sweep_problem(lm: LanguageModel, batch: Batch, options: SweepOptions) -> SweepProblem:
    """Check the model on the batch, copy it where needed, and resolve the groups.

    Raises:
        InvalidInputError: the batch, the groups or the geometry cannot be used.
        UnsupportedModelError: the model is not sound.
    """
    working, ready = prepared(lm, batch)
    groups = resolve_language_groups(working, options.groups)
    checked_geometry(options.geometry)
    return SweepProblem(lm, working, ready, groups, options)
