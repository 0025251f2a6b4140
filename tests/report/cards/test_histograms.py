import numpy as np

from tangentlens.report.cards.histograms import histograms


def test_histograms_count_every_window_of_its_class_once():
    random = np.random.default_rng(0)
    scores = random.standard_normal((2, 40, 3)).astype(np.float32)
    classes = [("b", "a", "z")[i % 3] for i in range(40)]
    found = histograms(scores, classes, order=("z",), bins=7)
    assert found.classes == ("z", "a", "b")
    assert found.counts.shape == (2, 3, 3, 7)
    sizes = [classes.count(name) for name in found.classes]
    assert (found.counts.sum(axis=3) == sizes).all()
    expected, _ = np.histogram(scores[1, [i for i in range(40) if classes[i] == "a"], 2], 7, tuple(found.edges[1, 2]))
    assert found.counts[1, 2, 1].tolist() == expected.tolist()


def test_equal_scores_fall_into_one_bin():
    found = histograms(np.zeros((1, 5, 1)), ["a"] * 5)
    assert found.counts.max() == 5
