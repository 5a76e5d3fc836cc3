"""What is kept on disk so that nothing is computed twice: arrays, digests of files, and what is known about them."""

from headstart.store.arrays import Lazy, Store
from headstart.store.digests import file_digest, file_digests
from headstart.store.recent import Recent

__all__ = ["Lazy", "Recent", "Store", "file_digest", "file_digests"]
