# %% [markdown]
# # A regression on a table
#
# A network with batch normalisation and dropout predicts the progress of diabetes from ten
# measurements. Which of them does it hold, and which does it use?
#
# ## What comes out
#
# > Body mass index is aligned, not clearly learned and used. Blood pressure is aligned, not clearly
# > learned and of undecided use. Log triglycerides is aligned, not learned and used. HDL is
# > aligned, not learned and of undecided use. Age is aligned, not learned and of undecided use.
# > Female is aligned, not learned and of undecided use.
#
# This is the first paragraph of the page that `tl.analyse` writes. Every measurement is aligned,
# because the inputs are few and the kernel of a network without training holds them too: it
# predicts them as well as the trained one does, or better. So none is clearly learned. Two are
# used: the body mass index and the triglycerides.

# %% [markdown]
# ## Train it
#
# 242 patients train the network, the other 200 are for the analysis. Everything is in float64, so
# that your figures are these.

# %%
import torch
from sklearn.datasets import load_diabetes
from torch import nn

import tangentlens as tl

data = load_diabetes(as_frame=True, scaled=False)
names = {"bmi": "body mass index", "bp": "blood pressure", "s5": "log triglycerides", "s3": "HDL"}
table = data.data.rename(columns=names)
inputs = torch.tensor(((table - table.mean()) / table.std()).to_numpy())
progress = torch.tensor(((data.target - data.target.mean()) / data.target.std()).to_numpy())[:, None]
torch.manual_seed(0)
model = nn.Sequential(
    *(nn.Linear(10, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2)),
    *(nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2)),
    nn.Linear(32, 1),
).double()
untrained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
optimiser = torch.optim.Adam(model.parameters(), 3e-3, weight_decay=1e-3)
train, test = torch.randperm(442).split([242, 200])
for _ in range(60):
    for rows in train[torch.randperm(242)].split(32):
        optimiser.zero_grad()
        nn.functional.mse_loss(model(inputs[rows]), progress[rows]).backward()
        optimiser.step()
model.eval()  # dropout off, batch statistics fixed: without this the analysis refuses
with torch.no_grad():
    explained = float(1 - nn.functional.mse_loss(model(inputs[test]), progress[test]) / progress[test].var())
print(f"R² on the patients it has not seen: {explained:.2f}")

# %% [markdown]
# ## Analyse it
#
# Features may be the columns of a data frame; `show` is what the cards show.

# %%
patients = table.iloc[test.numpy()].reset_index(drop=True)
features = patients[[*names.values(), "age"]].assign(female=patients["sex"] == 2)
run = tl.analyse(
    model, inputs[test], features=features, targets=progress[test], loss="mse",
    untrained=untrained, show=patients, out="runs/diabetes", overwrite=True, progress=False,
)  # fmt: skip

# %% [markdown]
# ## The verdicts
#
# `run.report` is the page; its numbers are tables.

# %%
verdicts = run.table("alignment")
columns = [
    "feature",
    "metric",
    "score",
    "effect",
    "worst_control",
    "verdict_aligned",
    "verdict_learned",
    "verdict_used",
]
print(verdicts.loc[verdicts.group == "total", columns].round(2).to_string(index=False))

# %% [markdown]
# The effect is the increase of the squared error, in units of the variance of the target, when the
# feature's direction is exchanged between patients; the worst control is the largest increase for a
# matched random direction.

# %%
run.figure("features-2")

# %% [markdown]
# ## Look at a mode
#
# The patients at the two ends of the second mode, and what sets them apart.

# %%
run.card(1)
