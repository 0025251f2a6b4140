"""Models drawn from a grammar: each kernel equals a plain loop of autograd.grad, or is refused with a documented error.

TANGENTLENS_MODELS=3000 draws more of them. A failure prints a line for
`python benchmarks/conformance.py --spec "Spec(...)"`.
"""

import os
from collections import Counter

import pytest

from tests.support.model_grammar.draws import drawn
from tests.support.model_grammar.oracle import judge
from tests.support.model_grammar.shrinking import shrunk

MODELS = int(os.environ.get("TANGENTLENS_MODELS", "200"))
REFUSED = 0.05  # share of the models that may be refused


@pytest.fixture(scope="module")
def verdicts():
    return [judge(spec) for spec in drawn(MODELS)]


def test_kernels_equal_the_oracle(verdicts):
    failed = {v.kind: v for v in verdicts if v.outcome == "failed"}
    assert not failed, "\n".join(f"{v.reason} | {v.spec}" for v in map(shrunk, failed.values()))


def test_few_models_are_refused_and_no_common_ones(verdicts):
    refused = [v for v in verdicts if v.outcome == "refused"]
    common = [v for v in refused if all(word.strict for word in v.spec.words())]
    assert not common, "\n".join(f"{v.reason} | {v.spec}" for v in common)
    assert len(refused) <= REFUSED * len(verdicts), Counter(v.kind for v in refused)
