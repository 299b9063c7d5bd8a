/* Rows of a frame with the columns that somebody reads, and no others. */

/* The numbers of Column in layout.py. */
enum {
    COLUMN_KIND,
    COLUMN_FLAGS,
    COLUMN_CODE,
    COLUMN_ARGC,
    COLUMN_ID,
    COLUMN_FLOW,
    COLUMN_PARENT,
    COLUMN_ATTEMPT,
    COLUMN_NUMBER,
    COLUMN_START,
    COLUMN_BODY_AT,
    COLUMN_END,
    COLUMN_NAME,
    COLUMN_TEXT,
    COLUMN_OPTIONS,
    COLUMN_BODY,
    COLUMN_ENVELOPE,
    COLUMNS
};

enum { OUTSIDE_BYTES = 64 * 1024 }; /* Larger frames are checked without the interpreter's lock. */

static mesh_limits limits = {0, 0, 0, 0};

static PyObject *begin(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    unsigned long long numbers[4];
    (void)self;
    if (count != 4)
        return PyErr_Format(PyExc_TypeError, "begin takes 4 numbers, not %zd", count);
    for (int n = 0; n < 4; n++) {
        numbers[n] = PyLong_AsUnsignedLongLong(given[n]);
        if (PyErr_Occurred())
            return NULL;
    }
    limits.frame_bytes_max = numbers[0];
    limits.body_bytes_max = numbers[1];
    limits.meta_bytes_max = (uint32_t)numbers[2];
    limits.envelopes_max = (uint32_t)numbers[3];
    Py_RETURN_NONE;
}

/* What the row before gave, for what is often the same again: one object in place of many. */
typedef struct {
    PyObject *made; /* Borrowed: the row has it, and the list the row. */
    const uint8_t *at;
    size_t size;
} last_one;

static PyObject *again(last_one *last, const uint8_t *at, size_t size)
{
    if (!last->made || last->size != size || memcmp(last->at, at, size))
        return NULL;
    Py_INCREF(last->made);
    return last->made;
}

static PyObject *keep(last_one *last, PyObject *made, const uint8_t *at, size_t size)
{
    last->made = made;
    last->at = at;
    last->size = size;
    return made;
}

static PyObject *bytes_of(const uint8_t *at, size_t size)
{
    return PyBytes_FromStringAndSize((const char *)at, (Py_ssize_t)size);
}

static PyObject *shared_bytes(last_one *last, const uint8_t *at, size_t size)
{
    PyObject *made = again(last, at, size);
    return made ? made : keep(last, bytes_of(at, size), at, size);
}

static PyObject *shared_text(last_one *last, const uint8_t *at, size_t size)
{
    PyObject *made = again(last, at, size);
    if (made)
        return made;
    made = PyUnicode_DecodeUTF8((const char *)at, (Py_ssize_t)size, "replace");
    return keep(last, made, at, size);
}

/* One column of the row of an envelope (`write_row`). */
static PyObject *column_of(uint8_t column, const uint8_t *buf, const uint8_t *row, last_one *last)
{
    uint32_t attempt, offsets[5]; /* start, name, meta, body, end */
    uint64_t number;
    memcpy(offsets, row + 64, sizeof offsets);
    switch (column) {
    case COLUMN_KIND:
    case COLUMN_FLAGS:
    case COLUMN_CODE:
    case COLUMN_ARGC:
        return PyLong_FromLong(row[column]);
    case COLUMN_ID:
        return keep(last + COLUMN_ID, bytes_of(row + 4, 16), row + 4, 16);
    case COLUMN_FLOW:
        if (again(last + COLUMN_ID, row + 20, 16))
            return last[COLUMN_ID].made; /* Its reference was taken. */
        return shared_bytes(last + COLUMN_FLOW, row + 20, 16);
    case COLUMN_PARENT:
        return shared_bytes(last + COLUMN_PARENT, row + 36, 16);
    case COLUMN_ATTEMPT:
        memcpy(&attempt, row + 52, 4);
        return PyLong_FromUnsignedLong(attempt);
    case COLUMN_NUMBER:
        memcpy(&number, row + 56, 8);
        return PyLong_FromUnsignedLongLong(number);
    case COLUMN_START:
        return PyLong_FromUnsignedLong(offsets[0]);
    case COLUMN_BODY_AT:
        return PyLong_FromUnsignedLong(offsets[3]);
    case COLUMN_END:
        return PyLong_FromUnsignedLong(offsets[4]);
    case COLUMN_NAME:
        return shared_bytes(last + COLUMN_NAME, buf + offsets[1], offsets[2] - offsets[1]);
    case COLUMN_TEXT:
        return shared_text(last + COLUMN_TEXT, buf + offsets[1], offsets[2] - offsets[1]);
    case COLUMN_OPTIONS:
        if (offsets[2] == offsets[3]) {
            Py_INCREF(Py_None);
            return Py_None;
        }
        return bytes_of(buf + offsets[2], offsets[3] - offsets[2]);
    case COLUMN_BODY:
        return bytes_of(buf + offsets[3], offsets[4] - offsets[3]);
    case COLUMN_ENVELOPE:
        return bytes_of(buf + offsets[0], offsets[4] - offsets[0]);
    default:
        return PyErr_Format(PyExc_ValueError, "no column %d", (int)column);
    }
}

