#ifndef READING_H
#define READING_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>

PyObject *reading_read(PyObject *module, PyObject *const *given, Py_ssize_t count);
PyObject *reading_read_along(PyObject *module, PyObject *const *given, Py_ssize_t count);

#endif
