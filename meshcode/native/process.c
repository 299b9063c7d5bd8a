/* What a process ties itself to and gives up (worker/isolation.py): without it a worker would load
 * ctypes for two calls.  On Linux. */

#include <errno.h>
#include <sys/prctl.h>

/* set_process(option, value): 0 or errno; see prctl(2). */
static PyObject *set_process(PyObject *self, PyObject *args)
{
    int option;
    unsigned long value;
    (void)self;
    if (!PyArg_ParseTuple(args, "ik", &option, &value))
        return NULL;
    return PyLong_FromLong(prctl(option, value, 0UL, 0UL, 0UL) < 0 ? errno : 0);
}
