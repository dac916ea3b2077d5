// Attention with a streaming softmax: a block has QUERIES queries of one head, and sees the keys of
// pages KEYS at a time, copied ahead of their use. It makes SHOWN of the head's values.
//
// WIDTH is that of a head, ROOM the same rounded up to 16, which is what a head takes in a page.
//
// With BIAS, distances add to scores.
//
// With WIDE, products are those of Hopper's matrix unit, which reads lines of 64 halves: heads are 64
// or 128 wide then.
//
// Scores are logarithms to base 2: queries were multiplied for it.
//
// Method: Milakov and Gimelshein (arXiv 1805.02867), Dao et al. (arXiv 2205.14135).
#include "card.cuh"

#define THREADS (QUERIES * 2)

#if WIDE
// The values of a stage are read until the products of the next keys are done.
#define STAGES 3
#define LINES(count) ((count) * (ROOM / 64) * LINE)
#define QUERY_BYTES LINES(QUERIES)
#define KEY_BYTES LINES(KEYS)
#define STAGE (2 * KEY_BYTES)
// Where 8 halves of a row of `count` rows are.
DEVICE u32 spot(int count, int row, int at) {
    return at / 64 * count * LINE + swizzled(row, at % 64 / 8);
}
#define QUERY_AT(row, at) spot(QUERIES, row, at)
#define KEY_AT(row, at) spot(KEYS, row, at)
#define VALUE_AT(row, at) spot(KEYS, row, at)
#else
#define STAGES 2
#define PITCH(width) ((width) * 2 + 16)
#define QUERY_BYTES (QUERIES * PITCH(ROOM))
#define KEY_BYTES (KEYS * PITCH(ROOM))
#define STAGE (KEY_BYTES + KEYS * PITCH(SHOWN))
#define QUERY_AT(row, at) ((row) * PITCH(ROOM) + (at) * 2)
#define KEY_AT(row, at) QUERY_AT(row, at)
#define VALUE_AT(row, at) ((row) * PITCH(SHOWN) + (at) * 2)
#endif

#define NOTHING (-1e30f)

struct Attention {
    float *memory;
    Grid q, y;
    Size size;
    // Positions that see the same pages, one behind the other.
    int of_group, heads;
    const Range *groups;
    const Entry *entries;
    int layer, halves;
    // With BIAS: what is added to the score of query 0 and key 0 of head 0, behind it for a key
    // further on, before it for a query further on; and from a head to the next.
    long long bias, of_head;
};

// The next keys: of which page, from which token on.
struct Next {
    const Entry *entry, *end;
    int token;
    DEVICE_MEMBER bool more() const { return entry < end; }
    DEVICE_MEMBER void step() {
        token += KEYS;
        if (token < (int)entry->tokens) return;
        token = 0;
        do ++entry;
        while (entry < end && entry->tokens == 0);
    }
};

