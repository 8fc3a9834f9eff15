"""Dashboards and alert rules: what they name is there, and Prometheus takes them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from driftline_cloud.service.metrics import CloudMetrics
from driftline_device.show.metrics import COUNTERS, GAUGES
from driftline_shared.status import LineStatus

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "cloud/deploy"
RULES = DEPLOY / "alerts.yml"
GRAFANA = DEPLOY / "grafana/provisioning"
DASHBOARDS = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
PROMETHEUS = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
OF_PROMETHEUS = {"up"}


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool (Debian: prometheus)")
    return found


def cloud_text() -> str:
    metrics = CloudMetrics()
    metrics.show_line(
        LineStatus(line="l", newest_version=1, num_samples=1, num_waiting=1, num_rounds=1)
    )
    return generate_latest(metrics.registry).decode()


def exported() -> dict[str, set[str]]:
    """Labels by name of what Prometheus reads of a cloud and of a device."""
    found: dict[str, set[str]] = {}
    for metric in CloudMetrics().registry.collect():
        name = metric.name + ("_total" if metric.type == "counter" else "")
        found[name] = set()
    found |= {f"driftline_device_{name}_total": set() for name in COUNTERS}
    return found | {f"driftline_device_{name}": set() for name in GAUGES}


def rules() -> list[dict[str, Any]]:
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def expressions() -> Iterator[str]:
    for rule in rules():
        yield rule["expr"]
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            yield from (target["expr"] for target in panel["targets"])
        for variable in board["templating"]["list"]:
            yield variable["query"]["query"]


def names(expression: str) -> set[str]:
    return set(re.findall(r"\bdriftline_\w+", expression))


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_every_metric_that_is_named_exists(expression: str) -> None:
    known = set(exported())
    assert names(expression) <= known
    assert names(expression) or any(word in expression for word in OF_PROMETHEUS)


def test_a_metric_that_there_is_not_would_be_found() -> None:
    assert not names("sum(driftline_cloud_no_such_total)") <= set(exported())


def test_no_metric_has_a_series_a_device() -> None:
    assert "device" not in re.findall(r"(\w+)=", cloud_text())


def test_prometheus_takes_the_rules(promtool: str) -> None:
    run = subprocess.run(
        [promtool, "check", "rules", str(RULES)], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert f"{len(rules())} rules found" in run.stdout


def test_names_follow_the_conventions(promtool: str) -> None:
    run = subprocess.run(
        [promtool, "check", "metrics"],
        input=cloud_text(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stderr + run.stdout) == (0, "")


SAMPLES = {
    "DriftlineNoWorker": ('driftline_cloud_workers{line="l",state="idle"}', "0x60"),
    "DriftlineRoundFailed": ('driftline_cloud_rounds_total{state="failed"}', "0x29 1x30"),
    "DriftlineUpdatesFail": ('driftline_cloud_reports_total{outcome="rolled_back"}', "0+1x60"),
    "DriftlineSamplesPileUp": ('driftline_cloud_waiting_samples{line="l"}', "5000+9x400"),
    "DriftlineDeviceCutOff": ('driftline_device_link_connected{instance="d"}', "0x90"),
}


@pytest.mark.parametrize("alert", SAMPLES)
def test_an_alert_fires_when_it_should(promtool: str, tmp_path: Path, alert: str) -> None:
    series, values = SAMPLES[alert]
    minutes = {"DriftlineSamplesPileUp": 360, "DriftlineDeviceCutOff": 85}.get(alert, 50)
    cases = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": series, "values": values}],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                        "eval_time": f"{minutes}m",
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    }
                ],
            }
        ],
    }
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(cases))
    run = subprocess.run(
        [promtool, "test", "rules", str(tmp_path / "cases.yml")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_what_prometheus_and_grafana_are_given_is_mounted() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounts = {
        volume.split(":")[0]: volume.split(":")[1]
        for name in ("prometheus", "grafana")
        for volume in services[name]["volumes"]
        if volume.startswith("./")
    }
    assert mounts["./cloud/deploy/alerts.yml"] == PROMETHEUS["rule_files"][0]
    provider = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/dashboards/driftline.yml").read_text()
    )
    folder = provider["providers"][0]["options"]["path"]
    assert mounts["./cloud/deploy/grafana/dashboards"] == folder
    source = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    )
    uid = source["datasources"][0]["uid"]
    for path in DASHBOARDS:
        panels = json.loads(path.read_text())["panels"]
        assert {panel["datasource"]["uid"] for panel in panels} == {uid}
        assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(DASHBOARDS) == 2
