/* What nodes say to each other: entries of one kind to one node travel together. */

enum { COUNT_BYTES = 5, WORDS_BYTES = 4096 };

/* Entries that go to a node in one envelope; room for their count is in front of them. */
typedef struct {
    PyObject *node, *kind; /* Borrowed. */
    Py_ssize_t count;
    pile packed;
} words;

typedef struct {
    words *open; /* The newest of each node. */
    Py_ssize_t nodes;
    Py_ssize_t count_max;
    size_t bytes_goal;
    PyObject *closed; /* A list of (node, kind, body). */
    PyObject *last;   /* The entry before, if `last_of` still has it at `last_at`. */
    Py_ssize_t last_of;
    size_t last_at, last_size;
} grouping;

static words *words_for(grouping *all, PyObject *node)
{
    for (Py_ssize_t n = 0; n < all->nodes; n++) {
        PyObject *known = all->open[n].node;
        if (known == node || (PyBytes_Size(known) == PyBytes_Size(node) &&
                              !memcmp(PyBytes_AsString(known), PyBytes_AsString(node),
                                      (size_t)PyBytes_Size(node))))
            return all->open + n;
    }
    words *open = realloc(all->open, (size_t)(all->nodes + 1) * sizeof *open);
    if (!open)
        return NULL;
    all->open = open;
    words *made = open + all->nodes;
    begin_pile(&made->packed, INT32_MAX);
    made->packed.data = malloc(WORDS_BYTES); /* Not `first`: it would move with the others. */
    if (!made->packed.data)
        return NULL;
    made->packed.room = WORDS_BYTES;
    made->packed.size = COUNT_BYTES;
    made->node = node;
    made->kind = NULL;
    made->count = 0;
    all->nodes++;
    return made;
}

/* Close what a node has up to `end`. */
static int close_words(grouping *all, words *from, size_t end)
{
    uint8_t *begin_at = from->packed.data, head[COUNT_BYTES];
    size_t size = put_head(head, 0x90, 0xdc, from->count);
    begin_at += COUNT_BYTES - size;
    memcpy(begin_at, head, size);
    PyObject *row = Py_BuildValue("(OOy#)", from->node, from->kind, begin_at,
                                  (Py_ssize_t)(end - COUNT_BYTES + size));
    int code = row ? PyList_Append(all->closed, row) : -1;
    Py_XDECREF(row);
    return code;
}

/* 1: said; 0: leave it to Python; -1: an error. */
static int say(grouping *all, PyObject *node, PyObject *kind, PyObject *entry)
{
    words *to = words_for(all, node);
    if (!to)
        return 0;
    size_t at = to->packed.size;
    if (entry == all->last) { /* Voters of a call are told the same. */
        if (!has_room(&to->packed, all->last_size))
            return 0;
        memcpy(to->packed.data + at, all->open[all->last_of].packed.data + all->last_at,
               all->last_size);
        to->packed.size += all->last_size;
    } else if (!PyList_CheckExact(entry) || !put_items(entry, &to->packed, SIMPLE_DEPTH)) {
        return 0;
    }
    size_t size = to->packed.size - at;
    int is_same = to->kind && PyObject_RichCompareBool(to->kind, kind, Py_EQ) == 1;
    if (to->count && (!is_same || to->count >= all->count_max ||
                      at - COUNT_BYTES + size > all->bytes_goal)) {
        if (close_words(all, to, at) < 0)
            return -1;
        memmove(to->packed.data + COUNT_BYTES, to->packed.data + at, size);
        at = COUNT_BYTES;
        to->packed.size = at + size;
        to->count = 0;
    }
    to->kind = kind;
    to->count++;
    all->last = entry;
    all->last_of = to - all->open;
    all->last_at = at;
    all->last_size = size;
    return 1;
}

static int say_all(grouping *all, PyObject *said)
{
    for (Py_ssize_t n = 0; n < PyList_Size(said); n++) {
        PyObject *word = PyList_GetItem(said, n);
        if (!PyTuple_CheckExact(word) || PyTuple_Size(word) != 3)
            return 0;
        PyObject *node = PyTuple_GetItem(word, 0), *kind = PyTuple_GetItem(word, 1);
        if (!PyBytes_CheckExact(node) || !PyLong_Check(kind))
            return 0;
        int code = say(all, node, kind, PyTuple_GetItem(word, 2));
        if (code != 1)
            return code;
    }
    for (Py_ssize_t n = 0; n < all->nodes; n++) {
        if (close_words(all, all->open + n, all->open[n].packed.size) < 0)
            return -1;
    }
    return 1;
}

/* pack_words(said, count_max, bytes_goal): a list of (node, kind, body), or None: pack them
 * otherwise. */
static PyObject *pack_words(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    (void)self;
    if (count != 3 || !PyList_CheckExact(given[0]))
        return PyErr_Format(PyExc_TypeError, "pack_words takes a list and two numbers");
    grouping all = {NULL, 0, PyLong_AsSsize_t(given[1]), PyLong_AsSize_t(given[2]),
                    NULL, NULL, 0, 0, 0};
    if (PyErr_Occurred() || !(all.closed = PyList_New(0)))
        return NULL;
    int code = say_all(&all, given[0]);
    for (Py_ssize_t n = 0; n < all.nodes; n++)
        end_pile(&all.open[n].packed);
    free(all.open);
    if (code == 1)
        return all.closed;
    Py_DECREF(all.closed);
    if (code < 0 || PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}
