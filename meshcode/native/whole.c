/* Whole rows of a frame or an envelope, and the checksums of a frame. */

/* A packed row as a tuple, in the order of Row in layout.py. */
static PyObject *whole_row(const uint8_t *row)
{
    uint32_t attempt, places[5]; /* As mesh_index packs them: in the machine's own byte order. */
    uint64_t number;
    memcpy(&attempt, row + 52, sizeof attempt);
    memcpy(&number, row + 56, sizeof number);
    memcpy(places, row + 64, sizeof places);
    return Py_BuildValue("BBBBy#y#y#IKIIIII", row[0], row[1], row[2], row[3],
                         (const char *)row + 4, (Py_ssize_t)ID_BYTES,
                         (const char *)row + 20, (Py_ssize_t)ID_BYTES,
                         (const char *)row + 36, (Py_ssize_t)ID_BYTES,
                         (unsigned)attempt, (unsigned long long)number,
                         (unsigned)places[0], (unsigned)places[1], (unsigned)places[2],
                         (unsigned)places[3], (unsigned)places[4]);
}

/* index(frame): a list of rows, or four numbers of a fault. */
static PyObject *index_frame(PyObject *self, PyObject *given)
{
    Py_buffer frame;
    mesh_fault fault;
    int32_t count;
    (void)self;
    if (PyObject_GetBuffer(given, &frame, PyBUF_SIMPLE) < 0)
        return NULL;
    uint8_t *rows = checked_rows(&frame, &count, &fault);
    PyBuffer_Release(&frame);
    if (!rows)
        return NULL;
    PyObject *found = count >= 0 ? PyList_New(count) : fault_of(count, &fault);
    for (int32_t n = 0; found && n < count; n++) {
        PyObject *row = whole_row(rows + (size_t)n * PACKED_ROW_BYTES);
        if (!row)
            Py_CLEAR(found);
        else
            PyList_SetItem(found, n, row);
    }
    PyMem_Free(rows);
    return found;
}

/* check(envelope): a row, or four numbers of a fault. */
static PyObject *check_envelope(PyObject *self, PyObject *given)
{
    Py_buffer envelope;
    mesh_fault fault;
    uint8_t row[PACKED_ROW_BYTES];
    (void)self;
    if (PyObject_GetBuffer(given, &envelope, PyBUF_SIMPLE) < 0)
        return NULL;
    int32_t code = mesh_check(envelope.buf, (size_t)envelope.len, row, &limits, &fault);
    PyBuffer_Release(&envelope);
    return code < 0 ? fault_of(code, &fault) : whole_row(row);
}

/* seal(frame): None, or four numbers of a fault. */
static PyObject *seal(PyObject *self, PyObject *given)
{
    Py_buffer frame;
    mesh_fault fault;
    int32_t code;
    (void)self;
    if (PyObject_GetBuffer(given, &frame, PyBUF_WRITABLE) < 0)
        return NULL;
    if (frame.len < OUTSIDE_BYTES) {
        code = mesh_seal(frame.buf, (size_t)frame.len, &fault);
    } else {
        Py_BEGIN_ALLOW_THREADS;
        code = mesh_seal(frame.buf, (size_t)frame.len, &fault);
        Py_END_ALLOW_THREADS;
    }
    PyBuffer_Release(&frame);
    return code < 0 ? fault_of(code, &fault) : Py_NewRef(Py_None);
}

/* crc32(data, start) */
static PyObject *checksum(PyObject *self, PyObject *args)
{
    Py_buffer data;
    unsigned long start;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*k", &data, &start))
        return NULL;
    uint32_t found = mesh_crc32((uint32_t)start, data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(found);
}
