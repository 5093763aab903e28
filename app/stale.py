"""Queues a compression job for every model that has variants to make, or a card whose policy is not taken up yet."""

from app.card_policy import with_card_policy
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
    card = read_card(folder)
    try:
        state = store.active(model).state
        wanted, _ = with_card_policy(state, card, store)
        return wanted.policy != state.policy or bool(stale_variants(card, folder, store))
    except ArtifactCorrupt:
        return True  # compression makes again what is damaged
