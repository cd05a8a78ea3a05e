// A network of 3x3 convolutions on a CPU by Winograd's minimal filtering, F(4x4, 3x3) (Lavin and Gray, "Fast
// Algorithms for Convolutional Neural Networks", CVPR 2016): 36 products make 16 pixels, where 144 did.
//
// An image lies in planes, each of LANES channels, (4 rows + 2, 4 columns + 2, LANES) float32: a border of zeros, then
// the pixels, then zeros up to whole tiles of 4x4. So a tile of 6x6 is read without a look at the edge, a vector holds
// one pixel's channels, and a concatenation of channels is a list of planes that nobody copies.
#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

// The floats of a vector; tests compile for other processors' by giving it.
#ifndef LANES
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#endif
// Of a block of products, ROWS tiles by COLUMNS vectors of output channels stay in registers, of which AVX has 16, AVX-512 and NEON 32.
#if defined(__x86_64__) && !defined(__AVX512F__)
constexpr int ROWS = 6, COLUMNS = 2;
#else
constexpr int ROWS = 12, COLUMNS = 2;
#endif
// Tiles that a thread takes at once at the most: enough to use each weight often, few enough for its cache.
constexpr int TILES = 36;
// Floats between the 36 parts of a block, so that they do not fall on the same lines of the cache.
constexpr int APART = 16;
static_assert(TILES % ROWS == 0);

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));

// One convolution; the Python side has the same structure. Its output is
//   activation(convolution + bias) + first_factor * first + second_factor * second,
// where first and second may be null, and the activation is max(x, slope * x).
struct Layer {
    const float *const *sources;  // planes
    float *const *targets;        // planes
    const float *weights;         // (36, panels, LANES * sources, COLUMNS * LANES), transformed
    const float *bias;            // (LANES * targets)
    const float *const *first;    // planes
    const float *const *second;   // planes
    int64_t inputs, outputs;      // numbers of planes
    int64_t height, width;        // of the output, in pixels
    int64_t doubled;              // 1 where the sources have half of that and each of their pixels counts for 2x2
    float slope, first_factor, second_factor;
};

static int64_t tiles(int64_t side) { return (side + 3) / 4; }

static int64_t line(int64_t width) { return (4 * tiles(width) + 2) * LANES; }

static int64_t part(int64_t planes) { return planes * TILES * LANES + APART; }

static int64_t panels(const Layer &layer) { return (layer.outputs + COLUMNS - 1) / COLUMNS; }

static Vector &at(float *place) { return *reinterpret_cast<Vector *>(place); }

static Vector at(const float *place) { return *reinterpret_cast<const Vector *>(place); }

// Six values of a tile's row or column to six of the transformed one.
static inline void transform(const Vector *d, Vector *result, int step) {
    Vector even = d[4] - 4.0f * d[2], odd = d[3] - 4.0f * d[1];
    Vector even2 = d[4] - d[2], odd2 = 2.0f * (d[3] - d[1]);
    result[0] = 4.0f * d[0] - 5.0f * d[2] + d[4];
    result[step] = even + odd;
    result[2 * step] = even - odd;
    result[3 * step] = even2 + odd2;
    result[4 * step] = even2 - odd2;
    result[5 * step] = 4.0f * d[1] - 5.0f * d[3] + d[5];
}

// Six products back to four pixels of a row or column.
static inline void restore(const Vector *m, Vector *result, int step) {
    Vector sum = m[1] + m[2], difference = m[1] - m[2];
    Vector sum2 = m[3] + m[4], difference2 = m[3] - m[4];
    result[0] = m[0] + sum + sum2;
    result[step] = difference + 2.0f * difference2;
    result[2 * step] = sum + 4.0f * sum2;
    result[3 * step] = difference + 8.0f * difference2 + m[5];
}

// `count` tiles from number `start` on, to (36, planes, TILES, LANES); neighbours share two columns.
template <bool DOUBLED>
static void transform_tiles(const Layer &layer, int64_t start, int count, float *values) {
    int64_t across = tiles(layer.width), apart = part(layer.inputs);
    int64_t source_line = line(DOUBLED ? layer.width / 2 : layer.width);
    auto source = [](int64_t padded) { return DOUBLED ? (padded + 1) / 2 : padded; };
    for (int64_t plane = 0; plane < layer.inputs; plane++) {
        const float *pixels = layer.sources[plane];
        float *result = values + plane * TILES * LANES;
        int64_t row = start / across, column = start % across;
        Vector half[36];
        bool begins = true;
        for (int tile = 0; tile < count; tile++, result += LANES) {
            int known = 0;
            for (; !begins && known < 2; known++)
                for (int y = 0; y < 6; y++) half[6 * y + known] = half[6 * y + known + 4];
            for (int x = known; x < 6; x++) {
                Vector d[6];
                for (int y = 0; y < 6; y++)
                    d[y] = at(pixels + source(4 * row + y) * source_line + source(4 * column + x) * LANES);
                transform(d, half + x, 6);
            }
            for (int y = 0; y < 6; y++) {
                Vector whole[6];
                transform(half + 6 * y, whole, 1);
                for (int x = 0; x < 6; x++) at(result + (6 * y + x) * apart) = whole[x];
            }
            begins = ++column == across;
            if (begins) column = 0, row++;
        }
    }
}