KERNEL(attention, Attention, THREADS) {
    SHARED(pool);
    u32 base = shared_at(pool), stages = base + QUERY_BYTES;
    int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
    int head = blockIdx.y / (ROOM / SHOWN), shown = blockIdx.y % (ROOM / SHOWN) * SHOWN;
    int group = blockIdx.z, first = blockIdx.x * QUERIES;
    Range range = args.groups[group];
    Next next = {args.entries + range.first, args.entries + range.first + range.count, 0};
    while (next.more() && next.entry->tokens == 0) ++next.entry;
    long long row = args.heads * ROOM;

    // Queries stay where they are put.
    for (int index = thread; index < QUERIES * (ROOM / 2); index += THREADS) {
        int line = index / (ROOM / 2), at = index % (ROOM / 2) * 2;
        u32 both = 0;
        if (first + line < args.of_group && at < WIDTH) {
            int position = group * args.of_group + first + line;
            const float *q = args.memory + place(args.q, args.size, position) + head * WIDTH;
            const u16 *halves = (const u16 *)q + at;
            both = halves[0];
            if (at + 1 < WIDTH) both |= (u32)halves[1] << 16;
        }
        *(u32 *)(pool + QUERY_AT(line, at / 8 * 8) + at % 8 * 2) = both;
    }

    auto load = [&](int stage) {
        u32 keys_to = stages + stage * STAGE, values_to = keys_to + KEY_BYTES;
        if (next.more()) {
            long long layer = next.entry->tokens * row;
            const u16 *keys = (const u16 *)next.entry->page + 2 * args.layer * layer + head * ROOM;
            const u16 *values = keys + layer + shown;
            int left = (int)next.entry->tokens - next.token;
            for (int index = thread; index < KEYS * (ROOM / 8); index += THREADS) {
                int line = index / (ROOM / 8), at = index % (ROOM / 8) * 8;
                bool is = line < left;
                const u16 *from = is ? keys + (next.token + line) * row + at : keys;
                copy_ahead<16>(keys_to + KEY_AT(line, at), from, is);
            }
            for (int index = thread; index < KEYS * (SHOWN / 8); index += THREADS) {
                int line = index / (SHOWN / 8), at = index % (SHOWN / 8) * 8;
                bool is = line < left;
                const u16 *from = is ? values + (next.token + line) * row + at : values;
                copy_ahead<16>(values_to + VALUE_AT(line, at), from, is);
            }
        }
        close_group();
    };

    float seen[SHOWN / 8][4];
#pragma unroll
    for (int tile = 0; tile < SHOWN / 8; ++tile)
#pragma unroll
        for (int index = 0; index < 4; ++index) seen[tile][index] = 0.0f;
    float largest[2] = {NOTHING, NOTHING}, total[2] = {0.0f, 0.0f};

    Next now = next;
    load(0);
    if (next.more()) next.step();
    for (int stage = 0; now.more(); stage = (stage + 1) % STAGES) {
#if WIDE
        wait_groups<0>();
        show_matrix_unit();
        barrier();
        // Everybody has waited for the values that are written over now.
        load((stage + 1) % STAGES);
        if (next.more()) next.step();
#else
        // Everybody has read what is written over now.
        barrier();
        load((stage + 1) % STAGES);
        if (next.more()) next.step();
        wait_groups<1>();
        barrier();
#endif
        u32 keys = stages + stage * STAGE, values = keys + KEY_BYTES;

        float scores[KEYS / 8][4];
#pragma unroll
        for (int tile = 0; tile < KEYS / 8; ++tile)
#pragma unroll
            for (int index = 0; index < 4; ++index) scores[tile][index] = 0.0f;
#if WIDE
        begin_products();
#pragma unroll
        for (int k = 0; k < ROOM / 16; ++k) {
            u32 line = k / 4 * LINE, within = k % 4 * 32;
            u64 q = described(base + line * QUERIES + warp / 4 * 64 * LINE + within, 16);
            u64 key = described(keys + line * KEYS + within, 16);
            multiply<KEYS>(*(float(*)[KEYS / 2])scores, q, key);
        }
        close_products();
        // Of these, and of the values before.
        wait_products<0>();
#else
#pragma unroll
        for (int k = 0; k < ROOM / 16; ++k) {
            u32 q[4];
            load_tiles(q, base + QUERY_AT(warp * 16 + lane % 16, k * 16 + lane / 16 * 8));
#pragma unroll
            for (int pair = 0; pair < KEYS / 16; ++pair) {
                u32 b[4];
                u32 line = pair * 16 + lane / 16 * 8 + lane % 8;
                load_tiles(b, keys + KEY_AT(line, k * 16 + lane / 8 % 2 * 8));
                multiply_tiles(scores[2 * pair], q, b[0], b[1]);
                multiply_tiles(scores[2 * pair + 1], q, b[2], b[3]);
            }
        }
#endif

#if BIAS
        const float *bias = args.memory + args.bias + head * args.of_head + first - now.token;
#pragma unroll
        for (int tile = 0; tile < KEYS / 8; ++tile)
#pragma unroll
            for (int index = 0; index < 4; ++index) {
                int key = tile * 8 + lane % 4 * 2 + index % 2;
                int query = warp * 16 + index / 2 * 8 + lane / 4;
                bool is = now.token + key < (int)now.entry->tokens;
                if (is && first + query < args.of_group) scores[tile][index] += bias[query - key];
            }
#endif
        int left = (int)now.entry->tokens - now.token;
        if (left < KEYS) {
#pragma unroll
            for (int tile = 0; tile < KEYS / 8; ++tile)
#pragma unroll
                for (int index = 0; index < 4; ++index)
                    if (tile * 8 + lane % 4 * 2 + index % 2 >= left) scores[tile][index] = NOTHING;
        }
#pragma unroll
        for (int under = 0; under < 2; ++under) {
            float most = largest[under];
#pragma unroll
            for (int tile = 0; tile < KEYS / 8; ++tile)
                most = fmaxf(most, fmaxf(scores[tile][2 * under], scores[tile][2 * under + 1]));
            most = fmaxf(most, from_lane(most, 1));
            most = fmaxf(most, from_lane(most, 2));
            float fade = power_of_two(largest[under] - most), sum = 0.0f;
            largest[under] = most;
#pragma unroll
            for (int tile = 0; tile < KEYS / 8; ++tile)
#pragma unroll
                for (int index = 2 * under; index < 2 * under + 2; ++index) {
                    scores[tile][index] = power_of_two(scores[tile][index] - most);
                    sum += scores[tile][index];
                }
            total[under] = total[under] * fade + sum;
#pragma unroll
            for (int tile = 0; tile < SHOWN / 8; ++tile) {
                seen[tile][2 * under] *= fade;
                seen[tile][2 * under + 1] *= fade;
            }
        }

#if WIDE
        u32 weights[KEYS / 16][4];
#pragma unroll
        for (int k = 0; k < KEYS / 16; ++k) {
            weights[k][0] = pack(scores[2 * k][0], scores[2 * k][1]);
            weights[k][1] = pack(scores[2 * k][2], scores[2 * k][3]);
            weights[k][2] = pack(scores[2 * k + 1][0], scores[2 * k + 1][1]);
            weights[k][3] = pack(scores[2 * k + 1][2], scores[2 * k + 1][3]);
        }
        begin_products();
#pragma unroll
        for (int k = 0; k < KEYS / 16; ++k)
            weigh<SHOWN>(*(float(*)[SHOWN / 2])seen, weights[k],
                         described(values + k * 16 * LINE, KEYS * LINE));
        close_products();
#else
#pragma unroll
        for (int k = 0; k < KEYS / 16; ++k) {
            u32 weights[4] = {pack(scores[2 * k][0], scores[2 * k][1]),
                              pack(scores[2 * k][2], scores[2 * k][3]),
                              pack(scores[2 * k + 1][0], scores[2 * k + 1][1]),
                              pack(scores[2 * k + 1][2], scores[2 * k + 1][3])};
#pragma unroll
            for (int pair = 0; pair < SHOWN / 16; ++pair) {
                u32 b[4];
                u32 line = k * 16 + lane % 16;
                load_tiles_turned(b, values + VALUE_AT(line, pair * 16 + lane / 16 * 8));
                multiply_tiles(seen[2 * pair], weights, b[0], b[1]);
                multiply_tiles(seen[2 * pair + 1], weights, b[2], b[3]);
            }
        }
#endif
        now.step();
    }
#if WIDE
    wait_products<0>();
#endif

#pragma unroll
    for (int under = 0; under < 2; ++under) {
        float sum = total[under];
        sum += from_lane(sum, 1);
        sum += from_lane(sum, 2);
        float by = 1.0f / sum;
        int line = first + warp * 16 + under * 8 + lane / 4;
        if (line >= args.of_group) continue;
        int position = group * args.of_group + line;
        float *y = args.memory + place(args.y, args.size, position);
        int end = args.heads * WIDTH;
#pragma unroll
        for (int tile = 0; tile < SHOWN / 8; ++tile) {
            int within = shown + tile * 8 + lane % 4 * 2, at = head * WIDTH + within;
            float pair[2] = {seen[tile][2 * under] * by, seen[tile][2 * under + 1] * by};
            if (args.halves && WIDTH % 2 == 0) {
                if (within < WIDTH) ((u32 *)y)[at / 2] = pack(pair[0], pair[1]);
                continue;
            }
            for (int index = 0; index < 2 && within + index < WIDTH; ++index)
                if (args.halves)
                    ((u16 *)y)[at + index] = half_of(pair[index]);
                else
                    y[at + index] = pair[index];
        }
        if (args.halves && WIDTH % 2 && head == 0 && shown == 0 && args.heads % 2 && lane % 4 == 0)
            ((u16 *)y)[args.heads * WIDTH] = 0;
    }
}
