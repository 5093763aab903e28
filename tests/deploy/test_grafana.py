"""The dashboards: each expression is PromQL, each metric in it exists, and provisioning finds everything."""

import json
import re

import pytest
import yaml

from tests.deploy.dockerfile import ROOT
from tests.deploy.metric_names import defined_in_the_code, is_defined, used_in
from tests.deploy.promtool import promtool

FOLDER = ROOT / "deploy" / "grafana"
DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))
SOURCES = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
PROVIDERS = yaml.safe_load((FOLDER / "provisioning/dashboards/slimrank.yml").read_text())["providers"]
# What Grafana puts in place of its variables before Prometheus sees the expression.
_VARIABLES = {"$__rate_interval": "1m", "$__range": "1h", "$model": ".*", "$variant": ".*"}


def panels(dashboard: dict) -> list[dict]:
    return [one for one in dashboard["panels"] if one["type"] != "row"]


def expressions(dashboard: dict) -> list[str]:
    return [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]


def variable_queries(dashboard: dict) -> list[str]:
    """The selectors inside `label_values(selector, label)`."""
    queries = [v["query"]["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
    found = [re.fullmatch(r"label_values\((.+), (\w+)\)", query) for query in queries]
    assert all(found)
    return [match[1] for match in found if match]


def as_prometheus_sees(expression: str) -> str:
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, f"an unknown variable: {expression}"
    return expression


@pytest.fixture(params=DASHBOARDS, ids=lambda path: path.stem)
def dashboard(request):
    return json.loads(request.param.read_text())


def test_there_is_a_dashboard():
    assert DASHBOARDS


def test_every_expression_is_promql(dashboard, tmp_path):
    every = [as_prometheus_sees(one) for one in expressions(dashboard) + variable_queries(dashboard)]
    rules = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(every)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(path))


def test_every_metric_is_one_that_the_code_has(dashboard):
    defined = defined_in_the_code()
    used = set().union(*map(used_in, expressions(dashboard) + variable_queries(dashboard)))
    assert sorted(name for name in used if not is_defined(name, defined)) == []


def test_ids_are_unique_and_panels_do_not_overlap(dashboard):
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    cells = set()
    for panel in dashboard["panels"]:
        where = panel["gridPos"]
        assert where["x"] + where["w"] <= 24
        for x in range(where["x"], where["x"] + where["w"]):
            for y in range(where["y"], where["y"] + where["h"]):
                assert (x, y) not in cells, panel["title"]
                cells.add((x, y))


def test_every_panel_says_what_it_shows(dashboard):
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_every_panel_reads_the_data_source_that_is_chosen(dashboard):
    for panel in panels(dashboard):
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    (chosen,) = (v["current"]["value"] for v in dashboard["templating"]["list"] if v["type"] == "datasource")
    assert chosen == SOURCES[0]["uid"]


def test_the_container_finds_its_provisioning_and_its_dashboards():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounts = {one.split(":")[1]: one.split(":")[0] for one in compose["grafana"]["volumes"]}
    assert mounts["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    assert (ROOT / mounts[PROVIDERS[0]["options"]["path"]]) == FOLDER / "dashboards"
    host = re.fullmatch(r"http://(\w+):9090", SOURCES[0]["url"])
    assert host
    assert host[1] in compose
