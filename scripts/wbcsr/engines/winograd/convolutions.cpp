// A network of 3x3 convolutions on a CPU with Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, "Fast
// Algorithms for Convolutional Neural Networks", CVPR 2016): 36 products give 16 pixels, instead of 144. The
// interpolation points are 0, 1/sqrt(2), -1/sqrt(2), sqrt(2), -sqrt(2) and infinity. Their rounding error is half of
// that of 0, 1, -1, 2, -2 and infinity (Alam et al., "Winograd Convolution for Deep Neural Networks: Efficient Point
// Selection", ACM TECS 2022). With BF16, the factors of these products are rounded to bfloat16; everything else is
// float32.
//
// An image is stored in planes of LANES channels, each (4 rows + 2, 4 columns + 2, LANES) float32, where rows and
// columns count tiles of 4x4: a border of zeros, the pixels, and zeros up to whole tiles. A tile of 6x6 is therefore
// read without checks at the edge, a vector holds the channels of one pixel, and channels are concatenated without
// copying, as a list of planes.
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
#ifdef BF16
#include <immintrin.h>
#endif

// Floats per vector; tests set it in order to compile for other processors.
#ifndef LANES
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#endif
// A block of ROWS tiles by COLUMNS vectors of output channels stays in registers: AVX has 16, AVX-512 and NEON have 32.
#if defined(__x86_64__) && !defined(__AVX512F__)
constexpr int ROWS = 6, COLUMNS = 2;
#else
constexpr int ROWS = 12, COLUMNS = 2;
#endif
// Maximum number of tiles per block: enough to reuse each weight often, few enough for the cache.
constexpr int TILES = 36;
static_assert(TILES % ROWS == 0);

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));

static Vector &at(float *place) { return *reinterpret_cast<Vector *>(place); }

static Vector at(const float *place) { return *reinterpret_cast<const Vector *>(place); }

// A Factor is one operand of a product; Factors is a vector of them: TOGETHER input channels for LANES outputs.
#ifdef BF16
#if !defined(__AVX512BF16__) || LANES != 16
#error "this processor has no AVX512-BF16"
#endif
typedef std::uint16_t Factor;
typedef __m512bh Factors;
constexpr int TOGETHER = 2;

static void round_to(Factor *place, Vector value) {
    _mm256_store_si256(reinterpret_cast<__m256i *>(place), (__m256i)_mm512_cvtneps_pbh((__m512)value));
}

static Factors factors_at(const Factor *place) { return (Factors)_mm512_load_si512(place); }

static Factors same_for_all(const Factor *channels) {
    return (Factors)_mm512_set1_epi32(*reinterpret_cast<const int *>(channels));
}

static Vector add_products(Vector sum, Factors value, Factors weight) {
    return (Vector)_mm512_dpbf16_ps((__m512)sum, value, weight);
}
#else
typedef float Factor;
typedef Vector Factors;
constexpr int TOGETHER = 1;

static void round_to(Factor *place, Vector value) { at(place) = value; }

static Factors factors_at(const Factor *place) { return at(place); }

static Factors same_for_all(const Factor *channel) { return *channel - Vector{}; }

static Vector add_products(Vector sum, Factors value, Factors weight) { return sum + value * weight; }
#endif
// Padding of one cache line between the 36 parts of a block, so that they do not map to the same cache sets.
constexpr int APART = 64 / sizeof(Factor);

// One convolution; network.py has the same structure. Its output is
//   activation(convolution + bias) + first_factor * first + second_factor * second;
// first and second may be null; the activation is max(x, slope * x).
struct Layer {
    const float *const *sources;  // planes
    float *const *targets;        // planes
    const Factor *weights;        // (36, panels, LANES * sources / TOGETHER, COLUMNS * LANES, TOGETHER), transformed
    const float *bias;            // (LANES * targets)
    const float *const *first;    // planes
    const float *const *second;   // planes
    int64_t inputs, outputs;      // numbers of planes
    int64_t height, width;        // of the output, in pixels
    int64_t doubled;              // 1 if the sources have half this size and are enlarged by 2 (nearest neighbour)
    float slope, first_factor, second_factor;
};

static int64_t tiles(int64_t side) { return (side + 3) / 4; }

static int64_t line(int64_t width) { return (4 * tiles(width) + 2) * LANES; }

static int64_t part(int64_t planes) { return planes * TILES * LANES + APART; }

static int64_t panels(const Layer &layer) { return (layer.outputs + COLUMNS - 1) / COLUMNS; }

// 1/sqrt(2) and sqrt(2).
constexpr float NEAR = 0.70710678f, FAR = 1.41421356f;

// Transform the six values of a tile's row or column.
static inline void transform(const Vector *d, Vector *result, int step) {
    Vector even = d[4] - 2.0f * d[2], odd = NEAR * (d[3] - 2.0f * d[1]);
    Vector even2 = d[4] - 0.5f * d[2], odd2 = FAR * (d[3] - 0.5f * d[1]);
    result[0] = d[0] - 2.5f * d[2] + d[4];
    result[step] = even + odd;
    result[2 * step] = even - odd;
    result[3 * step] = even2 + odd2;
    result[4 * step] = even2 - odd2;
    result[5 * step] = d[1] - 2.5f * d[3] + d[5];
}

