# %% [markdown]
# # A classifier of sentences
#
# A small BERT of Hugging Face learns whether a remark is kind. "Not awful" is kind and "not lovely"
# is not, so that it has to combine a word with a negation. We wrote the sentences and their labels.
#
# ## What comes out
#
# > The network holds, learned and uses kind (most in head). Praise is aligned, not learned and not
# > used. Negated is aligned, not learned and not used. Plural is aligned, not learned and not used.
# > Past is not clearly aligned, not learned and of undecided use.
#
# This is the first paragraph of the page that `tl.analyse` writes. The label is held, learned and
# used: before training the kernel did not predict it at all. The adjective and the negation, which
# the label is made of, can still be read from the kernel, but less well than before training:
# sentences that are kind for different reasons have become alike. The tense, which the label does
# not need, is gone from the leading modes.

# %% [markdown]
# ## Texts and labels
#
# Four facts are drawn for each sentence, independently: the adjective, the negation, the number and
# the tense. Kind is an adjective of praise without a negation, or of blame with one.

# %%
import random

import torch
from transformers import BertConfig, BertForSequenceClassification

import tangentlens as tl

draw = random.Random(0)
subjects = ("the soup", "the old hotel", "my phone", "this book"), ("the waiters", "these red shoes", "the songs")
adjectives = ("awful", "dreadful", "boring", "terrible"), ("lovely", "superb", "charming", "brilliant")
verbs = ("is", "was"), ("are", "were")
ends = ("", "in Rome", "at the station", "this evening")
texts, labels = [], []
for _ in range(800):
    praise, negated, plural, past = (draw.random() < 0.5 for _ in range(4))
    words = [draw.choice(subjects[plural]), verbs[plural][past], "not" * negated, draw.choice(adjectives[praise])]
    texts.append(" ".join([*filter(None, words), draw.choice(ends)]).strip())
    labels.append({"praise": praise, "negated": negated, "plural": plural, "past": past})
kind = torch.tensor([label["praise"] != label["negated"] for label in labels]).long()

# %% [markdown]
# Sentences have different lengths. They are padded, and a mask says where: it belongs to the inputs,
# which are the keywords of the model's call. A tokenizer returns the same dict.

# %%
vocabulary = ["[PAD]", "[CLS]", *sorted({word for text in texts for word in text.split()})]
codes = [[1, *map(vocabulary.index, text.split())] for text in texts]
longest = max(map(len, codes))
ids = torch.tensor([code + [0] * (longest - len(code)) for code in codes])
batch = {"input_ids": ids, "attention_mask": (ids != 0).long()}

# %% [markdown]
# ## Train it
#
# 600 sentences train the network, the other 200 are for the analysis. Everything is in float64, so
# that your figures are these.

# %%
torch.manual_seed(0)
config = BertConfig(
    vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
    max_position_embeddings=16, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
model = BertForSequenceClassification(config).double()
untrained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
optimiser = torch.optim.AdamW(model.parameters(), 2e-3)
for _ in range(12):
    for rows in torch.randperm(600).split(50):
        optimiser.zero_grad()
        model(**{name: tensor[rows] for name, tensor in batch.items()}, labels=kind[rows]).loss.backward()
        optimiser.step()
model.eval()
inputs = {name: tensor[600:] for name, tensor in batch.items()}
accuracy = float((model(**inputs).logits.argmax(1) == kind[600:]).double().mean())
print(f"{100 * accuracy:.0f} % of the 200 new sentences are classified correctly")

# %% [markdown]
# ## Analyse it
#
# The kernels are those of the logits, one for the embeddings, each layer and the head.

# %%
parts = {"embeddings": ["*.embeddings.*"], "head": ["bert.pooler.*", "classifier.*"]}
run = tl.analyse(
    model, inputs, targets=kind[600:], output=lambda returned: returned.logits,
    features={"kind": kind[600:], **{name: [label[name] for label in labels[600:]] for name in labels[0]}},
    groups={**parts, "layer 0": ["*.layer.0.*"], "layer 1": ["*.layer.1.*"]},
    sites=["bert.encoder.layer.0", "bert.encoder.layer.1"],
    untrained=untrained, show=texts[600:], out="runs/sentences", overwrite=True, progress=False,
)  # fmt: skip

# %% [markdown]
# ## The verdicts
#
# `run.report` is the page; its numbers are tables.

# %%
table = run.table("alignment")
columns = ["feature", "score", "untrained", "p_corrected", "verdict_aligned", "verdict_learned", "verdict_used"]
print(table.loc[table.group == "total", columns].round(3).to_string(index=False))

# %% [markdown]
# ## Where

# %%
run.figure("features")

# %% [markdown]
# ## Look at a mode

# %%
run.card(0)
