"""Labels of the windows, and the half of the windows on which modes are chosen."""

from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Task:
    """Labels and halves by which every method is evaluated.

    Attributes:
        names: of the labels.
        families: of each label; those of one family are neighbours, and the first family is the main one.
        labels: (N, L).
        train: (N,) the windows that choose mode, sign and layer.
        story: (N,) the story of each window.
    """

    names: tuple[str, ...]
    families: tuple[str, ...]
    labels: Bool[Tensor, "N L"]
    train: Bool[Tensor, " N"]
    story: Int[Tensor, " N"]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Every family once."""
        return tuple(dict.fromkeys(self.families))

    @property
    def main(self) -> list[int]:
        """The labels of the first family."""
        return self.members(self.families[0])

    def members(self, family: str) -> list[int]:
        """The labels of a family."""
        return [place for place, found in enumerate(self.families) if found == family]
