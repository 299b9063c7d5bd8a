/* Batches for the log: records of ended calls, the last change of each key, and all of it in one
 * piece for `mesh_store_write` (staging.c). */

enum { DONE_HEAD_BYTES = 48, RECORD_VERSION = 1 };
enum {
    KEY_BYTES = 2 * ID_BYTES + 2,
    EPOCH_BYTES = ID_BYTES + 8,
    VOTE_HEAD_BYTES = 9 + KEY_BYTES + 2 * EPOCH_BYTES,
    VOTE_VERSION = 2
};

/* The first arguments of a function.  An error is left behind. */
static int read_numbers(PyObject *const *given, unsigned long long *numbers, int count)
{
    for (int n = 0; n < count; n++) {
        numbers[n] = PyLong_AsUnsignedLongLong(given[n]);
        if (numbers[n] == (unsigned long long)-1 && PyErr_Occurred())
            return -1;
    }
    return 0;
}

/* pack_done(code, attempts, accepted_ms, started_ms, finished_ms, sequence, outcome, submit):
 * router/records.py has the header. */
static PyObject *pack_done(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    unsigned long long numbers[6];
    char *outcome, *submit;
    Py_ssize_t outcome_size, submit_size;
    (void)self;
    if (count != 8)
        return PyErr_Format(PyExc_TypeError, "pack_done takes 8 arguments, not %zd", count);
    if (read_numbers(given, numbers, 6) < 0 ||
        PyBytes_AsStringAndSize(given[6], &outcome, &outcome_size) < 0 ||
        PyBytes_AsStringAndSize(given[7], &submit, &submit_size) < 0)
        return NULL;
    if (numbers[0] > UINT8_MAX || numbers[1] > UINT32_MAX || outcome_size > INT32_MAX ||
        submit_size > INT32_MAX)
        return PyErr_Format(PyExc_OverflowError, "code %llu, attempts %llu or an envelope is too "
                            "large for a record", numbers[0], numbers[1]);
    PyObject *made = PyBytes_FromStringAndSize(NULL, DONE_HEAD_BYTES + outcome_size + submit_size);
    if (!made)
        return NULL;
    uint8_t *to = (uint8_t *)PyBytes_AsString(made);
    to[0] = RECORD_VERSION;
    to[1] = (uint8_t)numbers[0];
    to[2] = to[3] = 0;
    write_u32(to + 4, (uint32_t)numbers[1]);
    for (int n = 0; n < 4; n++)
        write_u64(to + 8 + 8 * n, numbers[2 + n]);
    write_u32(to + 40, (uint32_t)outcome_size);
    write_u32(to + 44, (uint32_t)submit_size);
    memcpy(to + DONE_HEAD_BYTES, outcome, (size_t)outcome_size);
    memcpy(to + DONE_HEAD_BYTES + outcome_size, submit, (size_t)submit_size);
    return made;
}

/* An epoch, (counter, node, boot), as it stands in a `vote` record.  An error is left behind. */
static int put_epoch(uint8_t *to, PyObject *epoch)
{
    if (!PyTuple_Check(epoch) || PyTuple_Size(epoch) != 3)
        return PyErr_Format(PyExc_TypeError, "an epoch is (counter, node, boot)"), -1;
    PyObject *node = PyTuple_GetItem(epoch, 1);
    unsigned long long counter = PyLong_AsUnsignedLongLong(PyTuple_GetItem(epoch, 0));
    unsigned long long boot = PyLong_AsUnsignedLongLong(PyTuple_GetItem(epoch, 2));
    if (PyErr_Occurred())
        return -1;
    if (counter > UINT32_MAX || boot > UINT32_MAX || !PyBytes_CheckExact(node) ||
        PyBytes_Size(node) != ID_BYTES)
        return PyErr_Format(PyExc_ValueError, "an epoch has numbers of 32 bits and an id"), -1;
    write_u32(to, (uint32_t)counter);
    memcpy(to + 4, PyBytes_AsString(node), ID_BYTES);
    write_u32(to + 4 + ID_BYTES, (uint32_t)boot);
    return 0;
}

/* The voters of a call, one behind the other.  An error is left behind. */
static int put_voters(uint8_t *to, PyObject *voters)
{
    for (Py_ssize_t n = 0; n < PyTuple_Size(voters); n++) {
        PyObject *voter = PyTuple_GetItem(voters, n);
        if (!PyBytes_CheckExact(voter) || PyBytes_Size(voter) != ID_BYTES)
            return PyErr_Format(PyExc_ValueError, "a voter is an id of 16 bytes"), -1;
        memcpy(to + n * ID_BYTES, PyBytes_AsString(voter), ID_BYTES);
    }
    return 0;
}