// Inverse transform: six products to the four pixels of a row or column.
static inline void restore(const Vector *m, Vector *result, int step) {
    Vector sum = m[1] + m[2], difference = NEAR * (m[1] - m[2]);
    Vector sum2 = m[3] + m[4], difference2 = FAR * (m[3] - m[4]);
    result[0] = m[0] + sum + sum2;
    result[step] = difference + difference2;
    result[2 * step] = 0.5f * sum + 2.0f * sum2;
    result[3 * step] = 0.5f * difference + 2.0f * difference2 + m[5];
}

// Transform `count` tiles, starting with number `start`, to (36, planes, TILES, LANES); neighbours share two columns.
template <bool DOUBLED>
static void transform_tiles(const Layer &layer, int64_t start, int count, Factor *values) {
    int64_t across = tiles(layer.width), apart = part(layer.inputs);
    int64_t source_line = line(DOUBLED ? layer.width / 2 : layer.width);
    auto source = [](int64_t padded) { return DOUBLED ? (padded + 1) / 2 : padded; };
    for (int64_t plane = 0; plane < layer.inputs; plane++) {
        const float *pixels = layer.sources[plane];
        Factor *result = values + plane * TILES * LANES;
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
                for (int x = 0; x < 6; x++) round_to(result + (6 * y + x) * apart, whole[x]);
            }
            begins = ++column == across;
            if (begins) column = 0, row++;
        }
    }
}

// Products for ROWS tiles by COLUMNS * LANES output channels, summed over all input channels.
static inline void multiply(const Factor *values, int64_t planes, const Factor *panel, float *products) {
    constexpr int STEP = TOGETHER * LANES;
    Vector sum[ROWS][COLUMNS] = {};
    for (int64_t plane = 0; plane < planes; plane++, values += TILES * LANES)
        for (int lane = 0; lane < LANES; lane += TOGETHER, panel += COLUMNS * STEP) {
            Factors weight[COLUMNS];
            for (int c = 0; c < COLUMNS; c++) weight[c] = factors_at(panel + c * STEP);
#pragma GCC unroll 16
            for (int r = 0; r < ROWS; r++) {
                Factors value = same_for_all(values + r * LANES + lane);
                for (int c = 0; c < COLUMNS; c++) sum[r][c] = add_products(sum[r][c], value, weight[c]);
            }
        }
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLUMNS; c++) at(products + (c * TILES + r) * LANES) = sum[r][c];
}

// Inverse transform of the products (36, planes, TILES, LANES) to pixels, with bias, activation and addends.
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

static void convolve(const Layer &layer, int64_t start, int count, Factor *values, float *products) {
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
    void operator()(void *memory) const { std::free(memory); }
};

// Initialised with zeros, because a block with fewer tiles than TILES also computes the unused ones.
template <typename T>
static std::unique_ptr<T, Release> zeros(int64_t count) {
    auto memory = static_cast<T *>(std::aligned_alloc(64, (count * sizeof(T) + 63) / 64 * 64));
    if (!memory) throw std::bad_alloc();
    std::fill_n(memory, count, T{});
    return std::unique_ptr<T, Release>(memory);
}

extern "C" int64_t lanes() { return LANES; }

extern "C" int64_t columns() { return COLUMNS; }

extern "C" int64_t together() { return TOGETHER; }

// Run `count` layers in order. For each layer, `threads` threads take blocks of tiles from a shared counter; the number
// of threads does not affect the pixels. Returns 0, or 1 if the system has no memory or threads left.
extern "C" int run(const Layer *layers, int64_t count, int64_t threads) try {
    int64_t most_values = 0, most_products = 0;
    for (int64_t i = 0; i < count; i++) {
        most_values = std::max(most_values, 36 * part(layers[i].inputs));
        most_products = std::max(most_products, 36 * part(panels(layers[i]) * COLUMNS));
    }
    std::vector<decltype(zeros<Factor>(0))> values;
    std::vector<decltype(zeros<float>(0))> products;
    for (int64_t thread = 0; thread < threads; thread++) {
        values.push_back(zeros<Factor>(most_values));
        products.push_back(zeros<float>(most_products));
    }
    std::vector<std::atomic<int64_t>> next(count);
    std::barrier layer_is_done(threads);
    std::atomic<bool> all_started{true};
    auto work = [&](int64_t thread) {
        layer_is_done.arrive_and_wait();
        for (int64_t i = 0; i < count && all_started; i++) {
            int64_t all = tiles(layers[i].height) * tiles(layers[i].width);
            // About four blocks per thread, each with a multiple of ROWS tiles.
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
        // Counts for the threads that did not start, so that the others leave the barrier.
        for (int64_t missing = others.size() + 1; missing < threads; missing++) layer_is_done.arrive_and_drop();
    }
    work(0);
    for (auto &thread : others) thread.join();
    return all_started ? 0 : 1;
} catch (const std::bad_alloc &) {
    return 1;
}
