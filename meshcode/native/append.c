/* The end of the journal (store/journal.py), on systems with fdatasync. */

#include <errno.h>
#include <unistd.h>

/* An entry of `size` bytes gets its check, over all behind it up to `end`, is written at its place
 * and synced.  Returns 0 or errno; then it may be there or not. */
static int32_t mesh_append(int32_t handle, uint64_t at, uint8_t *entry, size_t size, size_t end,
                           uint32_t seed)
{
    if (end < 8 || end > size)
        return EINVAL;
    write_u32(entry + 4, mesh_crc32(seed, entry + 8, end - 8));
    while (size) {
        ssize_t done = pwrite(handle, entry, size, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done ? errno : ENOSPC;
        entry += done;
        at += (uint64_t)done;
        size -= (size_t)done;
    }
    while (fdatasync(handle))
        if (errno != EINTR)
            return errno;
    return 0;
}

/* append(handle, at, entry, end, seed): 0 or errno.  Without the interpreter's lock. */
static PyObject *append(PyObject *self, PyObject *args)
{
    int handle;
    unsigned long long at, end;
    unsigned long seed;
    Py_buffer entry;
    int32_t code;
    (void)self;
    if (!PyArg_ParseTuple(args, "iKw*Kk", &handle, &at, &entry, &end, &seed))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    code = mesh_append(handle, at, entry.buf, (size_t)entry.len, (size_t)end, (uint32_t)seed);
    Py_END_ALLOW_THREADS;
    PyBuffer_Release(&entry);
    return PyLong_FromLong(code);
}
