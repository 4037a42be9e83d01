"""An S3 prefix as an object store, on AWS or any server that speaks its protocol."""

import logging
import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import boto3.session  # pyright: ignore[reportMissingTypeStubs]
from boto3.exceptions import Boto3Error  # pyright: ignore[reportMissingTypeStubs]
from botocore.config import Config  # pyright: ignore[reportMissingTypeStubs]
from botocore.exceptions import (  # pyright: ignore[reportMissingTypeStubs]
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ProfileNotFound,
)
from urllib3.exceptions import HTTPError

from flywheel.config import S3
from flywheel.errors import ConfigError, DataError
from flywheel.objects.keys import ListingLost, ObjectMissing, StoreUnavailable, checked, is_hidden, too_large
from flywheel.objects.protocol import ObjectInfo, Page

log = logging.getLogger("flywheel.objects")

ATTEMPTS = 6  # at one request
CONNECTIONS = 16  # at once, to one endpoint
READS = 4  # attempts at one body; botocore itself retries only what happens before the first byte
T = TypeVar("T")

_REFUSED = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
_MISSING = {"404", "NoSuchKey", "NotFound"}
_WRONG = {"400", "405", "411", "413", "414", "InvalidArgument", "InvalidRequest", "KeyTooLongError", "EntityTooLarge"}


def split_address(address: str) -> tuple[str, str]:
    """Split `s3://bucket/prefix` into bucket and prefix; the prefix is empty or ends in "/".

    Raises:
        ConfigError: there is no bucket in it.
    """
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    if not address.startswith("s3://") or not bucket:
        raise ConfigError(f"'{address}' is no S3 address; expected s3://bucket or s3://bucket/prefix")
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


def open_session(s3: S3) -> Any:
    """Return a boto3 session; its keys come from boto3's own chain (environment, profile, role).

    Raises:
        ConfigError: the profile does not exist.
    """
    try:
        return cast(Any, boto3.session).Session(profile_name=s3.profile, region_name=s3.region)
    except ProfileNotFound:
        raise ConfigError(f"there is no AWS profile '{s3.profile}'; see ~/.aws/config or correct s3.profile") from None


def open_client(s3: S3) -> Any:
    """Return a boto3 S3 client that retries with growing waits and works with servers other than AWS."""
    own = s3.endpoint is not None
    settings = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if own else "auto"},
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=min(10.0, s3.timeout_seconds),
        read_timeout=s3.timeout_seconds,
        max_pool_connections=CONNECTIONS,
        # servers other than AWS do not all know the newer trailing checksums
        request_checksum_calculation="when_required" if own else "when_supported",
        response_checksum_validation="when_required" if own else "when_supported",
    )
    return open_session(s3).client("s3", endpoint_url=s3.endpoint, config=settings)


