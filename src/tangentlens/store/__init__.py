"""Runs on disk: folders built aside and renamed when complete, figures as JSON, arrays as safetensors."""

from tangentlens.store.arrays import SeedRecord
from tangentlens.store.run_folder import Draft, begin, complete
from tangentlens.store.stored_run import StoredRun, open_run

__all__ = ["Draft", "SeedRecord", "StoredRun", "begin", "complete", "open_run"]
