/* Rows that a read of the log has found: cut, checked, and made keys and values. */

enum { CHECK_BYTES = 4 };
#define PLAIN_RESIDUE 0x2144df1cu /* The CRC-32 of anything and its own CRC-32 behind it. */

/* The key and the value of a row; None for a value whose check is not that of a plain record. */
static PyObject *open_row(const uint8_t *at, uint64_t key, uint64_t stored, uint32_t seed)
{
    int good = stored >= CHECK_BYTES &&
               crc32_more(seed, at, (size_t)(key + stored)) == PLAIN_RESIDUE;
    PyObject *row = PyTuple_New(2);
    PyObject *name = PyBytes_FromStringAndSize((const char *)at, (Py_ssize_t)key);
    PyObject *value = Py_None;
    if (good)
        value = PyBytes_FromStringAndSize((const char *)at + key,
                                          (Py_ssize_t)(stored - CHECK_BYTES));
    else
        Py_INCREF(value);
    if (!row || !name || !value) {
        Py_XDECREF(row);
        Py_XDECREF(name);
        Py_XDECREF(value);
        return NULL;
    }
    PyTuple_SetItem(row, 0, name);
    PyTuple_SetItem(row, 1, value);
    return row;
}

/* open_rows(data, sizes, seed): keys and stored values lie in `data` in turns, their sizes, u64, in
 * `sizes`; `seed` is the checksum of their table. */
static PyObject *open_rows(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    char *data, *sizes;
    Py_ssize_t data_size, sizes_size;
    (void)self;
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "open_rows takes 3 arguments, not %zd", count);
    if (PyBytes_AsStringAndSize(given[0], &data, &data_size) < 0 ||
        PyBytes_AsStringAndSize(given[1], &sizes, &sizes_size) < 0)
        return NULL;
    unsigned long long seed = PyLong_AsUnsignedLongLong(given[2]);
    if (seed == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    PyObject *rows = PyList_New(sizes_size / 16);
    uint64_t left = (uint64_t)data_size;
    const uint8_t *at = (const uint8_t *)data;
    for (Py_ssize_t n = 0; rows && n < sizes_size / 16; n++) {
        uint64_t key, stored;
        memcpy(&key, sizes + 16 * n, 8);
        memcpy(&stored, sizes + 16 * n + 8, 8);
        PyObject *row = NULL;
        if (key <= left && stored <= left - key)
            row = open_row(at, key, stored, (uint32_t)seed);
        else
            PyErr_Format(PyExc_ValueError, "row %zd is longer than what is left of the data", n);
        if (!row) {
            Py_DECREF(rows);
            return NULL;
        }
        PyList_SetItem(rows, n, row);
        at += key + stored;
        left -= key + stored;
    }
    return rows;
}
