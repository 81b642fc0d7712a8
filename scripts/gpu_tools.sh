#!/usr/bin/env bash
# The tests, sanitizers and counters of gpu-check.sh; it sources this file. They use its functions and variables.
# shellcheck disable=SC2154,SC2034

# Files of test/cuda, by worth: kernels with barriers of their own first. Their names are the beginnings of those of files.
products="gemm_test gemm_tf32 linear matmul patch_embed"
passes="layer_norm tensor_list softmax cross_entropy reduce copy unary binary random gather layout l2_normalize pixels"
runtime="device_memory recording launch runtime shortage"
# large_launch is too large for sanitizers.
test_files="hopper_primitives gemm_sm90 attention $products $passes $runtime large_launch"
# Kernels whose blocks go on to further tiles where there are more of these than multiprocessors. The tests have shapes for
# four, as the emulated device has them.
persistent="attention gemm_sm90 gemm_test gemm_tf32 layer_norm linear"

# here FILE...: those that can run on this device.
here() {
  local file
  for file in "$@"; do
    case $file in hopper_primitives | gemm_sm90) [ -n "$hopper" ] || continue ;; esac
    echo "$file"
  done
}
# in_files FILE...: doctest's filter for their tests.
in_files() {
  local file filter=""
  for file in "$@"; do filter="$filter${filter:+,}*test/cuda/$file*"; done
  echo "-sf=$filter"
}

# run_tests SECONDS: cuda_test as one; if a test fails, each of its files again: a kernel that hangs, or leaves the device
# unusable, takes the tests behind it along, and nothing is known of them. Then persistent kernels on few multiprocessors.
run_tests() {
  local end=$((SECONDS + 2 * $1)) rest="" file
  if ! CUDA_TEST_SECONDS=30 phase test "$1" "$programs/cuda_test"; then
    for file in $(here $test_files); do
      if [ $SECONDS -ge $end ]; then
        rest="$rest $file,"
      else
        CUDA_TEST_SECONDS=15 phase "test $file" 40 "$programs/cuda_test" "$(in_files "$file")" ||
          explain "$file" memcheck "$(in_files "$file")"
      fi
    done
    [ -z "$rest" ] || leave_out "tests by file" "no time for${rest%,}"
  fi
  # shellcheck disable=SC2046,SC2086
  file=$(in_files $(here $persistent))
  export NATIVE_CUDA_MULTIPROCESSORS=4
  CUDA_TEST_SECONDS=30 phase "persistent kernels" "$1" "$programs/cuda_test" "$file" ||
    explain "persistent kernels" memcheck "$file"
  unset NATIVE_CUDA_MULTIPROCESSORS
}

# can_sanitize: whether compute-sanitizer works here, asked once; if not, `why` is the reason.
can_sanitize() {
  if [ -z "${sanitizers:-}" ]; then
    if ! command -v compute-sanitizer >/dev/null; then
      sanitizers="compute-sanitizer is not on PATH"
    elif can sanitizers 60 compute-sanitizer --error-exitcode 9 "$programs/cuda_bench" device; then
      sanitizers=yes
    else
      sanitizers=$why
    fi
  fi
  why=$sanitizers
  [ "$sanitizers" = yes ]
}
# sanitizer TOOL NAME SECONDS ARGUMENT...: a sanitizer on cuda_test with these arguments. To find what lies beyond a tensor,
# or that nobody wrote it, each takes memory of its own. Calls that fail are none of its business: tests make them on
# purpose. What it has found when its time is over is found.
sanitizer() {
  local tool=$1 name=$2 limit=$3 command=(env)
  shift 3
  case $tool in memcheck | initcheck) [ -n "${as_always:-}" ] || command+=(NATIVE_CUDA_EXACT=1) ;; esac
  [ "$tool" != initcheck ] || command+=(NATIVE_CUDA_POISON=0)
  command+=(compute-sanitizer --tool "$tool" --error-exitcode 9 --print-limit 20)
  [ "$tool" != memcheck ] || command+=(--report-api-errors no)
  may_run_out=1 faults='^========= (Invalid|Misaligned|Uninit|Barrier|Potential|Program hit|Error: Race)'
  phase "$tool $name" "$limit" "${command[@]}" "$programs/cuda_test" "$@"
  local status=$?
  may_run_out="" faults=""
  return $status
}
# explain NAME "TOOL..." ARGUMENT...: what sanitizers say of tests that failed, while there is time for that.
explaining=150
explain() {
  local name=$1 tools=$2 tool start=$SECONDS
  shift 2
  if ! can_sanitize; then
    leave_out "sanitizers on $name" "$why"
    return
  fi
  for tool in $tools; do
    if [ $((SECONDS - start)) -lt "$explaining" ]; then
      sanitizer "$tool" "$name" 30 "$@"
    else
      leave_out "$tool $name" "other failures had the time"
    fi
  done
  explaining=$((explaining - SECONDS + start))
}

# What sanitizers run on, in this order: a tool, then files. The kernels that hand data through shared memory by barriers
# come first. initcheck does not see what TMA stores, so it gets the files without products.
sanitizer_plan="racecheck hopper_primitives
synccheck hopper_primitives
racecheck gemm_sm90
synccheck gemm_sm90
racecheck attention
synccheck attention
memcheck hopper_primitives gemm_sm90
memcheck attention
memcheck $products
memcheck $passes
memcheck $runtime
initcheck attention
initcheck $passes
racecheck $products
synccheck $products
racecheck $passes
synccheck $passes"

# sanitize SECONDS: the plan, until the time is over. Sanitizers slow a launch down a hundredfold and instrument every kernel
# they meet; a tool that twice meets its limit gets no more. Few multiprocessors show more of persistent kernels, and take
# less time. The runtime's own tests count its allocations, so for them all is as always.
sanitize() {
  local end=$((SECONDS + $1)) rest="" slow="" tool files name
  if ! can_sanitize; then
    leave_out sanitize "$why"
    return
  fi
  [ "$end" -lt "$deadline" ] || end=$((deadline - 5))
  while read -r tool files; do
    # shellcheck disable=SC2046,SC2086
    set -- $(here $files)
    [ $# -gt 0 ] || continue
    name=$1
    [ $# -eq 1 ] || name="$1 to ${!#}"
    if [ $SECONDS -ge $end ] || [[ "$slow" == *"$tool "*"$tool "* ]]; then
      rest="$rest $tool of $name,"
      continue
    fi
    if [ "$files" = "$runtime" ]; then
      as_always=1 sanitizer "$tool" "$name" 60 "$(in_files "$@")"
    else
      NATIVE_CUDA_MULTIPROCESSORS=4 sanitizer "$tool" "$name" 60 "$(in_files "$@")"
    fi
    case $? in 124 | 137) slow="$slow$tool " ;; esac
  done <<<"$sanitizer_plan"
  [ -z "$rest" ] || leave_out sanitize "no time for${rest%,}"
}
