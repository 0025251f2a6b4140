"""Registers the words of the grammar: every word builds one module from the choices of a seeded generator."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Word:
    """A part of a model.

    Attributes:
        name: as specs spell it.
        family: of layers, under which tables count it.
        build: (choices, width d, positions T) -> module; pieces map (N, T, d) to (N, T, d), readers to (N, d),
            heads (N, d) to (N, C) where the third argument is C.
        strict: a model of such words alone may not be refused.
        rounds: it computes in float32 whatever the precision of its parameters.
    """

    name: str
    family: str
    build: Callable[[random.Random, int, int], nn.Module]
    strict: bool
    rounds: bool = False


Words = dict[str, Word]
PIECES: Words = {}
STEMS: Words = {}
READERS: Words = {}
HEADS: Words = {}


def word(kind: Words, name: str, family: str, strict: bool = True, rounds: bool = False) -> Callable[[type], type]:
    """Enter the decorated module into the grammar."""

    def enter(module: type) -> type:
        kind[name] = Word(name, family, module, strict, rounds)
        return module

    return enter


def piece(name: str, family: str, strict: bool = True) -> Callable[[type], type]:
    """Enter a module that maps (N, T, d) to (N, T, d)."""
    return word(PIECES, name, family, strict)
