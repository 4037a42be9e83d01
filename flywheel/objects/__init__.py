"""Bytes, wherever they stay: a folder or an S3 prefix behind one protocol.

Sources are read through it, and the wheel's own files (models, exports) are written through it.
"""

from flywheel.objects.folder import FolderStore as FolderStore
from flywheel.objects.keys import KeyRefused as KeyRefused
from flywheel.objects.keys import LinkOutside as LinkOutside
from flywheel.objects.keys import ListingLost as ListingLost
from flywheel.objects.keys import ObjectMissing as ObjectMissing
from flywheel.objects.keys import ObjectTooLarge as ObjectTooLarge
from flywheel.objects.keys import StoreUnavailable as StoreUnavailable
from flywheel.objects.keys import key_problem as key_problem
from flywheel.objects.notifications import EventQueue as EventQueue
from flywheel.objects.notifications import MalformedNotification as MalformedNotification
from flywheel.objects.notifications import Message as Message
from flywheel.objects.notifications import SqsQueue as SqsQueue
from flywheel.objects.notifications import read_notification as read_notification
from flywheel.objects.open import Source as Source
from flywheel.objects.open import open_files as open_files
from flywheel.objects.open import open_sources as open_sources
from flywheel.objects.open import open_store as open_store
from flywheel.objects.open import open_tables as open_tables
from flywheel.objects.open import storage_options as storage_options
from flywheel.objects.protocol import ObjectInfo as ObjectInfo
from flywheel.objects.protocol import ObjectStore as ObjectStore
from flywheel.objects.protocol import Page as Page
from flywheel.objects.s3 import S3Store as S3Store
from flywheel.objects.s3 import is_shown as is_shown
from flywheel.objects.s3 import split_address as split_address