/* pack_vote(flags, seen, full, boot, key, promise, accepted, voters, tail): replica/instance.py
 * has the header. */
static PyObject *pack_vote(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    unsigned long long numbers[4];
    char *key, *tail;
    Py_ssize_t key_size, tail_size;
    (void)self;
    if (count != 9)
        return PyErr_Format(PyExc_TypeError, "pack_vote takes 9 arguments, not %zd", count);
    if (read_numbers(given, numbers, 4) < 0 ||
        PyBytes_AsStringAndSize(given[4], &key, &key_size) < 0 ||
        PyBytes_AsStringAndSize(given[8], &tail, &tail_size) < 0)
        return NULL;
    if (!PyTuple_CheckExact(given[7]))
        return PyErr_Format(PyExc_TypeError, "voters are a tuple");
    Py_ssize_t voters = PyTuple_Size(given[7]);
    if (numbers[0] > UINT8_MAX || numbers[1] > UINT8_MAX || numbers[2] > UINT8_MAX ||
        numbers[3] > UINT32_MAX || voters > UINT8_MAX || key_size != KEY_BYTES)
        return PyErr_Format(PyExc_OverflowError, "what is to be in the header of a vote is too "
                            "large for it");
    PyObject *made = PyBytes_FromStringAndSize(
        NULL, VOTE_HEAD_BYTES + voters * ID_BYTES + tail_size);
    if (!made)
        return NULL;
    uint8_t *to = (uint8_t *)PyBytes_AsString(made);
    to[0] = VOTE_VERSION;
    for (int n = 0; n < 3; n++)
        to[1 + n] = (uint8_t)numbers[n];
    to[4] = (uint8_t)voters;
    write_u32(to + 5, (uint32_t)numbers[3]);
    memcpy(to + 9, key, KEY_BYTES);
    if (put_epoch(to + 9 + KEY_BYTES, given[5]) < 0 ||
        put_epoch(to + 9 + KEY_BYTES + EPOCH_BYTES, given[6]) < 0 ||
        put_voters(to + VOTE_HEAD_BYTES, given[7]) < 0) {
        Py_DECREF(made);
        return NULL;
    }
    memcpy(to + VOTE_HEAD_BYTES + voters * ID_BYTES, tail, (size_t)tail_size);
    return made;
}

/* The changes of a table, made when it has none yet.  Borrowed; NULL without an error: there is no
 * such table. */
static PyObject *changes_of(PyObject *found, PyObject *table, PyObject *tables)
{
    PyObject *changes = PyDict_GetItemWithError(found, table);
    if (changes || PyErr_Occurred() || PySequence_Contains(tables, table) != 1)
        return changes;
    changes = PyDict_New();
    if (!changes)
        return NULL;
    int code = PyDict_SetItem(found, table, changes);
    Py_DECREF(changes); /* `found` has it. */
    return code < 0 ? NULL : changes;
}

/* Whether all ops are well formed; then `found` has them.  An error may be left behind. */
static int group_into(PyObject *found, PyObject *ops, PyObject *tables, Py_ssize_t key_max)
{
    PyObject *last = NULL, *changes = NULL;
    for (Py_ssize_t n = 0; n < PyList_Size(ops); n++) {
        PyObject *op = PyList_GetItem(ops, n);
        if (!PyTuple_CheckExact(op) || PyTuple_Size(op) != 3)
            return 0;
        PyObject *table = PyTuple_GetItem(op, 0), *key = PyTuple_GetItem(op, 1);
        PyObject *value = PyTuple_GetItem(op, 2);
        if (!PyBytes_CheckExact(key) || !PyUnicode_CheckExact(table))
            return 0;
        Py_ssize_t size = PyBytes_Size(key);
        if (size < 1 || size > key_max)
            return 0;
        if (table != last) {
            changes = changes_of(found, table, tables);
            last = table;
        }
        if (!changes || PyDict_SetItem(changes, key, value) < 0)
            return 0;
    }
    return 1;
}

/* group(ops, tables, key_max): table -> key -> its last change; None: one of them is wrong. */
static PyObject *group(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    (void)self;
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "group takes 3 arguments, not %zd", count);
    Py_ssize_t key_max = PyLong_AsSsize_t(given[2]);
    if (key_max == -1 && PyErr_Occurred())
        return NULL;
    if (!PyList_CheckExact(given[0]))
        Py_RETURN_NONE;
    PyObject *found = PyDict_New();
    if (!found || group_into(found, given[0], given[1], key_max))
        return found;
    Py_DECREF(found);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

