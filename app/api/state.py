"""What routes work with: made once at the start, found on the application's state."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.errors import UnknownModel
from app.jobs import JobQueue
from app.model_card import ModelCard, model_names, read_card
from app.serving.metrics import Metrics
from app.serving.registry import Registry
from app.settings import Settings
from app.store import ArtifactStore


@dataclass(frozen=True)
class Service:
    """The parts of a worker."""

    settings: Settings
    store: ArtifactStore
    queue: JobQueue
    metrics: Metrics
    registry: Registry

    def card(self, model: str) -> ModelCard:
        """The model's card. Raises UnknownModel; a name never becomes a path before it is known."""
        if model not in model_names(self.settings.models):
            if model in self.registry.names():
                raise UnknownModel(
                    f"model {model!r} is served from the store alone: the models folder has no card of it",
                    model=model,
                )
            raise UnknownModel(
                f"there is no model {model[:100]!r}; GET /v1/models lists them", model=model[:100]
            )
        return read_card(self.settings.models / model)

    def check_published(self, model: str) -> None:
        """Raise UnknownModel unless something of the model is active in the store."""
        if model not in self.store.models():
            raise UnknownModel(
                f"nothing of a model {model[:100]!r} is active; GET /health/ready says what is missing",
                model=model[:100],
            )


async def _service(request: Request) -> Service:
    # Async, though it waits for nothing: FastAPI would run a plain function in a thread, for every request.
    service: Service = request.app.state.service
    return service


Parts = Annotated[Service, Depends(_service)]
