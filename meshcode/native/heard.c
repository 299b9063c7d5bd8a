/* Whether what a peer says of calls is plain: nearly all of it, so it is looked at here.
 *
 * The same as `meshcode.router.heardmany`, for whole batches; only shapes, and no object is made.
 * "No" says only that not all are plain: then each is looked at by itself. */

enum {
    WORD_STORE = 50, /* Kind in kinds.py. */
    WORD_PROPOSE = 54,
    ENVELOPE_SUBMIT = 2,
    ENVELOPE_OUTCOME = 13,
    OUTCOME_FIRST = 1, /* Outcome in kinds.py: those that end a call. */
    OUTCOME_LAST = 3,
    FLAG_RETRY = 8, /* Flag in kinds.py. */
    KEY_SIZE = 2 * ID_BYTES + 2,
};

#define NUMBER_MOST 0x7fffffffLL /* Boots, counters and attempts. */
#define WHOLE_MOST 0x7fffffffffffffffLL

/* The bytes of an exact `bytes` of that size; NULL where it is none. */
static const uint8_t *bytes_sized(PyObject *value, Py_ssize_t size)
{
    if (Py_TYPE(value) != &PyBytes_Type || PyBytes_Size(value) != size)
        return NULL;
    return (const uint8_t *)PyBytes_AsString(value);
}

static int is_list(PyObject *value, Py_ssize_t size)
{
    return Py_TYPE(value) == &PyList_Type && PyList_Size(value) == size;
}

static int is_whole(PyObject *value, long long most)
{
    int over = 0;
    if (Py_TYPE(value) != &PyLong_Type)
        return 0;
    long long found = PyLong_AsLongLongAndOverflow(value, &over);
    return !over && found >= 0 && found <= most;
}

/* One voter, or three that differ. */
static int is_group(PyObject *value)
{
    const uint8_t *at = bytes_sized(value, 3 * ID_BYTES);
    if (!at)
        return bytes_sized(value, ID_BYTES) != NULL;
    return memcmp(at, at + ID_BYTES, ID_BYTES) && memcmp(at, at + 2 * ID_BYTES, ID_BYTES) &&
           memcmp(at + ID_BYTES, at + 2 * ID_BYTES, ID_BYTES);
}

static int is_epoch(PyObject *value)
{
    return is_list(value, 3) && is_whole(PyList_GetItem(value, 0), NUMBER_MOST) &&
           bytes_sized(PyList_GetItem(value, 1), ID_BYTES) &&
           is_whole(PyList_GetItem(value, 2), NUMBER_MOST);
}

/* A whole envelope of that kind and call, without options; and of that code, if one is given. */
static int is_envelope(PyObject *value, int kind, const uint8_t *id, int code)
{
    uint8_t row[PACKED_ROW_BYTES];
    uint32_t offsets[5];
    mesh_fault fault;
    if (Py_TYPE(value) != &PyBytes_Type)
        return 0;
    const uint8_t *at = (const uint8_t *)PyBytes_AsString(value);
    if (mesh_check(at, (size_t)PyBytes_Size(value), row, &limits, &fault) < 0)
        return 0;
    memcpy(offsets, row + 64, sizeof offsets);
    if (row[0] != kind || memcmp(row + 4, id, ID_BYTES) || offsets[2] != offsets[3] ||
        (code && row[2] != code))
        return 0;
    if (offsets[1] < offsets[2] && at[offsets[1]] == '@')
        return 0;
    for (uint32_t n = offsets[1]; n < offsets[2]; n++)
        if (at[n] & 0x80)
            return 0;
    return 1;
}

/* What is said beside an outcome: attempt, started_ms, and no story.  -1 with an exception. */
static int is_history(PyObject *note)
{
    static PyObject *names[3];
    static const char *const texts[3] = {"attempt", "started_ms", "story"};
    PyObject *found[3];
    if (Py_TYPE(note) != &PyDict_Type)
        return 0;
    for (int n = 0; n < 3; n++) {
        if (!names[n] && !(names[n] = PyUnicode_InternFromString(texts[n])))
            return -1;
        found[n] = PyDict_GetItemWithError(note, names[n]);
        if (!found[n])
            return PyErr_Occurred() ? -1 : 0;
    }
    return is_whole(found[0], NUMBER_MOST) && is_whole(found[1], WHOLE_MOST) &&
           is_list(found[2], 0);
}

