#!/usr/bin/env bash
# The CUDA backend on a real card, in ten minutes: build, tests, benchmarks, sanitizers, the models. Needs nvcc, cmake and
# a C++ compiler. What else the machine may lack (Node, the packages of the tests, doctest, oneDNN) is taken from the
# archive that `node scripts/pack_gpu_check.mjs KIT.tar.xz` made elsewhere.
#
#   scripts/gpu-check.sh [--kit KIT.tar.xz] [--out FOLDER] [--minutes 10] [--phases "build primitives test ..."]
#                        [--peers FOLDER] [--python FILE] [--target sm_90a]
#
# Phases: build primitives test bench sweep sanitize node. Each has a time limit; what is left of --minutes limits it
# further. A wrong primitive ends the run: nothing above it can be right. Results go to --out (default bench/results) as
# they come: <device>-<date>.json holds what each phase said and how long it took, and stays complete if a later phase
# hangs; <device>-<date>-kernels.json, -sweep.jsonl and -model.json hold the measurements. PyTorch is measured beside ours
# where --python has it, whole models where --peers names the folder of their scripts. --target builds without a card,
# which is all that can be done then. Ends with a line "N passed, N failed, N left out".
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
root=$PWD

kit="" out=bench/results minutes=10 peers="" python=python3 target="" device=""
phases="build primitives test bench sweep sanitize node"
while [ $# -gt 0 ]; do
  case $1 in
    --kit) kit=$(realpath "$2") ;;
    --out) out=$2 ;;
    --minutes) minutes=$2 ;;
    --phases) phases=$2 ;;
    --peers) peers=$(realpath "$2") ;;
    --python) python=$2 ;;
    --target) target=$2 ;;
    *)
      sed -n '2,16p' "$0" | sed 's/^# \{0,1\}//'
      exit 2
      ;;
  esac
  shift 2
done
stop() {
  echo "gpu-check: $1"
  echo "0 passed, 1 failed, 0 left out"
  exit 1
}

export PATH="$PATH:/usr/local/cuda/bin"
for tool in nvcc cmake c++; do
  command -v $tool >/dev/null || stop "$tool is not on PATH"
done
query() { nvidia-smi --query-gpu="$1" --format=csv,noheader --id=0 2>/dev/null; }
if device=$(query name); then
  capability=$(query compute_cap | tr -d .)
  # Only the card's own code: the other architectures are compiled wherever the package is built.
  [ "$capability" = 90 ] && capability=90a
  target=${target:-sm_$capability}
  echo "gpu-check: $device, $target, driver $(query driver_version)"
else
  [ -n "$target" ] || stop "nvidia-smi finds no card here (--target sm_90a builds without one)"
  device="no card" phases=build
  echo "gpu-check: no card, so nothing but the build for $target"
fi

mkdir -p "$out" && out=$(realpath "$out") || exit 1
work=$root/build/gpu
mkdir -p "$work"
slug=$(echo "$device" | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9]\{1,\}/-/g')-$(date +%F)
passed=0 failed=0 left=0 report="" may_run_out=""
deadline=$((SECONDS + minutes * 60))
note() { # PHASE STATUS SECONDS [WHY]: keeps it, and writes the file anew
  report="$report${report:+,}
  {\"phase\":\"$1\",\"status\":$2,\"seconds\":$3${4:+,\"why\":\"$4\"}}"
  printf '{"device":"%s","target":"%s","date":"%s","phases":[%s\n]}\n' "$device" "$target" "$(date +%F)" "$report" \
    >"$out/$slug.json"
}
leave_out() { # PHASE WHY
  left=$((left + 1))
  echo "gpu-check: $1 left out: $2"
  note "$1" null 0 "$2"
}
# phase NAME SECONDS COMMAND...: runs it with a time limit and keeps what it said in build/gpu/NAME.log.
phase() {
  local name=$1 limit=$2 start=$SECONDS status remaining=$((deadline - SECONDS))
  shift 2
  if [ $remaining -lt 5 ]; then
    leave_out "$name" "no time left"
    return 1
  fi
  [ "$limit" -lt $remaining ] || limit=$remaining
  timeout -k 5 "$limit" "$@" >"$work/$name.log" 2>&1 </dev/null
  status=$?
  local seconds=$((SECONDS - start)) verdict=passed
  case $status in
    0) passed=$((passed + 1)) ;;
    124 | 137)
      verdict="stopped at its limit"
      if [ -n "$may_run_out" ]; then left=$((left + 1)); else failed=$((failed + 1)); fi
      ;;
    *) failed=$((failed + 1)) verdict="failed with status $status" ;;
  esac
  echo "gpu-check: $name $verdict in $seconds s"
  [ $status -eq 0 ] || tail -30 "$work/$name.log"
  note "$name" $status $seconds
  return $status
}
finish() {
  echo "$passed passed, $failed failed, $left left out"
  [ "$failed" -eq 0 ]
  exit
}
wanted() { [[ " $phases " == *" $1 "* ]]; }

