/* The module `dump.native.core`: memory by address, numbers in tuples; functions in C that lead elsewhere.
   dump/native/__init__.py says what they are.

   Of Python's C interface only the part that every Python from 3.10 on has, so that one build serves them all. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>

#include "builtins.h"
#include "digest.h"
#include "distance.h"
#include "reading.h"
#include "statistics.h"

/* Below so many elements others would wait less than it takes to let them run. */
#define ALONE (1 << 14)

static int refuse(void)
{
    PyErr_SetString(PyExc_ValueError, "expected a dtype of DTYPES, memory of at least one element, and its layout");
    return 0;
}

static int read_layout(PyObject *sizes, PyObject *strides, struct memory *memory)
{
    size_t count = 1;
    Py_ssize_t dimensions = PyTuple_Size(sizes);
    if (dimensions < 1 || dimensions > MOST_DIMENSIONS || dimensions != PyTuple_Size(strides))
        return PyErr_Occurred() ? 0 : refuse();
    for (Py_ssize_t d = 0; d < dimensions; d++) {
        memory->sizes[d] = PyLong_AsSize_t(PyTuple_GetItem(sizes, d));
        memory->strides[d] = PyLong_AsSsize_t(PyTuple_GetItem(strides, d));
        if (PyErr_Occurred())
            return 0;
        count *= memory->sizes[d];
    }
    memory->dimensions = (int)dimensions;
    return count == memory->count ? 1 : refuse();
}

/* Arguments (address, dtype, count) or (address, dtype, count, sizes, strides); 0 with an exception where they are
   none. */
static int read_memory(PyObject *const *arguments, Py_ssize_t given, struct memory *memory)
{
    if (given != 3 && given != 5) {
        PyErr_SetString(PyExc_TypeError, "expected an address, a dtype and a count, and may be sizes and strides");
        return 0;
    }
    memory->start = PyLong_AsVoidPtr(arguments[0]);
    long code = PyLong_AsLong(arguments[1]);
    memory->count = PyLong_AsSize_t(arguments[2]);
    memory->dimensions = 0;
    if (PyErr_Occurred())
        return 0;
    if (code < 0 || code >= DTYPES || !memory->count || !memory->start)
        return refuse();
    memory->dtype = (int)code;
    return given == 3 || read_layout(arguments[3], arguments[4], memory);
}

static PyObject *extreme(int dtype, double value, int64_t whole)
{
    if (!is_integral(dtype))
        return PyFloat_FromDouble(value);
    if (dtype == UINT64)
        return PyLong_FromUnsignedLongLong((unsigned long long)whole);
    return PyLong_FromLongLong(whole);
}

static PyObject *measure(PyObject *module, PyObject *const *arguments, Py_ssize_t given)
{
    struct memory memory;
    struct statistics found;
    (void)module;
    if (!read_memory(arguments, given, &memory))
        return NULL;
    if (memory.count < ALONE) {
        statistics_measure(&memory, &found);
    } else {
        Py_BEGIN_ALLOW_THREADS
        statistics_measure(&memory, &found);
        Py_END_ALLOW_THREADS
    }
    return Py_BuildValue("NNddnny#", extreme(memory.dtype, found.high, found.whole_high),
                         extreme(memory.dtype, found.low, found.whole_low), found.mean, found.norm, (Py_ssize_t)found.nan,
                         (Py_ssize_t)found.inf, (const char *)found.sketch, (Py_ssize_t)sizeof found.sketch);
}

static PyObject *told(const struct pair_sums *sums)
{
    return Py_BuildValue("nddddd", (Py_ssize_t)sums->count, sums->npu, sums->bench, sums->product, sums->apart,
                         sums->least);
}

static PyObject *index_or_none(ptrdiff_t index)
{
    return index < 0 ? Py_BuildValue("") : PyLong_FromSsize_t(index);
}

static int read_edges(PyObject *given, struct edges *edges)
{
    edges->any = given != Py_None;
    return !edges->any || PyArg_ParseTuple(given, "(dd)(dd)", &edges->npu[0], &edges->bench[0], &edges->npu[1],
                                           &edges->bench[1]);
}

