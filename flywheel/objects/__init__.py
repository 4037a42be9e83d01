"""Bytes, wherever they stay: a folder or an S3 prefix behind one protocol.

Sources are read through it, and the wheel's own files (models, exports) are written through it.
"""

from flywheel.objects.protocol import ObjectInfo as ObjectInfo
from flywheel.objects.protocol import ObjectStore as ObjectStore
