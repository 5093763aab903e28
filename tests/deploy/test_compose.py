"""docker-compose.yml: hardened, pinned, and every name in it leads to something that exists."""

import re

import pytest
import yaml
from app.cli.main import COMMANDS
from app.settings import Settings

from tests.deploy.dockerfile import ROOT, read_dockerfile

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = ("slimrank", "compressor")
# What a worker takes at most to close up after its drain, before the supervisor kills it.
AFTER_DRAIN_SECONDS = 3


def volumes(service: dict) -> list[list[str]]:
    return [one.split(":") for one in service.get("volumes", [])]


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_hardened_and_bounded(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & service.keys()
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory"} <= limits.keys()
    assert service["pids_limit"] > 0


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_a_health_check_of_its_own_or_of_its_image(name):
    dockerfile = read_dockerfile()
    service = SERVICES[name]
    own = service.get("healthcheck", {}).get("test", [])
    image = dockerfile.all(service["build"]["target"], "HEALTHCHECK") if "build" in service else []
    assert own[:1] == ["CMD"] or image


@pytest.mark.parametrize("name", SERVICES)
def test_images_of_others_are_pinned_and_ours_are_targets_of_the_dockerfile(name):
    service = SERVICES[name]
    if "build" in service:
        assert service["build"]["target"] in read_dockerfile().stages
        assert set(service["build"].get("args", {})) <= {"PIP_EXTRA_INDEX_URL"}
    else:
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_exists(name):
    for source, *rest in volumes(SERVICES[name]):
        if source.startswith("."):
            assert (ROOT / source).is_dir(), source
            assert rest[-1] == "ro"
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_only(name):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", OURS)
def test_every_setting_exists_and_volumes_lie_where_the_image_says(name):
    service = SERVICES[name]
    settings = {one.removeprefix("SLIMRANK_").lower() for one in service.get("environment", {})}
    assert settings <= Settings.model_fields.keys()
    image = read_dockerfile().environment(service["build"]["target"])
    assert ["store", image["SLIMRANK_STORE"]] in volumes(service)
    assert any(one.startswith("/tmp:") for one in service["tmpfs"])  # noqa: S108  (in the container)
    assert service.get("command", ["serve"])[0] in COMMANDS


def test_as_many_workers_as_the_limit_of_processors_allows():
    slimrank = SERVICES["slimrank"]
    assert slimrank["environment"]["SLIMRANK_WORKERS"] == "${SLIMRANK_WORKERS:-0}"
    assert float(slimrank["deploy"]["resources"]["limits"]["cpus"]).is_integer(), (
        "no part of a core is left over"
    )


def test_secrets_come_from_the_environment():
    assert SERVICES["slimrank"]["environment"]["SLIMRANK_ADMIN_KEY"] == "${SLIMRANK_ADMIN_KEY:-}"
    grafana = SERVICES["grafana"]["environment"]
    assert grafana["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_ADMIN_PASSWORD:?")
    assert grafana["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert "SLIMRANK_ADMIN_KEY" not in SERVICES["compressor"].get("environment", {})


def test_docker_waits_for_the_drain():
    grace = int(SERVICES["slimrank"]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["drain_seconds"].default + AFTER_DRAIN_SECONDS


def test_only_the_compressor_compresses():
    image = read_dockerfile().environment("serve")
    assert image["SLIMRANK_COMPRESSOR"] == "false"
    assert SERVICES["slimrank"]["build"]["target"] == "serve"
    assert SERVICES["compressor"]["build"]["target"] == "full"
    assert ["cache", image["SLIMRANK_CACHE"]] in volumes(SERVICES["compressor"])
