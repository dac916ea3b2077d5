// A product of what positions see with one matrix: a projection or a convolution. A block makes
// ROWS positions by COLUMNS values, 64 terms at a time, which are copied ahead of their use.
//
// COLUMNS is a multiple of 32. PIECE is how many bytes of what positions see lie together for
// certain. With WIDE the products are those of Hopper's matrix unit, without it those that every
// card since Ampere has; both read shared memory in one and the same form.
#include "card.cuh"

#define ROWS 128
#define THREADS 256
#define MOST_TAPS 9

// Terms of a step, which are a line.
#define TERMS 64

#define STAGE ((ROWS + COLUMNS) * LINE)
// Steps that are on their way while one is multiplied; the matrix unit reads one step longer.
#define AHEAD (WIDE ? STAGES - 2 : STAGES - 1)

// Warps of a block lie this way; each makes 16 * TALL rows by BROAD columns.
#define WARPS_ACROSS (WIDE ? 1 : 2)
#define TALL (WIDE ? 1 : 2)
#define BROAD (COLUMNS / WARPS_ACROSS)

#define PLAIN 0
#define GELU 1
#define ADD 2
#define GATED 3
#define TIMES 4

struct Product {
    float *memory;
    // [columns, terms rounded up to TERMS], bf16, and f32.
    const u16 *weights;
    const float *offset;
    Grid x, y, onto;
    long long gate;
    Size size;
    int positions, columns;
    // Halves that a position sees of one tap, and of all.
    int depth, terms;
    // Distances in places.
    long long taps[MOST_TAPS];
    int then, halves;
};

DEVICE float gelu(float x) {
    float u = x * (1.0f + 0.044715f * x * x) * (-1.595769f * 1.44269504f);
    return x / (1.0f + power_of_two(u));
}

KERNEL(product, Product, THREADS) {
    SHARED(pool);
    u32 base = shared_at(pool);
    int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
    int first_row = blockIdx.x * ROWS, first_column = blockIdx.y * COLUMNS;
    int piece = thread % 8, line = thread / 8;
    int pitch = (args.terms + TERMS - 1) / TERMS * TERMS, steps = pitch / TERMS;

    // What this thread copies: one piece of every 32nd row.
    const float *seen[ROWS / 32];
    for (int index = 0; index < ROWS / 32; ++index) {
        int position = first_row + line + 32 * index;
        bool there = position < args.positions;
        seen[index] = there ? args.memory + place(args.x, args.size, position) : nullptr;
    }

    auto load = [&](int step) {
        u32 stage = base + step % STAGES * STAGE;
        int term = step * TERMS + piece * 8;
#pragma unroll
        for (int part = 0; part < 16; part += PIECE) {
            int at = term + part / 2, tap = at / args.depth;
            bool inside = at < args.terms;
            long long there = inside ? args.taps[tap] : 0;
            int rest = inside ? at - tap * args.depth : 0;
#pragma unroll
            for (int index = 0; index < ROWS / 32; ++index) {
                const u16 *from = (const u16 *)(seen[index] + there) + rest;
                bool is = inside && seen[index];
                u32 to = stage + swizzled(line + 32 * index, piece) + part;
                copy_ahead<PIECE>(to, is ? (const void *)from : (const void *)args.memory, is);
            }
        }
        stage += ROWS * LINE;
#pragma unroll
        for (int index = 0; index < COLUMNS / 32; ++index) {
            int column = line + 32 * index;
            bool is = first_column + column < args.columns;
            const u16 *from = args.weights + (long long)(first_column + column) * pitch + term;
            copy_ahead<16>(stage + swizzled(column, piece), is ? from : args.weights, is);
        }
    };

    float sums[TALL][BROAD / 8][4];
#pragma unroll
    for (int tall = 0; tall < TALL; ++tall)
#pragma unroll
        for (int broad = 0; broad < BROAD / 8; ++broad)
#pragma unroll
            for (int index = 0; index < 4; ++index) sums[tall][broad][index] = 0.0f;
    int row = warp / WARPS_ACROSS * 16 * TALL, column = warp % WARPS_ACROSS * BROAD;

#pragma unroll
    for (int step = 0; step < AHEAD; ++step) {
        if (step < steps) load(step);
        close_group();
    }
    for (int step = 0; step < steps; ++step) {
        wait_groups<AHEAD - 1>();
#if WIDE
        show_matrix_unit();
#endif
        barrier();
        if (step + AHEAD < steps) load(step + AHEAD);
        close_group();
        u32 stage = base + step % STAGES * STAGE;
#if WIDE
        begin_products();
#pragma unroll
        for (int k = 0; k < TERMS / 16; ++k) {
            u64 a = described(stage + warp / 4 * 64 * LINE + k * 32, 16);
            u64 b = described(stage + ROWS * LINE + k * 32, 16);
            multiply<COLUMNS>(*(float(*)[COLUMNS / 2])sums, a, b);
        }
        close_products();
        // The step before has been read by now; it is written over after the next barrier.
        wait_products<1>();
#else
#pragma unroll
        for (int k = 0; k < TERMS / 16; ++k) {
            u32 a[TALL][4];
#pragma unroll
            for (int tall = 0; tall < TALL; ++tall) {
                int at = row + tall * 16 + lane % 16;
                load_tiles(a[tall], stage + swizzled(at, k * 2 + lane / 16));
            }
#pragma unroll
            for (int broad = 0; broad < BROAD / 16; ++broad) {
                u32 b[4];
                int at = column + broad * 16 + lane / 16 * 8 + lane % 8;
                load_tiles(b, stage + ROWS * LINE + swizzled(at, k * 2 + lane / 8 % 2));
#pragma unroll
                for (int tall = 0; tall < TALL; ++tall) {
                    multiply_tiles(sums[tall][2 * broad], a[tall], b[0], b[1]);
                    multiply_tiles(sums[tall][2 * broad + 1], a[tall], b[2], b[3]);
                }
            }
        }
#endif
    }
#if WIDE
    wait_products<0>();
#endif

    // A lane has two neighbouring values of two rows of every tile.
    column += first_column + lane % 4 * 2;
#pragma unroll
    for (int tall = 0; tall < TALL; ++tall)
#pragma unroll
        for (int under = 0; under < 2; ++under) {
            int position = first_row + row + tall * 16 + under * 8 + lane / 4;
            if (position >= args.positions) continue;
            float *y = args.memory + place(args.y, args.size, position);
            const float *onto = nullptr;
            if (args.then >= ADD) onto = args.memory + place(args.onto, args.size, position);
            const float *gate = args.memory + args.gate;
#pragma unroll
            for (int broad = 0; broad < BROAD / 8; ++broad) {
                int at = column + broad * 8;
                if (at >= args.columns) continue;
                bool both = at + 1 < args.columns;
                float pair[2];
                for (int index = 0; index < 2; ++index) {
                    float sum = 0.0f;
                    if (index == 0 || both) {
                        sum = sums[tall][broad][under * 2 + index] + args.offset[at + index];
                        if (args.then == GELU) sum = gelu(sum);
                        if (args.then == GATED) sum *= gate[at + index];
                        if (args.then == TIMES)
                            sum *= onto[at + index];
                        else if (args.then >= ADD)
                            sum += onto[at + index];
                    }
                    pair[index] = sum;
                }
                if (args.halves)
                    ((u32 *)y)[at / 2] = pack(pair[0], pair[1]);
                else {
                    y[at] = pair[0];
                    if (both) y[at + 1] = pair[1];
                }
            }
        }
}