/* One section of what `flatten` is given. */
typedef struct {
    uint32_t table, how, seed;
    PyObject *changes; /* Borrowed. */
    Py_ssize_t gone;   /* Changes that delete. */
} section;

enum { HOW_DELETE = 0 }; /* As in staging.c. */

static int read_section(PyObject *given, section *found, uint64_t *bytes, uint64_t *parts)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    unsigned int table, how, seed;
    if (!PyArg_ParseTuple(given, "IIIO", &table, &how, &seed, &found->changes))
        return -1;
    found->table = table;
    found->how = how;
    found->seed = seed;
    found->gone = 0;
    if (!PyDict_CheckExact(found->changes)) {
        PyErr_SetString(PyExc_TypeError, "the changes of a section are a dict");
        return -1;
    }
    while (PyDict_Next(found->changes, &at, &key, &value)) {
        if (!PyBytes_CheckExact(key) || (value != Py_None && !PyBytes_CheckExact(value))) {
            PyErr_SetString(PyExc_TypeError, "keys and values of the log are bytes");
            return -1;
        }
        uint64_t size = (uint64_t)PyBytes_Size(key);
        if (value == Py_None) {
            found->gone++;
        } else {
            size += (uint64_t)PyBytes_Size(value);
            ++*parts;
        }
        ++*parts;
        *bytes += size;
    }
    return 0;
}

/* Where `flatten` writes. */
typedef struct {
    uint8_t *data;
    uint32_t *sizes;
} writer;

static void write_part(writer *to, PyObject *part)
{
    size_t size = (size_t)PyBytes_Size(part);
    memcpy(to->data, PyBytes_AsString(part), size);
    to->data += size;
    *to->sizes++ = (uint32_t)size;
}

/* The changes of a section that delete, or those that put. */
static void write_changes(writer *to, const section *one, int deletes)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(one->changes, &at, &key, &value)) {
        if ((value == Py_None) != deletes)
            continue;
        write_part(to, key);
        if (!deletes)
            write_part(to, value);
    }
}

static uint32_t *write_section(uint32_t *to, const section *one, uint32_t how, Py_ssize_t count)
{
    to[0] = one->table;
    to[1] = how;
    to[2] = one->seed;
    to[3] = (uint32_t)count;
    return to + 4;
}

static PyObject *flattened(const section *sections, Py_ssize_t count, uint64_t bytes,
                           uint64_t parts)
{
    PyObject *data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)bytes);
    PyObject *sizes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(4 * parts));
    PyObject *numbers = PyBytes_FromStringAndSize(NULL, 2 * 16 * count);
    uint32_t *number = numbers ? (uint32_t *)(void *)PyBytes_AsString(numbers) : NULL;
    if (!data || !sizes || !numbers)
        goto fail;
    writer to = {(uint8_t *)PyBytes_AsString(data), (uint32_t *)(void *)PyBytes_AsString(sizes)};
    for (Py_ssize_t n = 0; n < count; n++) { /* Two for each; of one without changes nothing. */
        const section *one = sections + n;
        number = write_section(number, one, HOW_DELETE, one->gone);
        write_changes(&to, one, 1);
        number = write_section(number, one, one->how, PyDict_Size(one->changes) - one->gone);
        write_changes(&to, one, 0);
    }
    return Py_BuildValue("NNN", data, sizes, numbers);
fail:
    Py_XDECREF(data);
    Py_XDECREF(sizes);
    Py_XDECREF(numbers);
    return NULL;
}

/* flatten([(table, how, seed, changes), ...]): data, sizes and sections for `mesh_store_write`. */
static PyObject *flatten(PyObject *self, PyObject *asked)
{
    uint64_t bytes = 0, parts = 0;
    (void)self;
    if (!PyList_CheckExact(asked)) {
        PyErr_SetString(PyExc_TypeError, "sections are a list");
        return NULL;
    }
    Py_ssize_t count = PyList_Size(asked);
    section *sections = PyMem_Malloc(count ? (size_t)count * sizeof *sections : 1);
    if (!sections)
        return PyErr_NoMemory();
    PyObject *found = NULL;
    Py_ssize_t n = 0;
    while (n < count && !read_section(PyList_GetItem(asked, n), sections + n, &bytes, &parts))
        n++;
    if (n == count && parts <= UINT32_MAX)
        found = flattened(sections, count, bytes, parts);
    else if (n == count)
        PyErr_SetString(PyExc_OverflowError, "a batch of more than 2^32 changes");
    PyMem_Free(sections);
    return found;
}
