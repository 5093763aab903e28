"""The configuration and the alerts of Prometheus, checked by its own tool and run over made-up series."""

import re

import yaml

from tests.deploy.dockerfile import ROOT
from tests.deploy.metric_names import defined_in_the_code, is_defined, used_in
from tests.deploy.promtool import promtool

FOLDER = ROOT / "deploy" / "prometheus"
CONFIG = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
ALERTS = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
ALERT_TESTS = ROOT / "tests" / "deploy" / "alerts.test.yml"


def test_promtool_accepts_the_configuration_and_the_rules():
    promtool("check", "config", str(FOLDER / "prometheus.yml"))
    promtool("check", "rules", str(FOLDER / "alerts.yml"))


def test_each_alert_fires_when_it_should_and_only_then():
    promtool("test", "rules", str(ALERT_TESTS))


def test_each_alert_has_a_case_where_it_fires():
    cases = [
        case for one in yaml.safe_load(ALERT_TESTS.read_text())["tests"] for case in one["alert_rule_test"]
    ]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == {
        rule["alert"] for rule in ALERTS
    }


def test_alerts_use_only_metrics_that_the_code_has():
    defined = defined_in_the_code()
    used = set().union(*(used_in(rule["expr"]) for rule in ALERTS))
    assert used
    assert sorted(name for name in used if not is_defined(name, defined)) == []


def test_the_target_is_the_service_of_the_compose_file():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    (job,) = CONFIG["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert compose[host]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert all(f'job="{job["job_name"]}"' in r["expr"] for r in ALERTS if re.search(r"\bup\b", r["expr"]))


def test_each_alert_says_how_urgent_it_is_and_what_is_wrong():
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert rule["annotations"]["summary"].endswith((".", "?")), rule["alert"]
