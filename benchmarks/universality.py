"""Modular addition in four architectures: do the Fourier features lie in the leading modes of each, learned and used?

    python benchmarks/universality.py --out docs/universality.md --work runs/universality

Every network learns (n + m) mod 29 from 70 % of the 841 pairs; five seeds each. The analysis is that of
`tangentlens.analyse`: the Fourier spaces of the sum and of the difference and a random space of the same dimension,
in the modes of the whole kernel, beside the network's own initial state and matched controls. A finished network is
kept in the work folder.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import tangentlens as tl
from tangentlens.features.fourier import fourier_family

P, STEPS, D = 29, 6000, 64
FEATURES = ("sum", "difference", "random")


class _Pairs(nn.Module):
    """(N, 2) tokens -> (N, p) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(P, D)
        self.unembed = nn.Linear(D, P)


class MLP(_Pairs):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * D, 256)
        self.out = nn.Linear(256, D)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.unembed(self.out(self.hidden(self.embed(tokens).flatten(1)).relu()))


class ResidualMLP(_Pairs):
    def __init__(self) -> None:
        super().__init__()
        self.join = nn.Linear(2 * D, D)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(D, 128), nn.GELU(), nn.Linear(128, D)) for _ in range(3))

    def forward(self, tokens: Tensor) -> Tensor:
        stream = self.join(self.embed(tokens).flatten(1))
        for block in self.blocks:
            stream = stream + block(stream)
        return self.unembed(stream)


class LSTM(_Pairs):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(D, 128, batch_first=True)
        self.out = nn.Linear(128, D)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.unembed(self.out(self.recurrent(self.embed(tokens))[0][:, -1]))


class Transformer(_Pairs):
    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(0.1 * torch.randn(2, D))
        self.block = nn.TransformerEncoderLayer(D, 4, 256, dropout=0.0, batch_first=True, norm_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.unembed(self.block(self.embed(tokens) + self.place).mean(dim=1))


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "MLP": MLP,
    "residual MLP": ResidualMLP,
    "LSTM": LSTM,
    "Transformer": Transformer,
}


def trained(build: Callable[[], nn.Module], seed: int) -> tuple[nn.Module, dict[str, Tensor], float, int]:
    """A network, its initial state, its test accuracy, and the steps that it took to generalise."""
    torch.manual_seed(seed)
    model = build()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    pairs = torch.cartesian_prod(torch.arange(P), torch.arange(P))
    answers = pairs.sum(dim=1) % P
    order = torch.randperm(len(pairs))
    train, test = order[: int(0.7 * len(pairs))], order[int(0.7 * len(pairs)) :]
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, betas=(0.9, 0.98), weight_decay=1.0)
    accuracy, step = 0.0, 0
    for step in range(1, STEPS + 1):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(pairs[train]), answers[train]).backward()
        optimiser.step()
        if step % 50 == 0:
            with torch.no_grad():
                accuracy = float((model(pairs[test]).argmax(dim=1) == answers[test]).double().mean())
            if accuracy > 0.995:
                break
    return model.eval(), start, accuracy, step


def analysed(name: str, seed: int, work: Path) -> tl.open_run:
    """The run of one network; trained and analysed where the folder does not hold it."""
    folder = work / f"{name.replace(' ', '-').lower()}-{seed}"
    if (folder / "results.json").is_file():
        return tl.open_run(folder)
    model, start, accuracy, steps = trained(ARCHITECTURES[name], seed)
    pairs = torch.cartesian_prod(torch.arange(P), torch.arange(P))
    families = {kind: fourier_family(kind, P).matrix for kind in ("sum", "difference")}
    random = torch.randn(len(pairs), families["sum"].shape[1], generator=torch.Generator().manual_seed(seed))
    return tl.analyse(
        model, pairs, features={**families, "random": random}, targets=pairs.sum(dim=1) % P, untrained=start, modes=56,
        seed=seed, permutations=999, progress=False, out=folder, overwrite=True, resume=False,
        title=f"{name} on modular addition, test accuracy {100 * accuracy:.1f} % after {steps} steps",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a Markdown page; else it goes to the screen")
    parser.add_argument("--work", type=Path, default=Path("runs/universality"))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for name in ARCHITECTURES:
        tables = []
        for seed in range(options.seeds):
            tables.append(analysed(name, seed, options.work).table("alignment"))
            print(name, seed, tables[-1][["feature", "group", "score", "verdict_used"]].head(1).to_string(header=False))
        rows += [_row(name, feature, tables) for feature in FEATURES]
    page = _page(rows, options.seeds)
    if options.out:
        options.out.write_text(page, "utf-8")
    else:
        print(page)


def _row(name: str, feature: str, tables: list) -> str:
    found = [table[(table.feature == feature) & (table.group == "total")].iloc[0] for table in tables]

    def spread(column: str) -> str:
        values = [float(each[column]) for each in found]
        return f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"

    def yes(question: str) -> str:
        return f"{sum(each[f'verdict_{question}'] == 'holds' for each in found)} of {len(found)}"

    ratios = [float(each.effect) / float(each.worst_control) for each in found if float(each.worst_control) > 0]
    ratio = f"{statistics.median(ratios):.1f}" if ratios else ""
    cells = (spread("score"), spread("untrained"), spread("share"), spread("share_untrained"), ratio)
    return f"| {name} | {feature} | {' | '.join(cells)} | {yes('aligned')} | {yes('learned')} | {yes('used')} |"


def _page(rows: list[str], seeds: int) -> str:
    return "\n".join(
        [
            "# Modular addition in four architectures",
            "",
            f"Addition modulo {P}, {seeds} seeds of each architecture, analysed with `tangentlens.analyse`. Overlap:",
            "percent of the Fourier space (28 dimensions) inside the leading 56 modes of the whole kernel, mean",
            "(least to most) over seeds. Share: percent of the kernel's leading modes along the space. Effect:",
            "exchanging the space between inputs costs that many times what the worst matched control costs, median.",
            "The last three columns count seeds whose verdict is yes. A random space of the same dimension is the",
            "control.",
            "",
            "    python benchmarks/universality.py --out docs/universality.md",
            "",
            "| network | space | overlap, trained | untrained | share, trained | untrained | effect "
            "| aligned | learned | used |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    main()
