/* Bit-sliced counters by NEON: a full adder is 3 operations. */
#include "cpu.h"

#if FXBIN_ARM64

#include <arm_neon.h>

#define TARGET
#define VECTOR 32

/** Addresses may contain a register times the size of what is loaded. */
#define UNIT 1

/** Two registers: the additions of one do not wait for those of the other, and both take one place of a list. */
typedef struct {
    uint8x16_t low, high;
} plane;

/** The sums of 8 filters, of 16 bits. */
typedef uint16x8_t sums_of_8;

static ALWAYS_INLINE plane no_bits(void) {
    return (plane){vdupq_n_u8(0), vdupq_n_u8(0)};
}

static ALWAYS_INLINE plane load_plane(const uint8_t *row) {
    return (plane){vld1q_u8(row), vld1q_u8(row + 16)};
}

/** Two rows of half a vector. */
static ALWAYS_INLINE plane join_2(const uint8_t *a, const uint8_t *b) {
    return (plane){vld1q_u8(a), vld1q_u8(b)};
}

/** Four rows of a quarter of a vector. */
static ALWAYS_INLINE plane join_4(const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d) {
    return (plane){vcombine_u8(vld1_u8(a), vld1_u8(b)), vcombine_u8(vld1_u8(c), vld1_u8(d))};
}

/** Where two bits differ, the third one is the majority. EOR3 of the extension SHA3 would save a tenth at most, as
 * whether they differ must be known anyway. */
static ALWAYS_INLINE uint8x16_t add_halves(uint8x16_t *sum, uint8x16_t a, uint8x16_t b) {
    uint8x16_t differ = veorq_u8(a, b);
    __asm__("" : "+w"(differ)); // clang would make 5 operations of it: a & ~differ is a & b
    uint8x16_t carry = vbslq_u8(differ, *sum, a);
    *sum = veorq_u8(differ, *sum);
    return carry;
}

static ALWAYS_INLINE plane add_planes(plane *sum, plane a, plane b) {
    return (plane){add_halves(&sum->low, a.low, b.low), add_halves(&sum->high, a.high, b.high)};
}

static ALWAYS_INLINE void swap_half(uint8x16_t *a, uint8x16_t *b, int distance, uint8_t mask) {
    const uint8x16_t chosen = vdupq_n_u8(mask);
    uint8x16_t down = vshlq_u8(*a, vdupq_n_s8((int8_t)-distance));
    *a = vbslq_u8(chosen, *a, vshlq_u8(*b, vdupq_n_s8((int8_t)distance)));
    *b = vbslq_u8(chosen, down, *b);
}

/** In each byte, swap the bits `mask` of `b` and those `distance` above them of `a`. */
static ALWAYS_INLINE void swap_bits(plane *a, plane *b, int distance, uint8_t mask) {
    swap_half(&a->low, &b->low, distance, mask);
    swap_half(&a->high, &b->high, distance, mask);
}

/** The lower and upper bytes of the sums of 32 filters, joined; in order. */
static ALWAYS_INLINE void join_bytes(plane lower, plane upper, sums_of_8 found[VECTOR / 8]) {
    found[0] = vreinterpretq_u16_u8(vzip1q_u8(lower.low, upper.low));
    found[1] = vreinterpretq_u16_u8(vzip2q_u8(lower.low, upper.low));
    found[2] = vreinterpretq_u16_u8(vzip1q_u8(lower.high, upper.high));
    found[3] = vreinterpretq_u16_u8(vzip2q_u8(lower.high, upper.high));
}

/** Write 2 * sum - active. */
static ALWAYS_INLINE void write_signed(sums_of_8 sums, int32_t active, int32_t *to) {
    int32x4_t low = vreinterpretq_s32_u32(vshll_n_u16(vget_low_u16(sums), 1));
    int32x4_t high = vreinterpretq_s32_u32(vshll_high_n_u16(sums, 1));
    vst1q_s32(to, vsubq_s32(low, vdupq_n_s32(active)));
    vst1q_s32(to + 4, vsubq_s32(high, vdupq_n_s32(active)));
}

/** Write (number + `amount`) * `unit` for 8 numbers. */
static ALWAYS_INLINE void write_8(const uint8_t *numbers, int64_t amount, int unit, uint16_t *to) {
    uint16x8_t sums = vaddq_u16(vmovl_u8(vld1_u8(numbers)), vdupq_n_u16((uint16_t)amount));
    vst1q_u16(to, vmulq_n_u16(sums, (uint16_t)unit));
}

static ALWAYS_INLINE void copy_16_plus(const uint16_t *from, int64_t amount, uint16_t *to) {
    uint16x8_t added = vdupq_n_u16((uint16_t)amount), low = vld1q_u16(from), high = vld1q_u16(from + 8);
    vst1q_u16(to, vaddq_u16(low, added));
    vst1q_u16(to + 8, vaddq_u16(high, added));
}

static ALWAYS_INLINE void fill_16(int64_t number, uint16_t *to) {
    vst1q_u16(to, vdupq_n_u16((uint16_t)number));
    vst1q_u16(to + 8, vdupq_n_u16((uint16_t)number));
}

#include "bitsliced.h"

/** Not measured: from the instructions of a round (180, 195 and 260 with one, two and four pixels in a vector, 90
 * of them vector operations) and of writing (about 500), on a core of 3 GHz that decodes 4 a cycle and has two
 * vector pipes, as Cortex-A76 and Neoverse N1 do. */
static double cost(const fxbin_shape *shape, double share) {
    return cost_by(shape, share, (step_costs){1.1, 1.2, 1.6, 130, 0.12, 30});
}

const fxbin_kernel bitsliced_neon_kernel = {
    .name = "bitsliced_neon",
    .runs_here = cpu_has_neon,
    .takes = takes,
    .cost = cost,
    .weights_size = weights_size,
    .prepare_weights = prepare_weights,
    .pixel_size = pixel_size,
    .prepare_band = prepare_band,
    .gathered_size = gathered_size,
    .gather = gather,
    .block = block_of,
    .count = count,
};

#endif
