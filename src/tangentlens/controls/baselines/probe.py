"""Supervised linear probe of the features, an upper bound for unsupervised methods."""

from importlib import import_module

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor


def probe_percent(
    values: Float[Tensor, "N w"], features: Float[Tensor, "N r"], train: Int[Tensor, " n"], test: Int[Tensor, " m"]
) -> float:
    """Percent of the features' variance on the test rows that ridge regression from the values explains.

    100 (1 - sum (prediction - feature)^2 / sum (feature - its mean over the test rows)^2), sums over test rows and
    features; negative where it does worse than the mean. The ridge is chosen by leave-one-out on the train rows.
    """
    X, Y = values.detach().double().cpu().numpy(), features.detach().double().cpu().numpy()
    X = (X - X[train].mean(axis=0)) / max(float(X[train].std()), 1e-300)
    linear_model = import_module("sklearn.linear_model")  # takes longer to import than all else here
    probe = linear_model.RidgeCV(alphas=np.logspace(-6, 4, 21)).fit(X[train], Y[train])
    wanted = Y[test]
    missed = np.square(probe.predict(X[test]) - wanted).sum()
    return 100 * (1 - float(missed / np.square(wanted - wanted.mean(axis=0)).sum()))
