"""Queues a compression job for every model that has variants to make or to make again."""

from app.errors import ArtifactCorrupt
from app.fingerprint import stale_variants
from app.jobs import Job, JobQueue
from app.model_card import model_names, read_card
from app.settings import Settings
from app.store import ArtifactStore


def submit_stale(settings: Settings, queue: JobQueue) -> list[Job]:
    """Queue those models; gives their jobs. Raises ConfigurationError for a wrong card, and what the queue raises."""
    store = ArtifactStore(settings.store)
    return [queue.submit(name) for name in model_names(settings.models) if _is_stale(settings, store, name)]


def _is_stale(settings: Settings, store: ArtifactStore, model: str) -> bool:
    folder = settings.models / model
    try:
        return bool(stale_variants(read_card(folder), folder, store))
    except ArtifactCorrupt:
        return True  # compression makes again what is damaged
