#!/usr/bin/env bash
# The CUDA backend on a real card: build, tests, sanitizer, benchmarks, in under ten minutes. Needs nvcc, cmake and
# ninja. What else the machine may lack (Node, the packages of the tests, doctest, oneDNN) is taken from the archive that
# `node scripts/pack_gpu_check.mjs KIT.tar.xz` made elsewhere.
#
#   scripts/gpu-check.sh [--kit KIT.tar.xz] [--out FOLDER] [--peers FOLDER] [--python FILE] [--phases "build test ..."]
#
# Phases: build test sanitize bench node. Results go to --out (default bench/results): <device>-<date>.json holds what
# each phase said and how long it took, <device>-<date>-kernels.json and -model.json the measurements. With --peers, the
# folder of the scripts that measure the whole model in PyTorch, and a Python that has PyTorch, ratios are added.
# Ends with a line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD

kit="" out=bench/results peers="" python=python3 phases="build test sanitize bench node"
while [ $# -gt 0 ]; do
  case $1 in
    --kit) kit=$(realpath "$2") ;;
    --out) out=$2 ;;
    --peers) peers=$(realpath "$2") ;;
    --python) python=$2 ;;
    --phases) phases=$2 ;;
    *)
      sed -n '2,14p' "$0" | sed 's/^# \{0,1\}//'
      exit 2
      ;;
  esac
  shift 2
done
mkdir -p "$out"
out=$(realpath "$out")
export PATH="$PATH:/usr/local/cuda/bin"
work=$root/build/gpu
mkdir -p "$work"

if ! device=$(nvidia-smi --query-gpu=name --format=csv,noheader --id=0 2>/dev/null); then
  echo "gpu-check: nvidia-smi finds no card"
  echo "0 passed, 1 failed"
  exit 1
fi
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader --id=0 | tr -d .)
slug=$(echo "$device" | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9]\{1,\}/-/g')-$(date +%F)
echo "gpu-check: $device, capability $capability, driver $(nvidia-smi --query-gpu=driver_version --format=csv,noheader --id=0)"

passed=0 failed=0 report=""
# phase NAME SECONDS COMMAND...: runs it with a time limit and keeps what it said.
phase() {
  local name=$1 limit=$2 start=$SECONDS status
  shift 2
  timeout -k 10 "$limit" "$@" >"$work/$name.log" 2>&1
  status=$?
  local seconds=$((SECONDS - start)) verdict=passed
  if [ $status -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)) verdict="failed with status $status"; fi
  echo "gpu-check: $name $verdict in $seconds s"
  [ $status -eq 0 ] || tail -40 "$work/$name.log"
  report="$report${report:+,}{\"phase\":\"$name\",\"status\":$status,\"seconds\":$seconds}"
}
wanted() { [[ " $phases " == *" $1 "* ]]; }

if [ -n "$kit" ]; then
  mkdir -p "$work/kit"
  tar -xJf "$kit" -C "$work/kit" || exit 1
  kit=$work/kit
fi
doctest=${kit:+$kit/include}
[ -f "$doctest/doctest/doctest.h" ] || doctest=/usr/include
# Only the card's own code: the other architectures are compiled wherever the package is built.
target=sm_$capability
[ "$capability" = 90 ] && target=sm_90a

if wanted build; then
  phase configure 60 cmake -S cuda -B "$work" -G Ninja -DCUDA_TARGETS="$target" -DDOCTEST_INCLUDE="$doctest"
  phase build 400 cmake --build "$work" --parallel
fi
if wanted test; then phase test 240 "$work/cuda_test"; fi
if wanted sanitize; then
  # They slow kernels down a hundredfold, but the tests are sized for an emulation that is slower still.
  for tool in memcheck racecheck initcheck synccheck; do
    phase "$tool" 120 compute-sanitizer --tool "$tool" --error-exitcode 9 "$work/cuda_test"
  done
fi
if wanted bench; then
  phase bench-first 120 sh -c "'$work/cuda_bench' > '$work/first.jsonl'"
  if "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    phase bench-second 120 sh -c "'$work/cuda_bench' > '$work/second.jsonl'"
    phase bench-torch 240 "$python" bench/cuda/torch_ops.py "$work/first.jsonl" "$work/second.jsonl" \
      "$out/$slug-kernels.json"
  else
    cp "$work/first.jsonl" "$out/$slug-kernels.jsonl"
  fi
fi
if wanted node; then
  if [ -n "$kit" ] && [ -x "$kit/bin/node" ]; then
    export PATH="$kit/bin:$PATH" LD_LIBRARY_PATH="$kit/lib:${LD_LIBRARY_PATH:-}"
    [ -e node_modules ] || ln -s "$kit/node_modules" node_modules
    [ -e dist ] || ln -s "$kit/dist" dist
    export NATIVE_COMPUTE_PATH=$kit/compute.node
  fi
  if command -v node >/dev/null; then
    phase node-test 300 npm run --silent test:gpu
    phase node-bench 300 node bench/run.mjs model --device cuda ${peers:+--peers "$peers" --python "$python"}
  else
    echo "gpu-check: no Node here and none in a kit: the tests in TypeScript and the models were left out"
    report="$report,{\"phase\":\"node\",\"status\":null,\"seconds\":0}"
  fi
fi

printf '{"device":"%s","capability":%s,"date":"%s","phases":[%s]}\n' "$device" "$capability" "$(date +%F)" "$report" \
  >"$out/$slug.json"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
