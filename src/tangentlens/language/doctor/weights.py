"""Checks of the weights: which are tied, whether the stages are the model, which weights have factors."""

from tangentlens.kernels.tracing.plan import ParameterPlan, Strategy
from tangentlens.language.doctor.record import Check, Verdict
from tangentlens.language.doctor.subject import Subject

_NAMED = 3  # of many weights in a sentence


def ties(subject: Subject) -> Check:
    """Which parameters have several names."""
    shared = [names for names in subject.lm.parameters.values() if len(names) > 1]
    if not shared:
        return Check("tied weights", Verdict.FINE, "no two parameters are the same", 0)
    listed = "; ".join(" = ".join(names) for names in shared)
    used_in_head = id(subject.lm.model.get_output_embeddings().weight)  # type: ignore[operator]
    parameters = dict(subject.lm.model.named_parameters())
    counted = "the gradients of all uses add up, cross terms included"
    if any(id(parameters[names[0]]) == used_in_head for names in shared):
        counted += "; the head's own use is left out, for kernels are those of the hidden state before it"
    return Check("tied weights", Verdict.NOTE, f"{listed}: {counted}", len(shared))


def stages(subject: Subject) -> Check:
    """The blocks, each run alone on what the one before it gives, end in the model's final hidden state.

    Raises:
        UnsupportedModelError: they do not.
    """
    subject.chain.check(subject.probe)
    difference = subject.chain.difference(subject.probe)
    calls = sum(len(planned.plan.calls) for planned in subject.planned)
    return Check(
        "stages",
        Verdict.FINE,
        f"{len(subject.lm.blocks)} blocks run one by one, {calls} calls of torch, give the model's hidden state "
        f"(to {difference:.1e})",
        difference,
    )


def every_weight(subject: Subject) -> Check:
    """Which weight matrices of the blocks have factors."""
    return _factors(subject, "weights")


def mlp_outputs(subject: Subject) -> Check:
    """Whether the last matrix of every MLP has factors."""
    return _factors(subject, "down_proj")


def _factors(subject: Subject, preset: str) -> Check:
    plans = {full: planned.plan.parameters[name] for planned in subject.planned for name, full in planned.names.items()}
    known = {name: plans[name] for name in subject.wanted(preset) if name in plans}
    good = [name for name, plan in known.items() if plan.strategy is Strategy.FACTORED]
    unused = [name for name, plan in known.items() if plan.strategy is Strategy.UNUSED]
    bad = {name: plan for name, plan in known.items() if name not in {*good, *unused}}
    name = f"factors of {preset}"
    if not known:
        return no_such_weight(name)
    if bad:
        return Check(
            name,
            Verdict.FAILS,
            f"{len(bad)} of {len(known)} weights have none: {_reasons(bad)}",
            len(good),
            "Leave them out of the groups, or take their kernels with tl.entk(..., method='matrix_free').",
        )
    if unused:
        left = f"{len(unused)} of {len(known)} weights change nothing at the last position: {_listed(unused)}"
        return Check(name, Verdict.NOTE, left, len(good), "Leave them out of the groups.")
    return Check(name, Verdict.FINE, f"all {len(good)} weights have factors: {_listed(good)}", len(good))


def no_such_weight(name: str) -> Check:
    """For a preset that finds nothing in this model."""
    return Check(
        name,
        Verdict.NOTE,
        "no trainable weight of a block has a name that the preset knows",
        0,
        "Give glob patterns over parameter names as groups.",
    )


def _reasons(bad: dict[str, ParameterPlan]) -> str:
    said = [f"{name} ({plan.reason})" for name, plan in bad.items()]
    return _listed(said)


def _listed(names: list[str]) -> str:
    """A few of them, first and last."""
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[: _NAMED - 1])} ... {names[-1]}"
