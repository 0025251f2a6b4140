"""Matrix products and einsum."""

from itertools import count

from torch import Tensor

from tangentlens.kernels.tracing.rules.use import Call, Labels, Use, broadcast_labels, product_uses

_ROW, _INNER, _COLUMN = -1, -2, -3
_FIRST_FRESH = 2000  # labels of axes of length one, which may be broadcast; above every letter


def linear(call: Call) -> list[Use] | None:
    """x W^T + b."""
    x, weight, bias = call.first, call.argument(1, "weight"), call.argument(2, "bias")
    lead, column = tuple(range(x.ndim - 1)), x.ndim - 1
    columns = (column,) if weight.ndim == 2 else ()
    uses = product_uses(call, [x, weight], [(*lead, _INNER), (*columns, _INNER)], (*lead, *columns))
    return _with_bias(call, uses, bias)


def bilinear(call: Call) -> list[Use] | None:
    """x1^T W x2 + b."""
    x1, x2, weight, bias = (call.argument(i, name) for i, name in enumerate(["input1", "input2", "weight", "bias"]))
    lead, column = tuple(range(x1.ndim - 1)), x1.ndim - 1
    labels = [(*lead, _ROW), (*lead, _INNER), (column, _ROW, _INNER)]
    uses = product_uses(call, [x1, x2, weight], labels, (*lead, column))
    return _with_bias(call, uses, bias)


def _with_bias(call: Call, uses: list[Use] | None, bias: Tensor | None) -> list[Use] | None:
    """Add the use of a bias of any shape that broadcasts to the result, whose axes are labelled in their order."""
    if uses is None or bias is None or not call.is_parametric(bias):
        return uses
    (axes, _), out = broadcast_labels([bias.shape, call.result.shape])
    return [*uses, Use(bias, axes, None, (), out)]


def matmul(call: Call) -> list[Use] | None:
    """a @ b."""
    other = call.argument(1, "other", call.kwargs.get("mat2", call.kwargs.get("vec")))
    return _matmul(call, call.first, other, 1.0)


def matmul_from_right(call: Call) -> list[Use] | None:
    """b @ a."""
    return _matmul(call, call.args[1], call.args[0], 1.0)


def add_matmul(call: Call) -> list[Use] | None:
    """beta * c + alpha * a @ b."""
    added = call.first
    a = call.argument(1, "mat1", call.kwargs.get("batch1"))
    b = call.argument(2, "mat2", call.kwargs.get("batch2"))
    if not all(isinstance(each, Tensor) for each in (added, a, b)):
        return None  # an old form of the call, with beta and alpha in front
    uses = _matmul(call, a, b, float(call.kwargs.get("alpha", 1)))
    if uses is None or not call.is_parametric(added):
        return uses
    (labels, _), out = broadcast_labels([added.shape, call.result.shape])
    return [*uses, Use(added, labels, None, (), out, float(call.kwargs.get("beta", 1)))]


def _matmul(call: Call, a: Tensor, b: Tensor, scale: float) -> list[Use] | None:
    labels, out = _matmul_labels(a, b)
    return product_uses(call, [a, b], labels, out, scale)


def _matmul_labels(a: Tensor, b: Tensor) -> tuple[list[Labels], Labels]:
    """Labels of torch.matmul: contract the last axis of a with the last but one (or only) axis of b."""
    core_a = (_INNER,) if a.ndim == 1 else (_ROW, _INNER)
    core_b = (_INNER,) if b.ndim == 1 else (_INNER, _COLUMN)
    batch_a, batch_b = a.shape[: -len(core_a)], b.shape[: -len(core_b)]
    if batch_a and batch_b:
        (lead_a, lead_b), out = broadcast_labels([batch_a, batch_b])
    else:
        lead_a, lead_b = tuple(range(len(batch_a))), tuple(range(len(batch_b)))
        out = lead_a or lead_b
    out = (*out, *((_ROW,) if a.ndim > 1 else ()), *((_COLUMN,) if b.ndim > 1 else ()))
    return [(*lead_a, *core_a), (*lead_b, *core_b)], out


def einsum(call: Call) -> list[Use] | None:
    """einsum with an equation; None for diagonals."""
    if not call.args or not isinstance(call.args[0], str):
        return None  # the interleaved form
    nested = len(call.args) == 2 and isinstance(call.args[1], tuple | list)
    operands = list(call.args[1]) if nested else list(call.args[1:])
    terms, output = _parsed(call.args[0])
    hidden = [tensor.ndim - len(term.replace("...", "")) for term, tensor in zip(terms, operands, strict=True)]
    labels = [_term_labels(term, n) for term, n in zip(terms, hidden, strict=True)]
    out = _term_labels(output, max(hidden))
    if any(len(set(axes)) < len(axes) for axes in [*labels, out]):
        return None  # a diagonal
    fresh = count(_FIRST_FRESH)
    spread = [
        tuple(next(fresh) if size == 1 else label for label, size in zip(axes, tensor.shape, strict=True))
        for axes, tensor in zip(labels, operands, strict=True)
    ]
    return product_uses(call, operands, spread, out)


def _parsed(equation: str) -> tuple[list[str], str]:
    """Input terms and output term; without an arrow the output has the letters that occur once, in order."""
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    if not arrow:
        once = sorted(letter for letter in set(inputs) - set(",.") if inputs.count(letter) == 1)
        output = ("..." if "..." in inputs else "") + "".join(once)
    return inputs.split(","), output


def _term_labels(term: str, hidden: int) -> Labels:
    """Labels of one term; the `hidden` axes behind "..." are counted from the right and negative."""
    before, ellipsis, after = term.partition("...")
    covered = tuple(range(-1000 - hidden, -1000)) if ellipsis else ()
    return (*(ord(c) for c in before), *covered, *(ord(c) for c in after))
