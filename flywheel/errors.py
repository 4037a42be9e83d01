"""Errors a person can act on: what happened, where, what was found, what was expected, what to do next."""


class FlywheelError(Exception):
    """Base of every error the flywheel raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class ConfigError(FlywheelError):
    """The operator has to fix `flywheel.yaml`, a flag or an environment variable."""

    exit_code = 2


class DataError(FlywheelError):
    """Data does not have the promised form. Carries the ids it is about and how many there are."""

    exit_code = 3

    def __init__(self, message: str, ids: tuple[str, ...] = (), count: int | None = None):
        super().__init__(message)
        self.ids = ids
        self.count = len(ids) if count is None else count


class VersionErased(DataError):
    """An old version of a table that was removed when something was erased."""


class IndexMismatch(FlywheelError):
    """The vector index does not fit what is asked of it (size, encoder, generation)."""

    exit_code = 3


class VendorError(FlywheelError):
    """An annotation vendor refused or could not be reached."""

    exit_code = 4


class VendorBusy(VendorError):
    """The vendor asks to come back later, after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float = 30.0):
        super().__init__(message)
        self.retry_after = retry_after


class NotApproved(FlywheelError):
    """Money would be spent without a person's approval."""

    exit_code = 5


class BudgetExceeded(FlywheelError):
    """An order would cost more than `budget` allows."""

    exit_code = 5
