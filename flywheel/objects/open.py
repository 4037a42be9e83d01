"""Opens what a configuration names: sources, tables, the wheel's own files."""

from dataclasses import dataclass
from pathlib import Path

from flywheel.config import S3, SourceConfig, WheelConfig
from flywheel.errors import ConfigError
from flywheel.objects.folder import FolderStore
from flywheel.objects.notifications import EventQueue, SqsQueue
from flywheel.objects.protocol import ObjectStore
from flywheel.objects.s3 import S3Store, open_session, split_address
from flywheel.tables import Tables


@dataclass(frozen=True)
class Source:
    """One place data comes from: how it is configured, and the store its objects are read through."""

    config: SourceConfig
    objects: ObjectStore
    events: EventQueue | None = None  # notifications about them, where there are any


def open_store(root: str, s3: S3) -> ObjectStore:
    """Open a folder, or `s3://bucket/prefix`. Nothing is asked of it yet.

    Raises:
        ConfigError: the address has no bucket, or its AWS profile does not exist.
    """
    return S3Store(root, s3) if root.startswith("s3://") else FolderStore(root)


def open_tables(config: WheelConfig) -> Tables:
    """Open the wheel's tables under `<store.root>/tables`.

    Raises:
        ConfigError: the root is on S3 and boto3's chain finds no keys.
    """
    root = f"{config.store.root.rstrip('/')}/tables"
    if not root.startswith("s3://"):
        return Tables(root)
    split_address(root)
    return Tables(root, storage_options(config.store.s3))


def open_files(config: WheelConfig) -> ObjectStore:
    """Open the store of the wheel's own files (models, exports) under `<store.root>/files`."""
    root = f"{config.store.root.rstrip('/')}/files"
    if not root.startswith("s3://"):
        Path(root).mkdir(parents=True, exist_ok=True)
    return open_store(root, config.store.s3)


def open_sources(config: WheelConfig) -> dict[str, Source]:
    """Open every source, by its id.

    Raises:
        ConfigError: an address has no bucket, an AWS profile does not exist, or a folder is said to send events.
    """
    return {source.id: _open_source(source) for source in config.sources}


def _open_source(source: SourceConfig) -> Source:
    if source.events and not source.root.startswith("s3://"):
        raise ConfigError(f"source '{source.id}' has 'events', which only a bucket sends; found root '{source.root}'")
    queue = SqsQueue(source.events, source.s3) if source.events else None
    return Source(source, open_store(source.root, source.s3), queue)


def storage_options(s3: S3) -> dict[str, str]:
    """Return what Delta needs to reach S3; holds secrets, so it is never logged.

    Concurrent commits are safe through conditional puts (If-None-Match), without a lock table. Keys of a role
    are those of this moment: open the tables anew in each step of long work.

    Raises:
        ConfigError: boto3's chain finds no keys.
    """
    credentials = open_session(s3).get_credentials()
    if credentials is None:
        raise ConfigError(
            "no keys for tables on S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile in s3.profile"
        )
    keys = credentials.get_frozen_credentials()
    options = {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_REGION": s3.region,
        "aws_conditional_put": "etag",
    }
    if keys.token:
        options["AWS_SESSION_TOKEN"] = keys.token
    if s3.endpoint:
        options["AWS_ENDPOINT_URL"] = s3.endpoint
        options["AWS_ALLOW_HTTP"] = "true" if s3.endpoint.startswith("http://") else "false"
    return options
