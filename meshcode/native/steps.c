/* Steps of flows: their ids, their envelopes, and what one is fed in front of its arguments. */

/* BLAKE2b of RFC 7693, for messages of less than a block with a key of 16 bytes. */

typedef struct {
    uint64_t h[8];
    uint64_t taken; /* Bytes so far. */
} blake;

enum { BLAKE_BLOCK = 128, DIGEST_BYTES = 10 };

static const uint64_t blake_iv[8] = {
    0x6a09e667f3bcc908u, 0xbb67ae8584caa73bu, 0x3c6ef372fe94f82bu, 0xa54ff53a5f1d36f1u,
    0x510e527fade682d1u, 0x9b05688c2b3e6c1fu, 0x1f83d9abfb41bd6bu, 0x5be0cd19137e2179u,
};

static const uint8_t blake_order[12][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
};

ALWAYS_INLINE uint64_t turned(uint64_t value, int bits)
{
    return value >> bits | value << (64 - bits);
}

ALWAYS_INLINE void blake_mix(uint64_t *v, int a, int b, int c, int d, uint64_t x, uint64_t y)
{
    v[a] += v[b] + x;
    v[d] = turned(v[d] ^ v[a], 32);
    v[c] += v[d];
    v[b] = turned(v[b] ^ v[c], 24);
    v[a] += v[b] + y;
    v[d] = turned(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = turned(v[b] ^ v[c], 63);
}

static void blake_block(blake *state, const uint8_t *block, uint64_t size, int is_last)
{
    uint64_t v[16], m[16];
    state->taken += size;
    for (int n = 0; n < 8; n++) {
        v[n] = state->h[n];
        v[n + 8] = blake_iv[n];
    }
    v[12] ^= state->taken;
    if (is_last)
        v[14] = ~v[14];
    for (int n = 0; n < 16; n++)
        m[n] = read_u64(block + 8 * n);
    for (int round = 0; round < 12; round++) {
        const uint8_t *at = blake_order[round];
        blake_mix(v, 0, 4, 8, 12, m[at[0]], m[at[1]]);
        blake_mix(v, 1, 5, 9, 13, m[at[2]], m[at[3]]);
        blake_mix(v, 2, 6, 10, 14, m[at[4]], m[at[5]]);
        blake_mix(v, 3, 7, 11, 15, m[at[6]], m[at[7]]);
        blake_mix(v, 0, 5, 10, 15, m[at[8]], m[at[9]]);
        blake_mix(v, 1, 6, 11, 12, m[at[10]], m[at[11]]);
        blake_mix(v, 2, 7, 8, 13, m[at[12]], m[at[13]]);
        blake_mix(v, 3, 4, 9, 14, m[at[14]], m[at[15]]);
    }
    for (int n = 0; n < 8; n++)
        state->h[n] ^= v[n] ^ v[n + 8];
}

/* The state that all digests with this key begin with. */
static void blake_begin(blake *state, const uint8_t *key)
{
    uint8_t block[BLAKE_BLOCK] = {0};
    memcpy(state->h, blake_iv, sizeof blake_iv);
    state->h[0] ^= 0x01010000u | ID_BYTES << 8 | DIGEST_BYTES;
    state->taken = 0;
    memcpy(block, key, ID_BYTES);
    blake_block(state, block, BLAKE_BLOCK, 0);
}

/* The number as text; how many bytes. */
static uint64_t put_digits(uint8_t *to, uint64_t number)
{
    uint8_t digits[20];
    int count = 0;
    do
        digits[count++] = (uint8_t)('0' + number % 10);
    while (number /= 10);
    for (int n = 0; n < count; n++)
        to[n] = digits[count - 1 - n];
    return (uint64_t)count;
}

/* numbered_ids(parent, count): as `meshcode.ids.numbered_ids`. */
static PyObject *numbered_ids(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    blake keyed;
    (void)self;
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "numbered_ids takes 2 arguments, not %zd", count);
    const uint8_t *parent = id_of(given[0], "parent");
    Py_ssize_t many = parent ? PyLong_AsSsize_t(given[1]) : -1;
    if (many < 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "a count is not below zero");
        return NULL;
    }
    PyObject *found = PyList_New(many);
    if (!found)
        return NULL;
    blake_begin(&keyed, parent);
    for (Py_ssize_t n = 0; n < many; n++) {
        blake state = keyed;
        uint8_t block[BLAKE_BLOCK] = {0}, id[ID_BYTES];
        blake_block(&state, block, put_digits(block, (uint64_t)n), 1);
        memcpy(id, parent, 6);
        for (int at = 0; at < DIGEST_BYTES; at++)
            id[6 + at] = (uint8_t)(state.h[at / 8] >> 8 * (at % 8));
        id[6] = (id[6] & 0x0f) | 0x70; /* Version and variant of the UUID. */
        id[8] = (id[8] & 0x3f) | 0x80;
        PyObject *made = bytes_of(id, ID_BYTES);
        if (!made) {
            Py_DECREF(found);
            return NULL;
        }
        PyList_SetItem(found, n, made);
    }
    return found;
}

static void write_crc(uint8_t *envelope, size_t size)
{
    write_u32(envelope + 4, envelope_crc(envelope, size));
}

