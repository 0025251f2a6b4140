"""Specs: one line that names a model, its inputs and what is asked of them, and rebuilds all of it."""

import random
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import tangentlens as tl
from tests.support.model_grammar import (  # noqa: F401
    attention_by_hand,
    attention_pieces,
    block_pieces,
    convolution_pieces,
    linear_pieces,
    odd_pieces,
    parametrised_pieces,
    raw_pieces,
    readers,
    recurrent_pieces,
    stems,
    whole_models,
)
from tests.support.model_grammar.registry import HEADS, PIECES, READERS, STEMS, Word

RESIDUAL, AGAIN = "+", "again"


@dataclass(frozen=True)
class Spec:
    """A drawn model and a question about its kernel.

    Attributes:
        seed: of the options of every word, of parameters and of inputs.
        stem, pieces, reader, head: words of the grammar; a piece after "+" is added to its input, "again" calls the
            piece before once more.
        d, T, C: width, positions, outputs.
        N, M: examples, and examples of the second batch of a crossed kernel (0: none).
        data: "random", "repeated" (one example again and again) or "zeros" (every other example).
        dtype: "float64", "float32" or "bfloat16".
        outputs: "trace", "full", "mean", "index", "weighted" or "weighted trace".
        groups: "module", "parameter", "all" or "patterns".
        method: of tl.entk.
        returns: what the model returns: "tensor", "tuple", "logits" in a dict, or a "record" with logits.
        frozen: the share of parameters that are frozen.
    """

    stem: str = "dense"
    pieces: tuple[str, ...] = ()
    reader: str = "first"
    head: str = "linear head"
    d: int = 4
    T: int = 3
    C: int = 2
    N: int = 5
    M: int = 0
    data: str = "random"
    dtype: str = "float64"
    outputs: str = "trace"
    groups: str = "parameter"
    method: str = "auto"
    returns: str = "tensor"
    frozen: float = 0.0
    seed: int = 0

    def __str__(self) -> str:
        defaults = Spec()
        given = [f"{k}={v!r}" for k, v in vars(self).items() if v != getattr(defaults, k)]
        return f"Spec({', '.join(given)})"

    def words(self) -> list[Word]:
        names = [name.removeprefix(RESIDUAL) for name in self.pieces]
        pieces = [PIECES[name] for name in names if name != AGAIN]
        return [STEMS[self.stem], *pieces, READERS[self.reader], HEADS[self.head]]

    @property
    def precision(self) -> str:
        """The dtype in which its kernel is computed at best."""
        rounded = self.dtype == "bfloat16" or any(word.rounds for word in self.words())
        return "float32" if rounded else self.dtype

    def choices(self, word: str) -> random.Random:
        return random.Random(f"{self.seed}/{word}")

    def question(self) -> dict[str, Any]:
        """The arguments outputs of tl.entk."""
        if self.outputs == "index":
            return {"outputs": self.seed % self.C}
        weights = [0.5 + 0.25 * c for c in range(self.C)]
        if self.outputs == "weighted":
            return {"outputs": tl.outputs.weighted([w * (-1) ** c for c, w in enumerate(weights)])}
        if self.outputs == "weighted trace":
            return {"outputs": tl.outputs.trace(weights)}
        return {"outputs": self.outputs}


@dataclass
class Record:
    """What a model returns, with its outputs under the name that transformers uses."""

    logits: Tensor


RETURNS = {
    "tensor": lambda outputs: outputs,
    "tuple": lambda outputs: (outputs, None),
    "logits": lambda outputs: {"logits": outputs},
    "record": Record,
}


def parse(line: str) -> Spec:
    """The spec that a failure printed."""
    return eval(line, {"Spec": Spec, "__builtins__": {}})


class DrawnModel(nn.Module):
    """Stem, pieces, reader and head of a spec."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        build = {w.name: w.build for w in spec.words()}
        self.spec = spec
        self.stem = build[spec.stem](spec.choices(spec.stem), spec.d, spec.T)
        self.pieces = nn.ModuleList()
        for place, name in enumerate(spec.pieces):
            name = name.removeprefix(RESIDUAL)
            if name != AGAIN:
                self.pieces.append(build[name](spec.choices(f"{name}{place}"), spec.d, spec.T))
            elif len(self.pieces):
                self.pieces.append(self.pieces[-1])
        self.read = build[spec.reader](spec.choices(spec.reader), spec.d, spec.T)
        self.head = build[spec.head](spec.choices(spec.head), self.read.width, spec.C)
        if isinstance(self.head, readers.TiedHead):
            self.head.tie(self.stem)

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Any:
        hidden = self.stem(*args, **kwargs)
        for name, piece in zip(self.spec.pieces, self.pieces, strict=True):
            hidden = hidden + piece(hidden) if name.startswith(RESIDUAL) else piece(hidden)
        return RETURNS[self.spec.returns](self.head(self.read(hidden)))


def build(spec: Spec) -> nn.Module:
    """The model of a spec in evaluation mode, the same at every call."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's advice about speed
        torch.manual_seed(spec.seed)
        model = DrawnModel(spec)
        for parameter in model.parameters():  # biases too, so that nothing vanishes by accident
            if parameter.is_floating_point() and not bool(parameter.any()) and parameter.ndim:
                nn.init.normal_(parameter, std=0.3)
        model = model.eval().to(getattr(torch, spec.dtype))
    names = sorted(name for name, p in model.named_parameters() if p.requires_grad)
    held = spec.choices("frozen")
    for name in names[1:]:
        if held.random() < spec.frozen:
            model.get_parameter(name).requires_grad_(False)
    return model


def inputs(spec: Spec, model: nn.Module) -> tuple[Any, Any]:
    """The examples of rows, and those of columns where the kernel is crossed."""
    generator = torch.Generator().manual_seed(spec.seed + 1)
    made = [_arranged(model.stem.example(n, generator), spec.data) for n in (spec.N, spec.M) if n]
    cast = [convert(batch, getattr(torch, spec.dtype)) for batch in made]
    return cast[0], cast[1] if spec.M else None


def _arranged(batch: Any, data: str) -> Any:
    if isinstance(batch, dict):
        return {name: _arranged(value, data) for name, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_arranged(value, data) for value in batch)
    if data == "repeated":
        return batch[:1].expand_as(batch).contiguous()
    if data == "zeros":
        batch[::2] = 0
    return batch


def convert(batch: Any, dtype: torch.dtype) -> Any:
    """The batch with its numbers, not its tokens, in another precision."""
    if isinstance(batch, dict):
        return {name: convert(value, dtype) for name, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(convert(value, dtype) for value in batch)
    return batch.to(dtype) if batch.is_floating_point() else batch


def patterns(spec: Spec, model: nn.Module) -> dict[str, list[str]]:
    """Groups of names: one leaves parameters out, one takes many."""
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    chosen = spec.choices("patterns")
    chosen.shuffle(names)
    groups = {"some": names[: len(names) // 2 + 1], "others": names[len(names) // 2 + 2 :]}
    return {name: held for name, held in groups.items() if held}
