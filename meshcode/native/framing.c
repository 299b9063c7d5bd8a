/* Framing: index a frame, check an envelope, seal a frame, scan packed data.
 *
 * Each function has a sister in pure.py with the same checks in the same order; the two must give
 * the same rows and the same faults for the same bytes (tests/wire/test_twins.py).  The bytes may
 * be anything at all: nothing outside buf[0..size) is ever read, and sizes are added in 64 bits, so
 * no sum of them can wrap.  Each field is read once, so a buffer that another thread changes
 * meanwhile gives wrong rows at worst, never a wrong access.
 *
 * This file is included by the module that cffi generates; build.py has the declarations.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    FRAME_HEADER_BYTES = 40,
    ENVELOPE_HEADER_BYTES = 80,
    PACKED_ROW_BYTES = 84,
    FRAME_VERSION = 1,
    ENVELOPE_VERSION = 1,
    TUPLE_EXT = 2,
    SCAN_DEPTH_MAX = 255
};

#define FRAME_MAGIC 0x4853454du /* "MESH" */
#define ENVELOPE_MAGIC 0x456du  /* "mE" */

/* The numbers of FaultCode in layout.py. */
enum {
    FRAME_SHORT = 1,
    FRAME_LARGE = 2,
    FAULT_FRAME_MAGIC = 3,
    FAULT_FRAME_VERSION = 4,
    FRAME_CRC = 5,
    FRAME_RESERVED = 6,
    FRAME_SIZE = 7,
    FRAME_COUNT = 8,
    FRAME_TAIL = 9,
    ENVELOPE_SHORT = 20,
    FAULT_ENVELOPE_MAGIC = 21,
    FAULT_ENVELOPE_VERSION = 22,
    ENVELOPE_SMALL = 23,
    ENVELOPE_CUT = 24,
    META_LARGE = 25,
    BODY_LARGE = 26,
    ENVELOPE_CRC = 27,
    ENVELOPE_TAIL = 28,
    DATA_CUT = 40,
    DATA_DEPTH = 41,
    DATA_COUNT = 42,
    DATA_TYPE = 43,
    DATA_TAIL = 44
};

typedef struct {
    uint64_t offset;
    uint64_t found;
    uint64_t expected;
} mesh_fault;

typedef struct {
    uint64_t frame_bytes_max;
    uint64_t body_bytes_max;
    uint32_t meta_bytes_max;
    uint32_t envelopes_max;
} mesh_limits;

static int32_t fail(mesh_fault *fault, int32_t code, uint64_t offset, uint64_t found,
                    uint64_t expected)
{
    fault->offset = offset;
    fault->found = found;
    fault->expected = expected;
    return -code;
}

static uint16_t read_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t read_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t read_u64(const uint8_t *at)
{
    return (uint64_t)read_u32(at) | (uint64_t)read_u32(at + 4) << 32;
}

static void write_u32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
    at[2] = (uint8_t)(value >> 16);
    at[3] = (uint8_t)(value >> 24);
}

/* The checksum of zlib.crc32, eight bytes a step.  crc_table[k][b] is the effect of byte b with k
 * zero bytes after it.  Where the CPU multiplies without carry, long texts are first folded: each
 * 64 bytes onto the next, by what is left of x^n and the polynomial, until 16 are left that have
 * the same checksum as all of them ("Fast CRC Computation Using PCLMULQDQ", Intel 2009). */

#if defined(__GNUC__) && defined(__x86_64__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define CRC_FOLDS 1
#include <wmmintrin.h>
#elif defined(__GNUC__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE static inline
#endif

static uint32_t crc_table[8][256];
static int crc_can_fold;

static void mesh_begin(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        crc_table[0][byte] = crc;
    }
    for (int k = 1; k < 8; k++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = crc_table[k - 1][byte];
            crc_table[k][byte] = before >> 8 ^ crc_table[0][before & 255];
        }
#ifdef CRC_FOLDS
    crc_can_fold = __builtin_cpu_supports("pclmul");
#endif
}

