"""How an asset runs: the engine's errors become Dagster's, and a turn's stations are timed."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from flywheel.config import WheelConfig
from flywheel.encoders import Encoder
from flywheel.errors import DataError, FlywheelError, VendorBusy
from flywheel.tables import Tables
from flywheel.turns import record_station, turn_number

RETRIES = 5
SHOWN_IDS = 20


@contextmanager
def explained() -> Iterator[None]:
    """Turn what the engine raises on purpose into what Dagster acts on.

    A busy vendor is asked again when it said so; anything else needs a person, so it is not retried.
    """
    try:
        yield
    except VendorBusy as busy:
        raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=busy.retry_after) from busy
    except FlywheelError as error:
        metadata: dict[str, dg.MetadataValue] = {"error": dg.MetadataValue.text(type(error).__name__)}
        if isinstance(error, DataError) and error.ids:
            metadata["ids"] = dg.MetadataValue.json(list(error.ids[:SHOWN_IDS]))
        raise dg.Failure(description=str(error), metadata=metadata, allow_retries=False) from error


@contextmanager
def station(context: dg.AssetExecutionContext, tables: Tables) -> Iterator[int]:
    """Yield the number of the turn this run is for, and note how long the station took once it succeeded."""
    started = time.perf_counter()
    with explained():
        turn = turn_number(context.partition_key)
        yield turn
        record_station(tables, turn, context.asset_key.path[-1], time.perf_counter() - started)


def encoder_id(wheel: WheelConfig, encoders: Mapping[str, Encoder]) -> str:
    """Return the id of the encoder whose vectors the wheel's question is about."""
    return encoders[wheel.label_spec.modality].id
