#!/bin/sh
# Makes the Python modules of the contract in build/, or in the directory that is given.
set -eu
here=$(dirname "$0")
proto=$here/../../proto
out=${1:-$here/build}
mkdir -p "$out"
exec "${PYTHON:-python3}" -m grpc_tools.protoc -I "$proto" --python_out="$out" --grpc_python_out="$out" "$proto/standard/standard.proto"
