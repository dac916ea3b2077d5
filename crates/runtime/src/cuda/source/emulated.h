// The card's programs on a processor: every thread of a block is a fiber, and a fiber runs until it
// must wait for others. What a card does behind a program's back is done as late as it may be, what
// a copy will overwrite is lost at once, and fibers take turns in changing order: a missing wait
// shows.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#define DEVICE static inline
#define DEVICE_MEMBER inline
#define KERNEL(name, Args, threads)                                                                \
    static void name##_of(const Args &args);                                                       \
    extern "C" void name(const void *args, const u32 *grid, u32 count, u32 shared) {               \
        emulated::run([=] { name##_of(*(const Args *)args); }, grid, count, shared);               \
    }                                                                                              \
    static void name##_of(const Args &args)
#define SHARED(name) u8 *name = emulated::shared

// Leave a stack for another: what a function must keep is pushed, and popped over there.
#ifndef __x86_64__
#error "fibers are written for x86-64 only"
#endif
extern "C" __attribute__((visibility("hidden"))) void change_stacks(void **from, void *to);
asm(R"(
.text
.p2align 4
.hidden change_stacks
.globl change_stacks
change_stacks:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

namespace emulated {

struct Index {
    u32 x = 0, y = 0, z = 0;
};

struct Copy {
    u32 to, bytes;
    const void *from;
    bool there;
};

struct Products {
    float *sums;
    int columns;
    u64 a, b;
    // Where `a` is in registers: the two rows of this thread, and then `b` has columns for rows.
    bool weighs;
    float rows[2][16];
};

template <class T> struct Groups {
    std::vector<std::vector<T>> closed;
    std::vector<T> open;
    void close() {
        closed.push_back(open);
        open.clear();
    }
    template <class Do> void wait(size_t left, Do todo) {
        while (closed.size() > left) {
            for (auto &one : closed.front()) todo(one);
            closed.erase(closed.begin());
        }
    }
};

struct Fiber {
    void *top;
    std::vector<u8> stack;
    bool done = false;
    Groups<Copy> copies;
    Groups<Products> products;
};

struct Meeting {
    u32 arrived = 0, generation = 0;
};

struct Warp {
    Meeting meeting;
    u32 turn = 0;
    u32 slots[2][32][8];
    u32 turns[32];
};

// Threads that multiply together, and how often they run while others wait.
static const u32 TOGETHER = 128, TURNS = 16;

static void *outside;
static std::vector<Fiber> fibers;
static std::vector<Warp> warps;
static Meeting everyone;
static Index block, grid_size;
static u32 current, threads;
static u8 *shared;
static void (*entry)(void *);
static void *closure;

static void yield() { change_stacks(&fibers[current].top, outside); }

static void meet(Meeting &meeting, u32 count) {
    u32 generation = meeting.generation;
    if (++meeting.arrived == count) {
        meeting.arrived = 0;
        ++meeting.generation;
        return;
    }
    while (meeting.generation == generation) yield();
}

// Show `count` words to the warp, and see those of a lane.
template <class See> static void exchange(const u32 *words, int count, See see) {
    Warp &warp = warps[current / 32];
    u32 lane = current % 32, side = warp.turns[lane]++ % 2;
    memcpy(warp.slots[side][lane], words, count * 4);
    meet(warp.meeting, 32);
    see(warp.slots[side]);
}

static void begin() {
    entry(closure);
    fibers[current].done = true;
    yield();
}

template <class Body> static void run(Body body, const u32 *grid, u32 count, u32 bytes) {
    entry = [](void *body) { (*(Body *)body)(); };
    closure = &body;
    threads = count;
    grid_size = {grid[0], grid[1], grid[2]};
    std::vector<u8> pool(bytes + 2048);
    shared = (u8 *)(((uintptr_t)pool.data() + 1023) / 1024 * 1024);
    if (fibers.size() < count) fibers.resize(count);
    for (block.z = 0; block.z < grid[2]; ++block.z)
        for (block.y = 0; block.y < grid[1]; ++block.y)
            for (block.x = 0; block.x < grid[0]; ++block.x) {
                memset(pool.data(), 0xee, pool.size());
                warps.assign((count + 31) / 32, Warp());
                everyone = Meeting();
                for (u32 index = 0; index < count; ++index) {
                    Fiber &fiber = fibers[index];
                    fiber.done = false;
                    fiber.copies = {};
                    fiber.products = {};
                    fiber.stack.resize(1 << 16);
                    // Seven words: what is popped, and where to go then.
                    u8 *end = fiber.stack.data() + fiber.stack.size();
                    void **top = (void **)((uintptr_t)end / 16 * 16 - 64);
                    for (int word = 0; word < 6; ++word) top[word] = nullptr;
                    top[6] = (void *)begin;
                    fiber.top = top;
                }
                for (u32 left = count, round = 0; left > 0; ++round)
                    for (u32 first = 0; first < count; first += TOGETHER)
                        // Some hurry ahead of the others, as far as these let them.
                        for (u32 turn = 0; turn < TURNS * TOGETHER; ++turn) {
                            current = first + turn % TOGETHER;
                            if (round % 2) current = count - 1 - current;
                            if (current >= count || fibers[current].done) continue;
                            change_stacks(&outside, fibers[current].top);
                            left -= fibers[current].done;
                        }
            }
}

static float value(u16 half) {
    u32 bits = (u32)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

// The value of row `row` and column `k` of what a descriptor names: rows of 64 values in 128 bytes,
// whose pieces of 16 bytes change places with the row; turned, `k` counts rows and `row` columns.
static float seen(u64 descriptor, int row, int k, bool turned) {
    u32 start = (u32)(descriptor & 0x3fff) << 4;
    u32 far = (u32)(descriptor >> 16 & 0x3fff) << 4, step = (u32)(descriptor >> 32 & 0x3fff) << 4;
    u32 at;
    if (turned)
        at = start + row / 64 * far + k / 8 * step + k % 8 * 128 + row % 64 * 2;
    else
        at = start + row / 8 * step + row % 8 * 128 + k * 2;
    at ^= (at >> 7 & 7) << 4;
    u16 half;
    memcpy(&half, shared + at, 2);
    return value(half);
}

} // namespace emulated

#define threadIdx (emulated::Index{emulated::current})
#define blockIdx (emulated::block)
#define blockDim (emulated::Index{emulated::threads})
#define gridDim (emulated::grid_size)

DEVICE void barrier() { emulated::meet(emulated::everyone, emulated::threads); }
DEVICE void warp_barrier() { emulated::exchange(nullptr, 0, [](auto) {}); }
DEVICE float from_lane(float value, int other) {
    u32 bits;
    memcpy(&bits, &value, 4);
    emulated::exchange(&bits, 1, [&](auto slots) { bits = slots[emulated::current % 32 ^ other][0]; });
    memcpy(&value, &bits, 4);
    return value;
}
DEVICE float power_of_two(float x) { return std::exp2(x); }
DEVICE float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
DEVICE float bits_to_float(u32 bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
DEVICE u32 pack(float first, float second) {
    auto half = [](float value) -> u32 {
        u32 bits;
        memcpy(&bits, &value, 4);
        if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;
        return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    };
    return half(first) | half(second) << 16;
}
DEVICE u32 shared_at(const void *place) { return (u32)((const u8 *)place - emulated::shared); }
template <int BYTES> DEVICE void copy_ahead(u32 to, const void *from, bool there) {
    // From now on nobody can count on what was there.
    memset(emulated::shared + to, 0xff, BYTES);
    emulated::fibers[emulated::current].copies.open.push_back({to, BYTES, from, there});
}
DEVICE void close_group() { emulated::fibers[emulated::current].copies.close(); }
template <int LEFT> DEVICE void wait_groups() {
    emulated::fibers[emulated::current].copies.wait(LEFT, [](const emulated::Copy &copy) {
        if (copy.there)
            memcpy(emulated::shared + copy.to, copy.from, copy.bytes);
        else
            memset(emulated::shared + copy.to, 0, copy.bytes);
    });
}
DEVICE void load_rows(u32 (&to)[4], u32 row, bool turned) {
    u32 lane = emulated::current % 32;
    emulated::exchange(&row, 1, [&](auto slots) {
        for (u32 tile = 0; tile < 4; ++tile) {
            u16 pair[2];
            for (u32 index = 0; index < 2; ++index) {
                u32 across = lane % 4 * 2 + index, down = lane / 4;
                if (turned) {
                    u32 swap = across;
                    across = down;
                    down = swap;
                }
                memcpy(&pair[index], emulated::shared + slots[tile * 8 + down][0] + across * 2, 2);
            }
            memcpy(&to[tile], pair, 4);
        }
    });
}
DEVICE void load_tiles(u32 (&to)[4], u32 row) { load_rows(to, row, false); }
DEVICE void load_tiles_turned(u32 (&to)[4], u32 row) { load_rows(to, row, true); }
DEVICE void multiply_tiles(float (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    u32 words[6] = {a[0], a[1], a[2], a[3], b0, b1};
    u32 lane = emulated::current % 32;
    emulated::exchange(words, 6, [&](auto slots) {
        for (u32 index = 0; index < 4; ++index) {
            u32 row = lane / 4 + index / 2 * 8, column = lane % 4 * 2 + index % 2;
            float sum = sums[index];
            for (u32 k = 0; k < 16; ++k) {
                u32 word_of_a = row / 8 + k / 8 * 2, lane_of_a = row % 8 * 4 + k % 8 / 2;
                u32 word_of_b = 4 + k / 8, lane_of_b = column * 4 + k % 8 / 2;
                u16 x = slots[lane_of_a][word_of_a] >> k % 2 * 16;
                u16 y = slots[lane_of_b][word_of_b] >> k % 2 * 16;
                sum += emulated::value(x) * emulated::value(y);
            }
            sums[index] = sum;
        }
    });
}
DEVICE void show_matrix_unit() {}
DEVICE void begin_products() {}
DEVICE void close_products() { emulated::fibers[emulated::current].products.close(); }
template <int LEFT> DEVICE void wait_products() {
    emulated::fibers[emulated::current].products.wait(LEFT, [](const emulated::Products &product) {
        u32 lane = emulated::current % 32, warp = emulated::current / 32 % 4;
        for (int index = 0; index < product.columns / 2; ++index) {
            int row = warp * 16 + lane / 4 + index / 2 % 2 * 8;
            int column = index / 4 * 8 + lane % 4 * 2 + index % 2;
            for (int k = 0; k < 16; ++k)
                product.sums[index] += (product.weighs ? product.rows[index / 2 % 2][k]
                                                       : emulated::seen(product.a, row, k, false)) *
                                       emulated::seen(product.b, column, k, product.weighs);
        }
    });
}
template <int COUNT> DEVICE void multiply(float (&sums)[COUNT / 2], u64 a, u64 b) {
    emulated::fibers[emulated::current].products.open.push_back(
        {sums, COUNT, a, b, false, {}});
}
template <int COUNT>
DEVICE void weigh(float (&sums)[COUNT / 2], const u32 (&weights)[4], u64 b) {
    emulated::Products product = {sums, COUNT, 0, b, true, {}};
    u32 quad = emulated::current % 32 / 4 * 4;
    emulated::exchange(weights, 4, [&](auto slots) {
        for (u32 under = 0; under < 2; ++under)
            for (u32 k = 0; k < 16; ++k) {
                u32 word = slots[quad + k % 8 / 2][under + k / 8 * 2];
                product.rows[under][k] = emulated::value((u16)(word >> k % 2 * 16));
            }
    });
    emulated::fibers[emulated::current].products.open.push_back(product);
}
