// Run-time dispatch for loops that the compiler vectorises: a function marked SIMD_CLONES is compiled for
// baseline x86-64, AVX2 and AVX-512, and the loader picks one by the machine it runs on. GCC before 12 does
// not know the levels' names here, and goes without fused multiply-adds.
#pragma once

#if !defined(__x86_64__) || !defined(__GNUC__) || defined(__clang__) || defined(__SANITIZE_ADDRESS__)
#define SIMD_CLONES
#elif __GNUC__ >= 12
#define SIMD_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define SIMD_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#endif
