# %% [markdown]
# # A network that reads digits
#
# What does a small convolutional network know of an image besides the digit? We ask for three
# things: the digit, whether most of the ink lies in the upper half, and how wide the stroke is.
#
# ## What comes out
#
# > The network holds, learned and uses digit (most in 7, Linear). Top-heavy is aligned, learned and
# > not used. Stroke width is aligned, not clearly learned and not used.
#
# This is the first sentence of the page that `tl.analyse` writes. *Holds* or *aligned*: the leading
# modes of the kernel go with the feature beyond permutations. *Learned*: the kernel predicts the
# feature better than the kernel before training did. *Uses*: exchanging its direction between
# images costs more than exchanging matched random ones. Undecided is an answer: 300 images do not
# settle it.

# %% [markdown]
# ## Train it
#
# scikit-learn's digits are 8 x 8 images. The network trains on 1,497 of them; the other 300, by
# other writers, are for the analysis. We keep its state before training and at two checkpoints.
# Everything is in float64, so that your figures are these.

# %%
import torch
from sklearn.datasets import load_digits
from torch import nn

import tangentlens as tl

data = load_digits()
pixels, labels = torch.tensor(data.images)[:, None] / 16, torch.tensor(data.target)
torch.manual_seed(0)
model = nn.Sequential(
    *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Flatten(), nn.Linear(64, 10)),
).double()
states = {}
optimiser = torch.optim.Adam(model.parameters(), 3e-3)
for epoch in range(21):
    if epoch in (0, 2, 8):
        states[epoch] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for rows in torch.randperm(1497).split(64):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(pixels[rows]), labels[rows]).backward()
        optimiser.step()
model.eval()
images, digits = pixels[1497:], labels[1497:]
accuracy = float((model(images).argmax(1) == digits).double().mean())
print(f"{100 * accuracy:.0f} % of the 300 new images are read correctly")

# %% [markdown]
# ## Analyse it
#
# Integers become one feature for each class and one for all of them, Booleans are ranked, real
# numbers are regressed on.

# %%
ink = images[:, 0]
top_heavy = ink[:, :4].sum((1, 2)) > ink[:, 4:].sum((1, 2))
width = (ink > 0.5).sum((1, 2)) / (ink.amax(2) > 0.5).sum(1)  # dark pixels in each row that has one
run = tl.analyse(
    model, images, features={"digit": digits, "top-heavy": top_heavy, "stroke width": width}, targets=digits,
    untrained=states.pop(0), checkpoints=states, out="runs/digits", overwrite=True, progress=False,
    sites=["5"],  # read and edit activations after the second pooling; all modules by default
)  # fmt: skip

# %% [markdown]
# ## The verdicts
#
# `run.report` is the page; its numbers are tables. This table has one row for
# each feature and group of parameters; `total` is the kernel of all of them.

# %%
table = run.table("alignment")
columns = ["feature", "metric", "score", "untrained", "verdict_aligned", "verdict_learned", "verdict_used"]
print(table.loc[table.group == "total", columns].round(2).to_string(index=False))

# %% [markdown]
# The score of the best mode says that a feature can be read from the kernel, not that training put
# it there: a mode of the untrained network ranks the fives better (AUROC 0.97) than one of the
# trained network does (0.87).
#
# ## Where
#
# The map has the same scores for each layer.

# %%
run.figure("features")

# %%
run.figure("spectrum")

# %% [markdown]
# ## Look at a mode
#
# The card of a mode shows the images at its two ends and what they have in common.

# %%
run.card(2)
