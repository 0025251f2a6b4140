"""`tangentlens.analyse`: one call from a model to a stored run with its page."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from tangentlens.analysis.case import Options
from tangentlens.analysis.subject import Subject
from tangentlens.errors import InvalidInputError
from tangentlens.models.outputs import PickOutput
from tangentlens.pipeline.own_model import analyse_model
from tangentlens.progress.listeners import listener
from tangentlens.report.notebook import Run, open_run


def analyse(
    model: nn.Module | Subject,
    inputs: Any = None,
    *,
    features: Any = None,
    targets: Any = None,
    loss: Any = None,
    groups: Any = "module",
    outputs: Any = "trace",
    output: PickOutput | None = None,
    modes: int = 25,
    split: Any = None,
    untrained: Any = None,
    retrained: Mapping[str, Any] | None = None,
    checkpoints: Any = None,
    sites: Any = "auto",
    show: Any = None,
    columns: Sequence[str] | None = None,
    memory_budget: int | float | str | None = None,
    train: Any = None,
    limit: int | None = None,
    permutations: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    out: str | Path | None = None,
    title: str = "",
    seed: int = 0,
    progress: bool | Callable[[str, int, int], None] | None = True,
) -> Run:
    """Find the features that a network holds, says how sure that is, and write a page about it.

    The kernels of all groups of parameters are formed and their leading modes compared with the features, modes and
    signs chosen on one half of the inputs and scored on the other. Three verdicts on every feature follow by one rule:
    is it aligned with the modes (against permutations that repeat the choice), was that learned (against untrained
    networks), is it used (an intervention along it, against matched controls). Everything but model and inputs may be
    missing; the page says what was not done and what it needs.

    Args:
        model: any torch module in eval mode, whose outputs treat the examples of a batch independently; or a `Subject`,
            which holds this argument and those to `columns`. It is left as it is found.
        inputs: a tensor, an array, a tuple or a dict of such with the batch axis first; a Dataset or a DataLoader.
        features: name -> one value for each input: Booleans are ranked (AUROC), integers and strings become indicators
            of their classes, real numbers are regressed on (R^2), matrices (N, r) and complex numbers are compared as
            subspaces; or a pandas data frame. Missing values (None, NaN) leave inputs out of a feature.
        targets: one for each input; the labels of a data set by default.
        loss: "cross_entropy", "mse", "binary_cross_entropy", or a function of outputs and targets.
        groups, outputs, output, memory_budget: as `entk` takes them.
        modes: of each kernel, at most.
        split: rows to choose on and to score on: a Boolean mask or two sets; balanced random halves by default.
        untrained: the state before training, a file of it, a module, or a function that builds one; by default the
            network with its parameters drawn anew, where every module can draw them.
        retrained: name -> the network trained on something else, for example permuted labels.
        checkpoints: step -> state, a glob, a folder, or files.
        sites: modules whose outputs are read and edited; "auto" picks them.
        show: how an input is shown: "image", "text", "table", "series", a sequence, or index -> shown.
        columns: names of the columns of table rows.
        train: (model, inputs, targets) -> trained model, for the null model of permuted labels.
        limit: first inputs to analyse.
        permutations: of every feature; by default 100 for each row of the table, at least 999.
        resume: go on from an interrupted analysis of the same arguments.
        overwrite: replace a complete run once the new one is complete.
        out: the run's folder; by default runs/<class of the model>, which replaces its own earlier run.
        title: of the page.
        seed: of every random choice.
        progress: True for bars on stderr, False for silence, or a function (stage, done, total).

    Returns:
        The run: `run.report`, `run.table("alignment")`, `run.figure("spectrum")`, `run.card(6, group="total")`.

    Raises:
        InvalidInputError: an argument cannot be used; names which. Nothing long has started by then.
        UnsupportedModelError: the model is in training mode, or cannot be analysed.
        StoreError: the folder cannot be written.
    """
    if isinstance(model, Subject):
        subject = model
        if inputs is not None or features is not None or targets is not None:
            raise InvalidInputError(
                "a Subject holds its inputs, features and targets itself", where="model", remedy="Give it alone."
            )
    else:
        _check_inputs(inputs)
        subject = Subject(
            model, inputs, features, targets, loss, groups, outputs, output, split, untrained, retrained, checkpoints,
            sites, show, train, columns,
        )  # fmt: skip
    options = Options(modes=modes, seed=seed, permutations=permutations, limit=limit, memory_budget=memory_budget)
    folder = Path(out) if out is not None else Path("runs") / type(subject.model).__name__
    with listener(progress) as shown:
        path = analyse_model(
            subject, options, folder, title=title, overwrite=overwrite or out is None, resume=resume, progress=shown
        )
    return open_run(path)


def _check_inputs(inputs: Any) -> None:
    if inputs is None:
        raise InvalidInputError("there are no inputs", where="inputs", remedy="Give what the model is called with.")
