"""How near the modes of a sweep are to the modes of the full kernel, layer by layer.

The sweep is that of the experiment: all `down_proj` kernels, in one geometry. For every layer asked, block Lanczos on
the full kernel (matrix-free, nothing compressed) goes on from a refined space until all residuals are below the
tolerance; that space is the truth. Printed are the cosines of the swept and the refined modes to it, among outputs (u)
and among parameters (J^T u), and the estimated residuals of the swept modes beside the true ones. Sweep and truths stay
in --work, and a later call goes on from there. A truth takes the better part of an hour on two cores.

    python benchmarks/language_accuracy.py --text stories.txt --windows 256 --layers 16 14 --work FOLDER

--alone sweeps only the layers asked, in the directions of the whole sweep, and gives the same modes: in Fisher geometry
a window's directions are its own, in the others they are those of the pilot of all `down_proj` kernels.
"""

import argparse
import resource
import time
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

import tangentlens as tl
from tangentlens.language.analysis.config import KernelConfig
from tangentlens.language.model import LanguageModel, working_copy
from tangentlens.language.sweep.fisher import logit_geometry
from tangentlens.language.sweep.groups import resolve_language_groups
from tangentlens.language.sweep.pilot import Pilot, pilot_directions
from tangentlens.language.sweep.planning import planned_chain, stage_inputs
from tangentlens.language.sweep.refinement import RefinedModes
from tangentlens.language.sweep.scratch import InMemory
from tangentlens.language.sweep.sweep import Sweep
from tangentlens.language.windows.file import read_windows, write_windows
from tangentlens.language.windows.labelling import tagger
from tangentlens.language.windows.search import WindowRules, build_windows
from tangentlens.language.windows.text import file_stories
from tangentlens.paper.gemma.config import PARTS_OF_SPEECH


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="google/gemma-3-270m")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=256)
    parser.add_argument("--directions", type=int, default=KernelConfig().directions)
    parser.add_argument("--geometry", choices=("raw", "centred", "fisher"), default="raw")
    parser.add_argument("--layers", type=int, nargs="+", default=[16, 14])
    parser.add_argument("--alone", action="store_true", help="sweep only the layers asked")
    parser.add_argument("--tolerance", type=float, default=1e-2)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    lm = tl.language_model(options.model)
    batch = {"input_ids": windows(lm, options)}
    asked = tuple(f"{lm.blocks[layer][0]}.mlp.down_proj.weight" for layer in options.layers)
    kernel = KernelConfig(directions=options.directions)
    how = dict(kernel.sweep_options)
    if options.alone:
        how |= {"groups": asked, "directions": directions(lm, batch, kernel, options)}
    began = time.perf_counter()
    swept = tl.sweep(
        lm, batch, geometry=options.geometry, work=options.work / f"sweep-{options.geometry}", progress=say, **how
    )
    print(f"sweep: {time.perf_counter() - began:.0f} s (less where it was gone on with)")
    print(f"peak memory so far: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB")
    for name in asked:
        compare(lm, batch, swept, name, options)


def directions(
    lm: LanguageModel, batch: dict[str, Tensor], kernel: KernelConfig, options: argparse.Namespace
) -> Tensor | int:
    """Those of the sweep of all `down_proj` kernels: (d, r), found once and kept, or how many each window has."""
    if options.geometry == "fisher":
        return kernel.directions
    path = options.work / f"directions-{options.geometry}.safetensors"
    if not path.exists():
        groups, units = resolve_language_groups(lm, "down_proj"), logit_geometry(lm.head, options.geometry)
        chain, planned = planned_chain(working_copy(lm), batch, groups)
        inputs, hidden = stage_inputs(chain, planned, batch, InMemory())
        pilot = Pilot(planned, groups, inputs, hidden, units, 0, say)
        save_file({"basis": pilot_directions(pilot, kernel.directions, kernel.pilot_windows)}, path)
    return load_file(path)["basis"]


def say(*at: object) -> None:
    print(*at, flush=True)


def compare(lm: LanguageModel, batch: dict[str, Tensor], swept: Sweep, name: str, options: argparse.Namespace) -> None:
    modes = swept.modes[name]
    lifted = swept.lift(modes.pairs.vectors).flatten(0, 1)
    began = time.perf_counter()
    refined = tl.refine(lm, batch, name, swept)
    print(f"{name}: refined with {refined.pairs.products} products in {time.perf_counter() - began:.0f} s")
    product = (refined.operator @ lifted).double()
    true = (product - lifted * modes.pairs.values).norm(dim=0) / modes.pairs.values
    values, vectors = truth(refined, name, options)
    overlaps = vectors.T @ lifted
    spread("swept: cosines to the true space", overlaps.norm(dim=0))
    # v = J^T u / |J^T u| and |J^T u|^2 = u^T K u, so v_true . v = sqrt(lambda) (u_true . u) / sqrt(u^T K u)
    moved = values.sqrt()[:, None] * overlaps / (lifted * product).sum(dim=0).sqrt()
    spread("swept: cosines of parameter directions to the true space", moved.norm(dim=0))
    spread("refined: cosines to the true space", (vectors.T @ refined.pairs.vectors).norm(dim=0))
    ratio = modes.residuals / true
    print(f"  estimated over true residual: median {ratio.median():.2f}, {ratio.min():.2f} to {ratio.max():.2f}")


def truth(refined: RefinedModes, name: str, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Eigenvalues (k,) and eigenvectors (rows, k) of the full kernel, solved once and kept."""
    path = options.work / f"truth-{options.geometry}-{name}.safetensors"
    if not path.exists():
        began, k = time.perf_counter(), len(refined.pairs.values)
        exact = tl.top_eigenpairs(refined.operator, k, options.tolerance, start=refined.pairs.vectors)
        print(f"  truth {time.perf_counter() - began:.0f} s, worst residual {float(exact.residuals.max()):.1e}")
        save_file({"values": exact.values, "vectors": exact.vectors}, path)
    found = load_file(path)
    return found["values"], found["vectors"]


def spread(label: str, cosines: Tensor) -> None:
    print(f"  {label}: median {cosines.median():.4f}, least {cosines.min():.4f}")


def windows(lm: LanguageModel, options: argparse.Namespace) -> Tensor:
    path = options.work / "windows.safetensors"
    if not path.exists():
        options.work.mkdir(parents=True, exist_ok=True)
        quotas = dict.fromkeys(PARTS_OF_SPEECH, options.windows // len(PARTS_OF_SPEECH))
        found = build_windows(
            file_stories(options.text), lm.model, lm.tokenizer, tagger(), WindowRules(quotas=quotas), work=options.work
        )
        write_windows(path, found)
    return read_windows(path).input_ids


if __name__ == "__main__":
    main()
