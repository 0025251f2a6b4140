"""Examinations of tiny random models."""

from torch import nn

from tangentlens.language.doctor import Examination, examine
from tests.support import language_zoo as zoo


def tiny(family: str) -> nn.Module:
    return zoo.tiny(family).float()


def diagnosed(model: nn.Module, **options: int) -> Examination:
    return examine(model, **{"length": 8, "windows": 6, "directions": 4, **options})


def failing(found: Examination) -> list[str]:
    return [check.name for check in found.failing]
