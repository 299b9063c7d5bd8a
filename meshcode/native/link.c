/* A socket of libzmq without pyzmq around it, for workers (worker/link.py).
 *
 * pyzmq costs a process two MiB and brings enum, random and more; a worker needs one DEALER.  The
 * library is the one that pyzmq brought: it is loaded by its path, so that nothing is needed to
 * build this, and its functions are those of libzmq 4's stable interface.  Nothing here waits but
 * `close`, which lets go of the interpreter's lock.
 */

#include <dlfcn.h>
#include <errno.h>

enum { /* zmq.h, 4.x */
    ZMQ_DEALER = 5, ZMQ_FD = 14, ZMQ_EVENTS = 15, ZMQ_LINGER = 17, ZMQ_MAXMSGSIZE = 22,
    ZMQ_SNDHWM = 23, ZMQ_RCVHWM = 24, ZMQ_DONTWAIT = 1, ZMQ_POLLIN = 1, ZMQ_MAJOR = 4,
    ZMQ_MESSAGE_BYTES = 64,
};

typedef union { unsigned char bytes[ZMQ_MESSAGE_BYTES]; void *aligned; } message;

static struct {
    void *loaded;
    void (*version)(int *, int *, int *);
    const char *(*strerror)(int);
    int (*error)(void);
    void *(*context_new)(void);
    int (*context_end)(void *);
    void *(*socket)(void *, int);
    int (*close)(void *);
    int (*connect)(void *, const char *);
    int (*set)(void *, int, const void *, size_t);
    int (*get)(void *, int, void *, size_t *);
    int (*send)(void *, const void *, size_t, int);
    int (*begin)(message *);
    int (*receive)(message *, void *, int);
    int (*end)(message *);
    size_t (*size)(const message *);
    void *(*data)(message *);
} zmq;

static const struct { const char *name; void *place; } zmq_functions[] = {
    {"zmq_version", &zmq.version}, {"zmq_strerror", &zmq.strerror}, {"zmq_errno", &zmq.error},
    {"zmq_ctx_new", &zmq.context_new}, {"zmq_ctx_term", &zmq.context_end},
    {"zmq_socket", &zmq.socket}, {"zmq_close", &zmq.close}, {"zmq_connect", &zmq.connect},
    {"zmq_setsockopt", &zmq.set}, {"zmq_getsockopt", &zmq.get}, {"zmq_send", &zmq.send},
    {"zmq_msg_init", &zmq.begin}, {"zmq_msg_recv", &zmq.receive}, {"zmq_msg_close", &zmq.end},
    {"zmq_msg_size", &zmq.size}, {"zmq_msg_data", &zmq.data},
};

/* Once in a process; whatever is loaded by then stays.  -1 with an ImportError where `path` is not
 * libzmq 4. */
static int load_zmq(const char *path)
{
    int major = 0, minor, patch;
    if (zmq.loaded)
        return 0;
    void *loaded = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!loaded) {
        PyErr_SetString(PyExc_ImportError, dlerror());
        return -1;
    }
    for (size_t i = 0; i < sizeof zmq_functions / sizeof *zmq_functions; i++) {
        void *found = dlsym(loaded, zmq_functions[i].name);
        if (!found) {
            PyErr_Format(PyExc_ImportError, "%s has no %s", path, zmq_functions[i].name);
            dlclose(loaded);
            return -1;
        }
        memcpy(zmq_functions[i].place, &found, sizeof found);
    }
    zmq.version(&major, &minor, &patch);
    if (major != ZMQ_MAJOR) {
        PyErr_Format(PyExc_ImportError, "%s is libzmq %d, known is %d", path, major,
                     (int)ZMQ_MAJOR);
        dlclose(loaded);
        return -1;
    }
    zmq.loaded = loaded;
    return 0;
}

typedef struct {
    PyObject_HEAD
    void *context;
    void *socket;
} dealer;

static PyObject *zmq_failed(int code, const char *what)
{
    PyObject *said = PyUnicode_FromFormat("%s: %s", what, zmq.strerror(code));
    PyObject *both = said ? Py_BuildValue("iN", code, said) : NULL;
    if (both) {
        PyErr_SetObject(PyExc_OSError, both);
        Py_DECREF(both);
    }
    return NULL;
}

static int is_open(const dealer *self)
{
    if (!self->socket)
        PyErr_SetString(PyExc_ValueError, "the socket is closed");
    return self->socket != NULL;
}

static void shut(dealer *self)
{
    if (self->socket)
        zmq.close(self->socket);
    self->socket = NULL;
    if (self->context)
        while (zmq.context_end(self->context) < 0 && zmq.error() == EINTR)
            ;
    self->context = NULL;
}

