/* Values of the simplest kinds: None, bool, int of 64 bits, float, str, bytes, and lists and maps
 * with text keys of such.  What is of another type, deeper, large or wrong is left to msgpack
 * (wire/codec.py), which writes the same bytes and reads the same values. */

enum { SIMPLE_DEPTH = 16, SIMPLE_BYTES = 256 * 1024, FIRST_BYTES = 512, NUMBER_BYTES = 9 };

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

/* What is written; it begins in `first` and grows up to `limit` bytes. */
typedef struct {
    uint8_t *data;
    size_t size, room, limit;
    uint8_t first[FIRST_BYTES];
} pile;

static void begin_pile(pile *to, size_t limit)
{
    to->data = to->first;
    to->size = 0;
    to->room = sizeof to->first;
    to->limit = limit;
}

static void end_pile(pile *to)
{
    if (to->data != to->first)
        free(to->data);
}

/* Whether there is room for `more` bytes now. */
static int has_room(pile *to, size_t more)
{
    if (more <= to->room - to->size)
        return 1;
    if (more > to->limit || to->size > to->limit - more)
        return 0;
    size_t room = 2 * (to->size + more);
    uint8_t *data = to->data == to->first ? malloc(room) : realloc(to->data, room);
    if (!data)
        return 0;
    if (to->data == to->first)
        memcpy(data, to->first, to->size);
    to->data = data;
    to->room = room;
    return 1;
}

static int put_text(pile *to, const char *text, size_t size, int is_bytes)
{
    if (size > UINT32_MAX || !has_room(to, size + NUMBER_BYTES))
        return 0;
    int width = size <= UINT8_MAX ? 1 : size <= UINT16_MAX ? 2 : 4;
    uint8_t *at = to->data + to->size;
    size_t head;
    if (!is_bytes && size < 32)
        head = put_number(at, (uint8_t)(0xa0 | size), 0, 0);
    else
        head = put_number(at, (uint8_t)((is_bytes ? 0xc4 : 0xd9) + width / 2), size, width);
    memcpy(at + head, text, size);
    to->size += head + size;
    return 1;
}

/* The head of a list (`few` 0x90, `many` 0xdc) or of a map (0x80, 0xde). */
static size_t put_head(uint8_t *to, uint8_t few, uint8_t many, Py_ssize_t count)
{
    if (count < 16)
        return put_number(to, (uint8_t)(few | count), 0, 0);
    if (count <= UINT16_MAX)
        return put_number(to, many, (uint64_t)count, 2);
    return put_number(to, (uint8_t)(many + 1), (uint64_t)count, 4);
}

static int put_count(pile *to, uint8_t few, uint8_t many, Py_ssize_t count)
{
    if ((uint64_t)count > UINT32_MAX || !has_room(to, NUMBER_BYTES))
        return 0;
    to->size += put_head(to->data + to->size, few, many, count);
    return 1;
}

static int put_value(PyObject *value, pile *to, int depth);

/* A tuple or a list, as a list. */
static int put_items(PyObject *values, pile *to, int depth)
{
    int is_tuple = PyTuple_CheckExact(values);
    Py_ssize_t count = is_tuple ? PyTuple_Size(values) : PyList_Size(values);
    if (!depth || !put_count(to, 0x90, 0xdc, count))
        return 0;
    for (Py_ssize_t n = 0; n < count; n++) {
        PyObject *value = is_tuple ? PyTuple_GetItem(values, n) : PyList_GetItem(values, n);
        if (!put_value(value, to, depth - 1))
            return 0;
    }
    return 1;
}

static int put_map(PyObject *map, pile *to, int depth)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    if (!depth || !put_count(to, 0x80, 0xde, PyDict_Size(map)))
        return 0;
    while (PyDict_Next(map, &at, &key, &value)) {
        if (!PyUnicode_CheckExact(key) || !put_value(key, to, 0) ||
            !put_value(value, to, depth - 1))
            return 0;
    }
    return 1;
}

/* Whether it was written; else leave it to msgpack.  No error is left behind.  Nothing in here runs
 * Python, so no list or map changes meanwhile. */
static int put_value(PyObject *value, pile *to, int depth)
{
    if (!has_room(to, NUMBER_BYTES))
        return 0;
    uint8_t *at = to->data + to->size;
    if (PyBytes_CheckExact(value))
        return put_text(to, PyBytes_AsString(value), (size_t)PyBytes_Size(value), 1);
    if (PyLong_CheckExact(value)) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (!overflow)
            to->size += put_signed(at, number);
        return !overflow;
    }
    if (value == Py_None) {
        to->size += put_number(at, 0xc0, 0, 0);
        return 1;
    }
    if (value == Py_True || value == Py_False) {
        to->size += put_number(at, value == Py_True ? 0xc3 : 0xc2, 0, 0);
        return 1;
    }
    if (PyUnicode_CheckExact(value)) {
        Py_ssize_t size;
        const char *text = PyUnicode_AsUTF8AndSize(value, &size);
        if (text)
            return put_text(to, text, (size_t)size, 0);
        PyErr_Clear();
        return 0;
    }
    if (PyFloat_CheckExact(value)) {
        double number = PyFloat_AsDouble(value);
        uint64_t bits;
        memcpy(&bits, &number, 8);
        to->size += put_number(at, 0xcb, bits, 8);
        return 1;
    }
    if (PyList_CheckExact(value))
        return put_items(value, to, depth);
    return PyDict_CheckExact(value) ? put_map(value, to, depth) : 0;
}

