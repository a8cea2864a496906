#include "cpu.h"

#if FXBIN_X86

#include <cpuid.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* CPUID is read directly, because with zig __builtin_cpu_supports is always 0. */

#define LEAF_1_ECX_POPCNT (1u << 23)
#define LEAF_1_ECX_OSXSAVE (1u << 27)
#define LEAF_1_ECX_AVX (1u << 28)
#define LEAF_7_EBX_AVX2 (1u << 5)
#define LEAF_7_EBX_AVX512_F_DQ_BW_VL (1u << 16 | 1u << 17 | 1u << 30 | 1u << 31)
#define LEAF_7_ECX_BITALG (1u << 12)
#define LEAF_7_ECX_VPOPCNTDQ (1u << 14)
#define XCR0_YMM 0x06u
#define XCR0_ZMM 0xe6u

static bool has_popcnt, has_avx2, has_avx512, has_bitalg, has_vpopcntdq;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/** The register state that the operating system saves. */
static uint32_t xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static void ask(void) {
    const uint32_t avx = LEAF_1_ECX_OSXSAVE | LEAF_1_ECX_AVX;
    uint32_t eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return;
    has_popcnt = (ecx & LEAF_1_ECX_POPCNT) != 0;
    if ((ecx & avx) != avx || (xcr0() & XCR0_YMM) != XCR0_YMM) return;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return;
    has_avx2 = has_popcnt && (ebx & LEAF_7_EBX_AVX2) != 0;
    bool has_all = (ebx & LEAF_7_EBX_AVX512_F_DQ_BW_VL) == LEAF_7_EBX_AVX512_F_DQ_BW_VL;
    has_avx512 = has_avx2 && has_all && (xcr0() & XCR0_ZMM) == XCR0_ZMM;
    has_bitalg = has_avx512 && (ecx & LEAF_7_ECX_BITALG) != 0;
    has_vpopcntdq = has_avx512 && (ecx & LEAF_7_ECX_VPOPCNTDQ) != 0;
}

/** Find what the CPU has, without what FXBIN_MAX_CPU excludes, so that kernels are chosen as on another CPU. */
static void ask_and_limit(void) {
    ask();
    const char *most = getenv("FXBIN_MAX_CPU");
    if (most == NULL || *most == 0) return;
    has_avx512 = has_bitalg = has_vpopcntdq = false;
    if (strcmp(most, "avx2") != 0) has_avx2 = false;
    if (strcmp(most, "portable") == 0) has_popcnt = false;
}

bool cpu_has_popcnt(void) {
    pthread_once(&once, ask_and_limit);
    return has_popcnt;
}

bool cpu_has_avx2(void) {
    pthread_once(&once, ask_and_limit);
    return has_avx2;
}

bool cpu_has_avx512_bitalg(void) {
    pthread_once(&once, ask_and_limit);
    return has_bitalg;
}

bool cpu_has_avx512_vpopcntdq(void) {
    pthread_once(&once, ask_and_limit);
    return has_vpopcntdq;
}

bool cpu_has_avx512(void) {
    pthread_once(&once, ask_and_limit);
    return has_avx512;
}

#endif

#if FXBIN_ARM64

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static bool has_neon;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void ask(void) {
    const char *most = getenv("FXBIN_MAX_CPU");
    has_neon = most == NULL || strcmp(most, "portable") != 0;
}

bool cpu_has_neon(void) {
    pthread_once(&once, ask);
    return has_neon;
}

#endif
