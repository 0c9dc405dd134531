/* The module `dump.native.core`: memory by address, numbers in tuples; functions in C that lead elsewhere.
   dump/native/__init__.py says what they are.

   Of Python's C interface only the part that every Python from 3.10 on has, so that one build serves them all. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>

#include "builtins.h"
#include "crew.h"
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

static int read_sizes(PyObject *given, size_t count, size_t *sizes, int *dimensions)
{
    size_t product = 1;
    Py_ssize_t number = PyTuple_Size(given);
    if (number < 1 || number > MOST_DIMENSIONS)
        return PyErr_Occurred() ? 0 : refuse();
    for (Py_ssize_t d = 0; d < number; d++) {
        sizes[d] = PyLong_AsSize_t(PyTuple_GetItem(given, d));
        if (PyErr_Occurred())
            return 0;
        product *= sizes[d];
    }
    *dimensions = (int)number;
    return product == count ? 1 : refuse();
}

static int read_layout(PyObject *sizes, PyObject *strides, struct memory *memory)
{
    if (!read_sizes(sizes, memory->count, memory->sizes, &memory->dimensions))
        return 0;
    if (memory->dimensions != PyTuple_Size(strides))
        return PyErr_Occurred() ? 0 : refuse();
    for (int d = 0; d < memory->dimensions; d++)
        memory->strides[d] = PyLong_AsSsize_t(PyTuple_GetItem(strides, d));
    return !PyErr_Occurred();
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

static PyObject *measured(const struct memory *memory, struct waves *waves)
{
    struct statistics found;
    if (memory->count < ALONE) {
        statistics_measure(memory, waves, &found);
    } else {
        Py_BEGIN_ALLOW_THREADS
        statistics_measure(memory, waves, &found);
        Py_END_ALLOW_THREADS
    }
    return Py_BuildValue("NNddnny#y#", extreme(memory->dtype, found.high, found.whole_high),
                         extreme(memory->dtype, found.low, found.whole_low), found.mean, found.norm,
                         (Py_ssize_t)found.nan, (Py_ssize_t)found.inf, (const char *)found.sketch,
                         (Py_ssize_t)sizeof found.sketch, waves ? (const char *)found.waves : NULL,
                         (Py_ssize_t)sizeof found.waves);
}

static PyObject *measure(PyObject *module, PyObject *const *arguments, Py_ssize_t given)
{
    struct memory memory;
    (void)module;
    return read_memory(arguments, given, &memory) ? measured(&memory, NULL) : NULL;
}

static PyObject *measure_waves(PyObject *module, PyObject *const *arguments, Py_ssize_t given)
{
    struct memory memory;
    struct waves waves;
    size_t sizes[MOST_DIMENSIONS];
    int dimensions;
    (void)module;
    if (given < 4) {
        PyErr_SetString(PyExc_TypeError, "expected sizes, and memory");
        return NULL;
    }
    if (!read_memory(arguments + 1, given - 1, &memory) ||
        !read_sizes(arguments[0], memory.count, sizes, &dimensions))
        return NULL;
    waves_plan(&waves, sizes, dimensions);
    return measured(&memory, &waves);
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

static PyObject *employ(PyObject *module, PyObject *arguments)
{
    PyObject *address;
    unsigned threads;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OI", &address, &threads))
        return NULL;
    void *region = PyLong_AsVoidPtr(address);
    if (PyErr_Occurred())
        return NULL;
    crew_employ((crew_region)(uintptr_t)region, threads);
    return Py_BuildValue("");
}

static PyObject *copy(PyObject *module, PyObject *arguments)
{
    PyObject *addresses[2];
    Py_ssize_t nbytes;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOn", &addresses[0], &addresses[1], &nbytes))
        return NULL;
    void *to = PyLong_AsVoidPtr(addresses[0]), *from = PyLong_AsVoidPtr(addresses[1]);
    if (PyErr_Occurred())
        return NULL;
    if (nbytes < 0 || (nbytes && !(to && from))) {
        PyErr_SetString(PyExc_ValueError, "expected memory, and how many bytes it has");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    if (nbytes)
        crew_copy(to, from, (size_t)nbytes);
    Py_END_ALLOW_THREADS
    return Py_BuildValue("");
}

static PyMethodDef methods[] = {
    {"measure", (PyCFunction)(void (*)(void))measure, METH_FASTCALL, "See core.pyi."},
    {"measure_waves", (PyCFunction)(void (*)(void))measure_waves, METH_FASTCALL, "See core.pyi."},
    {"distance", distance, METH_VARARGS, "See core.pyi."},
    {"md5", md5, METH_O, "See core.pyi."},
    {"signs", signs, METH_NOARGS, "See core.pyi."},
    {"copy", copy, METH_VARARGS, "See core.pyi."},
    {"employ", employ, METH_VARARGS, "See core.pyi."},
    {"redirect", builtins_redirect, METH_VARARGS, "See core.pyi."},
    {"read", (PyCFunction)(void (*)(void))reading_read, METH_FASTCALL, "See core.pyi."},
    {"read_along", (PyCFunction)(void (*)(void))reading_read_along, METH_FASTCALL, "See core.pyi."},
    {"restore", builtins_restore, METH_O, "See core.pyi."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "core", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_core(void)
{
    crew_prepare();
    digest_prepare();
    widen_prepare();
    statistics_prepare();
    waves_prepare();
    return PyModule_Create(&definition);
}
