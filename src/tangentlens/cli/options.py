"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and the report's path alone.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say which method was chosen and why; tracebacks.")]
Out = Annotated[Path | None, typer.Option("--out", help="The run folder.", show_default=False)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from an interrupted run; finished seeds are kept.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run once the new one is complete.")]
NoEvidence = Annotated[
    bool,
    typer.Option("--no-evidence", help="Leave out nulls, interventions and baselines; `evidence` adds them later."),
]

Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the config: --set windows.count=128. Repeatable."),
]