static PyObject *bytes_of_pile(pile *from, int good)
{
    PyObject *made = Py_None;
    if (good)
        made = PyBytes_FromStringAndSize((const char *)from->data, (Py_ssize_t)from->size);
    else
        Py_INCREF(made);
    end_pile(from);
    return made;
}

static PyObject *pack_simple(PyObject *self, PyObject *value)
{
    pile packed;
    (void)self;
    begin_pile(&packed, SIMPLE_BYTES);
    return bytes_of_pile(&packed, put_value(value, &packed, SIMPLE_DEPTH));
}

static PyObject *pack_items(PyObject *self, PyObject *values)
{
    pile packed;
    (void)self;
    if (!PyTuple_CheckExact(values) && !PyList_CheckExact(values))
        Py_RETURN_NONE;
    begin_pile(&packed, SIMPLE_BYTES);
    return bytes_of_pile(&packed, put_items(values, &packed, SIMPLE_DEPTH));
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

/* Where a value is read; `left` bounds the items that lists and maps may tell in all, so that what
 * they make room for is no more than what is there. */
typedef struct {
    const uint8_t *at, *end;
    uint64_t left;
} reading;

static PyObject *take_value(reading *from, int depth);

static PyObject *take_list(reading *from, uint64_t count, int depth)
{
    PyObject *found = PyList_New((Py_ssize_t)count);
    for (uint64_t n = 0; found && n < count; n++) {
        PyObject *value = take_value(from, depth);
        if (!value) {
            Py_DECREF(found);
            return NULL;
        }
        PyList_SetItem(found, (Py_ssize_t)n, value);
    }
    return found;
}

static PyObject *take_map(reading *from, uint64_t count, int depth)
{
    PyObject *found = PyDict_New();
    for (uint64_t n = 0; found && n < count; n++) {
        PyObject *key = take_value(from, 0), *value = NULL;
        if (key && PyUnicode_CheckExact(key))
            value = take_value(from, depth);
        if (!value || PyDict_SetItem(found, key, value) < 0) {
            Py_DECREF(found);
            found = NULL;
        }
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return found;
}

/* Read one value.  NULL without an error: leave it to msgpack. */
static PyObject *take_value(reading *from, int depth)
{
    size_t left = (size_t)(from->end - from->at);
    if (!left)
        return NULL;
    const uint8_t *at = from->at;
    token kind = token_of(*at);
    size_t head = 1u + kind.width;
    if (left < head)
        return NULL;
    if (kind.what == SCALAR) {
        from->at += head;
        return number_of(*at, at + 1, kind.width);
    }
    uint64_t told = kind.width ? read_big_endian(at + 1, kind.width) : kind.fixed;
    if (kind.what == ITEMS) {
        int is_map = *at < 0x90 || *at >= 0xde;
        uint64_t items = is_map && kind.width ? 2 * told : told;
        if (!depth || items > from->left)
            return NULL;
        from->left -= items;
        from->at += head;
        return is_map ? take_map(from, items / 2, depth - 1) : take_list(from, items, depth - 1);
    }
    if (kind.what != BYTES || told > left - head)
        return NULL;
    from->at += head + told;
    if (*at >= 0xc4 && *at <= 0xc6)
        return bytes_of(at + head, told);
    PyObject *text = PyUnicode_DecodeUTF8((const char *)at + head, (Py_ssize_t)told, NULL);
    if (!text && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        PyErr_Clear();
    return text;
}

/* The value that fills the data, or NULL; without an error: leave it to msgpack. */
static PyObject *read_simple(PyObject *data)
{
    if (!PyBytes_CheckExact(data) || PyBytes_Size(data) > SIMPLE_BYTES)
        return NULL;
    const uint8_t *begin_at = (const uint8_t *)PyBytes_AsString(data);
    reading from = {begin_at, begin_at + PyBytes_Size(data), (uint64_t)PyBytes_Size(data)};
    PyObject *value = take_value(&from, SIMPLE_DEPTH);
    if (value && from.at != from.end) {
        Py_DECREF(value);
        value = NULL;
    }
    return value;
}

static PyObject *unpack_simple(PyObject *self, PyObject *data)
{
    (void)self;
    PyObject *value = read_simple(data);
    if (value || PyErr_Occurred())
        return value;
    Py_INCREF(Py_NotImplemented);
    return Py_NotImplemented;
}

static PyObject *unpack_items(PyObject *self, PyObject *data)
{
    (void)self;
    PyObject *value = read_simple(data);
    if (value && !PyList_CheckExact(value)) {
        Py_DECREF(value);
        value = NULL;
    }
    if (value || PyErr_Occurred())
        return value;
    Py_RETURN_NONE;
}
