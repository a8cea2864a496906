/* The instructions that this CPU has, and how functions are compiled for them. */
#ifndef FXBIN_CPU_H
#define FXBIN_CPU_H

#include <stdbool.h>

/** For inlining into functions for different CPUs: code that is written once is compiled for each. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

/** To put before a loop: no iteration reads what another one writes. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

/* FXBIN_PORTABLE: build as for a CPU without kernels of its own, for tests. */
#if defined(__x86_64__) && !defined(FXBIN_PORTABLE)
#define FXBIN_X86 1
#define POPCNT __attribute__((target("popcnt")))
#define AVX2 __attribute__((target("avx2,popcnt")))
#define AVX512 __attribute__((target("avx2,popcnt,avx512f,avx512vl,avx512bw,avx512dq")))
#define AVX512_BITALG __attribute__((target("avx2,popcnt,avx512f,avx512vl,avx512bw,avx512bitalg")))
#define AVX512_VPOPCNTDQ __attribute__((target("avx512f,avx512vpopcntdq")))

bool cpu_has_popcnt(void);

/** AVX2, whose registers the operating system must save, and POPCNT. */
bool cpu_has_avx2(void);

/** The same for AVX-512 with vectors of all sizes: F, VL, BW and DQ. */
bool cpu_has_avx512(void);

/** AVX-512 BITALG, which counts the bits of each byte of a vector, and the above. */
bool cpu_has_avx512_bitalg(void);

/** AVX-512 VPOPCNTDQ, which counts the bits of each word of a vector, and AVX-512 as above. */
bool cpu_has_avx512_vpopcntdq(void);

#else
#define FXBIN_X86 0
#endif

/* Kernels for AArch64 read words as bytes, the lowest first. */
#if defined(__aarch64__) && !defined(__AARCH64EB__) && !defined(FXBIN_PORTABLE)
#define FXBIN_ARM64 1

/** NEON, which every AArch64 has: whether FXBIN_MAX_CPU allows it. */
bool cpu_has_neon(void);

#else
#define FXBIN_ARM64 0
#endif

#endif
