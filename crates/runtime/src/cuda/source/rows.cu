// What is done to the values of one position at a time, by one warp: norms, rotations, and what is
// remembered. WIDTH is that of a head, ROOM what it takes in a page.
#include "card.cuh"

#ifndef WIDTH
#define WIDTH 1
#define ROOM 1
#endif

#define WARPS 4
#define SMALLEST 1e-12f

struct Rows {
    float *memory;
    Grid x, y;
    Size size;
    int positions, width;
    // Whether y is bf16.
    int halves;
    long long scale, shift;
    float eps;
    int silu;
};

// The values of a row that lanes write, as f32 or bf16; a bf16 row of an odd number ends in a zero.
struct Row {
    float *place;
    int halves;
    DEVICE_MEMBER void put(int at, float value) const {
        if (halves)
            ((u16 *)place)[at] = half_of(value);
        else
            place[at] = value;
    }
    DEVICE_MEMBER void end(int width, int lane) const {
        if (halves && width % 2 && lane == 0) ((u16 *)place)[width] = 0;
    }
};

KERNEL(layer_norm, Rows, WARPS * 32) {
    int position = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (position >= args.positions) return;
    const float *x = args.memory + place(args.x, args.size, position);
    Row y = {args.memory + place(args.y, args.size, position), args.halves};
    float sum = 0.0f, squares = 0.0f;
    for (int at = lane; at < args.width; at += 32) sum += x[at];
    float mean = warp_sum(sum) / args.width;
    for (int at = lane; at < args.width; at += 32) squares += (x[at] - mean) * (x[at] - mean);
    float by = rsqrtf(warp_sum(squares) / args.width + args.eps);
    const float *scale = args.memory + args.scale, *shift = args.memory + args.shift;
    for (int at = lane; at < args.width; at += 32)
        y.put(at, (x[at] - mean) * by * scale[at] + shift[at]);
    y.end(args.width, lane);
}

KERNEL(rms_norm, Rows, WARPS * 32) {
    int position = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (position >= args.positions) return;
    const float *x = args.memory + place(args.x, args.size, position);
    Row y = {args.memory + place(args.y, args.size, position), args.halves};
    float squares = 0.0f;
    for (int at = lane; at < args.width; at += 32) squares += x[at] * x[at];
    float root = sqrtf(warp_sum(squares) + args.width * args.eps);
    float by = sqrtf((float)args.width) / fmaxf(root, SMALLEST);
    const float *gain = args.memory + args.scale;
    for (int at = lane; at < args.width; at += 32) {
        float value = x[at] * by * gain[at];
        if (args.silu) value = value / (1.0f + power_of_two(-1.44269504f * value));
        y.put(at, value);
    }
    y.end(args.width, lane);
}

KERNEL(copy, Rows, WARPS * 32) {
    int position = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (position >= args.positions) return;
    const float *x = args.memory + place(args.x, args.size, position);
    Row y = {args.memory + place(args.y, args.size, position), args.halves};
    for (int at = lane; at < args.width; at += 32) y.put(at, x[at]);
    y.end(args.width, lane);
}

// Queries, or keys with their values behind them.
struct Turned {
    float *memory;
    Grid x;
    Size size;
    int positions, heads;
    // Whether there is a norm, and whether a rotation.
    int norms, rotates;
    long long gain;
    Grid rotation;
    float eps, factor;
    // Of pages: the table, where its groups of own frames are, and the layer's keys from the
    // beginning of a page, in halves.
    const Range *groups;
    const Entry *entries;
    int layer;
};

// The factor of a norm over all heads.
DEVICE float norm(const Turned &args, const float *x, int lane) {
    if (!args.norms) return 1.0f;
    int total = args.heads * WIDTH;
    float squares = 0.0f;
    for (int at = lane; at < total; at += 32) squares += x[at] * x[at];
    return rsqrtf(warp_sum(squares) / total + args.eps);
}

// Element `at` of a head that begins at `x`, normed and turned.
DEVICE float turned(const Turned &args, const float *x, const float *gain, const float *angles,
                    float by, int at) {
    float value = x[at];
    if (args.norms) value *= by * gain[at];
    if (!args.rotates) return value;
    const int half = WIDTH / 2;
    bool first = at < half;
    int pair = first ? at : at - half, partner = first ? at + half : pair;
    float other = x[partner];
    if (args.norms) other *= by * gain[partner];
    float cosine = angles[pair], sine = angles[half + pair];
    return first ? value * cosine - other * sine : value * cosine + other * sine;
}

#define EACH ((WIDTH + 31) / 32)

KERNEL(query, Turned, WARPS * 32) {
    int position = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (position >= args.positions) return;
    float *x = args.memory + place(args.x, args.size, position);
    const float *angles = args.memory + place(args.rotation, args.size, position);
    float by = norm(args, x, lane);
    for (int head = 0; head < args.heads; ++head) {
        float *values = x + head * WIDTH;
        const float *gain = args.memory + args.gain + head * WIDTH;
        float made[EACH];
        for (int index = 0; index < EACH; ++index) {
            int at = index * 32 + lane;
            if (at < WIDTH)
                made[index] = turned(args, values, gain, angles, by, at) * args.factor;
        }
        // All are read before any is written over.
        warp_barrier();
        for (int index = 0; index < EACH; ++index) {
            int at = index * 32 + lane;
            if (at < WIDTH) ((u16 *)values)[at] = half_of(made[index]);
        }
    }
}

KERNEL(remember, Turned, WARPS * 32) {
    int position = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (position >= args.positions) return;
    int of_frame = args.size.rows * args.size.columns;
    int frame = position / of_frame, token = position % of_frame;
    const float *x = args.memory + place(args.x, args.size, position);
    const float *angles = args.memory + place(args.rotation, args.size, position);
    const Entry entry = args.entries[args.groups[frame].first];
    long long row = args.heads * ROOM, layer = entry.tokens * row;
    u16 *keys = (u16 *)entry.page + 2 * args.layer * layer + token * row, *values = keys + layer;
    float by = norm(args, x, lane);
    for (int head = 0; head < args.heads; ++head) {
        const float *key = x + head * WIDTH, *value = key + args.heads * WIDTH;
        const float *gain = args.memory + args.gain + head * WIDTH;
        for (int at = lane; at < ROOM; at += 32) {
            bool there = at < WIDTH;
            keys[head * ROOM + at] =
                half_of(there ? turned(args, key, gain, angles, by, at) : 0.0f);
            values[head * ROOM + at] = half_of(there ? value[at] : 0.0f);
        }
    }
}
