/* The two call slots of a control page: worker/control.py has the page.
 *
 * A slot is written before the count that publishes it, and a reader in another process, which looks
 * at the count before and after, must see them in that order. */

enum { SLOTS_AT = 64, SLOT_BYTES = 32, BEGUN_AT = 16, FINISHED_AT = 24 };

typedef struct {
    PyObject_HEAD
    Py_buffer page;
    uint64_t begun;
    int is_open;
} slots;

static int is_closed(const slots *self)
{
    if (self->is_open)
        return 0;
    PyErr_SetString(PyExc_ValueError, "the control page is closed");
    return 1;
}

static void publish(const slots *self, size_t at, uint64_t value)
{
    __atomic_store_n((uint64_t *)((uint8_t *)self->page.buf + at), value, __ATOMIC_RELEASE);
}

/* begin(id, attempt, now_ns) */
static PyObject *slots_begin(PyObject *object, PyObject *const *given, Py_ssize_t count)
{
    slots *self = (slots *)object;
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "begin takes 3 arguments, not %zd", count);
    if (is_closed(self))
        return NULL;
    const uint8_t *id = id_of(given[0], "id");
    if (!id)
        return NULL;
    unsigned long attempt = PyLong_AsUnsignedLong(given[1]);
    unsigned long long now_ns = PyErr_Occurred() ? 0 : PyLong_AsUnsignedLongLong(given[2]);
    if (PyErr_Occurred())
        return NULL;
    uint32_t numbers[2] = {(uint32_t)attempt, 0};
    uint64_t began_ns = now_ns;
    self->begun++;
    uint8_t *slot = (uint8_t *)self->page.buf + SLOTS_AT + (self->begun & 1) * SLOT_BYTES;
    memcpy(slot, id, ID_BYTES);
    memcpy(slot + 16, numbers, 8);
    memcpy(slot + 24, &began_ns, 8);
    publish(self, BEGUN_AT, self->begun);
    Py_RETURN_NONE;
}

static PyObject *slots_finish(PyObject *object, PyObject *ignored)
{
    slots *self = (slots *)object;
    (void)ignored;
    if (is_closed(self))
        return NULL;
    publish(self, FINISHED_AT, self->begun);
    Py_RETURN_NONE;
}

static PyObject *slots_close(PyObject *object, PyObject *ignored)
{
    slots *self = (slots *)object;
    (void)ignored;
    if (self->is_open) {
        self->is_open = 0;
        PyBuffer_Release(&self->page);
    }
    Py_RETURN_NONE;
}

static PyObject *slots_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *page;
    (void)keywords;
    if (!PyArg_ParseTuple(args, "O", &page))
        return NULL;
    slots *made = (slots *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (!made)
        return NULL;
    if (PyObject_GetBuffer(page, &made->page, PyBUF_WRITABLE) < 0) {
        Py_DECREF(made);
        return NULL;
    }
    made->is_open = 1;
    if (made->page.len < SLOTS_AT + 2 * SLOT_BYTES || (uintptr_t)made->page.buf % 8) {
        Py_ssize_t size = made->page.len;
        Py_DECREF(made);
        return PyErr_Format(PyExc_ValueError, "%zd bytes are no control page", size);
    }
    made->begun = *(const uint64_t *)((const uint8_t *)made->page.buf + BEGUN_AT);
    return (PyObject *)made;
}

static void slots_free(PyObject *object)
{
    slots *self = (slots *)object;
    if (self->is_open)
        PyBuffer_Release(&self->page);
    free_object(object);
}

static PyMethodDef slots_methods[] = {
    {"begin", (PyCFunction)(void (*)(void))slots_begin, METH_FASTCALL,
     "begin(id, attempt, now_ns): a call begins."},
    {"finish", slots_finish, METH_NOARGS, "finish(): it has its outcome."},
    {"close", slots_close, METH_NOARGS, "close(): let go of the page."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots_slots[] = {
    {Py_tp_new, (void *)slots_new},
    {Py_tp_dealloc, (void *)slots_free},
    {Py_tp_methods, slots_methods},
    {Py_tp_doc, "Slots(page): the call slots of a control page."},
    {0, NULL},
};

static PyType_Spec slots_spec = {
    "meshcode.native._objects.Slots", sizeof(slots), 0, Py_TPFLAGS_DEFAULT, slots_slots,
};
