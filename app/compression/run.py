"""One pass over one model: what is loaded and measured once is kept here."""

import time
from pathlib import Path
from typing import Any

import msgspec
import onnx
from torch import nn

from app.artifact import Manifest, verify
from app.compression.activate import Activations
from app.compression.bench import Bench
from app.compression.gate import judge
from app.compression.item_side import cut_item_side, trial_of
from app.compression.make_catalog import make_catalog
from app.compression.publish import Origin, publish_catalog, publish_graph
from app.compression.recipe import Step
from app.compression.site import Outcome, Selection, Site
from app.compression.subject import Subject
from app.compression.workshop import Progress, Workshop
from app.errors import ArtifactCorrupt, CompressionFailed, ServiceError
from app.fingerprint import Inputs
from app.machine import this_machine
from app.model_card import BASELINE, ModelCard, Recipe
from app.report import Verdict
from app.store import CATALOG
from app.training.graph_file import write_graph

_BASELINE_VERDICT = Verdict("baseline", "it is the fp32 graph that every variant is compared with")
# Shares of the progress shown: reading data and making the baseline of the whole, the steps of one variant.
_BASELINE_SHARE = 0.15
_STEPS_SHARE = 0.8


class Run:
    """Makes the baseline first and variants after it, each published and active as soon as it is done."""

    def __init__(self, card: ModelCard, selection: Selection, site: Site, progress: Progress) -> None:
        self.card = card
        self.selection = selection
        self.store = site.store
        self.progress = progress
        self.subject = Subject(card, site.models / card.name, site.cache)
        self._inputs = Inputs.of(card, self.subject.folder)
        self._activations = Activations(card, site.store, selection)
        self._baseline: Manifest | None = None
        self._bench: Bench | None = None

    def baseline(self) -> Outcome:
        """The fp32 graph: reused when it is up to date, made otherwise."""
        # Named recipes need a baseline, but do not ask for a new one.
        everything = self.selection.recipes is None and self.selection.recipe is None
        inputs = self._inputs.sha256(None)
        started = time.monotonic()
        progress = self._part(BASELINE, 0.0, _BASELINE_SHARE)
        found = None if self.selection.force and everything else self._find(BASELINE, inputs, progress)
        self._baseline = found or self._make_baseline(inputs, started, progress)
        return self._activate(self._baseline, started, reused=found is not None)

    def finish(self) -> list[str]:
        """When all is made: let what an earlier baseline has left serve no more. Gives sentences for the log."""
        self._activations.retire()
        return self._activations.told()

    def variant(self, recipe: Recipe, steps: tuple[Step, ...], position: int, count: int) -> Outcome:
        """One recipe's variant. A step that cannot do its work is an outcome, so that the other recipes still run."""
        share = (1 - _BASELINE_SHARE) / count
        start = _BASELINE_SHARE + position * share
        progress = self._part(recipe.name, start, start + share)
        started = time.monotonic()
        inputs = self._inputs.sha256(recipe)
        found = None if self.selection.force else self._find(recipe.name, inputs, progress)
        if found is not None:
            return self._activate(found, started, reused=True)
        try:
            manifest = self._make_variant(recipe, steps, inputs, progress)
        except ServiceError as error:
            return Outcome(recipe.name, None, "failed", error.message, False, _since(started))
        return self._activate(manifest, started, reused=False)

    def _find(self, variant: str, inputs: str, progress: Progress) -> Manifest | None:
        """An up-to-date version whose files, and those of its catalog, are all as published."""
        found = self.store.find(self.card.name, variant, inputs)
        if found is None:
            return None
        try:
            assert found.catalog is not None, "every published graph has a catalog"
            verify(self.store.folder(self.card.name, CATALOG, found.catalog))
            return verify(self.store.folder(self.card.name, variant, found.version))
        except ArtifactCorrupt as error:
            progress(0.0, f"made again, because {error.message}")
            return None

    def _make_baseline(self, inputs: str, started: float, progress: Progress) -> Manifest:
        progress(0.0, "reading data")
        subject = self.subject
        display = self.card.data.display if self.card.data else ()
        catalog = make_catalog(subject.encoder, subject.prepared, display)
        self._check_unchanged()
        catalog_version = publish_catalog(self.store, self.card.name, inputs, catalog).version
        progress(0.1, "exporting")
        with self.store.staged() as folder:
            write_graph(subject.graph, folder)
            self._cut(folder, progress)
            progress(0.15, "evaluating")
            self._bench = Bench(folder, subject.encoder, subject.prepared, self.card.profile)
            measuring: Progress = lambda done, what: progress(0.2 + 0.8 * done, what)  # noqa: E731
            report = self._bench.measure_baseline(folder, started, measuring)
            self._check_unchanged()
            origin = Origin(self.card.name, BASELINE, inputs, catalog_version)
            return publish_graph(self.store, folder, origin, report, _BASELINE_VERDICT)

    def _make_variant(
        self, recipe: Recipe, steps: tuple[Step, ...], inputs: str, progress: Progress
    ) -> Manifest:
        started = time.monotonic()
        bench, baseline = self._ready_bench()
        with self.store.staged() as folder:
            with self.store.scratch() as scratch:
                graph, notes = self._apply(recipe, steps, scratch, progress)
                write_graph(graph, folder)
            self._cut(folder, progress)
            report = msgspec.structs.replace(bench.measure(folder, started, _tail(progress)), notes=notes)
            assert baseline.catalog is not None
            self._check_unchanged()
            origin = Origin(
                self.card.name, recipe.name, inputs, baseline.catalog, baseline.reference, recipe, steps
            )
            return publish_graph(self.store, folder, origin, report, judge(report, self.card.budget))

    def _cut(self, folder: Path, progress: Progress) -> None:
        subject = self.subject
        if subject.prepared is None:
            return  # without a catalog there are no items to compute anything for
        schema = subject.encoder.schema
        reason = cut_item_side(folder, schema, trial_of(subject.prepared, schema))
        if reason is not None:
            progress(_STEPS_SHARE, f"its item side is not computed beforehand: {reason}")

    def _check_unchanged(self) -> None:
        """What is read once, and kept, must be what the fingerprint says. Raises CompressionFailed."""
        if Inputs.of(self.card, self.subject.folder) != self._inputs:
            raise CompressionFailed("the model's files have changed since this job began; compress again")

    def _ready_bench(self) -> tuple[Bench, Manifest]:
        assert self._baseline is not None, "baseline() comes first"
        if self._bench is None:
            folder = self.store.folder(self.card.name, BASELINE, self._baseline.version)
            self._bench = Bench(folder, self.subject.encoder, self.subject.prepared, self.card.profile)
        return self._bench, self._baseline

    def _apply(
        self, recipe: Recipe, steps: tuple[Step, ...], scratch: Path, progress: Progress
    ) -> tuple[onnx.ModelProto, list[str]]:
        """Run the steps; the export comes between the last module step and the first graph step. And their notes."""
        module, notes = self.subject.module, list[str]()
        workshop = Workshop(
            encoder=self.subject.encoder,
            prepared=self.subject.prepared,
            seed=recipe.seed,
            machine=this_machine(),
            progress=progress,
            note=notes.append,
            teacher=module,
            scratch=scratch,
            another_teacher=self.subject.another,
        )
        model: Any = self.subject.graph if module is None else module
        for position, step in enumerate(steps):
            if step.technique.stage == "graph" and isinstance(model, nn.Module):
                model = self.subject.export(model) if position else self.subject.graph
            begin, end = (_STEPS_SHARE * (position + after) / len(steps) for after in (0, 1))
            progress(begin, step.technique.name)
            model = step.technique.apply(model, step.config, workshop.within(begin, end))
        return (self.subject.export(model) if isinstance(model, nn.Module) else model), notes

    def _activate(self, manifest: Manifest, started: float, *, reused: bool) -> Outcome:
        self._activations.activate(manifest)
        verdict = manifest.verdict
        assert verdict is not None, "every published graph has a verdict"
        return Outcome(
            manifest.variant, manifest.version, verdict.outcome, verdict.reason, reused, _since(started)
        )

    def _part(self, name: str, start: float, end: float) -> Progress:
        return lambda done, what: self.progress(start + (end - start) * done, f"{name}: {what}")


def _tail(progress: Progress) -> Progress:
    """What is left of a variant's progress after its steps."""
    return lambda done, what: progress(_STEPS_SHARE + (1 - _STEPS_SHARE) * done, what)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
