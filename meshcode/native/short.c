/* Short values of the simplest kinds: None, bool, int of 64 bits, float, str, bytes, and lists of
 * such.  What is longer, of another type or wrong is left to msgpack (wire/codec.py), which writes
 * the same bytes and reads the same values. */

enum { SHORT_BYTES = 256, SHORT_ITEMS = 15 };

static void write_big_endian(uint8_t *at, uint64_t value, int width)
{
    while (width--) {
        at[width] = (uint8_t)value;
        value >>= 8;
    }
}

static size_t put_number(uint8_t *to, uint8_t head, uint64_t value, int width)
{
    to[0] = head;
    write_big_endian(to + 1, value, width);
    return 1 + (size_t)width;
}

static size_t put_unsigned(uint8_t *to, uint64_t value)
{
    if (value < 0x80)
        return put_number(to, (uint8_t)value, 0, 0);
    if (value <= UINT8_MAX)
        return put_number(to, 0xcc, value, 1);
    if (value <= UINT16_MAX)
        return put_number(to, 0xcd, value, 2);
    if (value <= UINT32_MAX)
        return put_number(to, 0xce, value, 4);
    return put_number(to, 0xcf, value, 8);
}

static size_t put_signed(uint8_t *to, int64_t value)
{
    if (value >= 0)
        return put_unsigned(to, (uint64_t)value);
    if (value >= -32)
        return put_number(to, (uint8_t)value, 0, 0);
    if (value >= INT8_MIN)
        return put_number(to, 0xd0, (uint64_t)value, 1);
    if (value >= INT16_MIN)
        return put_number(to, 0xd1, (uint64_t)value, 2);
    if (value >= INT32_MIN)
        return put_number(to, 0xd2, (uint64_t)value, 4);
    return put_number(to, 0xd3, (uint64_t)value, 8);
}

static size_t put_text(uint8_t *to, size_t room, const char *text, size_t size, int is_bytes)
{
    size_t head;
    if (size > UINT8_MAX || size + 2 > room)
        return 0;
    if (!is_bytes && size < 32)
        head = put_number(to, (uint8_t)(0xa0 | size), 0, 0);
    else
        head = put_number(to, is_bytes ? 0xc4 : 0xd9, size, 1);
    memcpy(to + head, text, size);
    return head + size;
}

/* The bytes written, or 0: leave it to msgpack.  No error is left behind. */
static size_t put_value(PyObject *value, uint8_t *to, size_t room)
{
    if (room < 9)
        return 0;
    if (value == Py_None)
        return put_number(to, 0xc0, 0, 0);
    if (value == Py_True || value == Py_False)
        return put_number(to, value == Py_True ? 0xc3 : 0xc2, 0, 0);
    if (PyLong_CheckExact(value)) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        return overflow ? 0 : put_signed(to, number);
    }
    if (PyUnicode_CheckExact(value)) {
        Py_ssize_t size;
        const char *text = PyUnicode_AsUTF8AndSize(value, &size);
        if (!text) {
            PyErr_Clear();
            return 0;
        }
        return put_text(to, room, text, (size_t)size, 0);
    }
    if (PyFloat_CheckExact(value)) {
        double number = PyFloat_AsDouble(value);
        uint64_t bits;
        memcpy(&bits, &number, 8);
        return put_number(to, 0xcb, bits, 8);
    }
    if (PyBytes_CheckExact(value))
        return put_text(to, room, PyBytes_AsString(value), (size_t)PyBytes_Size(value), 1);
    return 0;
}

static PyObject *pack_short(PyObject *self, PyObject *value)
{
    uint8_t packed[SHORT_BYTES];
    (void)self;
    size_t size = put_value(value, packed, sizeof packed);
    if (!size)
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((const char *)packed, (Py_ssize_t)size);
}

