"""With TANGENTLENS_REQUIRE_ALL set, a test that is skipped fails, but for the few reasons that stand here.

`.ci/run` sets it: a missing browser, model or extra must not pass for a test that passed.
"""

import os
from collections.abc import Iterator

import pytest

VARIABLE = "TANGENTLENS_REQUIRE_ALL"
ALLOWED = (
    "needs CUDA",
    "the digits are those of ",  # figures stored by another processor or version of torch
    "torch itself refuses these dtypes",
    "the sample of TinyStories is not beside this checkout",
)
Report = pytest.TestReport | pytest.CollectReport


def _required(report: Report) -> Report:
    """The report of a test or file; a skip that is not allowed becomes a failure."""
    if os.environ.get(VARIABLE) and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(ALLOWED):
            report.outcome = "failed"
            report.longrepr = f"{report.nodeid} may not be skipped where {VARIABLE} is set: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    return _required((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    return _required((yield))
