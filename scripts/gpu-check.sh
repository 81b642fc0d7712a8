#!/usr/bin/env bash
# The CUDA backend on a real card, in ten minutes: build, tests, sanitizers, benchmarks, the models. Needs nvcc, cmake and
# a C++ compiler. What else the machine may lack (Node, the packages of the tests, doctest, oneDNN) is taken from the
# archive that `node scripts/pack_gpu_check.mjs KIT.tar.xz` made elsewhere.
#
#   scripts/gpu-check.sh [--kit KIT.tar.xz] [--out FOLDER] [--minutes 10] [--phases "build primitives test ..."]
#                        [--python FILE] [--target sm_90a] [--programs FOLDER] [--scale full|quick|tiny] [--archive FILE]
#                        [--slug NAME]
#
# Phases: build facts primitives test sanitize bench model sweep counters node curve, of which docs/cuda.md says in which
# calls they are best made. Each has a time limit; what is left of --minutes limits it further, so --minutes is a minute
# less than what the machine allows. With --minutes 30 or more, limits are wider, and the other models are measured too.
# Where a primitive of sm_90a is wrong, nothing above it can be right: then tests and kernels run as on capability 8.0, and
# the run ends. Results go to --out (default bench/results) as they come, their names beginning with <device>-<date>, or
# --slug: .json holds how each phase ended and how long it took, also of earlier runs of the day, and stays complete if a
# later phase hangs; -kernels.json, -model.json, -bars.json, -by-tickets.jsonl, -sweep.jsonl, -measured_tiles.inc,
# -with-table.jsonl, -curve.json and -counters.txt hold the measurements. --archive makes FILE (.tar.gz) of all of them and
# of what every phase said, anew after each.
# PyTorch is measured beside ours where --python has it. --target builds without a card, which is all that can be done
# then. --programs takes cuda_test and cuda_bench from a folder instead of building them, --scale cuts the benchmarks
# down: both show that everything runs. Ends with a line "N passed, N failed, N left out".
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
root=$PWD
stop() {
  echo "gpu-check: $1"
  echo "0 passed, 1 failed, 0 left out"
  exit 1
}

kit="" out=bench/results minutes=10 python=python3 target="" device="" programs="" scale=full archive="" slug=""
phases="build facts primitives test sanitize bench model sweep counters node curve"
while [ $# -gt 0 ]; do
  case $1 in
    --kit) kit=$(realpath -e "$2") || stop "there is no kit $2" ;;
    --out) out=$2 ;;
    --minutes) minutes=$2 ;;
    --phases) phases=$2 ;;
    --python) python=$2 ;;
    --target) target=$2 ;;
    --programs) programs=$(realpath -e "$2") || stop "there is no folder $2" ;;
    --slug) slug=$2 ;;
    --scale) scale=$2 ;;
    --archive) archive=$(realpath "$2") || stop "there is no folder for $2" ;;
    *)
      sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
      exit 2
      ;;
  esac
  shift 2
done

export PATH="$PATH:/usr/local/cuda/bin"
tools="timeout tar"
[ -n "$programs" ] || tools="$tools nvcc cmake c++"
for tool in $tools; do
  command -v $tool >/dev/null || stop "$tool is not on PATH"
done
export CUDA_DEVICE_ORDER=PCI_BUS_ID # as nvidia-smi counts
# What PyTorch compiles serves the next run too.
export TORCHINDUCTOR_CACHE_DIR=$root/build/gpu/inductor TRITON_CACHE_DIR=$root/build/gpu/triton
query() { timeout -k 5 30 nvidia-smi --query-gpu="$1" --format=csv,noheader --id=0 2>/dev/null; }
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

