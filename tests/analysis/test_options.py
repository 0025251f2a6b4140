import torch

from tangentlens.analysis.options import evidence_generator


def test_every_seed_and_purpose_has_a_stream_of_its_own():
    draws = {
        (seed, purpose): tuple(torch.randn(4, generator=evidence_generator(seed, purpose)).tolist())
        for seed in (0, 1, 2**20)
        for purpose in ("one", "other")
    }
    assert len(set(draws.values())) == 6
    again = torch.randn(4, generator=evidence_generator(1, "one"))
    assert tuple(again.tolist()) == draws[1, "one"]
