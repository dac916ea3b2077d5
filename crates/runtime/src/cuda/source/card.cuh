// What every program of the card begins with: types, places, and the few things that only a card
// can do. The same names stand in `emulated.h`, where a processor does them.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifdef EMULATED
#include "emulated.h"
#else

#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
// A program with one argument, which it gets by value.
#define KERNEL(name, Args, threads)                                                                \
    extern "C" __global__ void __launch_bounds__(threads, 1) name(const __grid_constant__ Args args)
// Shared memory, as much as the launch asks for.
#define SHARED(name) extern __shared__ __align__(1024) u8 name[]

DEVICE void barrier() { __syncthreads(); }
DEVICE void warp_barrier() { __syncwarp(); }
DEVICE float from_lane(float value, int other) {
    return __shfl_xor_sync(0xffffffffu, value, other);
}
DEVICE float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
DEVICE float bits_to_float(u32 bits) { return __uint_as_float(bits); }

// Two values rounded to bf16, the first in the lower half.
DEVICE u32 pack(float first, float second) {
    u32 both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    return both;
}

// Where something lies in shared memory.
DEVICE u32 shared_at(const void *place) { return (u32)__cvta_generic_to_shared(place); }

// Begin to copy BYTES (4, 8 or 16) to shared memory; where nothing is `there`, zeros.
template <int BYTES> DEVICE void copy_ahead(u32 to, const void *from, bool there) {
    int bytes = there ? BYTES : 0;
    if (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                     "r"(bytes)
                     : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(to), "l"(from),
                     "r"(bytes), "n"(BYTES)
                     : "memory");
}
// What was begun since the last of these is one group.
DEVICE void close_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Wait until at most LEFT groups are on their way.
template <int LEFT> DEVICE void wait_groups() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

// Four 8 x 8 tiles of 16-bit values, a row of which every lane names; `turned` across.
DEVICE void load_tiles(u32 (&to)[4], u32 row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row));
}
DEVICE void load_tiles_turned(u32 (&to)[4], u32 row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row));
}

// sums [16, 8] += a [16, 16] x b [16, 8], by a warp.
DEVICE void multiply_tiles(float (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// What threads wrote to shared memory may be read by the matrix unit.
DEVICE void show_matrix_unit() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Registers of sums may be used by products that begin now.
DEVICE void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// What was begun since the last of these is one group.
DEVICE void close_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Wait until at most LEFT groups of products are on their way.
template <int LEFT> DEVICE void wait_products() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}
#endif

// Places are those of the plan of a memory: 4 bytes each.
struct Grid {
    long long start, frame, row, column;
};

// Frames, rows and columns of the positions of a section.
struct Size {
    int frames, rows, columns;
};

DEVICE long long place(const Grid &grid, const Size &size, int position) {
    int column = position % size.columns, line = position / size.columns;
    int row = line % size.rows, frame = line / size.rows;
    return grid.start + frame * grid.frame + row * grid.row + column * grid.column;
}

DEVICE u16 half_of(float value) { return (u16)pack(value, 0.0f); }

// The sum of a value over the lanes of a warp, the same in all of them.
DEVICE float warp_sum(float value) {
    for (int other = 16; other > 0; other /= 2) value += from_lane(value, other);
    return value;
}

// Rows of 64 halves take 128 bytes, whose pieces of 16 bytes change places with the row, so that
// eight rows never meet in a bank: where a piece is.
#define LINE 128
DEVICE u32 swizzled(int row, int piece) { return row * LINE + ((piece ^ row % 8) << 4); }

// Such rows as the matrix unit is told of them; `far` is the way to the next 64 halves, where it
// takes columns for rows.
DEVICE u64 described(u32 at, u32 far) {
    return (u64)(at >> 4 & 0x3fff) | (u64)(far >> 4 & 0x3fff) << 16 | (u64)64 << 32 | (u64)1 << 62;
}

// The places of pages, as the host writes them: where the groups of a kind begin and how many
// pages they have, then the pages.
struct Range {
    u32 first, count;
};
struct Entry {
    u64 page;
    u64 tokens;
};
