#!/usr/bin/env bash
# Phases of gpu-check.sh; it sources this file. They use its functions and variables.
# shellcheck disable=SC2154,SC2034

# Tests by file, by worth: kernels with barriers of their own first.
test_files="hopper_primitives gemm_sm90 attention gemm_test layer_norm linear tensor_list softmax cross_entropy reduce copy
  unary binary random gather layout matmul l2_normalize patch_embed pixels gemm_tf32 device_memory recording launch runtime"

# run_tests SECONDS: cuda_test as one; if a test fails, each of its files again: a kernel that hangs, or leaves the device
# unusable, takes the tests behind it along, and nothing is known of them.
run_tests() {
  local end=$((SECONDS + 2 * $1)) rest="" file
  CUDA_TEST_SECONDS=30 phase test "$1" "$programs/cuda_test" && return
  for file in $test_files; do
    case $file in hopper_primitives | gemm_sm90) [ -n "$hopper" ] || continue ;; esac
    if [ $SECONDS -ge $end ]; then
      rest="$rest $file,"
    else
      CUDA_TEST_SECONDS=15 phase "test $file" 40 "$programs/cuda_test" "-sf=*$file*"
    fi
  done
  [ -z "$rest" ] || leave_out "tests by file" "no time for${rest%,}"
}

# sanitize SECONDS: the four sanitizers on cuda_test. They slow a launch down a hundredfold and instrument every kernel
# they meet, so they get the tests file by file, until their time is over. A tool that a file keeps for too long gets no
# more of them.
sanitize() {
  local end=$((SECONDS + $1)) tools="memcheck synccheck initcheck racecheck" rest="" file tool
  if ! command -v compute-sanitizer >/dev/null; then
    leave_out sanitize "compute-sanitizer is not on PATH"
    return
  fi
  [ "$end" -lt "$deadline" ] || end=$((deadline - 5))
  may_run_out=1 # which is no fault then
  for file in $test_files; do
    case $file in hopper_primitives | gemm_sm90) [ -n "$hopper" ] || continue ;; esac
    for tool in $tools; do
      if [ $SECONDS -ge $end ]; then
        rest="$rest $tool of $file,"
        continue
      fi
      phase "$tool $file" 30 compute-sanitizer --tool "$tool" --error-exitcode 9 "$programs/cuda_test" "-sf=*$file*"
      case $? in 124 | 137) tools=${tools/$tool/} ;; esac
    done
  done
  may_run_out=""
  [ -z "$rest" ] || leave_out sanitize "no time for${rest%,}"
}

# counters: what the hardware counts in one launch each of a product, attention's backward pass and layer norm's: how busy
# the tensor cores and memory are, cache hits, bank conflicts. Clocks are left alone.
counters() {
  local kernel suite file=$out/$slug-counters.txt
  if ! command -v ncu >/dev/null; then
    leave_out counters "ncu is not on PATH"
    return
  fi
  : >"$file"
  while read -r kernel suite; do
    phase "counters $kernel" 60 ncu --clock-control none --kernel-name "regex:^$kernel" --launch-skip 3 \
      --launch-count 1 --section SpeedOfLight --section ComputeWorkloadAnalysis --section MemoryWorkloadAnalysis \
      --section MemoryWorkloadAnalysis_Tables --section WarpStateStats "$programs/cuda_bench" --quick "$suite"
    sed '/^==PROF==/d; /^{/d' "$logs/counters $kernel.log" >>"$file"
  done <<'KERNELS'
gemm_sm90_kernel matmul
attention_backward_kernel attention
layer_norm_backward_rows_kernel memory
KERNELS
}