/* The register of the checksum after so many bytes more. */
static uint32_t crc_step(uint32_t crc, const uint8_t *at, size_t size)
{
    for (; size >= 8; at += 8, size -= 8) {
        uint32_t low = read_u32(at) ^ crc;
        uint32_t high = read_u32(at + 4);
        crc = crc_table[7][low & 255] ^ crc_table[6][low >> 8 & 255] ^
              crc_table[5][low >> 16 & 255] ^ crc_table[4][low >> 24] ^
              crc_table[3][high & 255] ^ crc_table[2][high >> 8 & 255] ^
              crc_table[1][high >> 16 & 255] ^ crc_table[0][high >> 24];
    }
    for (; size > 0; at++, size--)
        crc = crc >> 8 ^ crc_table[0][(crc ^ *at) & 255];
    return crc;
}

#ifdef CRC_FOLDS
#define FOLDED __attribute__((target("pclmul")))

FOLDED ALWAYS_INLINE __m128i crc_onto(__m128i text, __m128i powers, __m128i next)
{
    __m128i low = _mm_clmulepi64_si128(text, powers, 0x00);
    __m128i high = _mm_clmulepi64_si128(text, powers, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

/* Fold `size` bytes, 64 at least, and the register before them onto 16.  Returns how many of them
 * are in there; fewer than 16 are left. */
FOLDED static size_t crc_fold(uint32_t crc, const uint8_t *at, size_t size, uint8_t *folded)
{
    const __m128i by_64 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
    const __m128i by_16 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
    const __m128i *text = (const __m128i *)(const void *)at;
    size_t left = size;
    __m128i lane[4];
    for (int n = 0; n < 4; n++)
        lane[n] = _mm_loadu_si128(text++);
    lane[0] = _mm_xor_si128(lane[0], _mm_cvtsi32_si128((int)crc));
    for (left -= 64; left >= 64; left -= 64)
        for (int n = 0; n < 4; n++)
            lane[n] = crc_onto(lane[n], by_64, _mm_loadu_si128(text++));
    for (int n = 1; n < 4; n++)
        lane[n] = crc_onto(lane[n - 1], by_16, lane[n]);
    for (; left >= 16; left -= 16)
        lane[3] = crc_onto(lane[3], by_16, _mm_loadu_si128(text++));
    _mm_storeu_si128((__m128i *)(void *)folded, lane[3]);
    return size - left;
}
#endif

static uint32_t crc32_more(uint32_t crc, const uint8_t *at, size_t size)
{
    crc = ~crc;
#ifdef CRC_FOLDS
    if (size >= 64 && crc_can_fold) {
        uint8_t folded[16];
        size_t done = crc_fold(crc, at, size, folded);
        crc = crc_step(0, folded, sizeof folded);
        at += done;
        size -= done;
    }
#endif
    return ~crc_step(crc, at, size);
}

static uint32_t mesh_crc32(uint32_t crc, const uint8_t *buf, size_t size)
{
    return crc32_more(crc, buf, size);
}

/* All bytes of an envelope but the checksum itself, at 4 to 8. */
static uint32_t envelope_crc(const uint8_t *envelope, size_t size)
{
    return crc32_more(crc32_more(0, envelope, 4), envelope + 8, size - 8);
}

/* The row's fields one after the other without padding: PACKED_ROW in layout.py. */
static void write_row(uint8_t *row, const uint8_t *envelope, uint32_t start, uint32_t name_size,
                      uint32_t meta_size, uint32_t size)
{
    uint32_t attempt = read_u32(envelope + 64);
    uint64_t number = read_u64(envelope + 72);
    uint32_t offsets[5];
    offsets[0] = start;
    offsets[1] = start + ENVELOPE_HEADER_BYTES;
    offsets[2] = offsets[1] + name_size;
    offsets[3] = offsets[2] + meta_size;
    offsets[4] = start + size;
    row[0] = envelope[3];
    row[1] = envelope[12];
    row[2] = envelope[13];
    row[3] = envelope[14];
    memcpy(row + 4, envelope + 16, 48);
    memcpy(row + 52, &attempt, 4);
    memcpy(row + 56, &number, 8);
    memcpy(row + 64, offsets, 20);
}

/* Check the envelope at `at` and write its row.  Returns its size, or the negative fault. */
static int64_t check_one(const uint8_t *buf, uint64_t size, uint64_t at, uint8_t *row,
                         const mesh_limits *limits, mesh_fault *fault)
{
    uint64_t left = size - at;
    if (left < ENVELOPE_HEADER_BYTES)
        return fail(fault, ENVELOPE_SHORT, at, left, ENVELOPE_HEADER_BYTES);
    const uint8_t *envelope = buf + at;
    uint16_t magic = read_u16(envelope);
    if (magic != ENVELOPE_MAGIC)
        return fail(fault, FAULT_ENVELOPE_MAGIC, at, magic, ENVELOPE_MAGIC);
    uint8_t version = envelope[2];
    if (version != ENVELOPE_VERSION)
        return fail(fault, FAULT_ENVELOPE_VERSION, at + 2, version, ENVELOPE_VERSION);
    uint32_t meta_size = read_u32(envelope + 68);
    if (meta_size > limits->meta_bytes_max)
        return fail(fault, META_LARGE, at + 68, meta_size, limits->meta_bytes_max);
    uint32_t name_size = envelope[15];
    uint64_t envelope_size = read_u32(envelope + 8);
    uint64_t size_min = (uint64_t)ENVELOPE_HEADER_BYTES + name_size + meta_size;
    if (envelope_size < size_min)
        return fail(fault, ENVELOPE_SMALL, at + 8, envelope_size, size_min);
    if (envelope_size > left)
        return fail(fault, ENVELOPE_CUT, at + 8, envelope_size, left);
    if (envelope_size - size_min > limits->body_bytes_max)
        return fail(fault, BODY_LARGE, at + 8, envelope_size - size_min, limits->body_bytes_max);
    uint32_t told = read_u32(envelope + 4);
    uint32_t crc = envelope_crc(envelope, (size_t)envelope_size);
    if (told != crc)
        return fail(fault, ENVELOPE_CRC, at + 4, told, crc);
    write_row(row, envelope, (uint32_t)at, name_size, meta_size, (uint32_t)envelope_size);
    return (int64_t)envelope_size;
}

/* Returns the number of envelopes, or the negative fault. */
static int32_t check_frame_header(const uint8_t *buf, uint64_t size, const mesh_limits *limits,
                                  mesh_fault *fault)
{
    if (size > limits->frame_bytes_max)
        return fail(fault, FRAME_LARGE, 0, size, limits->frame_bytes_max);
    if (size < FRAME_HEADER_BYTES)
        return fail(fault, FRAME_SHORT, 0, size, FRAME_HEADER_BYTES);
    uint32_t magic = read_u32(buf);
    if (magic != FRAME_MAGIC)
        return fail(fault, FAULT_FRAME_MAGIC, 0, magic, FRAME_MAGIC);
    uint8_t version = buf[4];
    if (version != FRAME_VERSION)
        return fail(fault, FAULT_FRAME_VERSION, 4, version, FRAME_VERSION);
    uint32_t told = read_u32(buf + 36);
    uint32_t crc = crc32_more(0, buf, 36);
    if (told != crc)
        return fail(fault, FRAME_CRC, 36, told, crc);
    uint8_t flags = buf[5];
    if (flags)
        return fail(fault, FRAME_RESERVED, 5, flags, 0);
    uint16_t reserved = read_u16(buf + 6);
    if (reserved)
        return fail(fault, FRAME_RESERVED, 6, reserved, 0);
    uint32_t reserved_2 = read_u32(buf + 32);
    if (reserved_2)
        return fail(fault, FRAME_RESERVED, 32, reserved_2, 0);
    uint32_t told_size = read_u32(buf + 12);
    if (told_size != size)
        return fail(fault, FRAME_SIZE, 12, told_size, size);
    uint32_t count = read_u32(buf + 8);
    uint64_t count_max = (size - FRAME_HEADER_BYTES) / ENVELOPE_HEADER_BYTES;
    if (count_max > limits->envelopes_max)
        count_max = limits->envelopes_max;
    if (count > count_max)
        return fail(fault, FRAME_COUNT, 8, count, count_max);
    return (int32_t)count;
}

/* Check a frame and write a packed row for each envelope.
 *
 * `rows` has room for rows_max rows: as many as the header told the caller, if that many may be.
 * Returns the number of rows, or the negative fault code with its three numbers in `fault`.  All
 * limits are below 2^31. */
static int32_t mesh_index(const uint8_t *buf, size_t size, uint8_t *rows, uint32_t rows_max,
                          const mesh_limits *limits, mesh_fault *fault)
{
    int32_t count = check_frame_header(buf, size, limits, fault);
    if (count > 0 && (uint32_t)count > rows_max) /* The buffer changed under us. */
        return fail(fault, FRAME_COUNT, 8, (uint64_t)count, rows_max);
    uint64_t at = FRAME_HEADER_BYTES;
    for (int32_t n = 0; n < count; n++) {
        int64_t envelope_size =
            check_one(buf, size, at, rows + (size_t)n * PACKED_ROW_BYTES, limits, fault);
        if (envelope_size < 0)
            return (int32_t)envelope_size;
        at += (uint64_t)envelope_size;
    }
    if (count >= 0 && at != size)
        return fail(fault, FRAME_TAIL, at, size - at, 0);
    return count;
}

/* Check one envelope that stands alone.  Returns 1, or the negative fault code. */
static int32_t mesh_check(const uint8_t *buf, size_t size, uint8_t *row, const mesh_limits *limits,
                          mesh_fault *fault)
{
    int64_t envelope_size = check_one(buf, size, 0, row, limits, fault);
    if (envelope_size < 0)
        return (int32_t)envelope_size;
    if ((uint64_t)envelope_size != size)
        return fail(fault, ENVELOPE_TAIL, (uint64_t)envelope_size, size - (uint64_t)envelope_size,
                    0);
    return 1;
}

/* Write all checksums of a frame.  Returns the number of envelopes (at most 2^31 - 1 fit), or the
 * negative fault code when the envelopes do not fill the frame. */
static int32_t mesh_seal(uint8_t *buf, size_t size, mesh_fault *fault)
{
    if (size < FRAME_HEADER_BYTES)
        return fail(fault, FRAME_SHORT, 0, size, FRAME_HEADER_BYTES);
    uint32_t count = read_u32(buf + 8);
    uint64_t at = FRAME_HEADER_BYTES;
    for (uint32_t n = 0; n < count; n++) {
        uint64_t left = size - at;
        if (left < ENVELOPE_HEADER_BYTES)
            return fail(fault, ENVELOPE_SHORT, at, left, ENVELOPE_HEADER_BYTES);
        uint64_t envelope_size = read_u32(buf + at + 8);
        if (envelope_size < ENVELOPE_HEADER_BYTES)
            return fail(fault, ENVELOPE_SMALL, at + 8, envelope_size, ENVELOPE_HEADER_BYTES);
        if (envelope_size > left)
            return fail(fault, ENVELOPE_CUT, at + 8, envelope_size, left);
        write_u32(buf + at + 4, envelope_crc(buf + at, (size_t)envelope_size));
        at += envelope_size;
    }
    if (at != size)
        return fail(fault, FRAME_TAIL, at, size - at, 0);
    write_u32(buf + 36, crc32_more(0, buf, 36));
    return (int32_t)(count & 0x7fffffffu);
}

/* Packed data (msgpack): what a first byte says of the bytes after it. */
enum { SCALAR, BYTES, ITEMS, EXT, BAD };

typedef struct {
    int what;
    uint32_t width;  /* Bytes of a scalar, or of the length or count field; 0 = `fixed` counts. */
    uint32_t fixed;  /* The length or count itself, or the items of one count. */
} token;

static token token_of(uint8_t byte)
{
    static const uint8_t scalar_widths[10] = {4, 8, 1, 2, 4, 8, 1, 2, 4, 8}; /* 0xca to 0xd3 */
    if (byte < 0x80 || byte >= 0xe0)
        return (token){SCALAR, 0, 0};
    if (byte < 0x90)
        return (token){ITEMS, 0, 2u * (byte & 15u)};
    if (byte < 0xa0)
        return (token){ITEMS, 0, byte & 15u};
    if (byte < 0xc0)
        return (token){BYTES, 0, byte & 31u};
    if (byte == 0xc1)
        return (token){BAD, 0, 0};
    if (byte < 0xc4)
        return (token){SCALAR, 0, 0};
    if (byte < 0xc7)
        return (token){BYTES, 1u << (byte - 0xc4), 0};
    if (byte < 0xca)
        return (token){EXT, 1u << (byte - 0xc7), 0};
    if (byte < 0xd4)
        return (token){SCALAR, scalar_widths[byte - 0xca], 0};
    if (byte < 0xd9)
        return (token){EXT, 0, 1u << (byte - 0xd4)};
    if (byte < 0xdc)
        return (token){BYTES, 1u << (byte - 0xd9), 0};
    return (token){ITEMS, byte & 1 ? 4 : 2, byte < 0xde ? 1 : 2};
}

static uint64_t read_big_endian(const uint8_t *at, uint32_t width)
{
    uint64_t value = 0;
    for (uint32_t n = 0; n < width; n++)
        value = value << 8 | at[n];
    return value;
}

/* Check the shape of `objects` packed values that fill buf.  depth_max is at most SCAN_DEPTH_MAX.
 * Returns 0, or the negative fault code. */
static int32_t mesh_scan(const uint8_t *buf, size_t size, uint32_t objects, uint32_t depth_max,
                         mesh_fault *fault)
{
    uint64_t to_come[SCAN_DEPTH_MAX + 1]; /* Values still to come per level; [0] is no container. */
    uint32_t depth = 0;
    uint64_t at = 0;
    uint64_t pending = objects; /* The sum of to_come. */
    to_come[0] = objects;
    if (depth_max > SCAN_DEPTH_MAX)
        depth_max = SCAN_DEPTH_MAX;
    for (;;) {
        while (depth > 0 && to_come[depth] == 0)
            depth--;
        if (to_come[depth] == 0)
            break;
        to_come[depth]--;
        pending--;
        uint64_t left = size - at;
        if (left == 0)
            return fail(fault, DATA_CUT, at, 0, 1);
        token kind = token_of(buf[at]);
        uint64_t head = 1u + kind.width + (kind.what == EXT);
        if (left < head)
            return fail(fault, DATA_CUT, at, left, head);
        if (kind.what == BAD)
            return fail(fault, DATA_TYPE, at, buf[at], 0);
        if (kind.what == ITEMS) {
            uint64_t items = kind.fixed;
            if (kind.width)
                items *= read_big_endian(buf + at + 1, kind.width);
            uint64_t room = left - head > pending ? left - head - pending : 0;
            if (depth + 1 > depth_max)
                return fail(fault, DATA_DEPTH, at, depth + 1, depth_max);
            if (items > room)
                return fail(fault, DATA_COUNT, at, items, room);
            to_come[++depth] = items;
            pending += items;
        } else if (kind.what != SCALAR) {
            uint64_t length = kind.width ? read_big_endian(buf + at + 1, kind.width) : kind.fixed;
            if (length > left - head)
                return fail(fault, DATA_CUT, at, left, head + length);
            if (kind.what == EXT && buf[at + head - 1] == TUPLE_EXT) {
                to_come[depth]++; /* The payload is the list of the tuple's items: look inside. */
                pending++;
            } else {
                head += length;
            }
        }
        at += head;
    }
    if (at != size)
        return fail(fault, DATA_TAIL, at, size - at, 0);
    return 0;
}