/* A tuple or a list, as a list. */
static PyObject *pack_items(PyObject *self, PyObject *values)
{
    uint8_t packed[SHORT_BYTES];
    int is_tuple = PyTuple_CheckExact(values);
    (void)self;
    if (!is_tuple && !PyList_CheckExact(values))
        Py_RETURN_NONE;
    Py_ssize_t count = is_tuple ? PyTuple_Size(values) : PyList_Size(values);
    if (count > SHORT_ITEMS)
        Py_RETURN_NONE;
    size_t size = put_number(packed, (uint8_t)(0x90 | count), 0, 0);
    for (Py_ssize_t n = 0; n < count; n++) {
        PyObject *value = is_tuple ? PyTuple_GetItem(values, n) : PyList_GetItem(values, n);
        size_t more = put_value(value, packed + size, sizeof packed - size);
        if (!more)
            Py_RETURN_NONE;
        size += more;
    }
    return PyBytes_FromStringAndSize((const char *)packed, (Py_ssize_t)size);
}

/* A value with a head of one byte and a fixed width; NULL without an error: not of these. */
static PyObject *number_of(uint8_t head, const uint8_t *at, uint32_t width)
{
    uint64_t raw = read_big_endian(at, width);
    if (head < 0x80)
        return PyLong_FromLong(head);
    if (head >= 0xe0)
        return PyLong_FromLong((int8_t)head);
    if (head == 0xc0) {
        Py_INCREF(Py_None);
        return Py_None;
    }
    if (head == 0xc2 || head == 0xc3)
        return PyBool_FromLong(head == 0xc3);
    if (head == 0xcb) {
        double number;
        memcpy(&number, &raw, 8);
        return PyFloat_FromDouble(number);
    }
    if (head >= 0xcc && head <= 0xcf)
        return PyLong_FromUnsignedLongLong(raw);
    if (head >= 0xd0 && head <= 0xd3) {
        unsigned int empty = 64 - 8 * width;
        return PyLong_FromLongLong((int64_t)(raw << empty) >> empty);
    }
    return NULL;
}

/* Read one value at *at and move it behind.  NULL without an error: leave it to msgpack. */
static PyObject *take_value(const uint8_t **at, const uint8_t *end)
{
    if (*at == end)
        return NULL;
    token kind = token_of(**at);
    size_t left = (size_t)(end - *at), head = 1u + kind.width;
    if (left < head)
        return NULL;
    const uint8_t *begin_at = *at;
    if (kind.what == SCALAR) {
        *at += head;
        return number_of(*begin_at, begin_at + 1, kind.width);
    }
    if (kind.what != BYTES)
        return NULL;
    uint64_t size = kind.width ? read_big_endian(begin_at + 1, kind.width) : kind.fixed;
    if (size > left - head)
        return NULL;
    *at += head + size;
    if (*begin_at >= 0xc4 && *begin_at <= 0xc6)
        return bytes_of(begin_at + head, size);
    PyObject *text = PyUnicode_DecodeUTF8((const char *)begin_at + head, (Py_ssize_t)size, NULL);
    if (!text && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        PyErr_Clear();
    return text;
}

static int short_bytes(PyObject *data, const uint8_t **at, const uint8_t **end)
{
    if (!PyBytes_CheckExact(data) || PyBytes_Size(data) > SHORT_BYTES)
        return 0;
    *at = (const uint8_t *)PyBytes_AsString(data);
    *end = *at + PyBytes_Size(data);
    return 1;
}

static PyObject *unpack_short(PyObject *self, PyObject *data)
{
    const uint8_t *at, *end;
    (void)self;
    if (short_bytes(data, &at, &end)) {
        PyObject *value = take_value(&at, end);
        if (value && at == end)
            return value;
        Py_XDECREF(value);
        if (PyErr_Occurred())
            return NULL;
    }
    Py_INCREF(Py_NotImplemented);
    return Py_NotImplemented;
}

static PyObject *unpack_items(PyObject *self, PyObject *data)
{
    const uint8_t *at, *end;
    (void)self;
    if (!short_bytes(data, &at, &end) || at == end || (*at & 0xf0) != 0x90)
        Py_RETURN_NONE;
    Py_ssize_t count = *at++ & 15;
    if (count > end - at)
        Py_RETURN_NONE;
    PyObject *found = PyList_New(count);
    for (Py_ssize_t n = 0; found && n < count; n++) {
        PyObject *value = take_value(&at, end);
        if (!value) {
            Py_DECREF(found);
            found = NULL;
        } else {
            PyList_SetItem(found, n, value);
        }
    }
    if (found && at == end)
        return found;
    Py_XDECREF(found);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}