/* The bytes of an object; 0: they are none. */
static int take_bytes(PyObject *given, const uint8_t **at, size_t *size)
{
    if (!PyBytes_CheckExact(given))
        return 0;
    *at = (const uint8_t *)PyBytes_AsString(given);
    *size = (size_t)PyBytes_Size(given);
    return 1;
}

/* One sealed envelope of a row: id, name, meta, body, flags, argc.  NULL without an error: not so. */
static PyObject *envelope_of(long kind, const uint8_t *flow, const uint8_t *parent, PyObject *row)
{
    const uint8_t *parts[4]; /* id, name, meta, body */
    size_t sizes[4];
    if (!PyTuple_CheckExact(row) || PyTuple_Size(row) != 6)
        return NULL;
    for (int n = 0; n < 4; n++)
        if (!take_bytes(PyTuple_GetItem(row, n), parts + n, sizes + n))
            return NULL;
    long flags = PyLong_AsLong(PyTuple_GetItem(row, 4));
    long argc = PyErr_Occurred() ? -1 : PyLong_AsLong(PyTuple_GetItem(row, 5));
    if (PyErr_Occurred())
        return NULL;
    if (sizes[0] != ID_BYTES || sizes[1] > UINT8_MAX || sizes[2] > limits.meta_bytes_max ||
        sizes[3] > limits.body_bytes_max || flags < 0 || flags > UINT8_MAX || argc < 0 ||
        argc > UINT8_MAX)
        return NULL;
    size_t size = ENVELOPE_HEADER_BYTES + sizes[1] + sizes[2] + sizes[3];
    PyObject *made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!made)
        return NULL;
    uint8_t *to = (uint8_t *)PyBytes_AsString(made);
    memset(to, 0, ENVELOPE_HEADER_BYTES);
    to[0] = ENVELOPE_MAGIC & 0xff;
    to[1] = ENVELOPE_MAGIC >> 8;
    to[2] = ENVELOPE_VERSION;
    to[3] = (uint8_t)kind;
    write_u32(to + SIZE_AT, (uint32_t)size);
    to[12] = (uint8_t)flags;
    to[14] = (uint8_t)argc;
    to[15] = (uint8_t)sizes[1];
    memcpy(to + ID_AT, parts[0], ID_BYTES);
    memcpy(to + FLOW_AT, flow, ID_BYTES);
    memcpy(to + 48, parent, ID_BYTES);
    write_u32(to + 68, (uint32_t)sizes[2]);
    uint8_t *at = to + ENVELOPE_HEADER_BYTES;
    for (int n = 1; n < 4; n++) {
        memcpy(at, parts[n], sizes[n]);
        at += sizes[n];
    }
    write_crc(to, size);
    return made;
}

/* seal_rows(kind, flow, parent, rows): sealed envelopes; None: one of them cannot be made here. */
static PyObject *seal_rows(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    (void)self;
    if (count != 4)
        return PyErr_Format(PyExc_TypeError, "seal_rows takes 4 arguments, not %zd", count);
    long kind = PyLong_AsLong(given[0]);
    if (kind == -1 && PyErr_Occurred())
        return NULL;
    const uint8_t *flow, *parent;
    size_t flow_size, parent_size;
    if (!take_bytes(given[1], &flow, &flow_size) || !take_bytes(given[2], &parent, &parent_size) ||
        flow_size != ID_BYTES || parent_size != ID_BYTES || kind < 0 || kind > UINT8_MAX ||
        !PyList_CheckExact(given[3]))
        Py_RETURN_NONE;
    Py_ssize_t many = PyList_Size(given[3]);
    PyObject *found = PyList_New(many);
    for (Py_ssize_t n = 0; found && n < many; n++) {
        PyObject *made = envelope_of(kind, flow, parent, PyList_GetItem(given[3], n));
        if (!made) {
            Py_DECREF(found);
            if (PyErr_Occurred())
                return NULL;
            Py_RETURN_NONE;
        }
        PyList_SetItem(found, n, made);
    }
    return found;
}

/* feed_first(submit, value): the envelope with a value in front of its arguments, which are a list of
 * at most 14; None: it is made otherwise. */
static PyObject *feed_first(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    const uint8_t *submit, *value;
    size_t size, value_size;
    (void)self;
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "feed_first takes 2 arguments, not %zd", count);
    if (!take_bytes(given[0], &submit, &size) || !take_bytes(given[1], &value, &value_size) ||
        size < ENVELOPE_HEADER_BYTES)
        Py_RETURN_NONE;
    uint64_t body_at = (uint64_t)ENVELOPE_HEADER_BYTES + submit[15] + read_u32(submit + 68);
    if (body_at >= size || submit[body_at] < 0x90 || submit[body_at] > 0x9e ||
        submit[14] == UINT8_MAX || size + value_size > limits.body_bytes_max)
        Py_RETURN_NONE;
    PyObject *made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(size + value_size));
    if (!made)
        return NULL;
    uint8_t *to = (uint8_t *)PyBytes_AsString(made);
    size_t rest_at = (size_t)body_at + 1;
    memcpy(to, submit, rest_at);
    memcpy(to + rest_at, value, value_size);
    memcpy(to + rest_at + value_size, submit + rest_at, size - rest_at);
    write_u32(to + SIZE_AT, (uint32_t)(size + value_size));
    to[14]++;
    to[body_at]++;
    write_crc(to, size + value_size);
    return made;
}
