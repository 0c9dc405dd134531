/* Functions written in C that lead elsewhere for a while, each staying the object that it is. */

#ifndef BUILTINS_H
#define BUILTINS_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>

PyObject *builtins_redirect(PyObject *module, PyObject *arguments);
PyObject *builtins_restore(PyObject *module, PyObject *function);

#endif