uuid=$(query uuid)
{ mkdir -p "$out" && out=$(realpath "$out") && [ -w "$out" ]; } || stop "nothing can be written to $out"
work=$root/build/gpu logs=$root/build/gpu/logs
rm -rf "$logs" && mkdir -p "$logs" || stop "nothing can be written to $logs"
# Results are named once: CUDA may call the card otherwise, and the day may end.
slug=${slug:-$(echo "$device" | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9]\{1,\}/-/g')-$(date -u +%F)}
deadline=$((SECONDS + minutes * 60))
programs=${programs:-$work} sized=()
[ "$scale" = full ] || sized=("--$scale")
if [ "$minutes" -ge 30 ]; then long=1; else long=""; fi
# at_most SHORT LONG: the limit of a phase in seconds, by the plan.
at_most() { if [ -n "$long" ]; then echo "$2"; else echo "$1"; fi; }
wanted() { [[ " $phases " == *" $1 "* ]]; }
# shellcheck source=scripts/gpu_phases.sh
source scripts/gpu_phases.sh
while IFS= read -r line; do report="$report${report:+,}"$'\n'"${line%,}"; done \
  < <(grep '^  {"phase"' "$out/$slug.json" 2>/dev/null) # what was run earlier on this day
trap ended TERM INT HUP
# shellcheck source=scripts/gpu_tools.sh
source scripts/gpu_tools.sh
# shellcheck source=scripts/gpu_measure.sh
source scripts/gpu_measure.sh

if [ -n "$kit" ]; then
  mkdir -p "$work/kit"
  tar -xf "$kit" -C "$work/kit" || stop "tar cannot unpack $kit (where there is no xz, pack a .tar.gz)"
  kit=$work/kit
fi

if wanted build && [ "$programs" = "$work" ]; then
  doctest=() generator="Unix Makefiles"
  [ -z "$kit" ] || doctest=("-DDOCTEST_INCLUDE=$kit/include")
  if command -v ninja >/dev/null; then generator=Ninja; fi
  # Compilers that are newer than this project may warn of more: no reason to lose the card's minutes.
  if ! phase configure 60 cmake -S cuda -B "$work" -G "$generator" "-DCUDA_TARGETS=$target" -DWARNINGS_AS_ERRORS=OFF \
    ${doctest[@]+"${doctest[@]}"} ||
    ! phase build 400 cmake --build "$work" --parallel "$(nproc)"; then
    finish
  fi
  keep_compiler_reports
fi
hopper="" # whether what is particular to sm_90a can run here
[[ $target == sm_90* ]] && hopper=1
if { wanted primitives || wanted test; } && [ ! -x "$programs/cuda_test" ]; then
  leave_out "tests in C++" "no cuda_test: doctest/doctest.h is neither on this machine nor in a kit"
  phases=$(echo " $phases " | sed 's/ primitives / /; s/ test / /; s/ sanitize / /')
fi
if wanted facts; then facts; fi
if wanted primitives && [ -z "$hopper" ]; then leave_out primitives "they are those of sm_90a"; fi
if wanted primitives && [ -n "$hopper" ]; then
  # One at a time, because a hang of one says nothing about the others. A new process takes seconds on a large machine.
  before=$failed primitives=$(in_files hopper_primitives)
  for part in "TMA: a box" "TMA: stores" "TMA: whether" stmatrix "wgmma: descriptors" "wgmma: A in" clusters "tensor maps"; do
    CUDA_TEST_SECONDS=10 phase "primitive ${part/:/}" 30 "$programs/cuda_test" "$primitives" "-tc=$part*" ||
      explain "primitive ${part/:/}" "memcheck synccheck racecheck" "$primitives" "-tc=$part*"
  done
  if [ $failed -gt "$before" ]; then
    echo "gpu-check: a primitive of sm_90a is wrong, so nothing but tests and kernels, as on capability 8.0"
    export NATIVE_CUDA_CAPABILITY=80
    hopper="" phases="test bench"
  fi
fi
if wanted test; then run_tests "$(at_most 120 240)"; fi
if wanted sanitize; then sanitize "$(at_most 90 300)"; fi
if wanted bench; then
  watch_card bench
  kernels=$out/$slug-kernels.json
  : >"$work/first.jsonl"
  : >"$work/second.jsonl"
  for suite in memory matmul attention; do # each alone: a fault of one takes the device from those behind it
    for turn in first second; do
      phase "bench $suite $turn" 60 "$programs/cuda_bench" ${sized[@]+"${sized[@]}"} $suite
      # The device is told once, in the first line.
      grep '^{' "$logs/bench $suite $turn.log" |
        if [ -s "$work/$turn.jsonl" ]; then sed 1d; else cat; fi >>"$work/$turn.jsonl"
    done
    if [ -s "$work/first.jsonl" ]; then cp "$work/first.jsonl" "${kernels}l"; fi
  done
  if can "PyTorch" 60 "$python" -c "$torch_check"; then
    phase "bench torch" "$(at_most 240 300)" "$python" bench/cuda/torch_ops.py "$work/first.jsonl" "$work/second.jsonl" \
      "$kernels" && rm "${kernels}l"
    grep -v '^gpu-check' "$logs/bench torch.log"
  else
    leave_out "bench torch" "$python has no PyTorch that sees the card: $why"
  fi
  leave_card
fi

# What follows needs Node: the machine's, with this folder set up, or the kit's.
if [ -n "$kit" ]; then
  export PATH="$kit/bin:$PATH" LD_LIBRARY_PATH="$kit/lib:${LD_LIBRARY_PATH:-}" NATIVE_COMPUTE_PATH="$kit/compute.node"
  [ -e node_modules ] || ln -s "$kit/node_modules" node_modules
  [ -e dist ] || ln -s "$kit/dist" dist
fi
has_node() { command -v node >/dev/null && [ -d "$root/node_modules" ] && [ -e dist/index.js ]; }
# node_phase NAME SECONDS ARGUMENT...: a phase of node with these arguments, where there is one.
node_phase() {
  local name=$1 limit=$2
  shift 2
  if has_node; then
    phase "$name" "$limit" node "$@"
  else
    leave_out "$name" "no Node with its packages and dist/ here, and none in a kit"
    return 1
  fi
}
brief=(--brief)
[ -z "$long" ] || brief=()
suites=(bench/run.mjs --device cuda --out "$out" --slug "$slug" --card "$device" --program "$programs/cuda_bench"
  --scale "$scale" --python "$python")
if wanted model; then
  watch_card model
  may_run_out=1 # what it had measured by then is kept
  if node_phase model "$(at_most 500 900)" "${suites[@]}" ${brief[@]+"${brief[@]}"} model; then grep '^{' "$logs/model.log"; fi
  may_run_out=""
  leave_card
fi
if wanted sweep; then sweep "$(at_most 120 240)"; fi
if wanted counters; then counters; fi
if wanted node; then
  if has_node && [ ! -e bindings/video/build/Release/video.node ]; then
    export TEST_WITHOUT_VIDEO=1
    leave_out "node test of videos" "the decode addon is not built here, and a kit has none"
  fi
  # Not through npm, which a kit does not have.
  TEST_GPU=1 node_phase "node test" "$(at_most 120 300)" node_modules/jest/bin/jest.js --selectProjects cuda
fi
if wanted curve; then
  node_phase curve "$(at_most 60 120)" bench/loss_curve.mjs 200 "$out/$slug-curve.json" && cat "$logs/curve.log"
fi
deadline=$((SECONDS + 60)) # to judge what there is takes a second, also when the time is over
if [ -e "$out/$slug-kernels.json" ] || [ -e "$out/$slug-kernels.jsonl" ] || [ -e "$out/$slug-model.json" ]; then
  node_phase bars 30 "${suites[@]}" bars && cat "$logs/bars.log"
fi
finish
