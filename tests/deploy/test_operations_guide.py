"""The operations guide says everything that there is, with the values that the code has."""

import json
from typing import Any

import pytest
import yaml
from app.settings import Settings

from tests.deploy.dockerfile import ROOT, read_dockerfile
from tests.deploy.markdown import broken_links, rows
from tests.deploy.metric_names import defined_in_the_code, is_defined

DOCS = ROOT / "docs"
GUIDE = (DOCS / "operations.md").read_text()
WRITTEN = [DOCS / "operations.md", DOCS / "api.md", *sorted((DOCS / "decisions").glob("*.md"))]


def as_written(default: Any) -> str:
    """A default as the guide shows it: as one would put it into the environment."""
    if default is None:
        return "not set"
    return f"`{json.dumps(default) if isinstance(default, bool) else default}`"


def test_every_setting_is_there_with_its_default_and_meaning():
    fields = Settings.model_fields.items()
    assert rows(GUIDE, "## Settings") == [
        [f"`SLIMRANK_{name.upper()}`", as_written(field.default), field.description] for name, field in fields
    ]


def test_every_metric_is_there_and_no_other():
    documented = {row[0].strip("`") for row in rows(GUIDE, "## Metrics")}
    defined = defined_in_the_code()
    assert sorted(name for name in documented if not is_defined(name, defined)) == []
    shown = {name.removesuffix("_total") for name in documented}
    assert sorted({name.removesuffix("_total") for name in defined} - shown) == []


def test_every_alert_is_there_with_its_severity():
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    alerts = [[f"`{rule['alert']}`", rule["labels"]["severity"]] for one in groups for rule in one["rules"]]
    assert sorted(row[:2] for row in rows(GUIDE, "### Alerts")) == sorted(alerts)


def test_the_paths_of_the_images_are_those_of_the_dockerfile():
    environment = read_dockerfile().environment("serve")
    for name in ("SLIMRANK_STORE", "SLIMRANK_CACHE", "SLIMRANK_MODELS"):
        assert f"`{environment[name]}`" in GUIDE


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_no_link_is_broken(path):
    assert broken_links(path) == []


def test_the_list_of_decisions_has_every_decision_with_its_title():
    index = (DOCS / "decisions" / "README.md").read_text()
    pages = [path for path in WRITTEN if path.parent.name == "decisions" and path.name != "README.md"]
    assert pages
    for number, path in enumerate(pages, start=1):
        assert path.name.startswith(f"{number:04d}-")
        title = path.read_text().splitlines()[0].removeprefix(f"# {number}. ")
        assert f"{number}. [{title}]({path.name})" in index
