#!/bin/sh
# Installs what the tests need beside Rust, into .venv: an S3 server, and a fuzzer that reads the OpenAPI document.
set -eu
cd "$(dirname "$0")/.."
python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check ministack==1.5.33 schemathesis==4.32.5