if [ -n "$kit" ]; then
  mkdir -p "$work/kit"
  tar -xJf "$kit" -C "$work/kit" || stop "tar cannot unpack $kit (it takes xz)"
  kit=$work/kit
fi

if wanted build; then
  doctest=/usr/include generator="Unix Makefiles"
  [ -z "$kit" ] || doctest=$kit/include
  if command -v ninja >/dev/null; then generator=Ninja; fi
  phase configure 60 cmake -S cuda -B "$work" -G "$generator" "-DCUDA_TARGETS=$target" "-DDOCTEST_INCLUDE=$doctest" &&
    phase build 400 cmake --build "$work" --parallel "$(nproc)" || finish
fi
if wanted primitives; then
  # One at a time, because a hang of one says nothing about the others.
  for part in "TMA: a box" "TMA: stores" stmatrix wgmma clusters "tensor maps"; do
    phase "primitive ${part/:/}" 20 "$work/cuda_test" -sf='*hopper_primitives*' "-tc=$part*"
  done
  if [ $failed -gt 0 ]; then
    echo "gpu-check: a primitive is wrong, so the rest would say nothing"
    finish
  fi
fi
if wanted test; then phase test 120 "$work/cuda_test"; fi
if wanted bench; then
  kernels=$out/$slug-kernels.json
  for turn in first second; do
    phase "bench $turn" 90 sh -c "'$work/cuda_bench' >'$work/$turn.jsonl'"
  done
  if [ -s "$work/first.jsonl" ]; then cp "$work/first.jsonl" "${kernels}l"; fi
  if "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    phase "bench torch" 150 "$python" bench/cuda/torch_ops.py "$work/first.jsonl" "$work/second.jsonl" "$kernels" &&
      rm "${kernels}l"
    grep -v '^gpu-check' "$work/bench torch.log"
  else
    leave_out "bench torch" "$python has no PyTorch that sees the card"
  fi
fi
if wanted sweep; then
  phase sweep 120 sh -c "'$work/cuda_bench' sweep >'$out/$slug-sweep.jsonl'"
fi
if wanted sanitize; then
  # They slow a launch down a hundredfold and instrument every kernel they meet, so they get the tests by worth, file by
  # file, until their time is over: kernels with barriers of their own first. A tool that a file keeps for too long gets
  # no more of them.
  if command -v compute-sanitizer >/dev/null; then
    may_run_out=1 # which is no fault then
    end=$((SECONDS + 120)) tools="memcheck synccheck initcheck racecheck" rest=""
    for file in hopper_primitives gemm_sm90 attention gemm_test layer_norm linear tensor_list softmax cross_entropy \
      reduce copy unary binary random gather layout; do
      for tool in $tools; do
        if [ $SECONDS -ge $end ]; then
          rest="$rest $tool of $file,"
          continue
        fi
        phase "$tool $file" 30 compute-sanitizer --tool "$tool" --error-exitcode 9 "$work/cuda_test" "-sf=*$file*"
        case $? in 124 | 137) tools=${tools/$tool/} ;; esac
      done
    done
    may_run_out=""
    [ -z "$rest" ] || leave_out sanitize "no time for${rest%,}"
  else
    leave_out sanitize "compute-sanitizer is not on PATH"
  fi
fi
if wanted node; then
  modules=$root/node_modules
  if [ -n "$kit" ]; then
    export PATH="$kit/bin:$PATH" LD_LIBRARY_PATH="$kit/lib:${LD_LIBRARY_PATH:-}" NATIVE_COMPUTE_PATH="$kit/compute.node"
    [ -e node_modules ] || ln -s "$kit/node_modules" node_modules
    [ -e dist ] || ln -s "$kit/dist" dist
  fi
  if command -v node >/dev/null && [ -d "$modules" ] && [ -e dist/index.js ]; then
    phase "node test" 120 env TEST_GPU=1 node node_modules/jest/bin/jest.js --selectProjects cuda
    phase "node bench" 200 node bench/run.mjs model --device cuda ${peers:+--peers "$peers" --python "$python"}
    cp bench/results/"$slug"-model.json "$out" 2>/dev/null
  else
    leave_out node "no Node with its packages and dist/ here, and none in a kit"
  fi
fi
finish
