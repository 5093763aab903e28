"""The model that is being compressed: its module or ready graph, its encoder and its rows, each loaded when needed."""

from functools import cached_property
from pathlib import Path

import onnx
from torch import nn

from app.compression.workshop import Progress
from app.encoding import Encoder
from app.model_card import ModelCard, OnnxSource
from app.training.data.source import Place
from app.training.export import export
from app.training.fit import Lesson, fit
from app.training.graph_file import check_contract, read_graph
from app.training.rows import Prepared
from app.training.source import load_encoder, load_module, new_module
from app.training.train import prepare_data, training_config


class Subject:
    """One model of the repository, as compression sees it."""

    def __init__(self, card: ModelCard, folder: Path, cache: Path) -> None:
        self.card = card
        self.folder = folder
        self._cache = cache
        self._others: dict[int, nn.Module] = {}

    @cached_property
    def _loaded(self) -> tuple[nn.Module | None, Encoder]:
        if isinstance(self.card.source, OnnxSource):
            return None, load_encoder(self.card, self.folder)
        return load_module(self.card, self.folder)

    @property
    def module(self) -> nn.Module | None:
        """The trained module; None for a ready graph."""
        return self._loaded[0]

    @property
    def encoder(self) -> Encoder:
        """The encoder that the model was trained with."""
        return self._loaded[1]

    @cached_property
    def prepared(self) -> Prepared | None:
        """The encoded rows; None when the card has no [data]."""
        if self.card.data is None:
            return None
        return prepare_data(self.card, Place(self._cache, self.folder), self.encoder)

    def another(self, number: int, progress: Progress) -> nn.Module:
        """The model trained again by its card with the seed `number` further on; trained once, then kept.

        Raises CompressionFailed when training diverges.
        """
        if number not in self._others:
            assert self.prepared is not None, "only steps that have rows ask for it"
            config = training_config(self.card)
            config = config.model_copy(update={"seed": config.seed + number})
            module = new_module(self.card, self.folder, self.encoder, config.seed)
            lesson = Lesson(self.card.features, self.prepared.train, self.prepared.validation)
            fit(module, lesson, config, lambda done, what: progress(done, f"teacher {number + 1}, {what}"))
            self._others[number] = module
        return self._others[number]

    @cached_property
    def graph(self) -> onnx.ModelProto:
        """The fp32 graph: exported from the module, or the ready one after a check of the graph contract.

        An export takes seconds, so it is made once, and shared: do not change it.
        """
        if self.module is not None:
            return self.export(self.module)
        assert isinstance(self.card.source, OnnxSource)
        graph = read_graph(self.folder / self.card.source.graph)
        check_contract(graph, self.card.features)
        return graph

    def export(self, module: nn.Module) -> onnx.ModelProto:
        """The graph of a module that keeps this model's torch contract."""
        return export(module, self.encoder)