/* A list of tuples; `last` is of the row before. */
static PyObject *rows_of(const uint8_t *buf, const uint8_t *rows, Py_ssize_t count,
                         const uint8_t *columns, Py_ssize_t wide)
{
    last_one last[COLUMNS];
    PyObject *found = PyList_New(count);
    if (!found)
        return NULL;
    memset(last, 0, sizeof last);
    for (Py_ssize_t n = 0; n < count; n++) {
        const uint8_t *row = rows + (size_t)n * PACKED_ROW_BYTES;
        PyObject *tuple = PyTuple_New(wide);
        if (!tuple) {
            Py_DECREF(found);
            return NULL;
        }
        PyList_SetItem(found, n, tuple);
        last[COLUMN_ID].made = NULL; /* Of this row alone. */
        for (Py_ssize_t at = 0; at < wide; at++) {
            PyObject *made = column_of(columns[at], buf, row, last);
            if (!made) {
                Py_DECREF(found);
                return NULL;
            }
            PyTuple_SetItem(tuple, at, made);
        }
    }
    return found;
}

/* One byte of each row: its kind, or its flags. */
static PyObject *bytes_of_rows(const uint8_t *rows, Py_ssize_t count, int at)
{
    PyObject *found = PyBytes_FromStringAndSize(NULL, count);
    if (found) {
        char *to = PyBytes_AsString(found);
        for (Py_ssize_t n = 0; n < count; n++)
            to[n] = (char)rows[(size_t)n * PACKED_ROW_BYTES + (size_t)at];
    }
    return found;
}

static PyObject *answer(const uint8_t *buf, const uint8_t *rows, Py_ssize_t count,
                        const uint8_t *columns, Py_ssize_t wide)
{
    PyObject *found = PyTuple_New(3);
    if (!found)
        return NULL;
    PyObject *parts[3] = {
        rows_of(buf, rows, count, columns, wide),
        bytes_of_rows(rows, count, COLUMN_KIND),
        bytes_of_rows(rows, count, COLUMN_FLAGS),
    };
    int is_whole = parts[0] && parts[1] && parts[2];
    for (int n = 0; n < 3; n++)
        PyTuple_SetItem(found, n, parts[n]);
    if (is_whole)
        return found;
    Py_DECREF(found);
    return NULL;
}

static PyObject *fault_of(int32_t code, const mesh_fault *fault)
{
    return Py_BuildValue("iKKK", (int)-code, (unsigned long long)fault->offset,
                         (unsigned long long)fault->found, (unsigned long long)fault->expected);
}

/* A frame is checked; its packed rows, to be freed, or NULL with an exception.  `count` is negative
 * where `fault` is. */
static uint8_t *checked_rows(const Py_buffer *frame, int32_t *count, mesh_fault *fault)
{
    const uint8_t *buf = frame->buf;
    size_t size = (size_t)frame->len;
    uint32_t rows_max = 0;
    if (size >= FRAME_HEADER_BYTES) { /* As many as the header tells, and as can be there. */
        rows_max = read_u32(buf + 8);
        if (rows_max > limits.envelopes_max || rows_max > size / ENVELOPE_HEADER_BYTES)
            rows_max = 0; /* It lies: `mesh_index` says so before it writes a row. */
    }
    uint8_t *rows = PyMem_Malloc(rows_max ? (size_t)rows_max * PACKED_ROW_BYTES : 1);
    if (!rows) {
        PyErr_NoMemory();
    } else if (size < OUTSIDE_BYTES) {
        *count = mesh_index(buf, size, rows, rows_max, &limits, fault);
    } else {
        Py_BEGIN_ALLOW_THREADS;
        *count = mesh_index(buf, size, rows, rows_max, &limits, fault);
        Py_END_ALLOW_THREADS;
    }
    return rows;
}

static PyObject *pick_from(const Py_buffer *frame, const uint8_t *columns, Py_ssize_t wide)
{
    mesh_fault fault;
    int32_t count;
    uint8_t *rows = checked_rows(frame, &count, &fault);
    if (!rows)
        return NULL;
    PyObject *found =
        count >= 0 ? answer(frame->buf, rows, count, columns, wide) : fault_of(count, &fault);
    PyMem_Free(rows);
    return found;
}

static PyObject *pick(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    Py_buffer frame;
    char *columns;
    Py_ssize_t wide;
    (void)self;
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "pick takes a frame and columns, not %zd", count);
    if (PyBytes_AsStringAndSize(given[1], &columns, &wide) < 0)
        return NULL;
    if (PyObject_GetBuffer(given[0], &frame, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *found = pick_from(&frame, (const uint8_t *)columns, wide);
    PyBuffer_Release(&frame);
    return found;
}

/* scan(data, objects, depth_max): None, or four numbers of a fault. */
static PyObject *scan(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    Py_buffer data;
    mesh_fault fault;
    int32_t code;
    (void)self;
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "scan takes 3 arguments, not %zd", count);
    unsigned long objects = PyLong_AsUnsignedLong(given[1]);
    unsigned long depth_max = PyErr_Occurred() ? 0 : PyLong_AsUnsignedLong(given[2]);
    if (PyErr_Occurred() || PyObject_GetBuffer(given[0], &data, PyBUF_SIMPLE) < 0)
        return NULL;
    if (data.len < OUTSIDE_BYTES) {
        code = mesh_scan(data.buf, (size_t)data.len, (uint32_t)objects, (uint32_t)depth_max,
                         &fault);
    } else {
        Py_BEGIN_ALLOW_THREADS;
        code = mesh_scan(data.buf, (size_t)data.len, (uint32_t)objects, (uint32_t)depth_max,
                         &fault);
        Py_END_ALLOW_THREADS;
    }
    PyBuffer_Release(&data);
    if (code < 0)
        return fault_of(code, &fault);
    Py_RETURN_NONE;
}