static PyObject *distance(PyObject *module, PyObject *arguments)
{
    PyObject *sides[2], *given;
    struct memory memories[2];
    struct edges edges;
    struct distance found;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!O!O", &PyTuple_Type, &sides[0], &PyTuple_Type, &sides[1], &given))
        return NULL;
    for (int side = 0; side < 2; side++) {
        PyObject *items[5];
        Py_ssize_t size = PyTuple_Size(sides[side]);
        for (Py_ssize_t i = 0; i < size && i < 5; i++)
            items[i] = PyTuple_GetItem(sides[side], i);
        if (!read_memory(items, size, &memories[side]))
            return NULL;
    }
    if (!read_edges(given, &edges))
        return NULL;
    if (memories[0].count != memories[1].count) {
        refuse();
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    distance_measure(&memories[0], &memories[1], &edges, &found);
    Py_END_ALLOW_THREADS
    return Py_BuildValue("(NNN)(nnnnnnnnN)(dNdN)(nn)", told(&found.live), told(&found.held[0]), told(&found.held[1]),
                         (Py_ssize_t)found.positions, (Py_ssize_t)found.npu_nan, (Py_ssize_t)found.npu_inf,
                         (Py_ssize_t)found.bench_nan, (Py_ssize_t)found.bench_inf, (Py_ssize_t)found.npu_only,
                         (Py_ssize_t)found.bench_only, (Py_ssize_t)found.conflicting,
                         index_or_none(found.first_one_sided), found.max_abs, index_or_none(found.max_abs_index),
                         found.max_relative, index_or_none(found.max_relative_index), (Py_ssize_t)found.within[0],
                         (Py_ssize_t)found.within[1]);
}

static PyObject *signs(PyObject *module, PyObject *nothing)
{
    (void)module;
    (void)nothing;
    return Py_BuildValue("y#y#", (const char *)statistics_column_signs(), (Py_ssize_t)(4096 * sizeof(float)),
                         (const char *)statistics_row_signs(), (Py_ssize_t)(65536 * sizeof(float)));
}

static PyObject *told_digests(const struct message *messages, Py_ssize_t count)
{
    PyObject *found = PyList_New(count);
    for (Py_ssize_t i = 0; found && i < count; i++) {
        PyObject *digest = PyBytes_FromStringAndSize((const char *)messages[i].digest, MD5_BYTES);
        if (!digest || PyList_SetItem(found, i, digest) < 0)
            Py_CLEAR(found);
    }
    return found;
}

static PyObject *md5(PyObject *module, PyObject *given)
{
    (void)module;
    if (!PyList_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "expected a list of (address, bytes)");
        return NULL;
    }
    Py_ssize_t count = PyList_Size(given);
    struct message *messages = PyMem_Calloc((size_t)count + 1, sizeof *messages);
    if (!messages)
        return PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *memory = PyList_GetItem(given, i), *address;
        Py_ssize_t nbytes;
        if (!PyTuple_Check(memory))
            PyErr_SetString(PyExc_TypeError, "expected (address, bytes)");
        if (PyErr_Occurred() || !PyArg_ParseTuple(memory, "On", &address, &nbytes))
            goto refused;
        messages[i].start = PyLong_AsVoidPtr(address);
        messages[i].count = (size_t)nbytes;
        if (PyErr_Occurred())
            goto refused;
        if (nbytes < 0 || (nbytes && !messages[i].start)) {
            PyErr_SetString(PyExc_ValueError, "expected memory, and how many bytes it has");
            goto refused;
        }
    }
    Py_BEGIN_ALLOW_THREADS
    digest_md5(messages, (size_t)count);
    Py_END_ALLOW_THREADS
    PyObject *found = told_digests(messages, count);
    PyMem_Free(messages);
    return found;
refused:
    PyMem_Free(messages);
    return NULL;
}

static PyMethodDef methods[] = {
    {"measure", (PyCFunction)(void (*)(void))measure, METH_FASTCALL, "See core.pyi."},
    {"distance", distance, METH_VARARGS, "See core.pyi."},
    {"md5", md5, METH_O, "See core.pyi."},
    {"signs", signs, METH_NOARGS, "See core.pyi."},
    {"redirect", builtins_redirect, METH_VARARGS, "See core.pyi."},
    {"read", (PyCFunction)(void (*)(void))reading_read, METH_FASTCALL, "See core.pyi."},
    {"restore", builtins_restore, METH_O, "See core.pyi."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "core", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_core(void)
{
    digest_prepare();
    widen_prepare();
    statistics_prepare();
    return PyModule_Create(&definition);
}
