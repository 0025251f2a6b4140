"""Rules for the functions of torch through which parameters meet data; what has no rule is differentiated as it is."""

from collections.abc import Mapping

from tangentlens.kernels.tracing.rules.convolution import convolution
from tangentlens.kernels.tracing.rules.elementwise import (
    add,
    divide,
    expand,
    multiply,
    prelu,
    repeat,
    subtract,
    subtract_from,
    where,
)
from tangentlens.kernels.tracing.rules.gathers import embedding, getitem, index_select
from tangentlens.kernels.tracing.rules.normalisation import batch_norm, group_norm, layer_norm, rms_norm
from tangentlens.kernels.tracing.rules.products import add_matmul, bilinear, einsum, linear, matmul, matmul_from_right
from tangentlens.kernels.tracing.rules.use import Call, Labels, Rule, Use, is_plain

_BY_NAME: Mapping[str, Rule] = {
    **dict.fromkeys(["mul", "multiply", "__mul__", "__rmul__", "mul_", "__imul__"], multiply),
    **dict.fromkeys(["div", "divide", "true_divide", "__truediv__", "div_", "__itruediv__"], divide),
    **dict.fromkeys(["add", "__add__", "__radd__", "add_", "__iadd__"], add),
    **dict.fromkeys(["sub", "subtract", "__sub__", "sub_", "__isub__"], subtract),
    **dict.fromkeys(["rsub", "__rsub__"], subtract_from),
    **dict.fromkeys(["matmul", "__matmul__", "mm", "bmm", "mv"], matmul),
    **dict.fromkeys(["addmm", "baddbmm"], add_matmul),
    **dict.fromkeys(["expand", "expand_as", "broadcast_to"], expand),
    **dict.fromkeys(["conv1d", "conv2d", "conv3d"], convolution),
    "__rmatmul__": matmul_from_right,
    "linear": linear,
    "bilinear": bilinear,
    "einsum": einsum,
    "prelu": prelu,
    "repeat": repeat,
    "where": where,
    "embedding": embedding,
    "__getitem__": getitem,
    "index_select": index_select,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "batch_norm": batch_norm,
    "group_norm": group_norm,
}


def _for_plain_tensors(rule: Rule) -> Rule:
    def uses(call: Call) -> list[Use] | None:
        return rule(call) if is_plain(call) else None

    return uses


RULES: Mapping[str, Rule] = {name: _for_plain_tensors(rule) for name, rule in _BY_NAME.items()}

__all__ = ["RULES", "Call", "Labels", "Rule", "Use"]
