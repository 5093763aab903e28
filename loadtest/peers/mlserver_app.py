"""The MLServer peer; runs in its own environment."""

import json

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from loadtest.peers.ranker import Ranker


class Rank(MLModel):
    """One graph."""

    async def load(self) -> bool:
        """Load the graph."""
        self.ranker = Ranker(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Rank the request in the only input."""
        (request,) = StringCodec.decode_input(payload.inputs[0])
        answer = json.dumps(self.ranker.rank(json.loads(request)))
        return InferenceResponse(
            model_name=self.name, outputs=[StringCodec.encode_output("answer", [answer])]
        )
