"""Slimrank without what it computes of items beforehand: each request runs the graph as it is, as the peers do."""

from dataclasses import replace

from loadtest.peers import ours

SERVER = replace(
    ours.SERVER,
    name=f"{ours.SERVER.name} (whole graph)",
    environment={"SLIMRANK_ITEM_VALUES_BYTES": "0"},
    note=f"{ours.SERVER.note}; nothing is computed of items beforehand",
)