static int is_plain_value(PyObject *value, const uint8_t *id)
{
    if (!is_list(value, 4))
        return 0;
    PyObject *code = PyList_GetItem(value, 0);
    if (!is_whole(code, OUTCOME_LAST) || !is_list(PyList_GetItem(value, 2), 0))
        return 0;
    long told = PyLong_AsLong(code);
    if (told < OUTCOME_FIRST ||
        !is_envelope(PyList_GetItem(value, 1), ENVELOPE_OUTCOME, id, (int)told))
        return 0;
    return is_history(PyList_GetItem(value, 3));
}

static int is_plain_store(PyObject *entry, const uint8_t *key)
{
    return is_whole(PyList_GetItem(entry, 3), WHOLE_MOST) && PyList_GetItem(entry, 4) == Py_None &&
           is_envelope(PyList_GetItem(entry, 5), ENVELOPE_SUBMIT, key, 0) &&
           PyList_GetItem(entry, 6) == Py_None;
}

static int is_plain_proposal(PyObject *entry, const uint8_t *key)
{
    if (PyList_GetItem(entry, 3) != Py_None || !is_epoch(PyList_GetItem(entry, 4)))
        return 0;
    return is_plain_value(PyList_GetItem(entry, 5), key);
}

/* -1 with an exception. */
static int is_plain_word(PyObject *entry, int is_store)
{
    if (!is_list(entry, is_store ? 7 : 6))
        return 0;
    const uint8_t *key = bytes_sized(PyList_GetItem(entry, 0), KEY_SIZE);
    if (!key || !is_group(PyList_GetItem(entry, 1)) ||
        !is_whole(PyList_GetItem(entry, 2), NUMBER_MOST))
        return 0;
    return is_store ? is_plain_store(entry, key) : is_plain_proposal(entry, key);
}

/* plain_words(kind, entries): whether all are plain; None for kinds that are not looked at here. */
static PyObject *plain_words(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    (void)self;
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "plain_words takes 2 arguments, not %zd", count);
    long kind = PyLong_AsLong(given[0]);
    if (kind == -1 && PyErr_Occurred())
        return NULL;
    if ((kind != WORD_STORE && kind != WORD_PROPOSE) || Py_TYPE(given[1]) != &PyList_Type)
        Py_RETURN_NONE;
    for (Py_ssize_t n = 0; n < PyList_Size(given[1]); n++) {
        int plain = is_plain_word(PyList_GetItem(given[1], n), kind == WORD_STORE);
        if (plain < 0)
            return NULL;
        if (!plain)
            Py_RETURN_FALSE;
    }
    Py_RETURN_TRUE;
}

/* The outcomes in a frame that was checked: whether each is as nearly all of a worker are. */
static int are_reports(const uint8_t *buf, size_t size, const uint8_t *meta, size_t meta_size,
                       uint64_t us_most)
{
    size_t at = FRAME_HEADER_BYTES;
    while (at < size) {
        const uint8_t *envelope = buf + at;
        size_t left = size - at, least = ENVELOPE_HEADER_BYTES + meta_size;
        if (left < least)
            return 0;
        size_t envelope_size = read_u32(envelope + 8);
        if (envelope_size < least || envelope_size > left)
            return 0;
        if (envelope[3] != ENVELOPE_OUTCOME || (envelope[12] & ~FLAG_RETRY) ||
            envelope[13] < OUTCOME_FIRST || envelope[13] > OUTCOME_LAST || envelope[15])
            return 0;
        if (read_u32(envelope + 68) != meta_size || read_u64(envelope + 72) > us_most ||
            memcmp(envelope + ENVELOPE_HEADER_BYTES, meta, meta_size))
            return 0;
        at += envelope_size;
    }
    return 1;
}

/* plain_reports(frame, meta, us_most): whether all envelopes of a checked frame are outcomes that a
 * worker may report, with this meta, none after more microseconds. */
static PyObject *plain_reports(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    char *buf, *meta;
    Py_ssize_t size, meta_size;
    (void)self;
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "plain_reports takes 3 arguments, not %zd", count);
    if (PyBytes_AsStringAndSize(given[0], &buf, &size) < 0 ||
        PyBytes_AsStringAndSize(given[1], &meta, &meta_size) < 0)
        return NULL;
    unsigned long long us_most = PyLong_AsUnsignedLongLong(given[2]);
    if (PyErr_Occurred())
        return NULL;
    return PyBool_FromLong(are_reports((const uint8_t *)buf, (size_t)size, (const uint8_t *)meta,
                                       (size_t)meta_size, us_most));
}
