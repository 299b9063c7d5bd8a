/* Drafts of calls that are alike. */

enum { ID_AT = 16, FLOW_AT = 32, ATTEMPT_AT = 64, NUMBER_AT = 72, SIZE_AT = 8 };

typedef struct {
    PyObject_HEAD
    PyObject *whole; /* A draft with an empty body. */
} mold;

static void write_u64(uint8_t *at, uint64_t value)
{
    write_u32(at, (uint32_t)value);
    write_u32(at + 4, (uint32_t)(value >> 32));
}

static const uint8_t *id_of(PyObject *given, const char *what)
{
    char *at;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(given, &at, &size) < 0)
        return NULL;
    if (size == ID_BYTES)
        return (const uint8_t *)at;
    PyErr_Format(PyExc_ValueError, "the %s has %zd bytes, an id has 16", what, size);
    return NULL;
}

/* make(id, flow, body, attempt, number) */
static PyObject *mold_make(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    PyObject *whole = ((mold *)self)->whole;
    char *body;
    Py_ssize_t body_size, head_size = PyBytes_Size(whole);
    if (count != 5)
        return PyErr_Format(PyExc_TypeError, "a mold takes 5 arguments, not %zd", count);
    const uint8_t *id = id_of(given[0], "id");
    const uint8_t *flow = id ? id_of(given[1], "flow") : NULL;
    if (!flow || PyBytes_AsStringAndSize(given[2], &body, &body_size) < 0)
        return NULL;
    unsigned long long attempt = PyLong_AsUnsignedLongLong(given[3]);
    unsigned long long number = PyErr_Occurred() ? 0 : PyLong_AsUnsignedLongLong(given[4]);
    if (PyErr_Occurred())
        return NULL;
    if (attempt > UINT32_MAX || (uint64_t)head_size + (uint64_t)body_size > UINT32_MAX)
        return PyErr_Format(PyExc_OverflowError, "attempt %llu or a body of %zd bytes is too large",
                            attempt, body_size);
    PyObject *made = PyBytes_FromStringAndSize(NULL, head_size + body_size);
    if (!made)
        return NULL;
    uint8_t *to = (uint8_t *)PyBytes_AsString(made);
    memcpy(to, PyBytes_AsString(whole), (size_t)head_size);
    write_u32(to + SIZE_AT, (uint32_t)(head_size + body_size));
    memcpy(to + ID_AT, id, ID_BYTES);
    memcpy(to + FLOW_AT, flow, ID_BYTES);
    write_u32(to + ATTEMPT_AT, (uint32_t)attempt);
    write_u64(to + NUMBER_AT, number);
    memcpy(to + head_size, body, (size_t)body_size);
    return made;
}

static PyObject *mold_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *whole;
    (void)keywords;
    if (!PyArg_ParseTuple(args, "S", &whole))
        return NULL;
    if (PyBytes_Size(whole) < ENVELOPE_HEADER_BYTES)
        return PyErr_Format(PyExc_ValueError, "a draft has %d bytes at least, not %zd",
                            (int)ENVELOPE_HEADER_BYTES, PyBytes_Size(whole));
    mold *made = (mold *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (made) {
        Py_INCREF(whole);
        made->whole = whole;
    }
    return (PyObject *)made;
}

static void free_object(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static void mold_free(PyObject *self)
{
    Py_XDECREF(((mold *)self)->whole);
    free_object(self);
}

static PyMethodDef mold_methods[] = {
    {"make", (PyCFunction)(void (*)(void))mold_make, METH_FASTCALL,
     "make(id, flow, body, attempt, number): a draft."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot mold_slots[] = {
    {Py_tp_new, (void *)mold_new},
    {Py_tp_dealloc, (void *)mold_free},
    {Py_tp_methods, mold_methods},
    {Py_tp_doc, "Mold(draft): makes drafts that differ from it in id, flow, body, attempt, number."},
    {0, NULL},
};

static PyType_Spec mold_spec = {
    "meshcode.native._objects.Mold", sizeof(mold), 0, Py_TPFLAGS_DEFAULT, mold_slots,
};

static int add_type(PyObject *to, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);
    if (!type)
        return -1;
    int code = PyModule_AddObjectRef(to, name, type);
    Py_DECREF(type);
    return code;
}
