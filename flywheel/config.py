"""`flywheel.yaml`: everything one wheel needs to know. Secrets come from the environment, never from here.

A wrong or unknown key is a `ConfigError` that names it, its place and what was expected.
"""

import difflib
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flywheel.errors import ConfigError

MODALITIES = ("image", "record", "signal", "text", "video")
Modality = Literal["image", "record", "signal", "text", "video"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Column = Annotated[str, Field(pattern=r"^[^'\"\\\x00-\x1f]{1,200}$")]


class Section(BaseModel):
    """Base of every section: no unknown keys, no changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class S3(Section):
    """How to reach an S3 endpoint. Keys come from boto3's own chain (environment, profile, role)."""

    endpoint: str | None = Field(default=None, description="address of the endpoint; AWS when left out")
    region: str = "us-east-1"
    profile: str | None = None
    timeout_seconds: float = Field(default=20.0, gt=0, description="silence after which a request is sent again")


class StoreConfig(Section):
    """Where tables, models, exports and reports lie."""

    root: str = Field(default="./wheel", description="a folder, or s3://bucket/prefix")
    cache: str | None = Field(default=None, description="a local folder for the embedded index; default: <root>/cache")
    s3: S3 = S3()


class EventsConfig(Section):
    """Notifications of a bucket, in an SQS queue of the source's own. Keys come from boto3's own chain."""

    queue: str = Field(min_length=1, description="address of the queue, or its name")
    region: str | None = Field(default=None, description="that of s3 when left out")
    endpoint: str | None = Field(default=None, description="address of the endpoint; AWS when left out")
    profile: str | None = Field(default=None, description="that of s3 when left out")
    wait_seconds: int = Field(default=1, ge=0, le=20, description="how long to wait for a message when there is none")
    sweep_hours: float = Field(default=24.0, gt=0, description="hours between two sweeps of the whole listing")


class JoinedTableConfig(Section):
    """A table with many rows a subject: measurements where it has a `value`, else events."""

    match: str = Field(description="its key, or a pattern; a name in braces means what it means in `subjects`")
    subject: Column | None = Field(default=None, description="its column with the subject's id; as in `subjects`")
    time: Column | None = Field(default=None, description="its column with the time: numbers, or ISO dates")
    name: Column | None = Field(default=None, description="its column with what was measured or what happened")
    value: Column | None = Field(default=None, description="its column with the measured number")


class RecordsConfig(Section):
    """How tables become records: each row is one, or each subject of a subject table with what other tables say."""

    id: Column = Field(default="id", description="column that names a row")
    subject: Column = Field(default="id", description="column that names the subject, in all tables")
    subjects: str | None = Field(default=None, description="key or pattern of the table with one row a subject")
    as_of: float | date | Column | None = Field(
        default=None, description="only rows before it count: a number, an ISO date, or a column of the subject table"
    )
    tables: tuple[JoinedTableConfig, ...] = Field(default=(), description="what is joined to the subject table")
    apart: tuple[Column, ...] = Field(default=(), description="columns that are attributes, and never encoded")
    limits: dict[str, tuple[float, float]] = Field(
        default={}, description="lowest and highest possible value of a column or a measurement; age: 0 to 130"
    )
    plans: tuple[Column, ...] = Field(default=(), description="columns with dates that may lie in the future")
    most_names: int = Field(default=50, ge=1, le=1000, description="names kept of a joined table for one subject")

    @model_validator(mode="after")
    def _fits(self) -> "RecordsConfig":
        if self.tables and self.subjects is None:
            raise ValueError("'tables' are joined to a subject table; name it in 'subjects'")
        untimed = [table.match for table in self.tables if table.time is None]
        if self.as_of is not None and untimed:
            raise ValueError(f"with 'as_of' every joined table needs its 'time', {untimed[0]} has none")
        return self


class SignalsConfig(Section):
    """How recordings (ECG, EEG, sensors) become windows, one item each."""

    window_seconds: float = Field(default=10.0, ge=0.01, le=3600, description="length of a window")
    step_seconds: float | None = Field(default=None, ge=0.01, description="from window to window; default: its length")
    shortest_seconds: float | None = Field(
        default=None, gt=0, description="a shorter rest at the end is left out; default: half a window"
    )
    rate: float | None = Field(
        default=None, gt=0, le=1_000_000, description="samples per second; files with another rate are refused"
    )
    max_leads: int = Field(default=256, ge=1, le=4096, description="recordings with more leads are refused")
    max_seconds: float = Field(default=604_800, gt=0, le=999_999, description="longer recordings are refused")


class VideoConfig(Section):
    """How videos become items: frames, which are images, or clips."""

    items: Literal["clips", "frames"] | None = Field(
        default=None, description="default: frames where the source holds images, else clips"
    )
    every_seconds: float = Field(default=1.0, ge=0.01, le=3600, description="from frame to frame")
    scenes: bool = Field(default=False, description="a frame where a scene begins, clips that end with their scene")
    scene_threshold: Share = Field(
        default=0.12, description="mean change of brightness from which a scene is another one"
    )
    clip_seconds: float = Field(default=10.0, ge=0.1, le=3600, description="length of a clip at most")
    frames_per_clip: int = Field(default=8, ge=1, le=64, description="frames of a clip that are looked at, at most")
    max_seconds: float = Field(default=14_400, gt=0, le=999_999, description="longer videos are refused")
    max_frames: int = Field(default=1_000_000, ge=1, description="videos with more frames are read no further")


class SourceConfig(Section):
    """One place data comes from. Its id is permanent: items are named after it."""

    id: Name
    root: str = Field(description="a folder, or s3://bucket/prefix")
    manifest: str | None = Field(default=None, description="pattern of manifest keys, like manifest*.csv")
    modality: Literal["auto"] | Modality = Field(default="auto", description="what the objects hold: auto, or one kind")
    attributes: str | None = Field(default=None, description="what keys tell, like site={site}/day={day}/**")
    sample: Share = Field(default=1.0, gt=0.0, description="share of the objects taken in, by a stable hash")
    license: str = Field(default="unknown", description="license of the items, kept with each")
    provenance: str = Field(default="", description="where the items come from, in words, kept with each")
    max_bytes: int = Field(default=50_000_000, gt=0, description="larger objects are refused")
    max_file_bytes: int = Field(default=5_000_000_000, gt=0, description="limit of what is read piece by piece")
    max_pixels: int = Field(default=50_000_000, gt=0, description="larger images are refused before decoding")
    signals: SignalsConfig = SignalsConfig()
    video: VideoConfig = VideoConfig()
    expectations: tuple[dict[str, Any], ...] = Field(
        default=(), description="what should be true of its items, written as in expectations/*.yaml"
    )
    records: RecordsConfig = RecordsConfig()
    s3: S3 = S3()
    events: EventsConfig | None = Field(default=None, description="notifications, instead of frequent sweeps")

    @model_validator(mode="after")
    def _holds_what_it_says(self) -> "SourceConfig":
        unfit = {"image": "clips", "video": "frames"}.get(self.modality)
        if unfit is not None and self.video.items == unfit:
            raise ValueError(f"'video.items' cannot be '{unfit}' where the source holds the modality '{self.modality}'")
        return self


class EncoderConfig(Section):
    """How one modality becomes vectors."""

    kind: Literal[
        "minilm",
        "efficientnet-conse",
        "transformers-text",
        "transformers-clip",
        "record-words",
        "signal-spectrum",
        "video-frames",
    ]
    model: str | None = Field(default=None, description="local path or hub id, for the transformers kinds")
    revision: str | None = Field(default=None, description="hub revision")
    image_size: int = Field(default=224, ge=32, le=1024, description="pixels a side, for efficientnet-conse")
    max_tokens: int = Field(default=128, ge=8, le=8192, description="longer texts are cut")
    precision: Literal["auto", "fp32", "bf16"] = Field(default="auto", description="number format of the encoder")

    @model_validator(mode="after")
    def _needs_model(self) -> "EncoderConfig":
        if self.kind.startswith("transformers") and not self.model:
            raise ValueError(f"'model' (a local path or a hub id) is needed for kind '{self.kind}'")
        return self


class EncodersConfig(Section):
    """One encoder for each modality."""

    image: EncoderConfig = EncoderConfig(kind="efficientnet-conse")
    record: EncoderConfig = EncoderConfig(kind="record-words", max_tokens=256)
    signal: EncoderConfig = EncoderConfig(kind="signal-spectrum")
    text: EncoderConfig = EncoderConfig(kind="minilm")
    video: EncoderConfig = EncoderConfig(kind="video-frames")


class IndexConfig(Section):
    """Where vectors are searched."""

    kind: Literal["edge", "server"] = "edge"
    url_env: str = Field(default="QDRANT_URL", description="environment variable with the server's address")
    api_key_env: str = Field(default="QDRANT_API_KEY", description="environment variable with the server's key")
    collection: Name = "flywheel"


class StructureConfig(Section):
    """Neighbors, duplicates and clusters."""

    neighbors: int = Field(default=15, ge=2, le=200, description="neighbors kept of each content")
    near_duplicate: Share = Field(default=0.985, description="cosine from which two contents are near duplicates")
    cluster_sizes: tuple[int, ...] = Field(default=(200, 50), description="items per cluster, coarsest level first")
    seed: int = 0


class TargetConfig(Section):
    """The distribution the labels should cover; without it, the pool's own."""

    attribute: str = Field(description="an attribute of the items, as the manifest gives it")
    shares: dict[str, Share] = Field(description="share of each of its values; they sum to 1")

    @model_validator(mode="after")
    def _sums_to_one(self) -> "TargetConfig":
        total = sum(self.shares.values())
        if abs(total - 1) > 0.01:
            raise ValueError(f"'shares' must sum to 1, found {total:.3f}")
        return self


class LabelSpecConfig(Section):
    """What is asked about an item."""

    field: Name = Field(default="label", description="name of the answer")
    version: str = Field(default="1", description="raise it when the question changes: answers belong to one version")
    modality: Modality = "image"
    classes: tuple[str, ...] = Field(min_length=2, description="the possible answers")
    instructions: str = Field(default="", description="what an annotator should know, in words")

    @model_validator(mode="after")
    def _distinct(self) -> "LabelSpecConfig":
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("'classes' names a class twice")
        return self


class SimulatedVendorConfig(Section):
    """Annotators who answer from known truth with a stated error rate. For demos and tests."""

    kind: Literal["simulated"]
    truth: str = Field(description="a CSV file: key, label")
    annotators: int = Field(default=5, ge=1, le=1000, description="how many different annotators answer")
    error_rate: Share = Field(default=0.05, description="chance that one answer is wrong")
    seed: int = 0
    price: float = Field(default=0.05, ge=0, description="money per answer")


class FileVendorConfig(Section):
    """Tasks as JSON lines in a folder, answers as JSON lines from it."""

    kind: Literal["file"]
    folder: str
    price: float = Field(default=0.05, ge=0, description="money per answer")


class LabelStudioVendorConfig(Section):
    """A Label Studio server."""

    kind: Literal["label-studio"]
    url: str = "http://127.0.0.1:8080"
    token_env: str = Field(default="LABEL_STUDIO_TOKEN", description="environment variable with the access token")
    price: float = Field(default=0.05, ge=0, description="money per answer")


VendorConfig = Annotated[
    SimulatedVendorConfig | FileVendorConfig | LabelStudioVendorConfig, Field(discriminator="kind")
]


class ModelConfig(Section):
    """The head that is trained on the embeddings."""

    kind: Literal["linear-head"] = "linear-head"
    iterations: int = Field(default=200, ge=1, description="steps of the solver at most")
    weight_decay: float | None = Field(default=None, ge=0, description="chosen by cross-validation when left out")
    seed: int = 0


class BudgetConfig(Section):
    """What a turn may cost."""

    labels_per_turn: int = Field(default=100, ge=1, description="items chosen per turn")
    control_share: Share = Field(default=0.1, description="random control items beside them, per chosen item")
    votes: int = Field(default=3, ge=1, le=20, description="annotators asked per item")
    seed_labels: int = Field(default=100, ge=1, description="first labels to ask for where there are none")
    evaluation_labels: int = Field(default=200, ge=0, description="random labels the evaluation set should have")
    evaluation_share: Share = Field(default=0.2, description="share of subjects kept for evaluation, by a stable hash")
    gap_share: Share = Field(default=0.6, description="share of the chosen items that goes to named gaps")
    money_per_turn: float = Field(default=1000.0, ge=0, description="most that one turn may order")
    open_money: float = Field(default=1000.0, ge=0, description="most that may be ordered and not yet returned")
    auto_approve: bool = Field(default=False, description="spend without asking a person; for demos")


class TriggersConfig(Section):
    """What starts a turn by itself."""

    new_items: int = Field(default=500, ge=1, description="new items since the last turn")
    drift: Share = Field(default=0.3, description="how far new items lie elsewhere (total variation) to start a turn")
    metric_drop: Share = Field(default=0.02, description="fall of a metric that starts a turn")
    metric_recovered: Share = Field(default=0.01, description="fall below which a fired metric is armed again")
    max_turns_per_day: int = Field(default=4, ge=1, description="turns that start by themselves in a day at most")
    max_arrival_items: int = Field(default=20_000, ge=1, description="objects in one arrival at most")
    window_seconds: float = Field(default=0.0, ge=0, description="changes wait so long for others to join them")
    tick_seconds: float = Field(default=30.0, ge=0, le=45, description="time a look at the sources takes for listing")
    settle_seconds: float = Field(default=0.0, ge=0, description="objects younger than this wait for the next arrival")
    inbox: str | None = Field(default=None, description="folder where outside metrics land as JSON files")
    alerts: str | None = Field(default=None, description="file for failed runs; default <cache>/alerts.jsonl")


class WheelConfig(Section):
    """One wheel."""

    name: Name = "flywheel"
    store: StoreConfig = StoreConfig()
    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    expectations: str = Field(default="./expectations", description="a folder of expectation suites, *.yaml")
    encoders: EncodersConfig = EncodersConfig()
    index: IndexConfig = IndexConfig()
    structure: StructureConfig = StructureConfig()
    target: TargetConfig | None = None
    label_spec: LabelSpecConfig
    vendor: VendorConfig
    model: ModelConfig = ModelConfig()
    budget: BudgetConfig = BudgetConfig()
    triggers: TriggersConfig = TriggersConfig()

    @model_validator(mode="after")
    def _distinct_sources(self) -> "WheelConfig":
        ids = [source.id for source in self.sources]
        if len(set(ids)) < len(ids):
            raise ValueError("'sources' uses an id twice")
        queues = [source.events.queue for source in self.sources if source.events]
        if len(set(queues)) < len(queues):  # each would delete what is meant for the other
            raise ValueError("two of 'sources' name the same 'events.queue'; give each a queue of its own")
        return self

    @property
    def cache(self) -> Path:
        """Local folder for what cannot lie on S3 (the embedded index, locks)."""
        if self.store.cache:
            return Path(self.store.cache)
        if self.store.root.startswith("s3://"):
            return Path.home() / ".cache" / "flywheel" / self.name
        return Path(self.store.root) / "cache"


def load_config(path: str | Path) -> WheelConfig:
    """Read and check a `flywheel.yaml`; relative paths in it are taken from its folder.

    Raises:
        ConfigError: the file is missing, is no YAML mapping, or a key is wrong; the message names the key.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}; `flywheel init` writes one") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold keys and values, found {type(raw).__name__}")
    return parse_config(cast(dict[str, Any], raw), base=path.resolve().parent, where=str(path))


def parse_config(raw: Mapping[str, Any], base: Path, where: str = "configuration") -> WheelConfig:
    """Check a configuration given as plain values; see `load_config`."""
    try:
        config = WheelConfig.model_validate(dict(raw))
    except ValidationError as error:
        raise ConfigError("\n".join([f"{where} has mistakes:", *_explain(error)])) from None
    return _absolute(config, base)


def secret(name: str) -> str:
    """Return the environment variable `name`.

    Raises:
        ConfigError: it is not set.
    """
    value = os.environ.get(name)
    if not value:
        raise ConfigError(f"the environment variable {name} is not set; see .env.example")
    return value


def _explain(error: ValidationError) -> list[str]:
    lines: list[str] = []
    for problem in error.errors(include_url=False):
        place = ".".join(str(step) for step in problem["loc"]) or "top level"
        if problem["type"] == "extra_forbidden":
            lines.append(f"  {place}: unknown key{_suggestion(problem['loc'])}")
        else:
            lines.append(f"  {place}: {problem['msg']} (found {_shown(problem.get('input'))})")
    return lines


def _suggestion(loc: tuple[str | int, ...]) -> str:
    """Name the keys that would have been right at this place."""
    section: Any = WheelConfig
    for step in loc[:-1]:
        section = _inside(section, step)
        if section is None:
            return ""
    known = list(section.model_fields)
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f", did you mean '{near[0]}'?" if near else f"; expected one of: {', '.join(known)}"


def _inside(section: Any, step: str | int) -> Any:
    """The section class behind one step of a place, None where the place has no fixed keys."""
    kinds = {kind.model_fields["kind"].annotation.__args__[0]: kind for kind in _VENDORS}
    if step in kinds:
        return kinds[step]
    if isinstance(step, int):
        return section
    annotation = section.model_fields[step].annotation if step in section.model_fields else None
    options = [annotation, *getattr(annotation, "__args__", ())]
    sections = [option for option in options if isinstance(option, type) and issubclass(option, Section)]
    return sections[0] if sections else (section if step == "vendor" else None)


_VENDORS: tuple[Any, ...] = (SimulatedVendorConfig, FileVendorConfig, LabelStudioVendorConfig)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _absolute(config: WheelConfig, base: Path) -> WheelConfig:
    """Resolve relative folders against the configuration's own folder."""

    def resolve(value: str | None) -> str | None:
        if value is None or value.startswith("s3://"):
            return value
        return str((base / Path(value).expanduser()).resolve())

    vendor = config.vendor
    if isinstance(vendor, SimulatedVendorConfig):
        vendor = vendor.model_copy(update={"truth": resolve(vendor.truth)})
    elif isinstance(vendor, FileVendorConfig):
        vendor = vendor.model_copy(update={"folder": resolve(vendor.folder)})
    store = config.store.model_copy(update={"root": resolve(config.store.root), "cache": resolve(config.store.cache)})
    triggers = config.triggers.model_copy(
        update={"inbox": resolve(config.triggers.inbox), "alerts": resolve(config.triggers.alerts)}
    )
    sources = tuple(source.model_copy(update={"root": resolve(source.root)}) for source in config.sources)
    return config.model_copy(
        update={
            "store": store,
            "sources": sources,
            "expectations": resolve(config.expectations),
            "vendor": vendor,
            "triggers": triggers,
        }
    )