class S3Store:
    """The objects under one prefix of a bucket. Safe to use from several threads.

    Args:
        address: `s3://bucket` or `s3://bucket/prefix`.
        s3: how the endpoint is reached.
        page_size: objects in one page of a listing; the server may give fewer.
    """

    readers = CONNECTIONS

    def __init__(self, address: str, s3: S3, page_size: int = 1000):
        self._page_size = page_size
        self.bucket, self.prefix = split_address(address)
        self._client = open_client(s3)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object under `prefix` in the order of its key (UTF-8 bytes). Hidden ones are left out.

        The listing is held in memory to sort it: not every server lists in the order of keys. Keys that are
        no good ones (see `key_problem`) are yielded too, so that they can be reported.
        """
        found = [info for page in self._pages(prefix, None) for info in page.infos]
        yield from sorted(found, key=lambda info: info.key)

    def pages(self, token: str | None = None) -> Iterator[Page]:
        """Yield the listing in the server's own pages and order; the token is the server's. See `ObjectStore.pages`.

        Raises:
            ListingLost: the server does not know the token (any more).
            StoreUnavailable: the server cannot be reached.
        """
        return self._pages("", token)

    def info(self, key: str) -> ObjectInfo:
        """Describe one object as it stands now.

        Raises:
            ObjectMissing: it does not exist.
            KeyRefused: the key is no good one.
            StoreUnavailable: the server cannot be reached.
        """
        full = self.prefix + checked(key)
        found = asked(lambda: self._client.head_object(Bucket=self.bucket, Key=full), self.address(key))
        return _described(key, found, cast(int, found["ContentLength"]))

    def read(self, key: str, limit: int | None = None) -> bytes:
        """Return the object's bytes; its size is looked at before the body is fetched. See `ObjectStore.read`.

        Raises:
            ObjectMissing: it does not exist.
            KeyRefused: the key is no good one.
            ObjectTooLarge: it has more than `limit` bytes.
            StoreUnavailable: the server cannot be reached.
        """
        full = self.prefix + checked(key)
        return asked(lambda: self._read_whole(full, limit), self.address(key))

    @contextmanager
    def local(self, key: str, limit: int | None = None) -> Generator[Path]:
        """Fetch the object into a temporary file, piece by piece; see `ObjectStore.local`. Errors: see `read`."""
        full = self.prefix + checked(key)
        with TemporaryDirectory(prefix="flywheel-") as folder:
            path = Path(folder) / f"object{Path(key).suffix}"
            asked(lambda: self._fetch(full, path, limit), self.address(key))
            yield path

    def write(self, key: str, content: bytes) -> None:
        """Write the object whole or not at all, replacing what stood there."""
        full = self.prefix + checked(key)
        asked(lambda: self._client.put_object(Bucket=self.bucket, Key=full, Body=content), self.address(key))

    def write_if_absent(self, key: str, content: bytes) -> bool:
        """Write the object unless one stands there; return whether it was written. One of two rivals wins."""
        full = self.prefix + checked(key)
        try:
            asked(lambda: self._put_new(full, content), self.address(key))
        except _AlreadyThere as there:
            # an answer that was lost on the way makes the client repeat its own successful write
            return there.repeated and self.read(key) == content
        return True

    def exists(self, key: str) -> bool:
        """Return whether the object is there."""
        try:
            self.info(key)
        except ObjectMissing:
            return False
        return True

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""
        full = self.prefix + checked(key)
        asked(lambda: self._client.delete_object(Bucket=self.bucket, Key=full), self.address(key))

    def address(self, key: str) -> str:
        """Return the object's `s3://` address."""
        return self.address_of(checked(key))

    def address_of(self, key: str) -> str:
        """Return the address of a key or prefix without looking at its form."""
        return f"s3://{self.bucket}/{self.prefix}{key}"

    def _pages(self, prefix: str, token: str | None) -> Iterator[Page]:
        while True:
            page = self._page(prefix, token)
            yield page
            if page.next is None:
                return
            token = page.next

    def _page(self, prefix: str, token: str | None) -> Page:
        options = {"ContinuationToken": token} if token else {}
        place = {"Bucket": self.bucket, "Prefix": self.prefix + prefix, "MaxKeys": self._page_size}
        address = self.address_of(prefix)
        try:
            answer = asked(lambda: self._client.list_objects_v2(**place, **options), address)
        except DataError as error:
            if token is None:
                raise
            raise ListingLost(f"the listing of {address} cannot be continued: {error}") from None
        following = cast(str | None, answer.get("NextContinuationToken")) if answer.get("IsTruncated") else None
        if following is not None and following == token:
            raise StoreUnavailable(f"the listing of {address} does not advance; try again later")
        return Page(tuple(self._listed(answer.get("Contents", []))), following)

    def _listed(self, rows: Sequence[Any]) -> Iterator[ObjectInfo]:
        for row in rows:
            key = cast(str, row["Key"])[len(self.prefix) :]
            if is_shown(key):
                yield _described(key, row, cast(int, row["Size"]))

    def _read_whole(self, full: str, limit: int | None) -> bytes:
        for attempt in range(READS):
            answer = self._client.get_object(Bucket=self.bucket, Key=full)
            size = cast(int, answer["ContentLength"])
            with answer["Body"] as body:
                if limit is not None and size > limit:
                    raise too_large(f"s3://{self.bucket}/{full}", size, limit)
                try:
                    return cast(bytes, body.read())
                except (BotoCoreError, HTTPError) as broken:  # the connection broke within the body
                    if attempt == READS - 1:
                        raise
                    log.info("reading s3://%s/%s broke off, trying again: %s", self.bucket, full, broken)
            time.sleep(random.uniform(0.1, 0.3) * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _fetch(self, full: str, path: Path, limit: int | None) -> None:
        size = cast(int, self._client.head_object(Bucket=self.bucket, Key=full)["ContentLength"])
        if limit is not None and size > limit:
            raise too_large(f"s3://{self.bucket}/{full}", size, limit)
        self._client.download_file(self.bucket, full, str(path))

    def _put_new(self, full: str, content: bytes) -> None:
        for attempt in range(READS):
            try:
                self._client.put_object(Bucket=self.bucket, Key=full, Body=content, IfNoneMatch="*")
                return
            except ClientError as error:
                if _code(error) in ("PreconditionFailed", "412"):
                    repeated = attempt > 0 or cast(Any, error.response)["ResponseMetadata"].get("RetryAttempts", 0) > 0
                    raise _AlreadyThere(repeated) from None
                if _code(error) not in ("ConditionalRequestConflict", "409") or attempt == READS - 1:
                    raise
            time.sleep(random.uniform(0.1, 0.3) * 2**attempt)


def is_shown(key: str) -> bool:
    """Whether a listing shows this key of a store: hidden objects and the markers of empty folders are left out."""
    return bool(key) and not key.endswith("/") and not is_hidden(key)


def _described(key: str, found: Any, size: int) -> ObjectInfo:
    """Build the same description from a listing's row and from an answer to HEAD."""
    return ObjectInfo(
        key, cast(str, found["ETag"]).strip('"'), size, cast(datetime, found["LastModified"]).astimezone(UTC)
    )


class _AlreadyThere(Exception):
    """A conditional write met an object; `repeated` says whether the request was sent more than once."""

    def __init__(self, repeated: bool):
        super().__init__("an object stands there")
        self.repeated = repeated


def _code(error: ClientError) -> str:
    return str(cast(Any, error.response).get("Error", {}).get("Code", ""))


def asked(call: Callable[[], T], address: str) -> T:
    """Run `call` and turn what boto3 raises into our errors, which name the address but never a key or secret."""
    try:
        return call()
    except ClientError as error:
        code = _code(error)
        if code in _MISSING:
            raise ObjectMissing(f"there is no object {address}", (address,)) from None
        if code == "NoSuchBucket":
            raise ConfigError(f"there is no bucket for {address}; create it, or correct 'root'") from None
        if code in _REFUSED:
            raise ConfigError(f"access to {address} was refused ({code}); check the keys and the policy") from None
        if code in _WRONG:
            raise DataError(f"{address} was refused: {error}", (address,)) from error
        raise StoreUnavailable(f"{address}: the server answered {code}; try again later") from error
    except NoCredentialsError:
        raise ConfigError(
            f"no keys for {address}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile in s3.profile"
        ) from None
    except (BotoCoreError, HTTPError, Boto3Error) as error:
        raise StoreUnavailable(f"{address} cannot be reached: {error}; check s3.endpoint and the network") from error
