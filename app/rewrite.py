"""A way out when `<store>/<model>/active.json` is damaged or gone: a state from the versions that are whole."""

from collections.abc import Sequence

from app.active import Active, State
from app.artifact import Manifest, verify
from app.card_policy import with_card_policy
from app.errors import ArtifactCorrupt, UnknownModel
from app.model_card import ModelCard
from app.store import CATALOG, ArtifactStore


def rewrite_active(store: ArtifactStore, model: str, card: ModelCard | None) -> tuple[Active, Sequence[str]]:
    """Let the newest whole version of each variant serve, by the card's policy; a sentence for what is left out.

    Every file is compared with its manifest first. Earlier states are lost with the damaged file, which is kept beside
    the new one. Raises UnknownModel, Conflict where the active state can be read, ArtifactCorrupt where nothing is
    whole.
    """
    # A name never becomes a path before it is known.
    if not any(folder.name == model for folder in store.root.glob("[!.]*")):
        raise UnknownModel(f"nothing of a model {model!r} is in the store")
    store.check_unreadable(model)
    versions: dict[str, str] = {}
    left_out: list[str] = []
    for variant in store.variants(model):
        found = _newest_whole(store, model, variant, left_out)
        if found is not None:
            versions[variant] = found.version
    if not versions:
        reasons = "; ".join(left_out) or "nothing is published"
        raise ArtifactCorrupt(f"no version of model {model!r} is whole: {reasons}")
    state = State(versions, origin="rewritten")
    if card is not None:
        state, policy_left_out = with_card_policy(state, card, store)
        left_out += policy_left_out
    return store.rewrite(model, state), left_out


def _newest_whole(store: ArtifactStore, model: str, variant: str, left_out: list[str]) -> Manifest | None:
    for manifest in store.manifests(model, variant):
        try:
            verify(store.folder(model, variant, manifest.version))
            if manifest.catalog is not None:
                verify(store.folder(model, CATALOG, manifest.catalog))
        except ArtifactCorrupt as error:
            left_out.append(error.message)
        else:
            return manifest
    return None
