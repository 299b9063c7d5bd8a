/* What is done by the batch or by the call, and makes Python's objects: `meshcode.native._objects`.
 *
 * cffi hands over bytes and numbers; where an object is wanted for each call, making it costs more
 * than the work.  So this is a module of CPython's own limited API.  Each part has a sister in
 * pure.py that gives the same, simple values in msgpack (tests/wire/test_objects.py and
 * test_simple.py).  It is the only one that workers and clients load.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "framing.c"

enum { ID_BYTES = 16 };

#include "pick.c"
#include "whole.c"
#include "mold.c"
#include "slots.c"
#include "simple.c"
#include "words.c"
#include "heard.c"
#include "batch.c"
#include "rows.c"
#include "steps.c"
#ifndef _WIN32
#include "append.c"
#endif
#ifdef __linux__
#include "process.c"
#include "link.c"
#endif

static PyMethodDef methods[] = {
    {"begin", (PyCFunction)(void (*)(void))begin, METH_FASTCALL,
     "begin(frame_bytes_max, body_bytes_max, meta_bytes_max, envelopes_max): the limits of frames."},
    {"pick", (PyCFunction)(void (*)(void))pick, METH_FASTCALL,
     "pick(frame, columns): rows, kinds and flags, or four numbers of a fault."},
    {"index", index_frame, METH_O, "index(frame): whole rows, or four numbers of a fault."},
    {"check", check_envelope, METH_O, "check(envelope): its row, or four numbers of a fault."},
    {"seal", seal, METH_O, "seal(frame): None, or four numbers of a fault."},
    {"crc32", checksum, METH_VARARGS, "crc32(data, start): as of zlib."},
    {"scan", (PyCFunction)(void (*)(void))scan, METH_FASTCALL,
     "scan(data, objects, depth_max): None, or four numbers of a fault."},
    {"pack_simple", pack_simple, METH_O, "pack_simple(value): bytes, or None: pack it otherwise."},
    {"pack_items", pack_items, METH_O, "pack_items(values): bytes, or None: pack it otherwise."},
    {"unpack_simple", unpack_simple, METH_O, "unpack_simple(data): the value, or NotImplemented."},
    {"unpack_items", unpack_items, METH_O, "unpack_items(data): a list, or None."},
    {"pack_done", (PyCFunction)(void (*)(void))pack_done, METH_FASTCALL,
     "pack_done(code, attempts, accepted_ms, started_ms, finished_ms, sequence, outcome, submit)"},
    {"pack_vote", (PyCFunction)(void (*)(void))pack_vote, METH_FASTCALL,
     "pack_vote(flags, seen, full, boot, key, promise, accepted, voters, tail)"},
    {"pack_words", (PyCFunction)(void (*)(void))pack_words, METH_FASTCALL,
     "pack_words(said, count_max, bytes_goal): (node, kind, body)s, or None: do it otherwise."},
    {"plain_words", (PyCFunction)(void (*)(void))plain_words, METH_FASTCALL,
     "plain_words(kind, entries): whether all are plain, or None: look otherwise."},
    {"plain_reports", (PyCFunction)(void (*)(void))plain_reports, METH_FASTCALL,
     "plain_reports(frame, meta, us_most): whether all in a checked frame are plain outcomes."},
    {"group", (PyCFunction)(void (*)(void))group, METH_FASTCALL,
     "group(ops, tables, key_max): the last change of each key, or None: one is wrong."},
    {"numbered_ids", (PyCFunction)(void (*)(void))numbered_ids, METH_FASTCALL,
     "numbered_ids(parent, count): the ids of so many steps."},
    {"seal_rows", (PyCFunction)(void (*)(void))seal_rows, METH_FASTCALL,
     "seal_rows(kind, flow, parent, rows): sealed envelopes, or None: make them otherwise."},
    {"feed_first", (PyCFunction)(void (*)(void))feed_first, METH_FASTCALL,
     "feed_first(submit, value): the envelope with it, or None: make it otherwise."},
    {"open_rows", (PyCFunction)(void (*)(void))open_rows, METH_FASTCALL,
     "open_rows(data, sizes, seed): keys and values; None for a value with another check."},
    {"flatten", flatten, METH_O, "flatten(sections): data, sizes and sections in one piece each."},
#ifndef _WIN32
    {"append", append, METH_VARARGS, "append(handle, at, entry, end, seed): 0 or errno."},
#endif
#ifdef __linux__
    {"prctl", set_process, METH_VARARGS, "prctl(option, value): 0 or errno."},
#endif
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "meshcode.native._objects", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__objects(void)
{
    PyObject *made = PyModule_Create(&module);
    if (!made)
        return NULL;
    mesh_begin();
    if (add_type(made, "Mold", &mold_spec) < 0 || add_type(made, "Slots", &slots_spec) < 0) {
        Py_DECREF(made);
        return NULL;
    }
#ifdef __linux__
    if (add_type(made, "Dealer", &dealer_spec) < 0) {
        Py_DECREF(made);
        return NULL;
    }
#endif
    return made;
}
