#!/usr/bin/env bash
# Generates the protocol's code into a scratch folder and fails if it differs from the committed one.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$bin/python" -m grpc_tools.protoc -I proto --plugin=protoc-gen-mypy_grpc="$bin/protoc-gen-mypy_grpc" \
  --plugin=protoc-gen-mypy="$bin/protoc-gen-mypy" --python_out="$out" --mypy_out="$out" \
  --grpc_python_out="$out" --mypy_grpc_out="$out" proto/driftline_proto/v1/*.proto
for made in "$out"/driftline_proto/v1/*; do
  diff -u "proto/driftline_proto/v1/$(basename "$made")" "$made" || {
    echo "proto drift: $(basename "$made") is not what the .proto gives; run 'make proto' and commit" >&2
    exit 1
  }
done
echo "proto: generated code is up to date"
