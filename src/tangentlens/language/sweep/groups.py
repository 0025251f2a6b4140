"""Presets and patterns for groups of a language model's parameters, beside those of every kernel."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from tangentlens.errors import InvalidInputError, UnsupportedModelError
from tangentlens.kernels.groups import Group, Groups, resolve_groups
from tangentlens.language.model import LanguageModel

LanguageGroups = Groups | Sequence[str]

# the last matrix of a block's MLP, by its names in the dense causal families of transformers
MLP_OUTPUT = (
    *("*.mlp.down_proj.weight", "*.ffn.down_proj.weight"),  # Llama and its relatives, MPT
    *("*.mlp.c_proj.weight", "*.mlp.dense_4h_to_h.weight"),  # GPT-2; GPT-NeoX, Bloom, Falcon
    *("*.fc2.weight", "*.mlp.fc_out.weight"),  # OPT, XGLM, BioGPT, Phi; GPT-J, CodeGen
    *("*.mlp.Wo.weight", "*.ffn.2.weight"),  # ModernBERT as a decoder; CTRL
)


def resolve_language_groups(lm: LanguageModel, groups: LanguageGroups) -> tuple[Group, ...]:
    """The groups that a sweep's `groups=` argument describes.

    Args:
        groups: "weights" (every weight matrix of every block, each a group of its own), "down_proj" (the
            last matrix of every MLP), a sequence of parameter names or glob patterns (each parameter that matches is a
            group of its own), or whatever `tangentlens.entk` takes. A head that is tied to no embedding is in none.

    Raises:
        InvalidInputError: a word is unknown, a pattern matches nothing, groups overlap, or all is frozen.
        UnsupportedModelError: no MLP of the model ends in a matrix of a known name.
    """
    parameters = dict(lm.model.named_parameters())
    on_the_way = {id(p) for part in (lm.decoder, *lm.beyond) for p in part.parameters() if p.requires_grad}
    names = {name: aliases for name, aliases in lm.parameters.items() if id(parameters[name]) in on_the_way}
    if not names:
        raise InvalidInputError(
            "no parameter on the way to the final hidden state is trainable",
            where=type(lm.model).__name__,
            remedy="Call requires_grad_(True) on those to analyse.",
        )
    chosen = _chosen(lm, names, groups)
    if not chosen:
        raise InvalidInputError(
            f"groups={groups!r} finds no trainable parameter",
            where=type(lm.model).__name__,
            remedy="Call requires_grad_(True) on those to analyse, or name others.",
        )
    return chosen


def _chosen(lm: LanguageModel, names: Mapping[str, tuple[str, ...]], groups: LanguageGroups) -> tuple[Group, ...]:
    if groups == "weights":
        parameters = dict(lm.model.named_parameters())
        inside = {id(p) for block in lm.block_list for p in block.parameters() if p.ndim > 1}
        return tuple(Group(name, (name,)) for name in names if id(parameters[name]) in inside)
    if groups == "down_proj":
        return _each(names, [pattern for pattern in MLP_OUTPUT if _matches(names, pattern)], lm)
    if isinstance(groups, Sequence) and not isinstance(groups, str):
        return _each(names, groups, lm)
    return resolve_groups(names, groups)


def _each(names: Mapping[str, tuple[str, ...]], patterns: Sequence[str], lm: LanguageModel) -> tuple[Group, ...]:
    if not patterns:
        raise UnsupportedModelError(
            "no MLP of the model ends in a matrix of a name that the preset 'down_proj' knows",
            where=type(lm.model).__name__,
            remedy="Give glob patterns over parameter names instead.",
        )
    for pattern in patterns:
        if not _matches(names, pattern) and _matches(lm.parameters, pattern):
            raise InvalidInputError(
                f"what the pattern {pattern!r} matches is frozen, or the head's own: not on the way to the final "
                "hidden state",
                where="groups",
                remedy="Leave it out, or call requires_grad_(True).",
            )
    (union,) = resolve_groups(names, {"union": patterns})
    return tuple(Group(name, (name,)) for name in union.parameters)


def _matches(names: Mapping[str, tuple[str, ...]], pattern: str) -> bool:
    return any(fnmatchcase(alias, pattern) for aliases in names.values() for alias in aliases)