// ROWS tiles by COLUMNS * LANES output channels: the sum over all input channels.
static inline void multiply(const float *values, int64_t planes, const float *panel, float *products) {
    Vector sum[ROWS][COLUMNS] = {};
    for (int64_t plane = 0; plane < planes; plane++, values += TILES * LANES)
        for (int lane = 0; lane < LANES; lane++, panel += COLUMNS * LANES) {
            Vector weight[COLUMNS];
            for (int c = 0; c < COLUMNS; c++) weight[c] = at(panel + c * LANES);
#pragma GCC unroll 16
            for (int r = 0; r < ROWS; r++) {
                Vector value = values[r * LANES + lane] - Vector{};
                for (int c = 0; c < COLUMNS; c++) sum[r][c] += value * weight[c];
            }
        }
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLUMNS; c++) at(products + (c * TILES + r) * LANES) = sum[r][c];
}

// The products, (36, planes, TILES, LANES), back to pixels, and what comes after the convolution.
static void restore_tiles(const Layer &layer, int64_t start, int count, const float *products) {
    int64_t across = tiles(layer.width), apart = part(panels(layer) * COLUMNS), target_line = line(layer.width);
    for (int64_t plane = 0; plane < layer.outputs; plane++) {
        Vector bias = at(layer.bias + plane * LANES);
        const float *first = layer.first ? layer.first[plane] : nullptr;
        const float *second = layer.second ? layer.second[plane] : nullptr;
        const float *source = products + plane * TILES * LANES;
        int64_t row = start / across * 4, column = start % across * 4;
        for (int tile = 0; tile < count; tile++, source += LANES) {
            Vector half[24], whole[16];
            for (int x = 0; x < 6; x++) {
                Vector m[6];
                for (int y = 0; y < 6; y++) m[y] = at(source + (6 * y + x) * apart);
                restore(m, half + x, 6);
            }
            for (int y = 0; y < 4; y++) restore(half + 6 * y, whole + 4 * y, 1);
            int rows = std::min<int64_t>(4, layer.height - row), columns = std::min<int64_t>(4, layer.width - column);
            for (int y = 0; y < rows; y++)
                for (int x = 0; x < columns; x++) {
                    int64_t place = (row + y + 1) * target_line + (column + x + 1) * LANES;
                    Vector value = whole[4 * y + x] + bias, sloped = value * layer.slope;
                    value = value > sloped ? value : sloped;
                    if (first) value += layer.first_factor * at(first + place);
                    if (second) value += layer.second_factor * at(second + place);
                    at(layer.targets[plane] + place) = value;
                }
            column += 4;
            if (column >= layer.width) column = 0, row += 4;
        }
    }
}

static void convolve(const Layer &layer, int64_t start, int count, float *values, float *products) {
    if (layer.doubled)
        transform_tiles<true>(layer, start, count, values);
    else
        transform_tiles<false>(layer, start, count, values);
    int64_t channels = layer.inputs * LANES, panel = channels * COLUMNS * LANES, all = panels(layer);
    for (int which = 0; which < 36; which++)
        for (int64_t p = 0; p < all; p++)
            for (int row = 0; row < count; row += ROWS)
                multiply(values + which * part(layer.inputs) + row * LANES, layer.inputs,
                         layer.weights + (which * all + p) * panel,
                         products + which * part(all * COLUMNS) + (p * COLUMNS * TILES + row) * LANES);
    restore_tiles(layer, start, count, products);
}

struct Release {
    void operator()(float *memory) const { std::free(memory); }
};

// Zeros, so that a block with fewer tiles than TILES has numbers in its rest.
static std::unique_ptr<float, Release> zeros(int64_t count) {
    auto memory = static_cast<float *>(std::aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64));
    if (!memory) throw std::bad_alloc();
    std::fill_n(memory, count, 0.0f);
    return std::unique_ptr<float, Release>(memory);
}

extern "C" int64_t lanes() { return LANES; }

extern "C" int64_t columns() { return COLUMNS; }

// Run `count` layers one after the other, each by `threads` threads, which take blocks of tiles as they come. A pixel
// is the same by however many. Gives 0, or 1 where the system gives no more memory or threads.
extern "C" int run(const Layer *layers, int64_t count, int64_t threads) try {
    int64_t most_values = 0, most_products = 0;
    for (int64_t i = 0; i < count; i++) {
        most_values = std::max(most_values, 36 * part(layers[i].inputs));
        most_products = std::max(most_products, 36 * part(panels(layers[i]) * COLUMNS));
    }
    std::vector<decltype(zeros(0))> values, products;
    for (int64_t thread = 0; thread < threads; thread++) {
        values.push_back(zeros(most_values));
        products.push_back(zeros(most_products));
    }
    std::vector<std::atomic<int64_t>> next(count);
    std::barrier layer_is_done(threads);
    std::atomic<bool> all_started{true};
    auto work = [&](int64_t thread) {
        layer_is_done.arrive_and_wait();
        for (int64_t i = 0; i < count && all_started; i++) {
            int64_t all = tiles(layers[i].height) * tiles(layers[i].width);
            // Several blocks for each thread, where that leaves them whole rows of tiles.
            int64_t block = std::clamp<int64_t>((all / (4 * threads) + ROWS - 1) / ROWS * ROWS, ROWS, TILES);
            for (int64_t start; (start = next[i].fetch_add(block)) < all;)
                convolve(layers[i], start, std::min(block, all - start), values[thread].get(), products[thread].get());
            layer_is_done.arrive_and_wait();
        }
    };
    std::vector<std::thread> others;
    others.reserve(threads);
    try {
        for (int64_t thread = 1; thread < threads; thread++) others.emplace_back(work, thread);
    } catch (const std::system_error &) {
        all_started = false;
        // In place of those that did not start, so that the others go home.
        for (int64_t missing = others.size() + 1; missing < threads; missing++) layer_is_done.arrive_and_drop();
    }
    work(0);
    for (auto &thread : others) thread.join();
    return all_started ? 0 : 1;
} catch (const std::bad_alloc &) {
    return 1;
}
