"""From `model.name` to a local folder with config, tokenizer and weights: given, cached, or downloaded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from biodist.errors import Problem, UserError

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
TOKENIZERS = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"))
SETTINGS = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
HUB_SECONDS = 20  # for the hub's first answer
POINTER = b"version https://git-lfs"


def locate_encoder(name: str | None, revision: str = "main") -> Path | None:
    """The local folder of an encoder: a folder is checked, a hub id is taken from the cache or else downloaded.

    None for a model made from nothing.

    Raises:
        UserError: an unreadable folder, with every problem; a hub id that is neither cached nor within reach.
    """
    if name is None:
        return None
    local = Path(name).expanduser()
    if local.exists() or _is_path(name):
        folder = local.absolute()
        if problems := folder_problems(folder):
            raise UserError(problems)
        return folder
    return _from_hub(name, revision)


def folder_problems(folder: Path) -> list[Problem]:
    """Everything that keeps a folder from being an encoder's."""
    if not folder.is_dir():
        state = "is not a folder" if folder.exists() else "is not there"
        return [Problem(f"model.name {folder}", state, "name a Hugging Face folder, or an id of the hub")]
    return [*_config_problems(folder), *_tokenizer_problems(folder), *_weight_problems(folder)]


def _is_path(name: str) -> bool:
    return name.startswith(("/", "./", "../", "~")) or name in (".", "..") or name.count("/") > 1


def _config_problems(folder: Path) -> list[Problem]:
    path, do = folder / "config.json", "copy the config.json that came with the weights"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return [Problem(str(path), f"cannot be read: {error.strerror}", do)]
    except ValueError:
        return [Problem(str(path), "is not JSON", do)]
    return [] if isinstance(config, dict) else [Problem(str(path), "must be a JSON object", do)]


def _tokenizer_problems(folder: Path) -> list[Problem]:
    whole = next((names for names in TOKENIZERS if all((folder / name).is_file() for name in names)), None)
    if whole is None:
        wanted = "tokenizer.json, vocab.txt, or vocab.json and merges.txt"
        return [Problem(str(folder), "has no tokenizer", f"copy the encoder's: {wanted}")]
    found = (_file_problem(folder / name) for name in whole)
    return [problem for problem in found if problem]


def _weight_problems(folder: Path) -> list[Problem]:
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        wanted = "model.safetensors or pytorch_model.bin"
        return [Problem(str(folder), "has no weights", f"copy the encoder's {wanted}")]
    if problem := _file_problem(path):
        return [problem]
    if path.name == "model.safetensors":
        problem = _safetensors_problem(path)
        return [problem] if problem else []
    return _shard_problems(path) if path.name == "model.safetensors.index.json" else []


def _shard_problems(index: Path) -> list[Problem]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return [Problem(str(index), "is not an index of weights", "download it again")]
    found = []
    for shard in (index.parent / str(name) for name in names):
        missing = Problem(str(shard), "is not there, but the index names it", "download it again")
        found.append((_file_problem(shard) or _safetensors_problem(shard)) if shard.is_file() else missing)
    return [problem for problem in found if problem]


def _file_problem(path: Path) -> Problem | None:
    """What can be told from the first bytes of a file."""
    try:
        with path.open("rb") as file:
            start = file.read(len(POINTER))
    except OSError as error:
        return Problem(str(path), f"cannot be read: {error.strerror}", "look at its permissions")
    if not start:
        return Problem(str(path), "is empty", "download it again")
    if start == POINTER:
        return Problem(str(path), "is a Git LFS pointer, not the file itself", "run `git lfs pull` in its folder")
    return None


def _safetensors_problem(path: Path) -> Problem | None:
    """Whether the header can be read and the file is as long as it says; the weights themselves are not read."""
    broken = Problem(str(path), "is not a whole safetensors file", "download it again")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = path.stat().st_size
        if not 2 <= length <= size - 8:
            return broken
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return broken
    return None if 8 + length + max(ends, default=0) == size else broken


def _from_hub(name: str, revision: str) -> Path:
    cached = _cached(name, revision)
    if cached is not None and not folder_problems(cached):
        return cached
    return _downloaded(name, revision)


def _hub() -> Any:
    """huggingface_hub, telling nobody that it is used."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import huggingface_hub

    return huggingface_hub


def _cached(name: str, revision: str) -> Path | None:
    hub = _hub()
    try:
        return Path(hub.snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=SETTINGS))
    except (OSError, ValueError):  # not in the cache; or no valid id, which the download then names
        return None


def _downloaded(name: str, revision: str) -> Path:
    hub = _hub()
    from huggingface_hub.errors import HFValidationError

    where = f"model.name {name}"
    try:
        info = hub.HfApi().model_info(name, revision=revision, timeout=HUB_SECONDS)
        present = {file.rfilename for file in info.siblings or ()}
        chosen = _chosen(present)
        folder = Path(hub.snapshot_download(name, revision=revision, allow_patterns=chosen))
    except HFValidationError:
        raise UserError(
            Problem(where, "is neither a folder that is there nor a hub id", "name a folder, or an id as OWNER/NAME")
        ) from None
    except Exception as error:  # the hub's client raises errors of several HTTP libraries
        raise UserError(_unreachable(where, name, revision, error)) from None
    if problems := folder_problems(folder):
        raise UserError(problems)
    return folder


def _chosen(present: set[str]) -> list[str]:
    """Of a repository's files those that training needs: one form of the weights, not all."""
    weights = next((name for name in WEIGHTS if name in present), WEIGHTS[0])
    shards = sorted(name for name in present if name.startswith("model-") and name.endswith(".safetensors"))
    vocabulary = {name for names in TOKENIZERS for name in names}
    chosen = [name for name in (*SETTINGS, *sorted(vocabulary)) if name in present]
    return [*chosen, weights, *(shards if weights == "model.safetensors.index.json" else [])]


def _unreachable(where: str, name: str, revision: str, error: Exception) -> Problem:
    kind = type(error).__name__
    reasons = {
        "GatedRepoError": ("needs an account that may read it", "run `hf auth login` first"),
        "RevisionNotFoundError": (f"has no revision {revision!r}", "set model.revision"),
        "RepositoryNotFoundError": ("is not on the hub, or is private", "check the name, or run `hf auth login`"),
    }
    if kind in reasons:
        return Problem(where, *reasons[kind])
    copy = f"on a machine that reaches it run `hf download {name} --revision {revision} --local-dir FOLDER`"
    return Problem(
        where,
        f"is no folder here, is not whole in the hub's cache, and the hub cannot be reached ({kind})",
        f"{copy}, bring FOLDER here, and set model.name=FOLDER",
    )