/* Dealer(library, address, linger_ms, message_bytes_max) */
static PyObject *dealer_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    const char *library, *address;
    int linger_ms, unlimited = 0; /* The node's credit bounds what is on its way. */
    long long bytes_max;
    (void)keywords;
    if (!PyArg_ParseTuple(args, "ssiL", &library, &address, &linger_ms, &bytes_max) ||
        load_zmq(library) < 0)
        return NULL;
    int64_t limit = bytes_max;
    dealer *made = (dealer *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (!made)
        return NULL;
    made->context = zmq.context_new();
    made->socket = made->context ? zmq.socket(made->context, ZMQ_DEALER) : NULL;
    if (made->socket && zmq.set(made->socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms) == 0 &&
        zmq.set(made->socket, ZMQ_SNDHWM, &unlimited, sizeof unlimited) == 0 &&
        zmq.set(made->socket, ZMQ_RCVHWM, &unlimited, sizeof unlimited) == 0 &&
        zmq.set(made->socket, ZMQ_MAXMSGSIZE, &limit, sizeof limit) == 0 &&
        zmq.connect(made->socket, address) == 0)
        return (PyObject *)made;
    zmq_failed(zmq.error(), address);
    Py_DECREF(made);
    return NULL;
}

static int dealer_option(dealer *self, int option, int *found)
{
    size_t size = sizeof *found;
    int code;
    if (!is_open(self))
        return -1;
    do
        code = zmq.get(self->socket, option, found, &size);
    while (code < 0 && zmq.error() == EINTR);
    if (code < 0)
        zmq_failed(zmq.error(), "asking a socket");
    return code;
}

static PyObject *dealer_file(PyObject *self, PyObject *ignored)
{
    int found;
    (void)ignored;
    return dealer_option((dealer *)self, ZMQ_FD, &found) < 0 ? NULL : PyLong_FromLong(found);
}

static PyObject *dealer_readable(PyObject *self, PyObject *ignored)
{
    int found;
    (void)ignored;
    if (dealer_option((dealer *)self, ZMQ_EVENTS, &found) < 0)
        return NULL;
    return PyBool_FromLong(found & ZMQ_POLLIN);
}

static PyObject *dealer_send(PyObject *object, PyObject *given)
{
    dealer *self = (dealer *)object;
    char *data;
    Py_ssize_t size;
    int code;
    if (PyBytes_AsStringAndSize(given, &data, &size) < 0 || !is_open(self))
        return NULL;
    do
        code = zmq.send(self->socket, data, (size_t)size, ZMQ_DONTWAIT);
    while (code < 0 && zmq.error() == EINTR);
    if (code < 0)
        return zmq_failed(zmq.error(), "sending");
    Py_RETURN_NONE;
}

static PyObject *dealer_receive(PyObject *object, PyObject *ignored)
{
    dealer *self = (dealer *)object;
    message arrived;
    int code;
    (void)ignored;
    if (!is_open(self))
        return NULL;
    zmq.begin(&arrived);
    do
        code = zmq.receive(&arrived, self->socket, ZMQ_DONTWAIT);
    while (code < 0 && zmq.error() == EINTR);
    if (code < 0) {
        code = zmq.error();
        zmq.end(&arrived);
        return code == EAGAIN ? Py_NewRef(Py_None) : zmq_failed(code, "receiving");
    }
    PyObject *made = PyBytes_FromStringAndSize(zmq.data(&arrived), (Py_ssize_t)zmq.size(&arrived));
    zmq.end(&arrived);
    return made;
}

static PyObject *dealer_close(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    Py_BEGIN_ALLOW_THREADS
    shut((dealer *)object);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static void dealer_free(PyObject *object)
{
    dealer_close(object, NULL);
    free_object(object);
}

static PyMethodDef dealer_methods[] = {
    {"file", dealer_file, METH_NOARGS, "file(): the descriptor that tells of changes."},
    {"readable", dealer_readable, METH_NOARGS, "readable(): whether a frame has arrived."},
    {"send", dealer_send, METH_O, "send(frame); never waits."},
    {"receive", dealer_receive, METH_NOARGS, "receive(): a frame that has arrived, or None."},
    {"close", dealer_close, METH_NOARGS, "close(): lets what was sent arrive, for the linger time."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot dealer_slots[] = {
    {Py_tp_new, (void *)dealer_new},
    {Py_tp_dealloc, (void *)dealer_free},
    {Py_tp_methods, dealer_methods},
    {Py_tp_doc, "Dealer(library, address, linger_ms, message_bytes_max): one socket and its context."},
    {0, NULL},
};

static PyType_Spec dealer_spec = {
    "meshcode.native._objects.Dealer", sizeof(dealer), 0, Py_TPFLAGS_DEFAULT, dealer_slots,
};
